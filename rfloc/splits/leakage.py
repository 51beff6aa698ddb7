"""The leakage report: what of the test data training could have seen, counted; a leak is an error unless allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from rfloc.config import Leak
from rfloc.errors import SplitError
from rfloc.schema import ROLES
from rfloc.splits.areas import held_out, near, overlaps, squares, unknown_area

Floats = NDArray[np.float64]

#: The leaks: what leaked, and how to mend it. Interpolated levels come from neighbours of unknown role: a training UE's
#: can hold what a test UE measured, and the reverse.
LEAKS: dict[Leak, tuple[str, str]] = {
    "positions": ("positions are both in a test role and in training or validation", "give a position one role"),
    "buffer": ("training or validation UEs are held out by area or buffer", "give such UEs the role buffer"),
    "crops": ("training crops overlap the held-out area or its crop gap", "draw training crops with splits.crop_gap"),
    "calibration": (
        "UEs that stations were calibrated with are test UEs or held out",
        "calibrate with role train alone",
    ),
    "stations": ("UEs that stations were placed with are test UEs or held out", "place with UEs of role train alone"),
    "interpolated": ("levels of UEs in use were interpolated", "set campaign.interpolated to false"),
}


def leakage_report(
    split: xr.Dataset,
    links: xr.Dataset,
    *,
    crops: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    test_crops: xr.Dataset | None = None,
    calibration_ues: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Count roles, measure how far test UEs are from training, count leaks and refuse those that are not allowed.

    Test UEs have the role `known` or `unknown`; :data:`LEAKS` says what may leak.

    Parameters
    ----------
    split : Dataset
        Kind `split` of these links; its attribute `allow` names the leaks that are counted and let pass.
    links : Dataset
        Kind `links`; `ue_placed` are UEs that stations were placed with, `interpolated` levels that were not measured.
    crops : (centre_x, centre_y, size), optional
        Training crops, all that were drawn or a sample [m].
    test_crops : Dataset, optional
        Kind `crops`, of the test UEs: how much of each some training crop shows.
    calibration_ues : array of bool, shape (n_ue,), optional
        UEs that stations were calibrated with.

    Returns
    -------
    dict
        For JSON; lengths in m. `nearest_train`: distance from each role's UEs to a training UE; `crops`: how many were
        `drawn`, how many are `overlapping` the held-out area at any crop_gap, and `test_area_shown`: share of a test
        crop's area that training crops show; `leaks`: the count of each, None where there was nothing to examine.

    Raises
    ------
    SplitError
        If the split belongs to other links, an unknown-street UE lies outside the held-out area, or there is a leak
        that is not allowed.
    """
    require_own(split, links)
    x, y = links["ue_x"].values, links["ue_y"].values
    at, role = x + 1j * y, split["role"].values.astype(str)
    buffer, gap = split.attrs["buffer"], split.attrs.get("crop_gap")
    if not near(unknown_area(split), x, y)[role == "unknown"].all():
        mend = "make the split with rfloc.splits.make_split"
        raise SplitError("unknown-street UEs lie outside the held-out area", "roles and area disagree", mend)
    train, used, test = role == "train", np.isin(role, ("train", "val")), np.isin(role, ("known", "unknown"))
    held = held_out(split, x, y)
    forbidden = held | np.isin(at, at[test])
    leaks: dict[Leak, int | None] = dict.fromkeys(LEAKS)
    leaks["positions"] = len(np.intersect1d(at[used], at[test]))
    leaks["buffer"] = int((used & held).sum())
    report: dict[str, Any] = {
        "counts": {name: int((role == name).sum()) for name in ROLES},
        "held_out_m2": float(unknown_area(split).area),
        "buffer": float(buffer),
        "crop_gap": gap,
        "nearest_train": {},
        **dict.fromkeys(("crops", "calibration_ues", "placed_ues", "interpolated_links")),
    }
    if train.any():
        away = cKDTree(np.column_stack([x, y])[train]).query(np.column_stack([x, y]))[0]
        report["nearest_train"] = _by_role(away, role, ROLES[1:])
    if crops is not None:
        over = overlaps(split, *crops)
        share = float(over.mean()) if len(over) else 0.0
        shown = None if test_crops is None else _shown(crops, test_crops)
        report["crops"] = {"drawn": len(over), "overlapping": int(over.sum()), "share": share, "test_area_shown": shown}
        leaks["crops"] = int(overlaps(split, *crops, gap=gap or 0.0).sum())
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
    same_number = split.sizes["ue"] == links.sizes["ue"]
    return same_number and all(np.allclose(split[name], links[name], 0, 0.01) for name in ("ue_x", "ue_y"))


def require_own(split: xr.Dataset, links: xr.Dataset) -> None:
    """Raise SplitError unless the split was made for these links (:func:`made_for`)."""
    if not made_for(split, links):
        raise SplitError(
            "the split was made for other links",
            f"it has {split.sizes['ue']} UEs, the links have {links.sizes['ue']}, or they stand elsewhere",
            "make the split anew from these links",
        )


def _by_role(values: Floats, role: NDArray[np.str_], roles: tuple[str, ...] = ROLES) -> dict[str, dict[str, float]]:
    """Least, median and largest of a value a role."""
    found = {name: values[role == name] for name in roles if (role == name).any()}
    return {n: {"min": float(v.min()), "median": float(np.median(v)), "max": float(v.max())} for n, v in found.items()}


def _shown(crops: tuple[ArrayLike, ArrayLike, ArrayLike], tests: xr.Dataset) -> dict[str, dict[str, float]]:
    """Share of the area of each role's test crops that training crops show."""
    size = tests["size"].values if "size" in tests.variables else tests.attrs["crop_size"]
    seen, theirs = shapely.union_all(squares(*crops)), squares(tests["crop_x"].values, tests["crop_y"].values, size)
    shapely.prepare(seen)
    share = shapely.area(shapely.intersection(seen, theirs)) / shapely.area(theirs)
    return _by_role(share, tests["role"].values.astype(str))
