"""Diffraction over the rooftops, off the height raster: the floor under ray-traced maps (ITU-R P.526).

A city's rays reach a quarter to a third of its streets at an affordable number of samples; the others hear a station
over the roofs. This model sees only the vertical profile between station and cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.constants import speed_of_light

if TYPE_CHECKING:
    from rfloc.city import City
    from rfloc.simulation.stations import Stations

#: Points of a profile, denser towards both ends, where the edges that matter lie.
PROFILE_POINTS = 96

#: Roofs nearer to a UE than this are its own cell's rounding, not an edge [m].
CLEARANCE = 1.0


def knife_edge_loss_db(nu: ArrayLike) -> NDArray:
    """Loss J(nu) of a single knife edge [dB] (ITU-R P.526-15, equation 31): 0 below nu = -0.78, 6.0 at grazing."""
    v = np.maximum(np.asarray(nu), -0.78) - 0.1
    return np.maximum(6.9 + 20 * np.log10(np.sqrt(v**2 + 1) + v), 0.0)


def bullington_loss_db(
    distance: NDArray, height: NDArray, total: NDArray, h_tx: ArrayLike, h_rx: ArrayLike, wavelength: float
) -> NDArray:
    """Diffraction loss of blocked profiles by Bullington's construction (ITU-R P.526-15, section 4.5.1) [dB].

    Parameters
    ----------
    distance, height : ndarray, shape (..., k)
        Profile points: distance from the transmitter [m], height [m].
    total : ndarray, shape (...)
        Distance from transmitter to receiver [m].
    h_tx, h_rx : array_like, broadcastable to (...)
        Antenna heights [m].
    wavelength : float
        Wavelength [m].

    Returns
    -------
    ndarray, shape (...)
        Loss over free space [dB]; NaN where the line of sight is clear. The curvature of the earth is left out.
    """
    h_tx, h_rx = np.asarray(h_tx), np.asarray(h_rx)
    up = ((height - h_tx[..., None]) / distance).max(-1)  # slope from the transmitter to its horizon
    down = ((height - h_rx[..., None]) / (total[..., None] - distance)).max(-1)
    blocked = up > (h_rx - h_tx) / total
    slopes = np.where(blocked, up + down, 1.0)
    d1 = np.clip((h_rx - h_tx + down * total) / slopes, 1e-3 * total, 0.999 * total)
    d2 = total - d1
    above = h_tx + up * d1 - (h_tx * d2 + h_rx * d1) / total
    loss = knife_edge_loss_db(above * np.sqrt(2 * total / (wavelength * d1 * d2)))
    loss = loss + (1 - np.exp(-loss / 6)) * (10 + 0.02e-3 * total)
    return np.where(blocked, loss, np.nan)


def rooftop_maps(
    city: City, stations: Stations, x: NDArray, y: NDArray, where: NDArray, carrier_hz: float, ue_height: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Path gain of the direct line, in sight or over the rooftops, at outdoor points.

    Parameters
    ----------
    x, y : ndarray, shape (ny, nx)
        Positions [m].
    where : ndarray of bool, shape (ny, nx)
        Positions that are wanted; the others stay 0.

    Returns
    -------
    gain : ndarray, shape (bs, ny, nx)
        Linear, isotropic antennas: free space where the line of sight over the height raster is clear, diffracted
        elsewhere.
    clear : ndarray of bool, shape (bs, ny, nx)
        Where it is clear. There the tracer has the direct ray too, wherever its rays are dense enough to hit the cell.
    """
    wavelength = speed_of_light / carrier_hz
    roofs = (city.raster["height"].values + city.raster["ground"].values).astype(np.float32)
    t = ((1 - np.cos(np.pi * np.arange(1, PROFILE_POINTS) / PROFILE_POINTS)) / 2).astype(np.float32)
    gain = np.zeros((stations.n, *np.shape(x)), np.float32)
    clear = np.zeros(gain.shape, bool)
    i, j = np.nonzero(where)
    px, py = x[i, j], y[i, j]
    h_rx = (city.ground_at(px, py) + ue_height).astype(np.float32)
    for k in range(stations.n):
        h_tx = np.float32(city.ground_at(stations.x[k], stations.y[k]) + stations.h[k])
        col0, row0 = (stations.x[k] - city.grid.x0) / city.grid.cell, (stations.y[k] - city.grid.y0) / city.grid.cell
        for start in range(0, px.size, 4096):
            part = slice(start, start + 4096)
            dx, dy = (px[part] - stations.x[k]).astype(np.float32), (py[part] - stations.y[k]).astype(np.float32)
            total = np.maximum(np.hypot(dx, dy), np.float32(1.0))
            row = (np.float32(row0) + (dy / city.grid.cell)[:, None] * t).astype(np.int32)
            col = (np.float32(col0) + (dx / city.grid.cell)[:, None] * t).astype(np.int32)
            height = roofs[np.clip(row, 0, city.grid.ny - 1), np.clip(col, 0, city.grid.nx - 1)]
            distance = total[:, None] * t
            height[total[:, None] - distance < CLEARANCE] = h_rx.min()
            loss = bullington_loss_db(distance, height, total, h_tx, h_rx[part], wavelength)
            free = (wavelength / (4 * np.pi * np.hypot(total, h_tx - h_rx[part]))) ** 2
            gain[k, i[part], j[part]] = free * 10 ** (-np.nan_to_num(loss) / 10)
            clear[k, i[part], j[part]] = np.isnan(loss)
    return gain, clear
