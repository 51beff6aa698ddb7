"""What every localizer keeps to, the priors that several share, and log-linear pools of several.

A pool takes each posterior of one place to a power that validation crops choose. The powers maximise the likelihood of
the true cells, which is concave in their logarithms (Genest and Zidek 1986, Statistical Science 1; Hinton 2002, Neural
Computation 14). A part that adds nothing gets the power 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from rfloc.arrays import Floats
from rfloc.config import CropParams
from rfloc.crops import Batch, CropBatcher
from rfloc.errors import DataError


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
MOST = 600


@dataclass(frozen=True)
class Pooled:
    """The product of the parts' posteriors to these powers, scaled to sum 1."""

    parts: Sequence[Localizer]
    powers: Sequence[float]
    name: str = "pooled"

    @classmethod
    def fit(cls, parts: Sequence[Localizer], batcher: CropBatcher, crops: xr.Dataset, name: str = "pooled") -> Self:
        """Powers from crops of UEs that no part was trained on."""
        crops = crops.isel(sample=slice(None, None, -(-crops.sizes["sample"] // MOST)))
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
