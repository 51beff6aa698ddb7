"""What traced candidates say about untraced ones: a Gaussian process over position and height."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import softmax
from scipy.stats import norm

Floats = NDArray[np.float64]

#: Candidates whose log-evidence lies further below the best count as so far below: they are out either way.
DEEP = 30.0
#: Ranges of the length scales of position and height [m], of the standard deviation of what rays add to the direct
#: line, and of a trace's noise [nat].
POSITION_SCALE, HEIGHT_SCALE, ADDED, NOISE = (10.0, 150.0), (8.0, 120.0), (0.3, 15.0), (0.1, 5.0)
#: A candidate stands for the volume of a ball that reaches to so many neighbours.
NEIGHBOURS = 8


@dataclass(frozen=True)
class Surrogate:
    """Log-evidence = a + b * that of the direct line + a Gaussian process, fitted to traced candidates."""

    mean: Floats  #: (candidate,)
    sd: Floats  #: (candidate,), of the process, a trace's noise left out

    def expected_improvement(self, best: float) -> Floats:
        """Expected improvement over `best`, (candidate,)."""
        z = (self.mean - best) / self.sd
        return np.asarray(self.sd * (z * norm.cdf(z) + norm.pdf(z)))

    def weights(self, points: Floats) -> Floats:
        """Posterior weights, (candidate,): exp(mean) times the volume that each stands for, as clouds overlap."""
        near = min(NEIGHBOURS, len(points) - 1)
        volume = 3 * np.log(np.maximum(cKDTree(points).query(points, k=near + 1)[0][:, -1], 0.1))
        return np.asarray(softmax(self.mean + volume))


def surrogate(points: Floats, cheap: Floats, traced: NDArray[np.intp], evidence: Floats, seed: int) -> Surrogate:
    """Fit to the candidates that were traced, at least two, and their log-evidence (traced,), and predict all.

    `points` are x, y, h [m], (candidate, 3); `cheap` is their log-evidence by the direct line alone, (candidate,).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    cheap, value = (np.maximum(told, told.max() - DEEP) for told in (cheap, evidence))
    spread = cheap[traced] - cheap[traced].mean()
    slope = float(np.clip(spread @ (value - value.mean()) / (spread @ spread + 1.0), 0.0, 1.0))
    centre = float((value - slope * cheap[traced]).mean())
    rest = value - centre - slope * cheap[traced]
    low, high = (sd**2 for sd in ADDED)
    scales = RBF([25.0, 25.0, 25.0], [POSITION_SCALE, POSITION_SCALE, HEIGHT_SCALE])
    noise = WhiteKernel(1.0, (NOISE[0] ** 2, NOISE[1] ** 2))
    kernel = ConstantKernel(np.clip(rest.var(), low, high), (low, high)) * scales + noise
    process = GaussianProcessRegressor(kernel, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound says that data do not tell it
        process.fit(points[traced], rest)
    mean, sd = process.predict(points, return_std=True)
    return Surrogate(centre + slope * cheap + mean, np.sqrt(np.maximum(sd**2 - process.kernel_.k2.noise_level, 1e-6)))
