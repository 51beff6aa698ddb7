"""Propagation without rays: free space, shadowing, and the path over the rooftops, the floor under ray-traced maps.

A city's rays reach a quarter to a third of its streets at an affordable number of samples; the others hear a station
over the roofs. Knife edges alone leave out the reflection of a street's far side; the model of COST 231
(Walfisch-Ikegami) is fitted to measurements in European cities at 0.8 to 2 GHz. It sees only the vertical profile
between station and cell, of which no raster cell is left out (:mod:`rfloc.simulation.profiles`).
"""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.constants import speed_of_light

from rfloc.arrays import Bools, Floats, Singles
from rfloc.city import Bounds, City
from rfloc.errors import SimulationError
from rfloc.simulation.profiles import LEAST_ROOF, profiles
from rfloc.stations import Stations

#: Lines that are walked together.
LINES = 1 << 20
#: Distance between rows of buildings, b, and range of street widths, w in the model [m].
SPACING, STREET_WIDTH = 40.0, (10.0, 60.0)


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


def rooftop_to_street_db(edge: ArrayLike, width: ArrayLike, carrier_hz: float) -> NDArray:
    """Loss from the last roof, `edge` above the UE, to a street of a `width` [m], L_rts [dB] (COST 231, section 4.4.1).

    The model's term for the street's direction, unknown to a profile, averages to 0.0 dB over all and is left out.
    """
    over = np.maximum(np.asarray(edge), 1.0)
    return -16.9 - 10 * np.log10(width) + 10 * np.log10(carrier_hz / 1e6) + 20 * np.log10(over)


def multiscreen_db(above: ArrayLike, roof: ArrayLike, distance: ArrayLike, carrier_hz: float) -> NDArray:
    """Loss over the rows of roofs before the last, L_msd [dB], not below 0 (COST 231 final report, section 4.4.1).

    The station stands `above` the mean `roof`, or below where negative, at a `distance` from the UE [m]; under 20 m of
    it the model's limit is taken.
    """
    above, km = np.asarray(above, float), np.maximum(np.asarray(distance, float), 20.0) / 1e3
    over = above > 0
    shielding = np.where(over, -18 * np.log10(1 + np.maximum(above, 0.0)), 0.0)
    k_a = np.where(over, 54.0, 54.0 - 0.8 * above * np.minimum(km / 0.5, 1.0))
    k_d = np.where(over, 18.0, 18.0 - 15.0 * above / np.maximum(roof, LEAST_ROOF))
    mhz = carrier_hz / 1e6
    k_f = -4.0 + 1.5 * (mhz / 925.0 - 1.0)  # metropolitan centres
    loss = shielding + k_a + k_d * np.log10(km) + k_f * np.log10(mhz) - 9 * np.log10(SPACING)
    return np.maximum(loss, 0.0)


def rooftop_gain(
    city: City, stations: Stations, x: NDArray, y: NDArray, carrier_hz: float, ue_height: float
) -> tuple[Singles, Bools]:
    """Path gain of the direct line at points x, y [m], (n,), and where it clears the height raster; (bs, n) each.

    Linear, isotropic antennas: free space where it is clear (there the tracer has the direct ray too, if its rays are
    dense enough to hit the cell), over the rooftops elsewhere. Streets are taken as level.
    """
    gain, clear = np.zeros((stations.n, x.size), np.float32), np.zeros((stations.n, x.size), bool)
    roofs, together = city.raster["height"].values, max(LINES // max(x.size, 1), 1)
    for some in (slice(k, k + together) for k in range(0, stations.n, together)):
        at_x, at_y, h = (v[some, None] for v in (stations.x, stations.y, stations.h))
        profile = profiles(roofs, city.grid, (at_x, at_y, h), (x, y, ue_height))
        total = np.maximum(np.hypot(x - at_x, y - at_y), 1.0)
        street = rooftop_to_street_db(
            profile.edge - ue_height, np.clip(2 * profile.beyond * total, *STREET_WIDTH), carrier_hz
        )
        loss = street + multiscreen_db(h - profile.roof, profile.roof, total, carrier_hz)
        clear[some] = profile.hidden <= 0
        blocked = np.where(clear[some], 0.0, np.maximum(loss, 0.0))
        gain[some] = free_space_gain(np.hypot(total, h - ue_height), carrier_hz) * 10 ** (-blocked / 10)
    return gain, clear
