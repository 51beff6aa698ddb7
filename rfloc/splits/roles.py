"""Every UE gets one role; a role depends on the seed, on where UEs are, and not on their order.

- `unknown`: every UE of a held-out area: random blocks that hold a share of the UEs, or the test box.
- `buffer`: UEs outside the held-out area but within `buffer` of it; never used.
- `val`: every other UE of the validation blocks or box, which choose checkpoints.
- `known`: a random share of the other positions; its neighbours are in training.
- `train`: the rest.
"""

from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from rfloc.arrays import Floats, Ints
from rfloc.config import Leak, SplitParams
from rfloc.errors import SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import ROLES, SCHEMAS, validate, with_units
from rfloc.splits.areas import area_of_blocks, area_of_box, blocks_of, held_out, near, unknown_area, val_area
from rfloc.splits.leakage import leakage_report


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
    coords = {name: links[name].variable for name in SCHEMAS["split"] if name in links.coords}
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
    wanted = share * ues[order].sum()
    fitting = order[ues[order] <= most * wanted]
    chosen = fitting[np.cumsum(ues[fitting]) - ues[fitting] < wanted]
    return chosen if chosen.size else order[: int(share > 0)]


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
        where = f"they occupy {len(_occupied(links, params.block)[0])} blocks of {params.block:g} m"
        mend = "take smaller blocks, another share, or more UEs"
    raise SplitError(
        f"the split leaves no UE for {' and '.join(map(repr, empty))}",
        f"of {len(role)} UEs: {', '.join(f'{name} {int((role == name).sum())}' for name in ROLES)}; {where}",
        f"{mend}; or narrow the buffer",
    )
