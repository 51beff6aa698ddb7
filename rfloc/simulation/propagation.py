"""Free space and shadowing: what needs no geometry."""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.constants import speed_of_light

from rfloc.arrays import Floats
from rfloc.city import Bounds
from rfloc.errors import SimulationError


def free_space_gain(distance: ArrayLike, carrier_hz: float) -> Floats:
    """Friis path gain between isotropic antennas `distance` [m] apart, linear."""
    return (speed_of_light / carrier_hz / (4 * np.pi * np.asarray(distance, float))) ** 2


def not_above_sent(gain: NDArray[Any], most: float = 1.0) -> NDArray[Any]:
    """Path gain as it is; SimulationError where it is over `most`, the gains of both antennas: more than was sent."""
    if over := np.count_nonzero(gain > most):
        raise SimulationError(
            f"{over} links receive up to {10 * np.log10(gain.max() / most):.1f} dB more than their station sends",
            "a UE stands within a wavelength of the antenna, where the far field's formulas fail",
            "move the station or its height away from the UEs",
        )
    return gain


def correlated_shadowing(
    x: ArrayLike, y: ArrayLike, sd: float, distance: float, rng: Generator, n: int = 1, bounds: Bounds | None = None
) -> Floats:
    """Gaussian shadowing fields with exponential correlation exp(-d / distance) (Gudmundson 1991), at points.

    Drawn on a grid of an eighth of `distance` by circulant embedding (Dietrich and Newsam 1997), on a torus wide enough
    that its far side is uncorrelated; a point takes the value of its cell. Shadowing [dB] at x, y [m], (ue, n), of mean
    0 and standard deviation `sd`, for `n` independent fields, one a station, each by a stream spawned from `rng`, drawn
    in `bounds` [m], so that they do not depend on the points, or in the points' box.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if sd == 0 or x.size == 0:
        return np.zeros((x.size, n))
    cell = distance / 8
    box = bounds or (x.min(), y.min(), x.max(), y.max())
    j, i = (((v - low) // cell).astype(int) for v, low in ((x, box[0]), (y, box[1])))
    nx, ny = (int((box[k + 2] - box[k]) // cell) + 1 + int(np.ceil(6 * distance / cell)) for k in (0, 1))
    lag_y, lag_x = (np.minimum(np.arange(m), m - np.arange(m)) * cell for m in (ny, nx))
    correlation = np.exp(-np.hypot(lag_y[:, None], lag_x[None]) / distance)
    spectrum = np.maximum(np.fft.fft2(correlation).real, 0.0)
    spectrum *= ny * nx / spectrum.sum()  # clipping the few negative values must not change the variance
    fields = np.empty((x.size, n))
    for k, stream in enumerate(rng.spawn(n)):
        noise = stream.standard_normal((2, ny, nx))
        fields[:, k] = np.fft.fft2(np.sqrt(spectrum / (ny * nx)) * (noise[0] + 1j * noise[1])).real[i, j]
    return sd * fields
