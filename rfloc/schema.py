"""The datasets that rooms hand to each other: dimensions, units, validation on every write and read.

One schema a kind: `links`, `raster`, `maps`, `paths`, `split`, `crops`, `predictions`. Missing is NaN (with
`heard = False` in links), never a number that stands for missing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from rfloc.errors import DataError, SchemaError
from rfloc.frames import Grid, LocalFrame

#: The four radio features and their units (3GPP TS 36.214, as conventions of this project define them).
FEATURES: dict[str, str] = {"rssi": "dBm", "nsinr": "dB", "nrsrp": "dBm", "nrsrq": "dB"}

#: Split roles, as stored in the `role` variable of a split.
ROLES = ("train", "val", "known", "unknown", "buffer")

#: Where a station's position comes from, as stored in `bs_position_source`: published with the measurements, a user's
#: or an operator's table, estimated from training UEs, nominal; `unknown` until it is placed (its x and y are NaN).
POSITION_SOURCES = ("published", "table", "estimated", "nominal", "unknown")


@dataclass(frozen=True)
class Variable:
    """What a schema demands of one variable."""

    dims: tuple[str, ...]
    unit: str = ""
    kind: str = "f"  #: numpy kinds allowed, e.g. "f", "iu", "b", "UO"
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """What a schema demands of one kind of dataset."""

    name: str
    variables: dict[str, Variable]
    attrs: tuple[str, ...] = ()
    frame: bool = True
    grid: bool = False
    coords: tuple[str, ...] = field(default=())


_UE = {
    "ue_x": Variable(("ue",), "m"),
    "ue_y": Variable(("ue",), "m"),
    "ue_lat": Variable(("ue",), "deg"),
    "ue_lon": Variable(("ue",), "deg"),
    "ue_campaign": Variable(("ue",), "", "iu"),
}
_BS = {
    "bs_x": Variable(("bs",), "m"),
    "bs_y": Variable(("bs",), "m"),
    "bs_h": Variable(("bs",), "m"),
    "bs_azimuth": Variable(("bs",), "deg"),
    "bs_power": Variable(("bs",), "dBm"),
    "bs_id": Variable(("bs",), "", "UOT"),
}
#: What measured links carry besides: standard deviation of a station's position per axis, UEs that helped to place one.
_MEASURED = {
    "bs_position_source": Variable(("bs",), "", "UOT", optional=True),
    "bs_position_error": Variable(("bs",), "m", optional=True),
    "ue_placed": Variable(("ue",), "", "b", optional=True),
}

SCHEMAS: dict[str, Schema] = {
    "links": Schema(
        "links",
        {name: Variable(("ue", "bs"), unit) for name, unit in FEATURES.items()}
        | {"heard": Variable(("ue", "bs"), "", "b"), "interpolated": Variable(("ue", "bs"), "", "b", optional=True)}
        | {"gain_error": Variable(("ue", "bs"), "dB", optional=True), **_UE, **_BS, **_MEASURED},
        attrs=("source", "carrier_hz", "city"),
        coords=tuple(_UE | _BS | _MEASURED),
    ),
    "raster": Schema(
        "raster",
        {
            "building": Variable(("y", "x"), "", "iub"),
            "road": Variable(("y", "x"), "", "iub"),
            "height": Variable(("y", "x"), "m"),
            "ground": Variable(("y", "x"), "m", optional=True),
        },
        grid=True,
    ),
    "maps": Schema(
        "maps",
        {n: Variable(("bs", "y", "x"), "", optional=n != "path_gain") for n in ("path_gain", "ray_gain", "ray_error")}
        | _BS,
        attrs=("carrier_hz",),
        grid=True,
        coords=tuple(_BS),
    ),
    "paths": Schema(
        "paths",
        {
            "transfer": Variable(("bs", "ue", "path", "bs_polarisation", "ue_polarisation"), "", "c"),
            "power": Variable(("bs", "ue", "path", "slant")),
            "departure_zenith": Variable(("bs", "ue", "path"), "deg"),
            "departure_azimuth": Variable(("bs", "ue", "path"), "deg"),
            "arrival_zenith": Variable(("bs", "ue", "path"), "deg"),
            "arrival_azimuth": Variable(("bs", "ue", "path"), "deg"),
            "delay": Variable(("bs", "ue", "path"), "s"),
            "slant": Variable(("slant",), "deg"),
            "ue_x": Variable(("ue",), "m"),
            "ue_y": Variable(("ue",), "m"),
        }
        | _BS,
        attrs=("carrier_hz", "samples", "seed", "city"),
        coords=("ue_x", "ue_y", *_BS),
    ),
    "split": Schema("split", {"role": Variable(("ue",), "", "UOT")} | _UE, attrs=("seed",), coords=tuple(_UE)),
    "crops": Schema(
        "crops",
        {
            "ue": Variable(("sample",), "", "iu"),
            "x": Variable(("sample",), "m"),
            "y": Variable(("sample",), "m"),
            "crop_x": Variable(("sample",), "m"),
            "crop_y": Variable(("sample",), "m"),
            "role": Variable(("sample",), "", "UOT"),
            "size": Variable(("sample",), "m", optional=True),
        },
        attrs=("crop_size", "city"),
    ),
    "predictions": Schema(
        "predictions",
        {
            "x_hat": Variable(("sample",), "m"),
            "y_hat": Variable(("sample",), "m"),
            "x": Variable(("sample",), "m"),
            "y": Variable(("sample",), "m"),
            "crop_x": Variable(("sample",), "m"),
            "crop_y": Variable(("sample",), "m"),
            "ue": Variable(("sample",), "", "iu"),
            "role": Variable(("sample",), "", "UOT"),
            "size": Variable(("sample",), "m", optional=True),
            "area90": Variable(("sample",), "", optional=True),
            "inside90": Variable(("sample",), "", "b", optional=True),
        },
        attrs=("localizer", "crop_size", "city"),
    ),
}


def validate(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """Check a dataset against the schema of its kind and return it.

    Raises
    ------
    SchemaError
        Naming the first missing or ill-formed variable, attribute or unit.
    FrameError
        If the dataset carries no frame (or a raster no grid).
    """
    if kind not in SCHEMAS:
        raise SchemaError(f"no schema is called {kind!r}", f"schemas are {', '.join(SCHEMAS)}")
    schema = SCHEMAS[kind]
    for name, want in schema.variables.items():
        if name not in ds.variables:
            if want.optional:
                continue
            raise SchemaError(
                f"{kind} dataset lacks the variable {name!r}",
                f"it has {', '.join(map(str, ds.variables)) or 'none'}",
                f"add it with dims {want.dims}" + (f" in {want.unit}" if want.unit else ""),
            )
        got = ds[name]
        if got.dims != want.dims:
            raise SchemaError(f"{kind} variable {name!r} has dims {got.dims}", f"the schema says {want.dims}")
        if got.dtype.kind not in want.kind:
            raise SchemaError(
                f"{kind} variable {name!r} has type {got.dtype}", f"the schema wants a numpy kind in {want.kind!r}"
            )
        unit = got.attrs.get("units", "")
        if want.unit and unit != want.unit:
            raise SchemaError(
                f"{kind} variable {name!r} is in {unit or 'no unit'}",
                f"the schema says {want.unit}",
                f"convert it, then set `ds[{name!r}].attrs['units'] = {want.unit!r}`",
            )
    for attr in schema.attrs:
        if attr not in ds.attrs:
            raise SchemaError(f"{kind} dataset lacks the attribute {attr!r}", f"it has {', '.join(ds.attrs)}")
    if schema.frame:
        LocalFrame.from_attrs(ds.attrs)
    if schema.grid:
        grid = Grid.from_attrs(ds.attrs)
        if (ds.sizes["y"], ds.sizes["x"]) != grid.shape:
            raise SchemaError(f"{kind} raster is {ds.sizes['y']} x {ds.sizes['x']}", f"its grid says {grid.shape}")
    if kind == "links":
        _validate_links(ds)
    if kind == "paths":
        _validate_paths(ds)
    if kind == "split":
        strange = set(np.unique(ds["role"].values.astype(str))) - set(ROLES)
        if strange:
            raise SchemaError(f"split has roles {sorted(strange)}", f"roles are {', '.join(ROLES)}")
    return ds


def _validate_links(ds: xr.Dataset) -> None:
    silent = ~ds["heard"].values
    for name in (*FEATURES, *({"gain_error"} & set(ds))):
        if np.isfinite(ds[name].values[silent]).any():
            raise SchemaError(
                f"links hold a number in {name!r} where nothing was heard",
                "a link that is not heard is NaN, never a sentinel number",
                f"set it with `ds[{name!r}].where(ds.heard)`",
            )
    if np.isnan(ds["nrsrp"].values[~silent]).any():
        raise SchemaError("links mark a link as heard whose nrsrp is NaN", "heard means that nrsrp was measured")
    if "gain_error" in ds and (ds["gain_error"].values < 0).any():
        raise SchemaError("links hold a gain_error under 0", "it is a standard error")
    if "interpolated" in ds and ds["interpolated"].values[silent].any():
        raise SchemaError("links mark a link as interpolated that is not heard", "an interpolated level is a level")
    unplaced = np.isnan(ds["bs_x"].values) | np.isnan(ds["bs_y"].values)
    said = np.zeros_like(unplaced)
    if "bs_position_source" in ds.variables:
        source = ds["bs_position_source"].values.astype(str)
        strange = set(source) - set(POSITION_SOURCES)
        if strange:
            raise SchemaError(f"links have position sources {sorted(strange)}", f"known: {', '.join(POSITION_SOURCES)}")
        said = source == "unknown"
    if (unplaced != said).any():
        raise SchemaError(
            f"{int((unplaced != said).sum())} stations have no position but a source of it, or the reverse",
            "x and y are NaN where bs_position_source is 'unknown', and nowhere else",
            "place them (rfloc.datasets.positions), or drop them",
        )


def _validate_paths(ds: xr.Dataset) -> None:
    none = np.isnan(ds["delay"].values)
    for name in ("departure_zenith", "departure_azimuth", "arrival_zenith", "arrival_azimuth"):
        if (np.isnan(ds[name].values) != none).any():
            raise SchemaError(f"paths have a delay without {name!r}, or the reverse", "both are NaN where no path is")
    if ds["transfer"].values[none].any() or ds["power"].values[none].any():
        raise SchemaError("paths carry power where there is no path", "past a link's last path powers are 0")
    if not np.isfinite(ds["transfer"].values).all() or not (ds["power"].values >= 0).all():
        raise SchemaError("paths hold a transfer that is not finite or a power under 0", "the cache is damaged")
    if (ds["delay"].values[~none] < 0).any():
        raise SchemaError("paths hold a negative delay", "the cache is damaged")


def with_units(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """Set the unit attributes that the schema of `kind` names on the variables that carry none yet."""
    for name, want in SCHEMAS[kind].variables.items():
        if name in ds.variables and want.unit:
            ds[name].attrs.setdefault("units", want.unit)
    missing = [name for name in SCHEMAS[kind].coords if name in ds.data_vars]
    return ds.set_coords(missing)


def links_dataset(
    features: dict[str, np.ndarray],
    ue: dict[str, np.ndarray],
    bs: dict[str, np.ndarray],
    frame: LocalFrame,
    *,
    source: str,
    city: str,
    carrier_hz: float,
    heard: np.ndarray | None = None,
    interpolated: np.ndarray | None = None,
    gain_error: np.ndarray | None = None,
) -> xr.Dataset:
    """Build a validated links dataset from arrays.

    Parameters
    ----------
    features : dict
        `rssi nsinr nrsrp nrsrq`, each of shape (n_ue, n_bs), NaN where missing [dBm/dB].
    ue : dict
        `x y` [m] and optionally `campaign` (default 0), each of shape (n_ue,). Latitude and longitude follow.
    bs : dict
        `x y h` [m], `azimuth` [deg, NaN = unknown], `power` [dBm], `id` (str), and optionally `position_source` (str)
        and `position_error` [m], each of shape (n_bs,).
    frame : LocalFrame
        The frame of all x and y.
    source : str
        Who filled the arrays, in words.
    city : str
        Name of the city (a key of `cities` in params.yaml) whose raster belongs to these links.
    carrier_hz : float
        Carrier frequency [Hz].
    heard : ndarray of bool, optional
        Shape (n_ue, n_bs); default: where nrsrp is finite.
    interpolated : ndarray of bool, optional
        Shape (n_ue, n_bs): links whose level was interpolated, not measured.
    gain_error : ndarray, optional
        Shape (n_ue, n_bs): Monte Carlo standard error of a simulated path gain [dB], NaN where unknown.
    """
    heard = np.isfinite(features["nrsrp"]) if heard is None else heard
    lat, lon = frame.to_geographic(ue["x"], ue["y"])
    n_ue = len(ue["x"])
    ds = xr.Dataset(
        {name: (("ue", "bs"), np.where(heard, features[name], np.nan).astype(np.float32)) for name in FEATURES}
        | {"heard": (("ue", "bs"), heard)},
        coords={
            "ue_x": ("ue", np.asarray(ue["x"], float)),
            "ue_y": ("ue", np.asarray(ue["y"], float)),
            "ue_lat": ("ue", lat),
            "ue_lon": ("ue", lon),
            "ue_campaign": ("ue", np.asarray(ue.get("campaign", np.zeros(n_ue)), np.int32)),
        }
        | {f"bs_{k}": ("bs", np.asarray(bs[k], float)) for k in ("x", "y", "h", "azimuth", "power")}
        | {f"bs_{k}": ("bs", np.asarray(bs[k], str)) for k in ("id", "position_source") if k in bs}
        | ({"bs_position_error": ("bs", np.asarray(bs["position_error"], float))} if "position_error" in bs else {}),
        attrs={"source": source, "city": city, "carrier_hz": float(carrier_hz), **frame.to_attrs()},
    )
    if interpolated is not None:
        ds["interpolated"] = (("ue", "bs"), interpolated)
    if gain_error is not None:
        ds["gain_error"] = (("ue", "bs"), np.where(heard, gain_error, np.nan).astype(np.float32))
    return validate(with_units(ds, "links"), "links")


def save(ds: xr.Dataset, path: str | Path, kind: str) -> Path:
    """Validate a dataset and write it to a Zarr folder, replacing what was there only once the new one is whole."""
    path = Path(path)
    validate(ds, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    plain = ds.copy()
    for name in plain.variables:
        plain[name].encoding = {}
        if plain[name].dtype.kind in "UT":  # Zarr v3 specifies variable-length strings, not fixed-width ones
            plain[name] = plain[name].astype(object)
    plain.to_zarr(fresh, mode="w", consolidated=False, zarr_format=3)
    shutil.rmtree(path, ignore_errors=True)
    fresh.rename(path)
    return path


def load(path: str | Path, kind: str, *, lazy: bool = False) -> xr.Dataset:
    """Read a dataset from a Zarr folder and validate it, into memory or (`lazy`) each variable when it is asked for.

    Raises
    ------
    DataError
        If there is nothing at `path`.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"there is no {kind} dataset at {path}",
            "the stage that makes it has not run here",
            "run `dvc repro`, which makes everything that a notebook reads",
        )
    if lazy:
        return validate(xr.open_zarr(path, consolidated=False, chunks=None), kind)
    with xr.open_zarr(path, consolidated=False) as ds:
        ds = ds.load()
    for name in ds.variables:
        if ds[name].dtype.kind in "OT":
            ds[name] = (ds[name].dims, np.array(ds[name].values.tolist(), dtype=str), ds[name].attrs)
    return validate(ds, kind)


def require_same_stations(links: xr.Dataset, other: xr.Dataset, what: str) -> None:
    """Raise unless `other` has the stations of `links`, in the same order and frame.

    Raises
    ------
    SchemaError, FrameError
        Naming `what` the other dataset is.
    """
    LocalFrame.from_attrs(links.attrs).require_same(LocalFrame.from_attrs(other.attrs), what)
    if not np.array_equal(other["bs_id"].values, links["bs_id"].values):
        raise SchemaError(
            f"{what} and the links have different stations",
            "levels are compared station by station, in the order of the links",
            "make them from these links' own stations, or reindex one to the other's bs_id",
        )
