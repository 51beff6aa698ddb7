"""Crops: the squares that a localizer sees, cut from links and raster on the fly.

A UE lies uniformly in the central `jitter` share of its crop (paper section 4); in A_var every crop has a size of its
own (appendix H). Images have row 0 = north; positions are relative to the crop's centre, x east, y north [m].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from rfloc.arrays import Bools, Floats, Ints
from rfloc.city.raster import AreaPooler
from rfloc.config import CropParams
from rfloc.errors import DataError, SplitError
from rfloc.frames import LocalFrame, toward
from rfloc.schema import FEATURES, validate, with_units
from rfloc.splits import require_own

#: Centres that are tried for a UE before it is given up as hearing too few stations inside any crop.
ATTEMPTS = 64
#: Pictures of crops that a batcher holds, 0.1 MB each at 112 pixels.
HELD = 1024


@dataclass(frozen=True)
class Batch:
    """B crops as model inputs; N = `max_bs` station slots, strongest NRSRP first, P pixels, G output cells."""

    image: NDArray[np.float32]  #: (B, 2, P, P) share of each pixel covered by buildings and roads, row 0 = north
    bs_xy: NDArray[np.float32]  #: (B, N, 2) station minus crop centre, x east, y north [m]; 0 in empty slots
    rf: NDArray[np.float32]  #: (B, N, 4) rssi nsinr nrsrp nrsrq [dBm/dB]; 0 where `rf_mask` is False
    rf_mask: Bools  #: (B, N, 4) the feature was measured
    bs_mask: Bools  #: (B, N) the slot holds a station
    bs_boresight: NDArray[np.float32]  #: (B, N, 2) direction of the azimuth, a unit vector; 0 if unknown or empty
    bs_index: Ints  #: (B, N) station's position along `bs` of the links; meaningless in empty slots
    target_xy: NDArray[np.float32]  #: (B, 2) UE minus crop centre [m]
    target: Ints  #: (B,) flat index row * G + column of the output cell that holds the UE
    ue: Ints  #: (B,) UE's position along `ue` of the links
    centre: Floats  #: (B, 2) crop centres in the local frame [m]
    size: Floats  #: (B,) edge of each crop [m]

    def __len__(self) -> int:
        return len(self.ue)

    def take(self, index: Ints) -> Self:
        """The crops at these positions of the batch."""
        return replace(self, **{name: values[index] for name, values in vars(self).items()})


def cell_centres(size: ArrayLike, cells: int) -> tuple[Floats, Floats]:
    """Cell centres of crops of edge `size` (...): x, y relative to the crop [m], (..., cells, cells), row 0 = north."""
    at = ((np.arange(cells) + 0.5) / cells - 0.5) * np.asarray(size, float)[..., None]
    shape = (*at.shape[:-1], cells, cells)
    return np.broadcast_to(at[..., None, :], shape), np.broadcast_to(-at[..., None], shape)


def cell_index(xy: ArrayLike, size: ArrayLike, cells: int) -> Ints:
    """Flat index of the cell that holds xy (..., 2) [m] in crops of edge `size` (...), clipped into the crop."""
    xy = np.asarray(xy, float)
    col = np.floor((xy[..., 0] / size + 0.5) * cells).astype(np.int64)
    row = np.floor((0.5 - xy[..., 1] / size) * cells).astype(np.int64)
    return np.clip(row, 0, cells - 1) * cells + np.clip(col, 0, cells - 1)


class CropPlacer:
    """Chooses crops for the UEs of links; half edges of `variable` ones follow a normal law, truncated (`var_*`)."""

    def __init__(self, links: xr.Dataset, crops: CropParams, *, variable: bool = False) -> None:
        self.crops, self.links, self.variable = crops, links, variable
        self.ue_xy: Floats = np.stack([links["ue_x"].values, links["ue_y"].values], axis=1)
        self.bs_xy: Floats = np.stack([links["bs_x"].values, links["bs_y"].values], axis=1)
        self.heard: Bools = links["heard"].values

    def inside(self, ue: ArrayLike, centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike | None = None) -> Bools:
        """Stations that each UE hears and that lie inside its crop of `size` (default: `crops.size`): (B, n_bs)."""
        half = np.asarray(self.crops.size if size is None else size, float)[..., None] / 2
        dx = np.abs(self.bs_xy[:, 0] - np.asarray(centre_x, float)[:, None])
        dy = np.abs(self.bs_xy[:, 1] - np.asarray(centre_y, float)[:, None])
        return self.heard[np.asarray(ue, int)] & (dx <= half) & (dy <= half)

    def sizes(self, n: int, rng: np.random.Generator) -> Floats:
        """Edges of n crops [m]: `crops.size`, or drawn where they vary."""
        crops = self.crops
        if not self.variable:
            return np.full(n, crops.size)
        low, high = ndtr((np.array(crops.var_range) - crops.var_mean) / crops.var_sd)
        return 2 * (crops.var_mean + crops.var_sd * np.asarray(ndtri(rng.uniform(low, high, n))))

    def jittered(self, ue: ArrayLike, rng: np.random.Generator, size: ArrayLike) -> tuple[Floats, Floats]:
        """Draw a crop centre for each UE: UE minus U(-jitter * size / 2, +jitter * size / 2) per axis [m]."""
        at = self.ue_xy[np.asarray(ue, int)]
        centre = at - rng.uniform(-0.5, 0.5, at.shape) * self.crops.jitter * np.asarray(size, float)[..., None]
        return centre[:, 0], centre[:, 1]

    def eligible(
        self, ue: ArrayLike, rng: np.random.Generator, allowed: Callable[[Floats, Floats, Floats], Bools] | None = None
    ) -> tuple[Floats, Floats, Floats, Bools]:
        """Draw sizes and centres until `min_heard` stations lie inside, at most :data:`ATTEMPTS` times.

        `allowed` says of centres x, y and edges [m], (m,) each, which crops may be used; default: all. Returns these
        three and whether a crop was found, (n,) each; where none was, they are the last ones tried.
        """
        ue = np.asarray(ue, int)
        x, y, size = np.empty((3, len(ue)))
        found = np.zeros(len(ue), bool)
        open_ = np.arange(len(ue))
        for _ in range(ATTEMPTS):
            size[open_] = self.sizes(open_.size, rng)
            x[open_], y[open_] = self.jittered(ue[open_], rng, size[open_])
            crop = x[open_], y[open_], size[open_]
            ok = self.inside(ue[open_], *crop).sum(axis=1) >= self.crops.min_heard
            if allowed is not None:
                ok &= allowed(*crop)
            found[open_[ok]] = True
            open_ = open_[~ok]
            if not open_.size:
                break
        return x, y, size, found


class CropBatcher(CropPlacer):
    """The only place that turns links, raster (in the same frame, else FrameError) and crop centres into inputs."""

    def __init__(self, links: xr.Dataset, raster: xr.Dataset, crops: CropParams) -> None:
        LocalFrame.from_attrs(links.attrs).require_same(LocalFrame.from_attrs(raster.attrs), "the raster")
        super().__init__(links, crops)
        self._rf = np.stack([links[name].values for name in FEATURES], axis=2).astype(np.float32)
        self._boresight = np.nan_to_num(np.stack(toward(links["bs_azimuth"].values), axis=1))
        self._strength = np.where(self.heard, links["nrsrp"].values, -np.inf)
        self._pooler = AreaPooler(raster, ("building", "road"))
        self._held: dict[tuple[float, ...], NDArray[np.float32]] = {}

    def _images(self, centre: Floats, edge: Floats, again: bool = True) -> list[NDArray[np.float32]]:
        """Pictures of crops; those that localizers ask for `again`, in turn, are held."""
        crops = [(float(x), float(y), float(a), self.crops.pixels) for (x, y), a in zip(centre, edge, strict=True)]
        if not again:
            return [self._pooler.window(*crop) for crop in crops]
        if len(self._held) > HELD:
            self._held.clear()
        self._held |= {crop: self._pooler.window(*crop) for crop in crops if crop not in self._held}
        return [self._held[crop] for crop in crops]

    def zoom(self, batch: Batch, centre: Floats, size: float) -> Batch:
        """The same reports on crops of `size` [m] round other points (B, 2); a UE or station may lie outside."""
        shift, edge = batch.centre - centre, np.full(len(batch), size)
        bs_xy = np.where(batch.bs_mask[..., None], batch.bs_xy + shift[:, None], 0).astype(np.float32)
        target_xy = (batch.target_xy + shift).astype(np.float32)
        image, target = np.stack(self._images(centre, edge)), cell_index(target_xy, edge, self.crops.output)
        return replace(batch, image=image, bs_xy=bs_xy, target_xy=target_xy, target=target, centre=centre, size=edge)

    def batch(
        self, ue: ArrayLike, centre_x: ArrayLike, centre_y: ArrayLike, flip: ArrayLike | None = None,
        turns: ArrayLike | None = None, size: ArrayLike | None = None,
    ) -> Batch:  # fmt: skip
        """Cut crops of UEs by index, (B,), with these centres and edges (default `crops.size`) in the local frame [m].

        `flip`, bool (B,), mirrors east to west; then `turns` turns quarters counter-clockwise; give both or none, and
        none to localizers that look places up in the city. Raises DataError if a UE lies outside its crop.
        """
        crops, ue = self.crops, np.atleast_1d(np.asarray(ue, np.int64))
        centre = np.stack([np.atleast_1d(centre_x), np.atleast_1d(centre_y)], axis=1).astype(float)
        edge: Floats = np.array(np.broadcast_to(crops.size if size is None else size, len(ue)), float)
        target_xy = self.ue_xy[ue] - centre
        beyond = np.abs(target_xy).max(axis=1) - edge / 2
        if (beyond > 0).any():
            worst = int(beyond.argmax())
            raise DataError(
                f"UE {ue[worst]} lies {np.abs(target_xy[worst]).max():.1f} m from the centre of its crop",
                f"a crop of {edge[worst]:g} m reaches {edge[worst] / 2:g} m",
                "take centres and sizes from crops of the same links",
            )
        images = self._images(centre, edge, again=flip is None)
        inside = self.inside(ue, centre[:, 0], centre[:, 1], edge)
        strength = np.where(inside, self._strength[ue], -np.inf)
        index = np.argsort(-strength, axis=1, kind="stable")[:, : crops.max_bs]
        spare = max(crops.max_bs - index.shape[1], 0)
        mask = np.pad(np.take_along_axis(inside, index, axis=1), ((0, 0), (0, spare)))
        index = np.pad(index, ((0, 0), (0, spare)))
        bs_xy = np.where(mask[..., None], self.bs_xy[index] - centre[:, None], 0.0)
        boresight = np.where(mask[..., None], self._boresight[index], 0.0)
        rf = self._rf[ue[:, None], index]
        rf_mask = np.isfinite(rf) & mask[..., None]
        if flip is not None and turns is not None:
            flip, turns = np.asarray(flip, bool), np.asarray(turns, int)
            images = [one[:, :, ::-1] if mirrored else one for one, mirrored in zip(images, flip, strict=True)]
            images = [np.rot90(one, k, axes=(1, 2)) for one, k in zip(images, turns, strict=True)]
            bs_xy, boresight, target_xy = (turn(xy, flip, turns) for xy in (bs_xy, boresight, target_xy))
        return Batch(
            image=np.stack(images), bs_xy=bs_xy.astype(np.float32), rf=np.where(rf_mask, rf, np.float32(0)),
            rf_mask=rf_mask, bs_mask=mask, bs_boresight=boresight.astype(np.float32), bs_index=index,
            target_xy=target_xy.astype(np.float32), target=cell_index(target_xy, edge, crops.output), ue=ue,
            centre=centre, size=edge,
        )  # fmt: skip


def turn(xy: Floats, flip: Bools, turns: Ints) -> Floats:
    """Mirror east to west where `flip`, then turn counter-clockwise by `turns` quarters; xy is (B, ..., 2) [m]."""
    shape = (-1,) + (1,) * (xy.ndim - 2)
    x, y = np.where(flip.reshape(shape), -xy[..., 0], xy[..., 0]), xy[..., 1]
    quarter = turns.reshape(shape) % 4
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def evaluation_crops(
    links: xr.Dataset, split: xr.Dataset, crops: CropParams, roles: Sequence[str] = ("known", "unknown"), *, seed: int,
    variable: bool = False,
) -> xr.Dataset:  # fmt: skip
    """Fixed crops of the UEs of some roles, ordered by role, then UE: `per_ue` each, with `min_heard` stations inside.

    A UE is dropped where one of its crops finds no eligible centre; the attributes `<role>_ues`, `<role>_dropped`
    count them. Each UE draws from a stream of its own, by seed, kind of crop, campaign and place: another UE moves no
    other's crops. `variable` ones have an edge in `size` [m], drawn with the centre; `crop_size` is the mean edge.
    Raises SplitError if the split belongs to other links, or no UE of a role is eligible.
    """
    require_own(split, links)
    placer, role_of = CropPlacer(links, crops, variable=variable), split["role"].values.astype(str)
    degrees = np.stack([links["ue_lat"].values, links["ue_lon"].values], axis=1)
    campaign = links["ue_campaign"].values.astype(np.uint32)
    stream = np.column_stack([campaign, np.rint((degrees + 180) * 1e6)]).astype(np.int64)
    attrs = {"crop_size": 2 * crops.var_mean if variable else crops.size, "city": links.attrs["city"], "seed": seed}
    kept: list[int] = []
    drawn: list[list[Floats]] = []
    for role in roles:
        mine, before = np.flatnonzero(role_of == role), len(kept)
        for k in mine:
            rng = np.random.default_rng([seed, int(variable), *stream[k]])
            *crop, found = placer.eligible(np.full(crops.per_ue, k), rng)
            if found.all():
                kept.append(int(k))
                drawn.append(crop)
        if len(kept) == before:
            raise SplitError(
                f"none of the {mine.size} UEs with role {role!r} has a usable crop",
                f"a crop of {attrs['crop_size']:g} m must hold {crops.min_heard} stations that its UE hears",
                "enlarge crops.size, lower crops.min_heard, or choose another share or seed of the split",
            )
        attrs |= {f"{role}_ues": int(mine.size), f"{role}_dropped": int(mine.size - (len(kept) - before))}
    ue = np.repeat(kept, crops.per_ue)
    crop_x, crop_y, size = np.concatenate(drawn, axis=1)
    columns = {"ue": ue, "x": placer.ue_xy[ue, 0], "y": placer.ue_xy[ue, 1], "role": role_of[ue]}
    columns |= {"crop_x": crop_x, "crop_y": crop_y} | ({"size": size} if variable else {})
    attrs |= LocalFrame.from_attrs(links.attrs).to_attrs()
    ds = xr.Dataset({name: ("sample", values) for name, values in columns.items()}, attrs=attrs)
    return validate(with_units(ds, "crops"), "crops")


def size_bins(sizes: ArrayLike, crops: CropParams) -> tuple[Ints, Floats]:
    """Bins of A_var: the bin of each crop edge, and the bins' limits [m]; bin k covers [limits[k], limits[k + 1])."""
    low, high = (2 * half for half in crops.var_range)
    count = int(np.ceil((high - low) / crops.var_bin - 1e-9))
    limits = np.minimum(low + crops.var_bin * np.arange(count + 1), high)
    index = np.searchsorted(limits, np.asarray(sizes, float), side="right") - 1
    return np.clip(index, 0, count - 1).astype(np.int64), limits
