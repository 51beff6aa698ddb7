"""The datasets that rooms hand to each other, one schema a kind, validated on every write and read.

Missing is NaN (with `heard = False` in links), never a number that stands for missing.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.errors import DataError, SchemaError
from rfloc.files import write
from rfloc.frames import Grid, LocalFrame


class Feature(NamedTuple):
    """A radio feature: its unit, mean and standard deviation for networks."""

    unit: str
    mean: float
    sd: float


#: The radio features (3GPP TS 36.214). Mean and standard deviation are those of Rome's training UEs, none of which the
#: split of scale `rome` or the paper's boxes hold out. Other values, or another order, are another format of all data.
FEATURES = {
    "rssi": Feature("dBm", -62.1, 6.9),
    "nsinr": Feature("dB", -2.8, 9.5),
    "nrsrp": Feature("dBm", -79.4, 9.4),
    "nrsrq": Feature("dB", -17.3, 6.2),
}
#: Split roles, as stored in the `role` variable of a split.
ROLES = ("train", "val", "known", "unknown", "buffer")
#: Where a station's position comes from (`bs_position_source`): published with the measurements, a user's or an
#: operator's table, estimated from training UEs, nominal; `unknown` until it is placed (its x and y are NaN).
POSITION_SOURCES = ("published", "table", "estimated", "nominal", "unknown")


class Variable(NamedTuple):
    """What a schema demands of one variable: dims, unit, numpy kinds ("f", "iu", ...), and whether it may be absent."""

    dims: tuple[str, ...]
    unit: str = ""
    kind: str = "f"
    optional: bool = False


def _variables(dims: str, said: str) -> dict[str, Variable]:
    """Variables of some dims, said as `name [unit] (numpy kinds)`, the latter two if any; `name?` may be absent."""
    found = re.findall(r"(\w+)(\??)(?: \[(\w+)\])?(?: \((\w+)\))?", said)
    return {n: Variable(tuple(dims.split()), unit, kind or "f", bool(may)) for n, may, unit, kind in found}


_UE = _variables("ue", "ue_x [m], ue_y [m], ue_lat [deg], ue_lon [deg], ue_campaign (iu)")
_BS = _variables("bs", "bs_x [m], bs_y [m], bs_h [m], bs_azimuth [deg], bs_power [dBm], bs_id (UOT)")
#: What measured links carry besides: standard deviation of a station's position per axis, UEs that helped to place one.
_MEASURED = _variables("bs", "bs_position_source? (UOT), bs_position_error? [m]") | _variables("ue", "ue_placed? (b)")
_CROP = _variables("sample", "x [m], y [m], crop_x [m], crop_y [m], ue (iu), role (UOT), size? [m]")
SCHEMAS: dict[str, dict[str, Variable]] = {
    "links": {name: Variable(("ue", "bs"), feature.unit) for name, feature in FEATURES.items()}
    | _variables("ue bs", "heard (b), interpolated? (b), gain_error? [dB]")
    | (_UE | _BS | _MEASURED),
    "raster": _variables("y x", "building (iub), road (iub), height [m], ground? [m]"),
    "maps": _variables("bs y x", "path_gain, ray_gain?, ray_error?") | _BS,
    "split": _variables("ue", "role (UOT)") | _UE,
    "crops": _CROP,
    "predictions": _variables("sample", "x_hat [m], y_hat [m], nll? [nat], nll_raw? [nat], energy? [m]")
    | _variables("sample", "credibility?, credibility_raw?, area90?, temper?")
    | _CROP,
}
#: Attributes that a dataset carries beside those of its frame and, a raster, of its grid.
ATTRS = {
    "links": ("source", "carrier_hz", "city"), "maps": ("carrier_hz",), "split": ("seed",),
    "crops": ("crop_size", "city"), "predictions": ("localizer", "crop_size", "city"),
}  # fmt: skip


def validate(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """A dataset, checked against the schema of its kind (SchemaError: first fault; FrameError: no frame or grid)."""
    for what, why in _faults(ds, kind):
        raise SchemaError(what, why)
    return ds


def _faults(ds: xr.Dataset, kind: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a dataset, and why; later checks may rely on those before."""
    for name, want in SCHEMAS[kind].items():
        what = f"{kind} variable {name!r}"
        if name in ds.variables:
            got, unit = ds[name], ds[name].attrs.get("units", "")
            if got.dims != want.dims:
                yield f"{what} has dims {got.dims}", f"the schema says {want.dims}"
            if got.dtype.kind not in want.kind:
                yield f"{what} has type {got.dtype}", f"numpy kinds allowed: {want.kind}"
            if want.unit and unit != want.unit:
                yield f"{what} is in {unit or 'no unit'}", f"`units` must say {want.unit}"
        elif not want.optional:
            yield f"{kind} dataset lacks the variable {name!r}", f"it has {', '.join(map(str, ds.variables)) or 'none'}"
    for attr in ATTRS.get(kind, ()):
        if attr not in ds.attrs:
            yield f"{kind} dataset lacks the attribute {attr!r}", f"it has {', '.join(ds.attrs)}"
    LocalFrame.from_attrs(ds.attrs)
    if kind in ("raster", "maps"):
        size, shape = (ds.sizes["y"], ds.sizes["x"]), Grid.from_attrs(ds.attrs).shape
        if size != shape:
            yield f"{kind} raster is {size[0]} x {size[1]}", f"its grid says {shape[0]} x {shape[1]}"
    for name, known in (("role", ROLES), ("bs_position_source", POSITION_SOURCES)):
        strange = sorted(set(ds[name].values.astype(str).tolist()) - set(known)) if name in ds.variables else ()
        if strange:
            yield f"{name} says {', '.join(map(repr, strange))}", f"known: {', '.join(known)}"
    if kind != "links":
        return
    heard = ds["heard"].values
    for name in FEATURES:
        if np.isfinite(ds[name].values[~heard]).any():
            why = f"such a link is NaN, never a sentinel number: `ds[{name!r}].where(ds.heard)`"
            yield f"links hold a number in {name!r} where nothing was heard", why
    if np.isnan(ds["nrsrp"].values[heard]).any():
        yield "links mark a link as heard whose nrsrp is NaN", ""
    if "interpolated" in ds and ds["interpolated"].values[~heard].any():
        yield "links mark a link as interpolated that is not heard", "an interpolated level is a level"
    unplaced = np.isnan(ds["bs_x"].values) | np.isnan(ds["bs_y"].values)
    source = ds["bs_position_source"].values if "bs_position_source" in ds.variables else np.full(len(unplaced), "")
    if lost := int((unplaced != (source.astype(str) == "unknown")).sum()):
        why = "x and y are NaN where bs_position_source is 'unknown', and nowhere else"
        yield f"{lost} stations have no position but a source of it, or the reverse", why


def with_units(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """Set the units that the schema of `kind` names where they are not set yet, and the coordinates `ue_*`, `bs_*`."""
    for name, want in SCHEMAS[kind].items():
        if name in ds.variables and want.unit:
            ds[name].attrs.setdefault("units", want.unit)
    return ds.set_coords([name for name in ds.data_vars if str(name).startswith(("ue_", "bs_"))])


def links_dataset(
    features: dict[str, np.ndarray], ue: dict[str, np.ndarray], bs: dict[str, np.ndarray], frame: LocalFrame, *,
    source: str, city: str, carrier_hz: float, interpolated: np.ndarray | None = None,
    gain_error: ArrayLike | None = None,
) -> xr.Dataset:  # fmt: skip
    """Build a validated links dataset from arrays; a station is heard where its nrsrp is finite.

    `features` are all of :data:`FEATURES`, shape (n_ue, n_bs), NaN where missing. `ue` holds `x y` [m] and optionally
    `campaign` (default 0); `bs` holds `x y h` [m], `azimuth` [deg, NaN = unknown], `power` [dBm], `id` (str), and
    optionally `position_source` (str) and `position_error` [m]. `source` says who filled the arrays, `city` is the key
    in params.yaml. `interpolated`, (n_ue, n_bs), marks links whose level was not measured; `gain_error` is the Monte
    Carlo standard error of a simulated path gain [dB], NaN where unknown.
    """
    heard = np.isfinite(features["nrsrp"])
    campaign = np.asarray(ue.get("campaign", np.zeros(len(ue["x"]))), np.int32)
    ue = {"x": np.asarray(ue["x"], float), "y": np.asarray(ue["y"], float), "campaign": campaign}
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
    plain = validate(ds, kind).drop_encoding()
    for name in plain.variables:
        if plain[name].dtype.kind in "UT":  # Zarr v3 specifies variable-length strings, not fixed-width ones
            plain[name] = plain[name].astype(object)
    with write(path) as part:
        plain.to_zarr(part, mode="w", consolidated=False, zarr_format=3)
    return Path(path)


def load(path: str | Path, kind: str, *, lazy: bool = False) -> xr.Dataset:
    """A dataset of a Zarr folder, validated, in memory or `lazy` (raises DataError where there is no whole one)."""
    if not Path(path).exists():
        mend = "run `dvc repro`, which makes everything that a notebook reads"
        raise DataError(f"there is no {kind} dataset at {path}", "the stage that makes it has not run here", mend)
    try:
        ds = xr.open_zarr(path, consolidated=False, chunks=None)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no {kind} dataset", str(error), "delete it, then run `dvc repro`") from None
    if lazy:
        return validate(ds, kind)
    for name in ds.load().variables:
        if ds[name].dtype.kind in "OT":
            ds[name] = (ds[name].dims, np.array(ds[name].values.tolist(), dtype=str), ds[name].attrs)
    return validate(ds, kind)


def measured(links: xr.Dataset) -> tuple[str, ...]:
    """The radio features that a link of these has at least: a campaign may lack all of them but NRSRP."""
    return tuple(name for name in FEATURES if links[name].notnull().any())


def require_same_stations(links: xr.Dataset, other: xr.Dataset, what: str) -> None:
    """Raise SchemaError or FrameError unless `other`, which is `what`, has the stations and the frame of `links`."""
    LocalFrame.from_attrs(links.attrs).require_same(LocalFrame.from_attrs(other.attrs), what)
    if not np.array_equal(other["bs_id"].values, links["bs_id"].values):
        mend = "make them from these links' own stations, or reindex one to the other's bs_id"
        raise SchemaError(f"{what} and the links have different stations", "", mend)
