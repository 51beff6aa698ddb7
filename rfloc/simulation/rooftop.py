"""The path over the rooftops, off the height raster: the floor under ray-traced maps (COST 231 Walfisch-Ikegami).

A city's rays reach a quarter to a third of its streets at an affordable number of samples; the others hear a station
over the roofs. Knife edges alone leave out the reflection of a street's far side; COST 231's model is fitted to
measurements in European cities at 0.8 to 2 GHz. It sees only the vertical profile between station and cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.simulation.propagation import free_space_gain

if TYPE_CHECKING:
    from rfloc.city import City
    from rfloc.stations import Stations

#: Points of a profile, denser towards both ends, where the edges that matter lie; points at a time.
PROFILE_POINTS, STEP = 96, 4096
#: Roofs nearer to a UE than this are its own cell's rounding, not an edge; lower profile points are no roofs [m].
CLEARANCE, LEAST_ROOF = 1.0, 3.0
#: Distance between rows of buildings, b, and range of street widths, w in the model [m].
SPACING, STREET_WIDTH = 40.0, (10.0, 60.0)


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


def walfisch_ikegami_db(
    distance: NDArray, roofs: NDArray, total: NDArray, h_tx: ArrayLike, h_rx: ArrayLike, carrier_hz: float
) -> NDArray:
    """Loss over free space of blocked profiles [dB]; NaN where the line of sight is clear.

    A profile, (..., k): `roofs` above the street, at a `distance` from the transmitter; the receiver's is `total`,
    (...), the antennas' heights above the street `h_tx` and `h_rx` [m].
    """
    h_tx, h_rx = np.asarray(h_tx, float), np.asarray(h_rx, float)
    blocked = ((roofs - h_tx[..., None]) / distance).max(-1) > (h_rx - h_tx) / total
    rest = total[..., None] - distance
    last = ((roofs - h_rx[..., None]) / rest).argmax(-1)[..., None]  # the UE's horizon
    edge = np.take_along_axis(roofs, last, -1)[..., 0] - h_rx
    width = np.clip(2 * np.take_along_axis(rest, last, -1)[..., 0], *STREET_WIDTH)
    built = roofs > LEAST_ROOF
    mean = np.where(built, roofs, 0.0).sum(-1) / np.maximum(built.sum(-1), 1)
    loss = rooftop_to_street_db(edge, width, carrier_hz) + multiscreen_db(h_tx - mean, mean, total, carrier_hz)
    return np.where(blocked, np.maximum(loss, 0.0), np.nan)


def rooftop_gain(
    city: City, stations: Stations, x: NDArray, y: NDArray, carrier_hz: float, ue_height: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Path gain of the direct line at points x, y [m], (n,), and where it clears the height raster; (bs, n) each.

    Linear, isotropic antennas: free space where it is clear (there the tracer has the direct ray too, if its rays are
    dense enough to hit the cell), over the rooftops elsewhere. Streets are taken as level.
    """
    gain, clear = np.zeros((stations.n, x.size), np.float32), np.zeros((stations.n, x.size), bool)
    grid, roofs = city.grid, city.raster["height"].values.astype(np.float32, copy=False)
    t = ((1 - np.cos(np.pi * np.arange(1, PROFILE_POINTS) / PROFILE_POINTS)) / 2).astype(np.float32)
    for k, (x0, y0, h) in enumerate(zip(stations.x, stations.y, stations.h.astype(np.float32), strict=True)):
        col0, row0 = np.float32((x0 - grid.x0) / grid.cell), np.float32((y0 - grid.y0) / grid.cell)
        for start in range(0, x.size, STEP):
            part = slice(start, start + STEP)
            dx, dy = (x[part] - x0).astype(np.float32), (y[part] - y0).astype(np.float32)
            total = np.maximum(np.hypot(dx, dy), np.float32(1.0))
            row = (row0 + (dy / grid.cell)[:, None] * t).astype(np.int32)
            col = (col0 + (dx / grid.cell)[:, None] * t).astype(np.int32)
            height = roofs[np.clip(row, 0, grid.ny - 1), np.clip(col, 0, grid.nx - 1)]
            distance = total[:, None] * t
            height[total[:, None] - distance < CLEARANCE] = 0.0
            loss = walfisch_ikegami_db(distance, height, total, h, ue_height, carrier_hz)
            free = free_space_gain(np.hypot(total, h - ue_height), carrier_hz)
            gain[k, part] = free * 10 ** (-np.nan_to_num(loss) / 10)
            clear[k, part] = np.isnan(loss)
    return gain, clear
