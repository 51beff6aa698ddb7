"""Trivial predictors, reported next to every result on the same crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfloc.config import CropParams
from rfloc.crops import Batch, cell_centres
from rfloc.localizers.base import jitter_prior, normalised, street_prior
from rfloc.schema import FEATURES

#: Path-loss exponent of the centroid's weights, and standard deviation of its posterior per axis in crop edges.
EXPONENT, SPREAD = 3.5, 0.3


@dataclass(frozen=True)
class Centre:
    """The crop centre: with a UE uniform in +-270 m the mean error is 206.6 m, its root mean square 220.5 m."""

    crops: CropParams
    name: str = "centre"

    def posterior(self, batch: Batch) -> NDArray[np.float64]:
        """Jitter prior, (B, G, G)."""
        return np.broadcast_to(jitter_prior(self.crops), (len(batch), self.crops.output, self.crops.output))

    def estimate(self, batch: Batch) -> NDArray[np.float64]:
        """Zero, (B, 2)."""
        return np.zeros((len(batch), 2))


@dataclass(frozen=True)
class StreetMedian:
    """The streets inside the central square: its decoded point is their geometric median."""

    crops: CropParams
    name: str = "street_median"

    def posterior(self, batch: Batch) -> NDArray[np.float64]:
        """Street prior, (B, G, G)."""
        return street_prior(batch, self.crops)


@dataclass(frozen=True)
class Centroid:
    """Weighted centroid of the heard stations inside the crop; without any, the crop centre.

    Weights are 10^(P / (10 n)) with P the RSSI in dB: inverse distance under a path-loss exponent n (weighted centroid
    localization, Blumenthal et al. 2007, with g = 1). Stations that lack RSSI weigh nothing, unless all lack it: then
    all weigh the same.
    """

    crops: CropParams
    name: str = "centroid"

    def estimate(self, batch: Batch) -> NDArray[np.float64]:
        """x, y relative to the crop centre [m], (B, 2)."""
        which = list(FEATURES).index("rssi")
        level = np.where(batch.rf_mask[..., which], batch.rf[..., which].astype(float), -np.inf)
        best = level.max(axis=1, keepdims=True)
        known = np.isfinite(best)
        shifted = level - np.where(known, best, 0.0)
        weight = np.where(known, 10 ** (shifted / (10 * EXPONENT)), batch.bs_mask.astype(float))
        total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        return np.einsum("bn,bnk->bk", weight / total, batch.bs_xy)

    def posterior(self, batch: Batch) -> NDArray[np.float64]:
        """Gaussian around the estimate, cut to the crop, (B, G, G)."""
        x, y = cell_centres(batch.size, self.crops.output)
        at = self.estimate(batch)
        square = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
        return normalised(-square / (2 * (SPREAD * batch.size[:, None, None]) ** 2))
