"""Diffraction over several roofs, off the height raster: cascaded knife edges (ITU-R P.526-11, section 4.5).

The tracer diffracts once at most, so nothing comes over a row of roofs. Here the profile between station and UE is a
row of knife edges: the principal one and one more to each side of it (Deygout 1966), with the recommendation's
correction. It sees only the vertical profile, no street's far side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.constants import speed_of_light

from rfloc.simulation.rooftop import LEAST_ROOF, roof_profiles

if TYPE_CHECKING:
    from rfloc.city import City
    from rfloc.stations import Stations

Array = NDArray[np.float64]

#: Below this parameter a knife edge costs nothing (ITU-R P.526-11, eq. 31).
CLEAR_V = -0.78


def knife_edge_db(v: ArrayLike) -> Array:
    """Loss J(v) of a single knife edge [dB], 6.02 where it grazes the line (ITU-R P.526-11, eq. 31).

    Parameters
    ----------
    v : array_like
        Fresnel-Kirchhoff parameter; J is 0 below CLEAR_V.
    """
    at = np.maximum(np.asarray(v, float), CLEAR_V)
    loss = 6.9 + 20 * np.log10(np.sqrt((at - 0.1) ** 2 + 1) + at - 0.1)
    return np.where(at > CLEAR_V, np.maximum(loss, 0.0), 0.0)


def edge_parameter(height: ArrayLike, before: ArrayLike, after: ArrayLike, carrier_hz: float) -> Array:
    """Fresnel-Kirchhoff parameter v of an edge (ITU-R P.526-11, eq. 26).

    Parameters
    ----------
    height : array_like
        Of the edge above the line between its two ends, negative below it [m].
    before, after : array_like
        Distances from the edge to the two ends [m].
    """
    before, after = np.asarray(before, float), np.asarray(after, float)
    return np.asarray(height, float) * np.sqrt(2 * carrier_hz / speed_of_light * (1 / before + 1 / after))


def cascaded_edges_db(
    distance: NDArray, roofs: NDArray, total: NDArray, h_tx: ArrayLike, h_rx: ArrayLike, carrier_hz: float
) -> Array:
    """Loss of profiles over free space [dB] by up to three knife edges (ITU-R P.526-11, section 4.5.2).

    The principal edge has the largest v between the antennas; the edges to either side have it between an antenna and
    the principal edge, whose own building, a plateau in the profile, is left out. L = J(v_p) + T (J(v_t) + J(v_r) + C),
    T = 1 - exp(-J(v_p) / 6), C = 10 + 0.04 D [km], and L = 0 where v_p < -0.78. As C is meant for terrain, where it
    stands for more edges, it is added only where one side has an edge.

    Parameters
    ----------
    distance, roofs : ndarray, shape (n, k)
        Profile points: distance from the transmitter [m], height above the street [m]; those under LEAST_ROOF are none.
    total : ndarray, shape (n,)
        Distance from transmitter to receiver [m].
    h_tx, h_rx : array_like, broadcastable to (n,)
        Antenna heights above the street [m].
    """
    distance, roofs, total = (np.asarray(a, float) for a in (distance, roofs, total))
    h_tx, h_rx = (np.broadcast_to(np.asarray(h, float), total.shape)[:, None] for h in (h_tx, h_rx))
    built, end, zero = roofs > LEAST_ROOF, total[:, None], np.zeros_like(total)[:, None]

    def principal(
        start: Array, h_start: Array, stop: Array, h_stop: Array, among: NDArray[np.bool_]
    ) -> tuple[Array, NDArray[np.intp]]:
        """Largest v among some of the points between two ends, -inf where there is none, and where it is."""
        among = among & (distance > start) & (distance < stop)
        before, after = (np.where(among, gap, 1.0) for gap in (distance - start, stop - distance))
        line = h_start + (h_stop - h_start) * before / (before + after)
        v = np.where(among, edge_parameter(roofs - line, before, after, carrier_hz), -np.inf)
        at = v.argmax(-1)[:, None]
        return np.take_along_axis(v, at, -1)[:, 0], at

    v_p, at = principal(zero, h_tx, end, h_rx, built)
    d_p, h_p = np.take_along_axis(distance, at, -1), np.take_along_axis(roofs, at, -1)
    walls = np.cumsum(np.diff(built, axis=-1, prepend=False), axis=-1)  # the same within a building
    other = built & (walls != np.take_along_axis(walls, at, -1))
    v_t, _ = principal(zero, h_tx, d_p, h_p, other)
    v_r, _ = principal(d_p, h_p, end, h_rx, other)
    main, sides = knife_edge_db(v_p), knife_edge_db(v_t) + knife_edge_db(v_r)
    correction = np.where(sides > 0, 10.0 + 0.04 * total / 1e3, 0.0)
    return main + (1 - np.exp(-main / 6.0)) * (sides + correction)


def diffraction_db(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, carrier_hz: float, ue_height: float
) -> Array:
    """Loss over free space of the profile from every station to every UE [dB], shape (ue, bs); streets are level.

    Parameters
    ----------
    x, y : array_like, shape (ue,)
        UE positions [m].
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    loss = np.zeros((x.size, stations.n))
    for k, part, distance, roofs, total in roof_profiles(city, stations, x, y):
        loss[part, k] = cascaded_edges_db(distance, roofs, total, stations.h[k], ue_height, carrier_hz)
    return loss
