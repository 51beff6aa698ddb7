"""The spatial covariance of what a model of levels leaves: correlated shadowing and noise, by the largest likelihood.

sd^2 exp(-distance / length) (Gudmundson 1991) plus noise, of means over squares of SQUARE metres. Of the noise's
variance a quarter comes on top for each square: what its measurements have in common below the length of the process.
"""

from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from rfloc.arrays import Floats

#: Edges of squares and of tiles [m], and how many tiles the likelihood is taken of.
SQUARE, TILE, TILES = 50.0, 300.0, 60
#: Share of the noise's variance that the measurements of a square have in common.
COMMON = 0.25


class Means(NamedTuple):
    """Residuals of one station, averaged over squares."""

    at: Floats  #: (n, 2) positions [m]
    mean: Floats  #: (n,) [dB]
    ues: Floats  #: (n,) measurements

    @classmethod
    def of(cls, x: Floats, y: Floats, residual: Floats, square: float = SQUARE) -> Self:
        """Of residuals at x, y [m], each (ue,), NaN where nothing was measured, over squares of that edge [m]."""
        known = np.isfinite(residual)
        at = np.column_stack([x, y])[known]
        _, index, count = np.unique(np.floor(at / square), axis=0, return_inverse=True, return_counts=True)
        x, y, mean = (np.bincount(index.ravel(), v, len(count)) / count for v in (*at.T, residual[known]))
        return cls(np.column_stack([x, y]), mean, count.astype(float))


class Shadowing(NamedTuple):
    """The covariance's numbers, the same for all stations."""

    sd: float  #: of the correlated part [dB]
    length: float  #: over which it decorrelates to 1/e [m]
    noise: float  #: of a single measurement [dB], its square's common part left out

    def covariance(self, gap: Floats, count: Floats) -> Floats:
        """Of means of `count` measurements (..., n), `gap` metres (..., n, n) apart, (..., n, n) [dB^2]."""
        own = self.noise**2 * (COMMON + 1 / count)
        return self.sd**2 * np.exp(-gap / self.length) + own[..., None] * np.eye(count.shape[-1])

    def kriged(self, means: Means, x: Floats, y: Floats) -> Floats:
        """The correlated part at x, y [m], (ue,) [dB], expected from means (Rasmussen and Williams 2006, ch. 2)."""
        pull = np.linalg.solve(self.covariance(cdist(means.at, means.at), means.ues), means.mean)
        return self.sd**2 * np.exp(-cdist(np.column_stack([x, y]), means.at) / self.length) @ pull


#: What residuals in cities are like.
TYPICAL = Shadowing(sd=5.0, length=80.0, noise=3.0)


def likeliest_shadowing(stations: list[Means], start: Shadowing = TYPICAL) -> Shadowing:
    """The likeliest for the TILES fullest tiles, taken as independent (Caragea, Smith 2007), sought from `start`."""
    tiles: list[Means] = []
    for means in stations:
        tile = np.unique(np.floor(means.at / TILE), axis=0, return_inverse=True)[1].ravel()
        tiles += [Means(*(v[tile == k] for v in means)) for k in range(tile.max(initial=-1) + 1)]
    tiles = sorted(tiles, key=lambda tile: -len(tile.mean))[:TILES]
    shape = len(tiles), max((len(tile.mean) for tile in tiles), default=0)
    gap, mean, count = np.full((*shape, shape[1]), np.inf), np.zeros(shape), np.zeros(shape)
    for k, full in enumerate(tiles):  # past its last square, a tile has zeros of variance 1, which tell nothing
        n = len(full.mean)
        gap[k, :n, :n], mean[k, :n], count[k, :n] = cdist(full.at, full.at), full.mean, full.ues
    empty = np.eye(shape[1], dtype=bool) & (count == 0)[:, None]

    def loss(log: Floats) -> float:
        covariance = np.where(empty, 1.0, Shadowing(*np.exp(log)).covariance(gap, np.maximum(count, 1.0)))
        root = np.linalg.cholesky(covariance)
        misfit = np.linalg.solve(covariance, mean[..., None])[..., 0]
        return float(0.5 * (mean * misfit).sum() + np.log(np.diagonal(root, axis1=1, axis2=2)).sum())

    bounds = [(np.log(0.1), np.log(20.0)), (np.log(10.0), np.log(500.0)), (np.log(0.5), np.log(20.0))]
    found = minimize(loss, np.log(start), method="L-BFGS-B", bounds=bounds, options={"maxiter": 20})
    return Shadowing(*(float(v) for v in np.exp(found.x)))
