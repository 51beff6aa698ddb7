"""What every localizer keeps to, the priors that several share; trivial predictors, and log-linear pools of several.

Trivial ones are reported next to every result on the same crops. A pool takes each posterior of one place to a power
that validation crops choose. The powers maximise the likelihood of the true cells, which is concave in their logarithms
(Genest and Zidek 1986, Statistical Science 1; Hinton 2002, Neural Computation 14). What adds nothing gets the power 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from rfloc.arrays import Floats
from rfloc.config import CropParams
from rfloc.crops import Batch, CropBatcher, cell_centres, evaluation_crops
from rfloc.errors import DataError
from rfloc.schema import FEATURES


@runtime_checkable
class Localizer(Protocol):
    """What every localizer offers."""

    @property
    def name(self) -> str:
        """What tables and messages call it."""
        ...

    def posterior(self, batch: Batch) -> NDArray[np.floating]:
        """Probabilities over the crop grid, (B, G, G) with G = `crops.output`, row 0 = north, each summing to 1."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """A localizer whose point estimate is no functional of its posterior; it may lie outside the crop."""

    def estimate(self, batch: Batch) -> NDArray[np.floating]:
        """x, y relative to the crop centre [m], (B, 2)."""
        ...


def jitter_prior(crops: CropParams, cells: int | None = None) -> Floats:
    """Before any measurement: uniform over the central `jitter` share, (cells, cells); cells count by their share."""
    cells = cells or crops.output
    edges = np.linspace(-0.5, 0.5, cells + 1)
    half = max(crops.jitter / 2, 1e-9)
    share = np.clip(np.minimum(edges[1:], half) - np.maximum(edges[:-1], -half), 0, None)
    prior = np.outer(share, share)
    return prior / prior.sum()


def street_prior(batch: Batch, crops: CropParams, cells: int | None = None) -> Floats:
    """Jitter prior restricted to streets, (B, cells, cells); where the map shows none, the jitter prior itself."""
    prior = jitter_prior(crops, cells)
    road, cells = batch.image[:, 1], len(prior)
    step, rest = divmod(road.shape[-1], cells)
    if rest:  # cells do not fall on pixels: the nearest one's
        pick = ((np.arange(cells) + 0.5) * road.shape[-1] / cells).astype(int)
        streets = road[:, pick[:, None], pick] * prior
    else:
        streets = road.reshape(len(road), cells, step, cells, step).mean(axis=(2, 4), dtype=float) * prior
    total = streets.sum(axis=(1, 2), keepdims=True)
    return np.where(total > 0, streets / np.where(total > 0, total, 1), prior)


def normalised(log_weight: NDArray[np.floating]) -> Floats:
    """exp(log_weight) scaled to sum 1 over the last two axes, (B, G, G), without overflow or underflow."""
    weight = np.exp(log_weight - log_weight.max(axis=(-2, -1), keepdims=True))
    return weight / weight.sum(axis=(-2, -1), keepdims=True)


def require_unturned(batch: Batch, name: str) -> None:
    """Raise DataError for a batch with flips or turns: its crop axes are not those of the city."""
    if batch.turned:
        why = "it looks positions up in the city's frame, whose axes such crops do not share"
        raise DataError(f"localizer {name!r} was given flipped or turned crops", why, "leave out `flip` and `turns`")


#: Share of a uniform posterior that is mixed into every part: none rules a place out for the others.
LAPSE = 0.01
#: Crops that powers are fitted on, at most.
FITTED = 600


@dataclass(frozen=True)
class Pooled:
    """The product of the parts' posteriors to these powers, scaled to sum 1."""

    parts: Sequence[Localizer]
    powers: Sequence[float]
    name: str = "pooled"

    @classmethod
    def fit(cls, parts: Sequence[Localizer], batcher: CropBatcher, crops: xr.Dataset, name: str = "pooled") -> Self:
        """Powers from crops of UEs that no part was trained on."""
        crops = crops.isel(sample=slice(None, None, -(-crops.sizes["sample"] // FITTED)))
        batch = batcher.batch(crops["ue"].values, crops["crop_x"].values, crops["crop_y"].values)
        log = _logs(parts, batch).reshape(len(parts), len(batch), -1)
        hit = np.take_along_axis(log, batch.target[None, :, None], axis=2)[..., 0]

        def loss(power: Floats) -> float:
            return float((logsumexp(np.tensordot(power, log, 1), axis=1) - power @ hit).mean())

        found = minimize(loss, np.full(len(parts), 1 / len(parts)), method="L-BFGS-B", bounds=[(0.0, 4.0)] * len(parts))
        return cls(parts, [float(power) for power in found.x], name)

    def posterior(self, batch: Batch) -> Floats:
        """Pooled posterior on the crop grid, (B, G, G)."""
        return normalised(np.tensordot(np.asarray(self.powers), _logs(self.parts, batch), 1))


def _logs(parts: Sequence[Localizer], batch: Batch) -> Floats:
    """Logarithm of each part's posterior, (part, B, G, G)."""
    found = np.stack([np.asarray(part.posterior(batch), float) for part in parts])
    return np.log((1 - LAPSE) * found + LAPSE / found[0, 0].size)


#: Standard deviation per axis of a posterior round a point, in crop edges.
SPREAD = 0.3
NRSRP = list(FEATURES).index("nrsrp")
#: Training UEs on which the mix of centroid and centre is fitted, at most and crops of a batch.
MOST, BATCH = 2000, 64


@dataclass(frozen=True)
class Centre:
    """The crop centre: with a UE uniform in +-270 m the mean error is 206.6 m, its root mean square 220.5 m."""

    crops: CropParams
    name: str = "centre"

    def posterior(self, batch: Batch) -> Floats:
        """Jitter prior, (B, G, G)."""
        return np.broadcast_to(jitter_prior(self.crops), (len(batch), self.crops.output, self.crops.output))

    def estimate(self, batch: Batch) -> Floats:
        """Zero, (B, 2)."""
        return np.zeros((len(batch), 2))


@dataclass(frozen=True)
class StreetMedian:
    """The streets inside the central square: its decoded point is their geometric median."""

    crops: CropParams
    name: str = "street_median"

    def posterior(self, batch: Batch) -> Floats:
        """Street prior, (B, G, G)."""
        return street_prior(batch, self.crops)


@dataclass(frozen=True)
class Centroid:
    """Weighted centroid of the heard stations inside the crop; without any, the crop centre.

    Weights are 10^(NRSRP / 20), amplitudes: inverse distance in free space (weighted centroid localization, Blumenthal
    et al. 2007). Of the way from the crop centre to the centroid a `share` is gone: 1 is the centroid, less a mix.
    """

    crops: CropParams
    name: str = "centroid"
    share: float = 1.0

    def estimate(self, batch: Batch) -> Floats:
        """x, y relative to the crop centre [m], (B, 2)."""
        level = np.where(batch.bs_mask, batch.rf[..., NRSRP].astype(float), -np.inf)
        best = level.max(axis=1, keepdims=True)
        weight = 10 ** ((level - np.where(np.isfinite(best), best, 0.0)) / 20)
        total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        return self.share * np.einsum("bn,bnk->bk", weight / total, batch.bs_xy)

    def posterior(self, batch: Batch) -> Floats:
        """Gaussian around the estimate, cut to the crop, (B, G, G)."""
        x, y = cell_centres(batch.size, self.crops.output)
        at = self.estimate(batch)
        square = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
        return normalised(-square / (2 * (SPREAD * batch.size[:, None, None]) ** 2))


@dataclass(frozen=True)
class Strongest(Centroid):
    """The strongest station inside the crop; without any, the crop centre."""

    name: str = "strongest"

    def estimate(self, batch: Batch) -> Floats:
        """x, y relative to the crop centre [m], (B, 2): the first slot's, 0 where it is empty."""
        return batch.bs_xy[:, 0].astype(float)


def trivial_rows(batcher: CropBatcher, split: xr.Dataset, *, seed: int) -> dict[str, Centre | StreetMedian | Centroid]:
    """The trivial rows of every table by key; `centroid_mix` has the share that errs least on crops of training UEs.

    `batcher` is of the links that the split divides, `seed` of those crops' centres (SplitError where none is usable).
    """
    crops = batcher.crops
    centroid, found = Centroid(crops), []
    drawn = evaluation_crops(batcher.links, split, crops.model_copy(update={"per_ue": 1}), ("train",), seed=seed)
    drawn = drawn.isel(sample=slice(None, None, -(-drawn.sizes["sample"] // MOST)))
    for start in range(0, drawn.sizes["sample"], BATCH):
        part = drawn.isel(sample=slice(start, start + BATCH))
        batch = batcher.batch(part["ue"].values, part["crop_x"].values, part["crop_y"].values)
        found.append((centroid.estimate(batch), batch.target_xy))
    at, target = (np.concatenate(values) for values in zip(*found, strict=True))
    mix = minimize_scalar(lambda share: np.hypot(*(share * at - target).T).mean(), bounds=(0.0, 1.0), method="bounded")
    rows = (Centre(crops), StreetMedian(crops), centroid, Centroid(crops, "centroid_mix", float(mix.x)))
    return {row.name: row for row in (*rows, Strongest(crops))}
