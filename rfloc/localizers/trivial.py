"""Trivial predictors, reported next to every result on the same crops."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar

from rfloc.arrays import Floats
from rfloc.config import CropParams
from rfloc.crops import Batch, CropBatcher, cell_centres, evaluation_crops
from rfloc.localizers.base import jitter_prior, normalised, street_prior
from rfloc.schema import FEATURES

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
    """Trivial rows by key; `centroid_mix` has the share that errs least on crops of training UEs (else SplitError)."""
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
