"""The datasets that rooms hand to each other: dimensions, units, validation on every write and read.

One schema a kind: `links`, `raster`, `maps`, `split`, `crops`, `predictions`. Missing is NaN (with
`heard = False` in links), never a number that stands for missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from rfloc.errors import DataError, SchemaError
from rfloc.files import write
from rfloc.frames import Grid, LocalFrame


class Feature(NamedTuple):
    """A radio feature: its unit, the range of a measured number, mean and standard deviation for networks."""

    unit: str
    low: float
    high: float
    mean: float
    sd: float


#: The radio features (3GPP TS 36.214, as conventions of this project define them), the one place that lists them. Mean
#: and standard deviation are those of the Rome measurements, the same for all datasets, so that a checkpoint reads
#: every dataset alike: other values, or another order, are another checkpoint format.
FEATURES = {
    "rssi": Feature("dBm", -160, -1, -64.0, 7.5),
    "nsinr": Feature("dB", -80, 80, -5.0, 9.7),
    "nrsrp": Feature("dBm", -200, -1, -83.0, 10.7),
    "nrsrq": Feature("dB", -80, 10, -19.0, 6.4),
}

#: Split roles, as stored in the `role` variable of a split.
ROLES = ("train", "val", "known", "unknown", "buffer")

#: Where a station's position comes from, as stored in `bs_position_source`: published with the measurements, a user's
#: or an operator's table, estimated from training UEs, nominal; `unknown` until it is placed (its x and y are NaN).
POSITION_SOURCES = ("published", "table", "estimated", "nominal", "unknown")


@dataclass(frozen=True)
class Variable:
    """What a schema demands of one variable: dims, unit, numpy kinds ("f", "iu", ...), and whether it may be absent."""

    dims: tuple[str, ...]
    unit: str = ""
    kind: str = "f"
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """What a schema demands of one kind of dataset; every one carries its frame, a raster its grid."""

    variables: dict[str, Variable]
    attrs: tuple[str, ...] = ()
    grid: bool = False
    coords: tuple[str, ...] = ()


def _variables(dims: str, said: str) -> dict[str, Variable]:
    """Variables of some dims, said as `name [unit] (numpy kinds)`, the latter two if any; `name?` may be absent."""
    found = re.findall(r"(\w+)(\??)(?: \[(\w+)\])?(?: \((\w+)\))?", said)
    return {n: Variable(tuple(dims.split()), unit, kind or "f", bool(may)) for n, may, unit, kind in found}


_UE = _variables("ue", "ue_x [m], ue_y [m], ue_lat [deg], ue_lon [deg], ue_campaign (iu)")
_BS = _variables("bs", "bs_x [m], bs_y [m], bs_h [m], bs_azimuth [deg], bs_power [dBm], bs_id (UOT)")
#: What measured links carry besides: standard deviation of a station's position per axis, UEs that helped to place one.
_MEASURED = _variables("bs", "bs_position_source? (UOT), bs_position_error? [m]") | _variables("ue", "ue_placed? (b)")
_CROP = _variables("sample", "x [m], y [m], crop_x [m], crop_y [m], ue (iu), role (UOT), size? [m]")

SCHEMAS: dict[str, Schema] = {
    "links": Schema(
        {name: Variable(("ue", "bs"), feature.unit) for name, feature in FEATURES.items()}
        | _variables("ue bs", "heard (b), interpolated? (b), gain_error? [dB]")
        | (_UE | _BS | _MEASURED),
        attrs=("source", "carrier_hz", "city"),
        coords=tuple(_UE | _BS | _MEASURED),
    ),
    "raster": Schema(_variables("y x", "building (iub), road (iub), height [m], ground? [m]"), grid=True),
    "maps": Schema(
        _variables("bs y x", "path_gain, ray_gain?, ray_error?") | _BS,
        attrs=("carrier_hz",),
        grid=True,
        coords=tuple(_BS),
    ),
    "split": Schema(_variables("ue", "role (UOT)") | _UE, attrs=("seed",), coords=tuple(_UE)),
    "crops": Schema(_CROP, attrs=("crop_size", "city")),
    "predictions": Schema(
        _variables("sample", "x_hat [m], y_hat [m], area90?, inside90? (b)") | _CROP,
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
            said = f"it has {', '.join(map(str, ds.variables)) or 'none'}"
            _refuse((not want.optional, f"{kind} dataset lacks the variable {name!r}", said))
            continue
        got, unit, what = ds[name], ds[name].attrs.get("units", ""), f"{kind} variable {name!r}"
        _refuse(
            (got.dims != want.dims, f"{what} has dims {got.dims}", f"the schema says {want.dims}"),
            (got.dtype.kind not in want.kind, f"{what} has type {got.dtype}", f"numpy kinds allowed: {want.kind}"),
            (want.unit and unit != want.unit, f"{what} is in {unit or 'no unit'}", f"`units` must say {want.unit}"),
        )
    for attr in schema.attrs:
        _refuse((attr not in ds.attrs, f"{kind} dataset lacks the attribute {attr!r}", f"it has {', '.join(ds.attrs)}"))
    LocalFrame.from_attrs(ds.attrs)
    if schema.grid:
        ny, nx = Grid.from_attrs(ds.attrs).shape
        size = ds.sizes["y"], ds.sizes["x"]
        _refuse((size != (ny, nx), f"{kind} raster is {size[0]} x {size[1]}", f"its grid says {ny} x {nx}"))
    for name, known in (("role", ROLES), ("bs_position_source", POSITION_SOURCES)):
        if name in ds.variables:
            strange = sorted(set(ds[name].values.astype(str).tolist()) - set(known))
            _refuse((strange, f"{name} says {', '.join(map(repr, strange))}", f"known: {', '.join(known)}"))
    if kind == "links":
        _validate_links(ds)
    return ds


def _refuse(*faults: tuple[Any, str, str]) -> None:
    """Raise SchemaError for the first fault (is it there, what, why) that is there."""
    for there, what, why in faults:
        if there:
            raise SchemaError(what, why)


def _validate_links(ds: xr.Dataset) -> None:
    """Levels stand where a link is heard and nowhere else; positions stand unless their source is unknown."""
    heard = ds["heard"].values
    for name in FEATURES:
        loud = np.isfinite(ds[name].values[~heard]).any()
        what = f"links hold a number in {name!r} where nothing was heard"
        _refuse((loud, what, f"such a link is NaN, never a sentinel number: `ds[{name!r}].where(ds.heard)`"))
    filled = "interpolated" in ds and ds["interpolated"].values[~heard].any()
    unplaced = np.isnan(ds["bs_x"].values) | np.isnan(ds["bs_y"].values)
    source = ds["bs_position_source"].values if "bs_position_source" in ds.variables else np.full(len(unplaced), "")
    lost = int((unplaced != (source.astype(str) == "unknown")).sum())
    _refuse(
        (np.isnan(ds["nrsrp"].values[heard]).any(), "links mark a link as heard whose nrsrp is NaN", ""),
        (filled, "links mark a link as interpolated that is not heard", "an interpolated level is a level"),
        (
            lost,
            f"{lost} stations have no position but a source of it, or the reverse",
            "x and y are NaN where bs_position_source is 'unknown', and nowhere else",
        ),
    )


def with_units(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """Set the unit attributes and coordinates that the schema of `kind` names where they are not set yet."""
    for name, want in SCHEMAS[kind].variables.items():
        if name in ds.variables and want.unit:
            ds[name].attrs.setdefault("units", want.unit)
    return ds.set_coords([name for name in SCHEMAS[kind].coords if name in ds.data_vars])


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
        Every one of :data:`FEATURES`, shape (n_ue, n_bs), NaN where missing.
    ue : dict
        `x y` [m] and optionally `campaign` (default 0), each of shape (n_ue,). Latitude and longitude follow.
    bs : dict
        `x y h` [m], `azimuth` [deg, NaN = unknown], `power` [dBm], `id` (str), and optionally `position_source` (str)
        and `position_error` [m], each of shape (n_bs,).
    source, city : str
        Who filled the arrays, in words; key in params.yaml of the city whose raster belongs to these links.
    carrier_hz : float
        Carrier frequency [Hz].
    heard, interpolated, gain_error : ndarray, optional
        Shape (n_ue, n_bs): default where nrsrp is finite; links whose level was interpolated, not measured; Monte Carlo
        standard error of a simulated path gain [dB], NaN where unknown.
    """
    heard = np.isfinite(features["nrsrp"]) if heard is None else heard
    ue = {name: np.asarray(ue[name], float) for name in ("x", "y")} | {
        "campaign": np.asarray(ue.get("campaign", np.zeros(len(ue["x"]))), np.int32)
    }
    ue["lat"], ue["lon"] = frame.to_geographic(ue["x"], ue["y"])
    bs = {name: np.asarray(values, str if name in ("id", "position_source") else float) for name, values in bs.items()}
    levels = {name: np.where(heard, features[name], np.nan).astype(np.float32) for name in FEATURES} | {"heard": heard}
    if interpolated is not None:
        levels["interpolated"] = interpolated
    if gain_error is not None:
        levels["gain_error"] = np.where(heard, gain_error, np.nan).astype(np.float32)
    ds = xr.Dataset(
        {name: (("ue", "bs"), values) for name, values in levels.items()},
        coords={f"{dim}_{name}": (dim, v) for dim, table in (("ue", ue), ("bs", bs)) for name, v in table.items()},
        attrs={"source": source, "city": city, "carrier_hz": float(carrier_hz), **frame.to_attrs()},
    )
    return validate(with_units(ds, "links"), "links")


def save(ds: xr.Dataset, path: str | Path, kind: str) -> Path:
    """Validate a dataset and write it to a Zarr folder, replacing what was there only once the new one is whole."""
    plain = validate(ds, kind).copy()
    for name in plain.variables:
        plain[name].encoding = {}
        if plain[name].dtype.kind in "UT":  # Zarr v3 specifies variable-length strings, not fixed-width ones
            plain[name] = plain[name].astype(object)
    with write(path) as part:
        plain.to_zarr(part, mode="w", consolidated=False, zarr_format=3)
    return Path(path)


def load(path: str | Path, kind: str, *, lazy: bool = False) -> xr.Dataset:
    """Read a dataset from a Zarr folder and validate it, into memory or (`lazy`) each variable when it is asked for.

    Raises
    ------
    DataError
        If there is nothing at `path`.
    """
    if not Path(path).exists():
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
    """Raise SchemaError or FrameError unless `other`, which is `what`, has the stations and the frame of `links`."""
    LocalFrame.from_attrs(links.attrs).require_same(LocalFrame.from_attrs(other.attrs), what)
    if not np.array_equal(other["bs_id"].values, links["bs_id"].values):
        raise SchemaError(
            f"{what} and the links have different stations",
            "levels are compared station by station, in the order of the links",
            "make them from these links' own stations, or reindex one to the other's bs_id",
        )
