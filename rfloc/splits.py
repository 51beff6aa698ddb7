"""Known and unknown streets: spatial blocks held out with a buffer, and the proof that nothing leaks.

A block is a square of the plane, cell (floor(x / block), floor(y / block)) of the city's frame. Roles:

- `unknown`: every UE of a held-out block. No other UE in use is nearer than `buffer` to such a block.
- `buffer`: UEs outside held-out blocks but nearer than `buffer` to one; never used.
- `val`: every other UE of the validation blocks, which choose checkpoints.
- `known`: a random share of the other positions; its neighbours are in training.
- `train`: the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from rfloc.config import SplitParams
from rfloc.errors import SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import ROLES, validate, with_units

Blocks = NDArray[np.int64]

_UE_COORDS = ("ue_x", "ue_y", "ue_lat", "ue_lon", "ue_campaign")


def blocks_of(x: ArrayLike, y: ArrayLike, block: float) -> Blocks:
    """Block (column, row) of each position [m], shape (n, 2)."""
    return np.floor(np.column_stack([x, y]) / block).astype(np.int64)


def make_split(links: xr.Dataset, params: SplitParams, seed: int) -> xr.Dataset:
    """Give every UE a role.

    Parameters
    ----------
    links : xr.Dataset
        Kind `links`.
    params : SplitParams
        Edge of a block, shares and buffer.
    seed : int
        Of the choice of blocks and of known streets.

    Returns
    -------
    xr.Dataset
        Kind `split`, in the order of the links' UEs; held-out and validation blocks in its attributes.

    Raises
    ------
    SplitError
        If a role that was asked for gets no UE, or the result leaks.
    """
    rng = np.random.default_rng(seed)
    x, y = links["ue_x"].values, links["ue_y"].values
    block = blocks_of(x, y, params.block)
    occupied = rng.permutation(np.unique(block, axis=0))
    n_unknown = _share(params.unknown, len(occupied))
    unknown, others = occupied[:n_unknown], occupied[n_unknown:]
    val = others[: _share(params.val, len(others))]

    role = np.full(len(x), "train", dtype="U7")
    role[_member(block, val)] = "val"
    role[_distance(x, y, unknown, params.block) < params.buffer] = "buffer"
    role[_member(block, unknown)] = "unknown"
    free = np.flatnonzero(role == "train")
    if len(free):
        positions, which = np.unique(np.column_stack([x, y])[free], axis=0, return_inverse=True)
        chosen = rng.permutation(len(positions))[: _share(params.known, len(positions))]
        role[free[np.isin(which, chosen)]] = "known"
    for name, share in (("train", 1.0), ("val", params.val), ("known", params.known), ("unknown", params.unknown)):
        if share > 0 and not (role == name).any():
            raise SplitError(
                f"the split leaves no UE for {name!r}",
                f"{len(x)} UEs occupy {len(occupied)} blocks of {params.block:g} m, {n_unknown} are held out",
                "take smaller blocks or another share, a narrower buffer, or more UEs",
            )
    split = _dataset(links, role, seed, params.block, params.buffer, unknown, val)
    leakage_report(split, links)
    return split


def split_like(split: xr.Dataset, links: xr.Dataset) -> xr.Dataset:
    """Roles of another dataset's UEs in the same city (B, B', C) by the blocks of a split: known streets do not occur.

    Raises
    ------
    FrameError
        If the two are in different frames.
    """
    LocalFrame.from_attrs(links.attrs).require_same(LocalFrame.from_attrs(split.attrs), "these links")
    x, y = links["ue_x"].values, links["ue_y"].values
    edge, buffer, unknown, val = _geometry(split)
    block = blocks_of(x, y, edge)
    role = np.full(len(x), "train", dtype="U7")
    role[_member(block, val)] = "val"
    role[held_out(split, x, y)] = "buffer"
    role[_member(block, unknown)] = "unknown"
    return _dataset(links, role, int(split.attrs["seed"]), edge, buffer, unknown, val)


def held_out(split: xr.Dataset, x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
    """Whether positions [m] lie in a held-out block or within the buffer of one, and so must not be trained on."""
    edge, buffer, unknown, _ = _geometry(split)
    inside = _member(blocks_of(x, y, edge), unknown)
    return inside | (_distance(np.asarray(x, float), np.asarray(y, float), unknown, edge) < buffer)


def leakage_report(split: xr.Dataset, links: xr.Dataset) -> dict[str, Any]:
    """Count roles, measure how far test UEs are from training, and refuse a split that leaks.

    Returns
    -------
    dict
        `counts` of UEs a role; `blocks` held out; `buffer` [m]; `shared_positions` between training and test;
        `nearest_train` [m]: minimum, median and maximum distance from each role's UEs to a training UE.

    Raises
    ------
    SplitError
        If the split belongs to other links, a position is both in training (or validation) and in a test role, or a
        training or validation UE lies in a held-out block or its buffer.
    """
    x, y = links["ue_x"].values, links["ue_y"].values
    if len(x) != split.sizes["ue"] or not (np.allclose(split["ue_x"], x) and np.allclose(split["ue_y"], y)):
        raise SplitError(
            "the split was made for other links",
            f"it has {split.sizes['ue']} UEs, the links have {len(x)}, or they stand elsewhere",
            "make the split anew from these links",
        )
    role = split["role"].values
    edge, buffer, unknown, _ = _geometry(split)
    used = np.isin(role, ("train", "val"))
    inside = used & held_out(split, x, y)
    outside = (role == "unknown") & ~_member(blocks_of(x, y, edge), unknown)
    if inside.any() or outside.any():
        raise SplitError(
            f"{int(inside.sum())} training or validation UEs lie in held-out blocks or within {buffer:g} m of one, "
            f"{int(outside.sum())} unknown-street UEs lie outside",
            "on unknown streets no measurement nearby may have been seen",
            "make the split with rfloc.splits.make_split",
        )
    points = np.column_stack([x, y])
    test = np.isin(role, ("known", "unknown"))
    shared = len(set(map(tuple, points[used])) & set(map(tuple, points[test])))
    if shared:
        raise SplitError(
            f"{shared} positions are both in a test role and in training or validation",
            "a position measured twice must keep to one role",
            "make the split with rfloc.splits.make_split",
        )
    nearest = {}
    train = role == "train"
    if train.any():
        tree = cKDTree(points[train])
        for name in ROLES[1:]:
            if (role == name).any():
                d = tree.query(points[role == name])[0]
                nearest[name] = {"min": float(d.min()), "median": float(np.median(d)), "max": float(d.max())}
    return {
        "counts": {name: int((role == name).sum()) for name in ROLES},
        "blocks": len(unknown),
        "buffer": buffer,
        "shared_positions": shared,
        "nearest_train": nearest,
    }


def _share(share: float, n: int) -> int:
    """A share of n things, at least one where the share is not zero."""
    return min(n, max(1, round(share * n))) if share > 0 else 0


def _member(block: Blocks, chosen: Blocks) -> NDArray[np.bool_]:
    return (block[:, None, :] == chosen[None, :, :]).all(-1).any(-1)


def _distance(x: NDArray[np.float64], y: NDArray[np.float64], chosen: Blocks, edge: float) -> NDArray[np.float64]:
    """Distance from each position to the nearest chosen block's square [m], zero inside; infinite if none is chosen."""
    low = chosen * edge
    points = np.column_stack([x, y])[:, None, :]
    gap = np.maximum(np.maximum(low - points, points - (low + edge)), 0.0)
    return np.hypot(gap[..., 0], gap[..., 1]).min(axis=1, initial=np.inf)


def _dataset(
    links: xr.Dataset, role: NDArray[np.str_], seed: int, block: float, buffer: float, unknown: Blocks, val: Blocks
) -> xr.Dataset:
    coords = {name: links[name].drop_vars(list(links[name].coords)) for name in _UE_COORDS}
    attrs = {"seed": seed, "city": links.attrs["city"], "block": block, "buffer": buffer}
    attrs |= {"unknown_blocks": unknown.tolist(), "val_blocks": val.tolist()}
    frame = LocalFrame.from_attrs(links.attrs)
    split = xr.Dataset({"role": ("ue", role)}, coords=coords, attrs=attrs | frame.to_attrs())
    return validate(with_units(split, "split"), "split")


def _geometry(split: xr.Dataset) -> tuple[float, float, Blocks, Blocks]:
    try:
        unknown, val = (np.asarray(split.attrs[k], np.int64).reshape(-1, 2) for k in ("unknown_blocks", "val_blocks"))
        return float(split.attrs["block"]), float(split.attrs["buffer"]), unknown, val
    except KeyError as missing:
        raise SplitError(f"the split does not say its {missing}", "it was not made by make_split") from None
