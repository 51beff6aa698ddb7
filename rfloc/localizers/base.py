"""What every localizer keeps to, and the priors that several share."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rfloc.arrays import Floats
from rfloc.config import CropParams
from rfloc.crops import Batch


@runtime_checkable
class Localizer(Protocol):
    """What every localizer offers."""

    @property
    def name(self) -> str:
        """What tables and messages call it."""

    def posterior(self, batch: Batch) -> NDArray[np.floating]:
        """Probabilities over the crop grid, (B, G, G) with G = `crops.output`, row 0 = north, each summing to 1."""


@runtime_checkable
class Estimator(Protocol):
    """A localizer whose point estimate is no functional of its posterior; it may lie outside the crop."""

    def estimate(self, batch: Batch) -> NDArray[np.floating]:
        """x, y relative to the crop centre [m], (B, 2)."""


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
