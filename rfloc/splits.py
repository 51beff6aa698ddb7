"""Known and unknown streets: areas held out with a buffer, a role for every UE, and the proof that nothing leaks.

Areas are blocks of the plane or boxes of latitude and longitude. Both become polygons in the city's frame [m], kept as
WKT in the split's attributes, by which all who read it decide; borders belong to an area. Every UE gets one role; a
role depends on the seed, on where UEs are, and not on their order.

- `unknown`: every UE of a held-out area: random blocks that hold a share of the UEs, or the test box.
- `buffer`: UEs outside the held-out area but within `buffer` of it; never used.
- `val`: every other UE of the validation blocks or box, which choose checkpoints.
- `known`: a random share of the other positions; its neighbours are in training.
- `train`: the rest.

The leakage report counts what of the test data training could have seen; a leak is an error unless allowed.
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
from rfloc.config import Leak, SplitParams
from rfloc.errors import SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import ROLES, SCHEMAS, validate, with_units


def blocks_of(x: ArrayLike, y: ArrayLike, block: float) -> Ints:
    """Square block (column, row), floor(x / block) and floor(y / block), of each position [m], shape (n, 2)."""
    return np.floor(np.column_stack([x, y]) / block).astype(np.int64)


def block_index(xy: Floats, edge: float) -> Ints:
    """Index 0, 1, ... of the spatial block of `edge` metres that holds each UE at `xy` (U, 2) [m], (U,)."""
    return np.unique(blocks_of(xy[:, 0], xy[:, 1], edge), axis=0, return_inverse=True)[1].ravel()


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


def make_split(links: xr.Dataset, params: SplitParams, seed: int) -> xr.Dataset:
    """Give every UE of some links a role; the seed draws blocks and known streets.

    The dataset, of kind `split`, holds the areas (WKT), `buffer`, `allow` and `crop_gap` (absent where training crops
    may overlap held-out areas) as attributes. Raises SplitError if a role that was asked for gets no UE, or it leaks.
    """
    rng, frame = np.random.default_rng(seed), LocalFrame.from_attrs(links.attrs)
    if params.kind == "boxes":
        unknown, val = (area_of_box(box, frame) for box in (params.test_box, params.val_box) if box)
    else:
        occupied, ues = _occupied(links, params.block)
        order = rng.permutation(len(occupied))
        first = _draw(order, ues, params.unknown, 0.5)
        then = _draw(order[~np.isin(order, first)], ues, params.val, 1.0)
        unknown, val = (area_of_blocks(occupied[drawn], params.block) for drawn in (first, then))
    return _divided(links, unknown, val, params, seed, rng)


def folds(links: xr.Dataset, params: SplitParams, count: int, seed: int) -> list[xr.Dataset]:
    """As many splits, each as :func:`make_split` makes one, that together hold every block out once.

    Blocks are dealt to folds at random; buffer, crop gap and the shares of known streets and validation are the
    parameters', both out of what a fold leaves. A UE is unknown in one fold and may be known in several others. Raises
    SplitError where there are fewer blocks than folds, a role that was asked for has no UE in a fold, or one leaks.
    """
    occupied, ues = _occupied(links, params.block)
    if not 2 <= count <= len(occupied):
        why = f"the UEs occupy {len(occupied)} blocks of {params.block:g} m, a fold holds one or more out"
        raise SplitError(f"{count} folds cannot be made", why, "take smaller blocks")
    order, params = np.random.default_rng(seed).permutation(len(occupied)), params.model_copy(update={"kind": "blocks"})
    made = []
    for fold in range(count):
        rng = np.random.default_rng([seed, fold])
        first, rest = order[fold::count], np.delete(order, np.s_[fold::count])
        then = _draw(rng.permutation(rest), ues, params.val, 1.0)
        unknown, val = (area_of_blocks(occupied[blocks], params.block) for blocks in (first, then))
        split = _divided(links, unknown, val, params, seed, rng)
        split.attrs |= {"fold": fold, "folds": count}
        made.append(split)
    return made


def _occupied(links: xr.Dataset, edge: float) -> tuple[Ints, Ints]:
    """Blocks of `edge` [m] that hold UEs, (n, 2), and how many each holds, (n,)."""
    at = blocks_of(links["ue_x"].values, links["ue_y"].values, edge)
    occupied, ues = np.unique(at, axis=0, return_counts=True)
    return occupied, ues


def _divided(
    links: xr.Dataset, unknown: BaseGeometry, val: BaseGeometry, params: SplitParams, seed: int,
    rng: np.random.Generator,
) -> xr.Dataset:  # fmt: skip
    """The split with these areas; known streets are drawn from `rng`."""
    attrs = {"seed": seed, "kind": params.kind, "buffer": params.buffer, "allow": list(params.allow)}
    attrs["unknown_area"], attrs["val_area"] = shapely.to_wkt([unknown, val], rounding_precision=-1).tolist()
    attrs |= {"block": params.block} if params.kind == "blocks" else {}
    attrs |= {"crop_gap": params.crop_gap} if params.crop_gap is not None else {}
    frame = LocalFrame.from_attrs(links.attrs)
    split = split_like(xr.Dataset(attrs=attrs | {"city": links.attrs["city"]} | frame.to_attrs()), links)
    role, x, y = split["role"].values, links["ue_x"].values, links["ue_y"].values
    free = np.flatnonzero(role == "train")
    if len(free) and params.known > 0:
        positions, which = np.unique(np.column_stack([x, y])[free], axis=0, return_inverse=True)
        chosen = rng.permutation(len(positions))[: max(1, round(params.known * len(positions)))]
        role[free[np.isin(which, chosen)]] = "known"
    _require_roles(role, links, params)
    leakage_report(split, links)
    return split


def all_train(links: xr.Dataset, allow: list[Leak], seed: int) -> xr.Dataset:
    """The split that holds none of the links out, for where nothing is tested; `allow` names leaks that may be."""
    none: dict[str, Any] = dict.fromkeys(("unknown", "known", "val", "buffer"), 0.0)
    none |= {"kind": "blocks", "block": 150.0, "test_box": None, "val_box": None, "crop_gap": None}
    return make_split(links, SplitParams(**none, allow=allow), seed)


def split_like(split: xr.Dataset, links: xr.Dataset) -> xr.Dataset:
    """Roles of another dataset's UEs in the same city and frame by the areas of a split; known streets do not occur."""
    frame = LocalFrame.from_attrs(links.attrs)
    frame.require_same(LocalFrame.from_attrs(split.attrs), "these links")
    role = roles_by_area(split, frame, links["ue_x"].values, links["ue_y"].values)
    coords = {name: links[name].variable for name in SCHEMAS["split"].variables if name in links.coords}
    like = xr.Dataset({"role": ("ue", role)}, coords, split.attrs | {"city": links.attrs["city"]})
    return validate(with_units(like, "split"), "split")


def in_frame_of(split: xr.Dataset, frame: LocalFrame, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Positions [m] in `frame`, a patch's for instance, in the frame of a split."""
    own = LocalFrame.from_attrs(split.attrs)
    x, y = np.asarray(x, float), np.asarray(y, float)
    return (x, y) if frame == own else own.to_local(*frame.to_geographic(x, y))


def roles_by_area(split: xr.Dataset, frame: LocalFrame, x: ArrayLike, y: ArrayLike) -> NDArray[np.str_]:
    """Role that the areas of a split give to positions [m] in any frame: "train", "val", "unknown" or "buffer"."""
    at = in_frame_of(split, frame, x, y)
    role = np.full(len(at[0]), "train", dtype="U7")
    role[near(val_area(split), *at)] = "val"
    role[held_out(split, *at)] = "buffer"
    role[near(unknown_area(split), *at)] = "unknown"  # where areas meet, the held-out one counts
    return role


def _draw(order: Ints, ues: Ints, share: float, most: float) -> Ints:
    """Blocks in `order` until they hold a share of the UEs, each at most `most` of it; the first, if all hold more."""
    wanted, held, chosen = share * ues[order].sum(), 0, []
    for block in order:
        if held < wanted and ues[block] <= most * wanted:
            chosen.append(block)
            held += ues[block]
    return np.array(chosen or order[: int(share > 0)], dtype=np.int64)


def _require_roles(role: NDArray[np.str_], links: xr.Dataset, params: SplitParams) -> None:
    """Raise unless every role that was asked for has a UE."""
    boxes = params.kind == "boxes"
    asked = {"train": True, "val": boxes or params.val, "known": params.known, "unknown": boxes or params.unknown}
    empty = [name for name, share in asked.items() if share and not (role == name).any()]
    if not empty:
        return
    if boxes:
        lat, lon = (f"{v.min():.4f} to {v.max():.4f}" for v in (links["ue_lat"].values, links["ue_lon"].values))
        where = f"they span lat {lat}, lon {lon}"
        mend = f"see that test_box {params.test_box} and val_box {params.val_box} lie there, and leave UEs to train"
    else:
        blocks = np.unique(blocks_of(links["ue_x"].values, links["ue_y"].values, params.block), axis=0)
        where = f"they occupy {len(blocks)} blocks of {params.block:g} m"
        mend = "take smaller blocks, another share, or more UEs"
    raise SplitError(
        f"the split leaves no UE for {' and '.join(map(repr, empty))}",
        f"of {len(role)} UEs: {', '.join(f'{name} {int((role == name).sum())}' for name in ROLES)}; {where}",
        f"{mend}; or narrow the buffer",
    )
