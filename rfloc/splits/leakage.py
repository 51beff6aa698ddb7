"""The leakage report: what of the test data training could have seen, counted; a leak is an error unless allowed."""

from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from rfloc.arrays import Bools, Floats
from rfloc.config import Leak
from rfloc.errors import SplitError
from rfloc.schema import ROLES
from rfloc.splits.areas import held_out, near, squares, unknown_area

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
        "counts": {name: int((role == name).sum()) for name in ROLES}, "nearest_train": {},
        "held_out_m2": float(area.area), "buffer": float(buffer), "crop_gap": gap,
        **dict.fromkeys(("beside_train", "same_cell", "crops", "calibration_ues", "placed_ues", "interpolated_links")),
    }  # fmt: skip
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
        shown = None if test_crops is None else _shown(drawn, test_crops)
        counts = {"drawn": len(over), "overlapping": int(over.sum())}
        report["crops"] = counts | {"share": float(over.mean()) if len(over) else 0.0, "test_area_shown": shown}
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
