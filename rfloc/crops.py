"""Crops: the square windows that a localizer sees, cut from links and raster on the fly.

A crop is a square of `size` metres whose centre is displaced from the UE, so that the UE lies uniformly in the central
`jitter` share of it (paper section 4). Images have row 0 = north; positions inside a crop are relative to its centre,
x east, y north [m].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.config import CropParams
from rfloc.errors import DataError, SplitError
from rfloc.frames import Grid, LocalFrame
from rfloc.schema import FEATURES, ROLES, validate, with_units

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Raster layers of a crop's image, in channel order.
LAYERS = ("building", "road")
#: Centres that are tried for a UE before it is given up as hearing too few stations inside any crop.
ATTEMPTS = 64


@dataclass(frozen=True)
class Batch:
    """B crops as model inputs; N = `max_bs` station slots, strongest NRSRP first, P pixels, G output cells."""

    image: NDArray[np.float32]  #: (B, 2, P, P) share of each pixel covered by buildings and roads, row 0 = north
    bs_xy: NDArray[np.float32]  #: (B, N, 2) station minus crop centre, x east, y north [m]; 0 in empty slots
    rf: NDArray[np.float32]  #: (B, N, 4) rssi nsinr nrsrp nrsrq [dBm/dB]; 0 where `rf_mask` is False
    rf_mask: Bools  #: (B, N, 4) the feature was measured
    bs_mask: Bools  #: (B, N) the slot holds a station
    bs_index: Ints  #: (B, N) station's position along `bs` of the links; meaningless in empty slots
    target_xy: NDArray[np.float32]  #: (B, 2) UE minus crop centre [m]
    target: Ints  #: (B,) flat index row * G + column of the output cell that holds the UE
    ue: Ints  #: (B,) UE's position along `ue` of the links
    centre: Floats  #: (B, 2) crop centres in the local frame [m]
    size: float  #: edge of a crop [m]
    turned: bool  #: flips or turns were applied, so that crop and city axes differ

    def __len__(self) -> int:
        return len(self.ue)


class AreaPooler:
    """Exact area averages of raster layers over windows at any offset, through cumulative sums.

    The integral of a piecewise constant raster is bilinear inside a cell, so interpolating it is exact. What lies
    outside the raster counts as 0.

    Parameters
    ----------
    raster : Dataset
        Of kind "raster".
    layers : sequence of str
        Variables to pool.
    """

    def __init__(self, raster: xr.Dataset, layers: Sequence[str] = LAYERS) -> None:
        self.grid = Grid.from_attrs(raster.attrs)
        self._sums = np.zeros((len(layers), self.grid.ny + 1, self.grid.nx + 1))
        for sums, layer in zip(self._sums, layers, strict=True):
            values = raster[layer].values.astype(np.float64)
            np.cumsum(np.cumsum(values, axis=0), axis=1, out=sums[1:, 1:])

    def _edges(self, start: float, n: int, step: float, cells: int) -> tuple[Ints, Floats]:
        at = np.clip(start + step * np.arange(n + 1), 0, cells)
        low = np.minimum(at.astype(np.int64), cells - 1)
        return low, at - low

    def window(self, x: float, y: float, size: float, pixels: int) -> NDArray[np.float32]:
        """Layers averaged over `pixels` x `pixels` of a square around x, y [m]: (L, pixels, pixels), row 0 = north."""
        g, step = self.grid, size / pixels / self.grid.cell
        i, fi = self._edges((y - size / 2 - g.y0) / g.cell, pixels, step, g.ny)
        j, fj = self._edges((x - size / 2 - g.x0) / g.cell, pixels, step, g.nx)
        first, last = j[0], j[-1] + 2
        near = self._sums[:, :, first:last]
        rows = near[:, i] * (1 - fi)[:, None] + near[:, i + 1] * fi[:, None]
        corners = rows[:, :, j - first] * (1 - fj) + rows[:, :, j - first + 1] * fj
        means = np.diff(np.diff(corners, axis=1), axis=2) / step**2
        means[np.abs(means) < 1e-6] = 0.0  # rounding of differences between large sums
        return means[:, ::-1].astype(np.float32)


def cell_centres(size: float, cells: int) -> tuple[Floats, Floats]:
    """Cell centres of a crop grid: x and y relative to its centre [m], each (cells, cells), row 0 = north."""
    at = ((np.arange(cells) + 0.5) / cells - 0.5) * size
    x, y = np.meshgrid(at, -at)
    return x, y


def cell_index(xy: ArrayLike, size: float, cells: int) -> Ints:
    """Flat index of the cell of a crop grid that holds x, y [m] relative to the centre, clipped into the crop."""
    xy = np.asarray(xy, float)
    col = np.floor((xy[..., 0] / size + 0.5) * cells).astype(np.int64)
    row = np.floor((0.5 - xy[..., 1] / size) * cells).astype(np.int64)
    return np.clip(row, 0, cells - 1) * cells + np.clip(col, 0, cells - 1)


class CropPlacer:
    """Chooses crop centres for the UEs of links.

    Parameters
    ----------
    links : Dataset
        Of kind "links".
    crops : CropParams
        Size, jitter and how many stations a crop must hold.
    """

    def __init__(self, links: xr.Dataset, crops: CropParams) -> None:
        self.crops, self.links = crops, links
        self.ue_xy: Floats = np.stack([links["ue_x"].values, links["ue_y"].values], axis=1)
        self.bs_xy: Floats = np.stack([links["bs_x"].values, links["bs_y"].values], axis=1)
        self.heard: Bools = links["heard"].values

    def inside(self, ue: ArrayLike, centre_x: ArrayLike, centre_y: ArrayLike) -> Bools:
        """Stations that each UE hears and that lie inside its crop: (B, n_bs)."""
        half = self.crops.size / 2
        dx = np.abs(self.bs_xy[:, 0] - np.asarray(centre_x, float)[:, None])
        dy = np.abs(self.bs_xy[:, 1] - np.asarray(centre_y, float)[:, None])
        return self.heard[np.asarray(ue, int)] & (dx <= half) & (dy <= half)

    def jittered(self, ue: ArrayLike, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw a crop centre for each UE: UE minus U(-jitter * size / 2, +jitter * size / 2) per axis [m]."""
        ue = np.asarray(ue, int)
        shift = rng.uniform(-0.5, 0.5, (len(ue), 2)) * self.crops.jitter * self.crops.size
        centre = self.ue_xy[ue] - shift
        return centre[:, 0], centre[:, 1]

    def eligible(self, ue: ArrayLike, rng: np.random.Generator) -> tuple[Floats, Floats, Bools]:
        """Draw centres until `min_heard` stations lie inside, at most :data:`ATTEMPTS` times, for each entry of `ue`.

        Returns
        -------
        centre_x, centre_y : ndarray
            Shape (n,), in metres.
        found : ndarray of bool
            Shape (n,), False where no attempt was eligible; the centre is then the last one tried.
        """
        ue = np.asarray(ue, int)
        x, y = np.empty(len(ue)), np.empty(len(ue))
        found = np.zeros(len(ue), bool)
        open_ = np.arange(len(ue))
        for _ in range(ATTEMPTS):
            x[open_], y[open_] = self.jittered(ue[open_], rng)
            ok = self.inside(ue[open_], x[open_], y[open_]).sum(axis=1) >= self.crops.min_heard
            found[open_[ok]] = True
            open_ = open_[~ok]
            if not open_.size:
                break
        return x, y, found


class CropBatcher(CropPlacer):
    """The only place that turns links, raster and crop centres into model inputs.

    Parameters
    ----------
    links, raster : Dataset
        Of one city, in one frame.
    crops : CropParams
        Size, pixels, output cells, number of station slots.

    Raises
    ------
    FrameError
        If links and raster are in different frames.
    """

    def __init__(self, links: xr.Dataset, raster: xr.Dataset, crops: CropParams) -> None:
        LocalFrame.from_attrs(links.attrs).require_same(LocalFrame.from_attrs(raster.attrs), "the raster")
        super().__init__(links, crops)
        self._rf = np.stack([links[name].values for name in FEATURES], axis=2).astype(np.float32)
        self._strength = np.where(self.heard, links["nrsrp"].values, -np.inf)
        self._pooler = AreaPooler(raster)

    def batch(
        self,
        ue: ArrayLike,
        centre_x: ArrayLike,
        centre_y: ArrayLike,
        flip: ArrayLike | None = None,
        turns: ArrayLike | None = None,
    ) -> Batch:
        """Cut B crops.

        Parameters
        ----------
        ue : array of int
            Shape (B,), positions along `ue` of the links.
        centre_x, centre_y : array
            Shape (B,), crop centres in the local frame [m].
        flip : array of bool, optional
            Shape (B,): mirror east to west, before turning.
        turns : array of int, optional
            Shape (B,): quarter turns counter-clockwise.

        Raises
        ------
        DataError
            If a UE lies outside its crop.
        """
        ue = np.atleast_1d(np.asarray(ue, np.int64))
        centre = np.stack([np.atleast_1d(centre_x), np.atleast_1d(centre_y)], axis=1).astype(float)
        crops = self.crops
        target_xy = self.ue_xy[ue] - centre
        if (np.abs(target_xy) > crops.size / 2).any():
            worst = int(np.abs(target_xy).max(axis=1).argmax())
            raise DataError(
                f"UE {ue[worst]} lies {np.abs(target_xy[worst]).max():.1f} m from the centre of its crop",
                f"a crop of {crops.size:g} m reaches {crops.size / 2:g} m",
                "take centres from `eligible` or from evaluation crops of the same links",
            )
        image = np.stack([self._pooler.window(x, y, crops.size, crops.pixels) for x, y in centre])
        inside = self.inside(ue, centre[:, 0], centre[:, 1])
        strength = np.where(inside, self._strength[ue], -np.inf)
        index = np.argsort(-strength, axis=1, kind="stable")[:, : crops.max_bs]
        spare = max(crops.max_bs - index.shape[1], 0)
        mask = np.pad(np.take_along_axis(inside, index, axis=1), ((0, 0), (0, spare)))
        index = np.pad(index, ((0, 0), (0, spare)))
        bs_xy = np.where(mask[..., None], self.bs_xy[index] - centre[:, None], 0.0)
        rf = self._rf[ue[:, None], index]
        rf_mask = np.isfinite(rf) & mask[..., None]
        if flip is not None or turns is not None:
            flip = np.zeros(len(ue), bool) if flip is None else np.asarray(flip, bool)
            turns = np.zeros(len(ue), int) if turns is None else np.asarray(turns, int)
            image[flip] = image[flip, :, :, ::-1]
            image = np.stack([np.rot90(picture, k, axes=(1, 2)) for picture, k in zip(image, turns, strict=True)])
            bs_xy, target_xy = turn(bs_xy, flip, turns), turn(target_xy, flip, turns)
        return Batch(
            image=image,
            bs_xy=bs_xy.astype(np.float32),
            rf=np.where(rf_mask, rf, np.float32(0)),
            rf_mask=rf_mask,
            bs_mask=mask,
            bs_index=index,
            target_xy=target_xy.astype(np.float32),
            target=cell_index(target_xy, crops.size, crops.output),
            ue=ue,
            centre=centre,
            size=crops.size,
            turned=flip is not None,
        )


def turn(xy: Floats, flip: ArrayLike, turns: ArrayLike) -> Floats:
    """Mirror east to west where `flip`, then turn counter-clockwise by `turns` quarters; xy is (B, ..., 2) [m]."""
    shape = (-1,) + (1,) * (xy.ndim - 2)
    x = np.where(np.asarray(flip, bool).reshape(shape), -xy[..., 0], xy[..., 0])
    y = xy[..., 1]
    quarter = np.asarray(turns, int).reshape(shape) % 4
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def evaluation_crops(
    links: xr.Dataset, split: xr.Dataset, crops: CropParams, roles: Sequence[str] = ("known", "unknown"), *, seed: int
) -> xr.Dataset:
    """Draw fixed crops for the UEs of some roles: `per_ue` each, with at least `min_heard` heard stations inside.

    A UE is tried :data:`ATTEMPTS` times a crop and dropped where one of its crops finds no eligible centre; the
    attributes `<role>_ues`, `<role>_dropped` count them. With `max_eval`, a random subset of the others is kept. A
    UE's crops depend on the seed and the links, not on the roles asked for.

    Returns
    -------
    Dataset
        Of kind "crops", samples ordered by role, then UE.

    Raises
    ------
    SplitError
        If the split belongs to other links, a role is unknown, or no UE of a role is eligible.
    """
    strange = [role for role in roles if role not in ROLES]
    if strange:
        raise SplitError(f"there is no role {strange[0]!r}", f"roles are {', '.join(ROLES)}")
    same = split.sizes["ue"] == links.sizes["ue"] and np.allclose(split["ue_x"], links["ue_x"])
    if not (same and np.allclose(split["ue_y"], links["ue_y"])):
        raise SplitError(
            "the split was not made for these links",
            f"it has {split.sizes['ue']} UEs, the links have {links.sizes['ue']}, or they lie elsewhere",
            "make the split again from these links",
        )
    n = links.sizes["ue"]
    placer = CropPlacer(links, crops)
    rng = np.random.default_rng(seed)
    tries = [placer.eligible(np.arange(n), rng) for _ in range(crops.per_ue)]
    found = np.all([t[2] for t in tries], axis=0)
    order = rng.permutation(n)
    role_of = split["role"].values.astype(str)
    kept: list[Ints] = []
    attrs: dict[str, int] = {}
    for role in roles:
        mine = order[role_of[order] == role]
        able = mine[found[mine]]
        if not able.size:
            raise SplitError(
                f"none of the {mine.size} UEs with role {role!r} has a usable crop",
                f"a crop of {crops.size:g} m must hold {crops.min_heard} stations that its UE hears",
                "enlarge crops.size, lower crops.min_heard, or choose another share or seed of the split",
            )
        attrs |= {f"{role}_ues": int(mine.size), f"{role}_dropped": int(mine.size - able.size)}
        kept.append(np.sort(able[: crops.max_eval]))
    ue = np.repeat(np.concatenate(kept), crops.per_ue)
    which = np.tile(np.arange(crops.per_ue), len(ue) // crops.per_ue)
    ds = xr.Dataset(
        {
            "ue": ("sample", ue),
            "x": ("sample", placer.ue_xy[ue, 0]),
            "y": ("sample", placer.ue_xy[ue, 1]),
            "crop_x": ("sample", np.array([t[0] for t in tries])[which, ue]),
            "crop_y": ("sample", np.array([t[1] for t in tries])[which, ue]),
            "role": ("sample", role_of[ue]),
        },
        attrs={"crop_size": crops.size, "city": links.attrs["city"], "seed": seed}
        | attrs
        | LocalFrame.from_attrs(links.attrs).to_attrs(),
    )
    return validate(with_units(ds, "crops"), "crops")
