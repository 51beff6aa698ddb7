"""The leakage report: what of the test data training could have seen, counted; a leak is an error unless allowed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from rfloc.config import Leak
from rfloc.errors import SplitError
from rfloc.schema import ROLES
from rfloc.splits.areas import held_out, near, overlaps, squares, unknown_area

#: Crops: a dataset of kind "crops", or centre_x, centre_y and size [m].
Crops = xr.Dataset | tuple[ArrayLike, ArrayLike, ArrayLike]

TEST_ROLES = ("known", "unknown")

_MEND: dict[Leak, str] = {
    "positions": "make the split with rfloc.splits.make_split, which gives a position one role",
    "buffer": "make the split with rfloc.splits.make_split, which gives such UEs the role buffer",
    "crops": "set splits.crop_gap to 0 or more and draw training crops with it",
    "calibration": "calibrate with UEs of role train alone",
    "stations": "place stations with UEs of role train alone",
    "interpolated": "set campaign.interpolated to false",
}


def leakage_report(
    split: xr.Dataset,
    links: xr.Dataset,
    *,
    allow: Collection[Leak] | None = None,
    crops: Crops | None = None,
    test_crops: xr.Dataset | None = None,
    calibration_ues: ArrayLike | None = None,
) -> dict[str, Any]:
    """Count roles, measure how far test UEs are from training, count leaks and refuse those that are not allowed.

    Test UEs have the role `known` or `unknown`. The leaks:

    - `positions`: positions that are both in a test role and in training or validation.
    - `buffer`: training or validation UEs in the held-out area or within its buffer.
    - `crops`: training crops that overlap the held-out area, or come within the split's `crop_gap` of it.
    - `calibration`: UEs used to calibrate stations that stand where a test UE does, or in the held-out area or its
      buffer.
    - `stations`: such UEs used to place stations (coordinate `ue_placed` of the links).
    - `interpolated`: levels of UEs in use that were interpolated (variable `interpolated` of the links). They come from
      neighbours of unknown role, so that a training UE's can hold what a test UE measured, and the reverse.

    Parameters
    ----------
    split : Dataset
        Kind `split` of these links (:func:`make_split`, :func:`split_like`).
    links : Dataset
        Kind `links`.
    allow : collection of str, optional
        Leaks that are counted and let pass; default: those that the split's parameters allow.
    crops : Dataset or (centre_x, centre_y, size), optional
        Training crops, all that were drawn or a sample [m].
    test_crops : Dataset, optional
        Kind `crops`, of the test UEs: how much of each some training crop shows.
    calibration_ues : array, optional
        UEs that stations were calibrated with: bool of shape (n_ue,) over these links, or positions (n, 2) [m].

    Returns
    -------
    dict
        For JSON. `counts` of UEs a role; `held_out_m2`; `buffer`, `crop_gap` [m]; `nearest_train` [m]: `min`, `median`,
        `max` distance from each role's UEs to a training UE; `crops`: how many were `drawn`, how many are
        `overlapping` the held-out area at any crop_gap, their `share`, and `test_area_shown` a role: share of a test
        crop's area that training crops show; `calibration_ues`, `placed_ues`: how many were used;
        `interpolated_links` a role; `leaks`: the count of each, None where there was nothing to examine; `allowed`.

    Raises
    ------
    SplitError
        If the split belongs to other links, an unknown-street UE lies outside the held-out area, or there is a leak
        that is not allowed: counts and mends of all such leaks.
    """
    allowed = _allowed(split, allow)
    x, y = links["ue_x"].values, links["ue_y"].values
    role, points = split["role"].values.astype(str), np.column_stack([x, y])
    require_own(split, links)
    _require_consistent(split, points, role)
    used, test = np.isin(role, ("train", "val")), np.isin(role, TEST_ROLES)
    buffer, gap = float(split.attrs["buffer"]), split.attrs.get("crop_gap")

    def forbidden(at: NDArray[np.float64]) -> int:
        return int((np.isin(_key(at), _key(points[test])) | held_out(split, at[:, 0], at[:, 1])).sum())

    leaks: dict[Leak, int | None] = {
        "positions": len(np.intersect1d(_key(points[used]), _key(points[test]))),
        "buffer": int((used & held_out(split, x, y)).sum()),
        "crops": None,
        "calibration": None,
        "stations": None,
        "interpolated": None,
    }
    report: dict[str, Any] = {
        "counts": {name: int((role == name).sum()) for name in ROLES},
        "held_out_m2": float(unknown_area(split).area),
        "buffer": buffer,
        "crop_gap": gap,
        "nearest_train": _nearest(points, role),
        "crops": None,
        "calibration_ues": None,
        "placed_ues": None,
        "interpolated_links": None,
    }
    if crops is not None:
        square = _square(crops)
        report["crops"] = _crops(split, square, test_crops)
        leaks["crops"] = int(overlaps(split, *square, gap=gap or 0.0).sum())
    if calibration_ues is not None:
        calibrated = _positions(calibration_ues, points)
        report["calibration_ues"], leaks["calibration"] = len(calibrated), forbidden(calibrated)
    if "ue_placed" in links.variables:
        placed = points[links["ue_placed"].values]
        report["placed_ues"], leaks["stations"] = len(placed), forbidden(placed)
    if "interpolated" in links.variables:
        filled = links["interpolated"].values.sum(axis=1)
        report["interpolated_links"] = {name: int(filled[role == name].sum()) for name in ROLES}
        leaks["interpolated"] = int(filled[used | test].sum())
    found = {leak: n for leak, n in leaks.items() if n and leak not in allowed}
    if found:
        what: dict[Leak, str] = {
            "positions": "positions are both in a test role and in training or validation",
            "buffer": f"training or validation UEs lie in the held-out area or within {buffer:g} m of it",
            "crops": "training crops overlap the held-out area" + (f" or come within {gap:g} m of it" if gap else ""),
            "calibration": "UEs that stations were calibrated with are test UEs or held out",
            "stations": "UEs that stations were placed with are test UEs or held out",
            "interpolated": "levels were interpolated from neighbours of unknown role",
        }
        raise SplitError(
            "the split leaks: " + "; ".join(f"{n} {what[leak]}" for leak, n in found.items()),
            "what is tested on must not have been seen before",
            "; ".join(_MEND[leak] for leak in found) + f"; or put {', '.join(found)} into splits.allow",
        )
    return report | {"leaks": leaks, "allowed": sorted(allowed)}


def _allowed(split: xr.Dataset, allow: Collection[Leak] | None) -> set[str]:
    allowed = set(split.attrs.get("allow", ()) if allow is None else allow)
    strange = sorted(allowed - set(get_args(Leak)))
    if strange:
        raise SplitError(
            f"no leak is called {strange[0]!r}", f"leaks are {', '.join(get_args(Leak))}", "name one of these, or none"
        )
    return allowed


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


def _require_consistent(split: xr.Dataset, points: NDArray[np.float64], role: NDArray[np.str_]) -> None:
    """Raise unless unknown streets lie in the split's area."""
    outside = (role == "unknown") & ~near(unknown_area(split), points[:, 0], points[:, 1])
    if outside.any():
        raise SplitError(
            f"{int(outside.sum())} unknown-street UEs lie outside the held-out area",
            "roles and areas of the split contradict each other",
            "make the split with rfloc.splits.make_split",
        )


def _key(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    """One number a position, to compare positions by."""
    return points[:, 0] + 1j * points[:, 1]


def _nearest(points: NDArray[np.float64], role: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    train = role == "train"
    if not train.any():
        return {}
    tree = cKDTree(points[train])
    return {name: _spread(tree.query(points[role == name])[0]) for name in ROLES[1:] if (role == name).any()}


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}


def _square(crops: Crops) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Centres and sizes [m] of crops."""
    if isinstance(crops, xr.Dataset):
        size = crops["size"].values if "size" in crops.variables else crops.attrs["crop_size"]
        return crops["crop_x"].values, crops["crop_y"].values, size
    return crops


def _crops(
    split: xr.Dataset, square: tuple[ArrayLike, ArrayLike, ArrayLike], test_crops: xr.Dataset | None
) -> dict[str, Any]:
    """Overlap of training crops with the held-out area and with test crops."""
    over = overlaps(split, *square)
    shown = None
    if test_crops is not None:
        seen, tests = shapely.union_all(squares(*square)), squares(*_square(test_crops))
        shapely.prepare(seen)
        share = shapely.area(shapely.intersection(seen, tests)) / shapely.area(tests)
        of = test_crops["role"].values.astype(str)
        shown = {name: _spread(share[of == name]) for name in ROLES if (of == name).any()}
    share_over = float(over.mean()) if len(over) else 0.0
    return {"drawn": len(over), "overlapping": int(over.sum()), "share": share_over, "test_area_shown": shown}


def _positions(ues: ArrayLike, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions of UEs given by a mask over `points` or as positions."""
    given = np.asarray(ues)
    if given.dtype == bool and given.shape == (len(points),):
        return points[given]
    if given.dtype != bool and given.ndim == 2 and given.shape[1] == 2:
        return given.astype(float)
    raise SplitError(
        f"calibration_ues has shape {given.shape} and type {given.dtype}",
        f"it is a bool for each of the {len(points)} UEs of the links, or positions of shape (n, 2) in metres",
        "pass one of the two",
    )
