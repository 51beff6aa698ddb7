"""Areas that a split holds out, and the leakage report: what of the test data training could have seen, counted.

Areas are blocks of the plane or boxes of latitude and longitude. Both become polygons in the city's frame [m], kept as
WKT in the split's attributes, by which all who read it decide; borders belong to an area.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from rfloc.arrays import Bools, Floats, Ints
from rfloc.config import Leak
from rfloc.errors import SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import ROLES


def blocks_of(x: ArrayLike, y: ArrayLike, block: float) -> Ints:
    """Square block (column, row), floor(x / block) and floor(y / block), of each position [m], shape (n, 2)."""
    return np.floor(np.column_stack([x, y]) / block).astype(np.int64)


def area_of_blocks(blocks: Ints, edge: float) -> BaseGeometry:
    """The union of blocks, shape (n, 2), of `edge` metres."""
    return shapely.union_all(shapely.box(*(blocks * edge).T, *(blocks * edge + edge).T))


def area_of_box(box: list[float], frame: LocalFrame) -> BaseGeometry:
    """The polygon in a frame of a box (lat_min, lat_max, lon_min, lon_max) [deg]."""
    south, north, west, east = box
    # sides are broken every 0.001 deg, so that the polygon keeps within a millimetre of its parallels
    outline = shapely.segmentize(shapely.box(west, south, east, north), 0.001)
    return shapely.transform(outline, lambda at: np.column_stack(frame.to_local(at[:, 1], at[:, 0])))


def near(area: BaseGeometry, x: ArrayLike, y: ArrayLike, distance: float = 0.0) -> Bools:
    """Whether each position [m] lies in an area or no further than `distance` [m] from it."""
    return np.asarray(shapely.dwithin(area, shapely.points(np.asarray(x, float), np.asarray(y, float)), distance))


def squares(centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike) -> NDArray[np.object_]:
    """Square polygons round centres [m], of one size or one each [m]."""
    x, y, half = np.broadcast_arrays(centre_x, centre_y, np.asarray(size, float) / 2)
    return np.atleast_1d(shapely.box(x - half, y - half, x + half, y + half))


@lru_cache(maxsize=64)
def _parsed(wkt: str) -> BaseGeometry:
    geometry = shapely.from_wkt(wkt)
    shapely.prepare(geometry)
    return geometry


def unknown_area(split: xr.Dataset) -> BaseGeometry:
    """The held-out area (unknown streets) in the split's frame [m], maybe of several parts, or empty."""
    return _parsed(split.attrs["unknown_area"])


def val_area(split: xr.Dataset) -> BaseGeometry:
    """The area whose UEs validate, in the split's frame [m]; where it meets the held-out one, the latter counts."""
    return _parsed(split.attrs["val_area"])


def held_out(split: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Bools:
    """Whether positions [m] lie in a held-out area or within the buffer of one, and so must not be trained on."""
    return near(unknown_area(split), x, y, float(split.attrs["buffer"]))


def crosses(split: xr.Dataset, centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike) -> Bools:
    """Whether training crops, by centre and edge [m], come within `crop_gap` of a held-out area; never, without one."""
    gap, crops = split.attrs.get("crop_gap"), squares(centre_x, centre_y, size)
    if gap is None:
        return np.zeros(len(crops), bool)
    return np.asarray(shapely.dwithin(unknown_area(split), crops, float(gap)))


#: The leaks: what leaked, and how to mend it. Interpolated levels come from neighbours of unknown role: a training UE's
#: can hold what a test UE measured, and the reverse.
LEAKS: dict[Leak, tuple[str, str]] = {
    "positions": ("positions are both in a test role and in training or validation", "give a position one role"),
    "buffer": ("training or validation UEs are held out by area or buffer", "give such UEs the role buffer"),
    "crops": ("training crops overlap the held-out area or its crop gap", "draw training crops with splits.crop_gap"),
    "calibration": ("UEs that stations were calibrated with are test UEs or held out", "calibrate with train alone"),
    "stations": ("UEs that stations were placed with are test UEs or held out", "place with train alone"),
    "interpolated": ("levels of UEs in use were interpolated", "set campaign.interpolated to false"),
}
#: A test UE this near to a training UE is at its place, as well as anyone knows where phones are [m].
NEAR = 1.0


def leakage_report(
    split: xr.Dataset, links: xr.Dataset, *, crops: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    test_crops: xr.Dataset | None = None, calibration_ues: Bools | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Count roles and leaks (:data:`LEAKS`), and measure how far test UEs (`known`, `unknown`) are from training.

    `crops` are training crops (centre_x, centre_y, size) [m], all or a sample; `test_crops` are those of the test UEs
    (kind `crops`), and `calibration_ues` marks the UEs that stations were calibrated with, shape (n_ue,). Returns what
    JSON can hold, lengths in m. `nearest_train`: distance from each role's UEs to a training UE; `beside_train`: test
    UEs no further than 1 m from one; `same_cell`: test UEs in a cell of the map that simulated levels were read from
    (attribute `cell` of the links [m], else None) in which a training UE stands, nearly copies; `crops`: how many were
    `drawn`, how many are `overlapping` the held-out area at any crop_gap, and `test_area_shown`, the share of a test
    crop that training crops show; `leaks`: the count of each, None where there was nothing to examine. Raises
    SplitError if the split is of other links, its roles contradict its areas, or it does not `allow` a leak.
    """
    require_own(split, links)
    x, y = links["ue_x"].values, links["ue_y"].values
    at, role, area = x + 1j * y, split["role"].values.astype(str), unknown_area(split)
    buffer, gap = split.attrs["buffer"], split.attrs.get("crop_gap")
    if not near(area, x, y)[role == "unknown"].all():
        raise SplitError("unknown-street UEs lie outside the held-out area", "", "make the split with make_split")
    train, used, test = role == "train", np.isin(role, ("train", "val")), np.isin(role, ("known", "unknown"))
    held = held_out(split, x, y)
    forbidden = held | np.isin(at, at[test])
    leaks: dict[Leak, int | None] = dict.fromkeys(LEAKS)
    leaks["positions"] = len(np.intersect1d(at[used], at[test]))
    leaks["buffer"] = int((used & held).sum())
    report: dict[str, Any] = {
        "counts": {name: int((role == name).sum()) for name in ROLES},
        "held_out_m2": float(area.area),
        "buffer": float(buffer),
        "crop_gap": gap,
        "nearest_train": {},
        **dict.fromkeys(("beside_train", "same_cell", "crops", "calibration_ues", "placed_ues", "interpolated_links")),
    }
    if train.any():
        away = cKDTree(np.column_stack([x, y])[train]).query(np.column_stack([x, y]))[0]
        report["nearest_train"] = _by_role(away[~train], role[~train])
        report["beside_train"] = {name: int((away[role == name] <= NEAR).sum()) for name in ("known", "unknown")}
        if cell := links.attrs.get("cell"):
            shared = np.isin(at_cell := np.floor(x / cell) + 1j * np.floor(y / cell), at_cell[train])
            report["same_cell"] = {name: int(shared[role == name].sum()) for name in ("known", "unknown")}
    if crops is not None:
        drawn = squares(*crops)
        over = shapely.dwithin(area, drawn, 0.0)
        report["crops"] = {
            "drawn": len(over),
            "overlapping": int(over.sum()),
            "share": float(over.mean()) if len(over) else 0.0,
            "test_area_shown": None if test_crops is None else _shown(drawn, test_crops),
        }
        leaks["crops"] = int(shapely.dwithin(area, drawn, gap or 0.0).sum())
    if calibration_ues is not None:
        report["calibration_ues"] = int(calibration_ues.sum())
        leaks["calibration"] = int(forbidden[calibration_ues].sum())
    if "ue_placed" in links.variables:
        placed = links["ue_placed"].values
        report["placed_ues"], leaks["stations"] = int(placed.sum()), int(forbidden[placed].sum())
    if "interpolated" in links.variables:
        filled = links["interpolated"].values.sum(axis=1)
        report["interpolated_links"] = {name: int(filled[role == name].sum()) for name in ROLES}
        leaks["interpolated"] = int(filled[used | test].sum())
    allowed = sorted(split.attrs.get("allow", ()))
    found = {leak: n for leak, n in leaks.items() if n and leak not in allowed}
    if found:
        raise SplitError(
            "the split leaks: " + "; ".join(f"{n} {LEAKS[leak][0]}" for leak, n in found.items()),
            f"what is tested on must not have been seen before; buffer {buffer:g} m, crop gap {gap} m",
            "; ".join(LEAKS[leak][1] for leak in found) + f"; or put {', '.join(found)} into splits.allow",
        )
    return report | {"leaks": leaks, "allowed": allowed}


def made_for(split: xr.Dataset, links: xr.Dataset) -> bool:
    """Whether a split has the UEs of these links, in the same order and within a centimetre."""
    alike = (np.allclose(split[name], links[name], 0, 0.01) for name in ("ue_x", "ue_y"))  # looked at where as many
    return split.sizes["ue"] == links.sizes["ue"] and all(alike)


def require_own(split: xr.Dataset, links: xr.Dataset) -> None:
    """Raise SplitError unless the split was made for these links (:func:`made_for`)."""
    if not made_for(split, links):
        why = f"it has {split.sizes['ue']} UEs, the links have {links.sizes['ue']}, or they stand elsewhere"
        raise SplitError("the split was made for other links", why, "make the split anew from these links")


def _by_role(values: Floats, role: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """Least, median and largest of a value a role."""
    found = {name: values[role == name] for name in ROLES if name in role}
    return {n: {"min": float(v.min()), "median": float(np.median(v)), "max": float(v.max())} for n, v in found.items()}


def _shown(drawn: NDArray[np.object_], tests: xr.Dataset) -> dict[str, dict[str, float]]:
    """Share of the area of each role's test crops that training crops, squares, show."""
    size = tests["size"].values if "size" in tests.variables else tests.attrs["crop_size"]
    seen, theirs = shapely.union_all(drawn), squares(tests["crop_x"].values, tests["crop_y"].values, size)
    shapely.prepare(seen)
    share = shapely.area(shapely.intersection(seen, theirs)) / shapely.area(theirs)
    return _by_role(share, tests["role"].values.astype(str))
