"""How much of the direct line from a station to a UE lies inside buildings, off the city raster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

Singles = NDArray[np.float32]

#: Largest distance between two samples of a line [m].
STEP = 4.0
#: Lines are sampled at a multiple of this many points.
BATCH = 64
#: Samples held in memory at a time.
CHUNK = 2**18


def obstructed_fraction(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, ue_height: float
) -> NDArray[np.float64]:
    """Share of each line from antenna to UE that lies inside buildings, by roof heights.

    A line is sampled at the midpoints of equal parts, at most STEP apart: each wall is off by half a part at most. Past
    the edge of the raster nothing is built.

    Parameters
    ----------
    stations : Stations
        One below the roof it stands on starts inside that building.
    x, y : array_like, shape (ue,)
        UE positions [m], `ue_height` above ground.

    Returns
    -------
    ndarray, shape (ue, bs)
        In [0, 1], a multiple of 1 / (samples of the line).
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    fraction = np.zeros((x.size, stations.n))
    if fraction.size == 0:
        return fraction
    roof, row0, col0 = _roofs(city, np.append(x, stations.x), np.append(y, stations.y))
    ends = []
    for at_x, at_y, h in ((stations.x, stations.y, stations.h), (x, y, ue_height)):
        row, col = city.grid.to_pixel(at_x, at_y)
        ends.append([v.astype(np.float32) for v in (row - row0, col - col0, city.ground_at(at_x, at_y) + h)])
    (bs_row, bs_col, bs_z), (ue_row, ue_col, ue_z) = ends
    length = np.hypot(x[:, None] - stations.x, y[:, None] - stations.y)  # (ue, bs)
    samples = BATCH * np.maximum(np.ceil(length / (BATCH * STEP)), 1).astype(int)
    for n in np.unique(samples):
        t = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n)
        ue, bs = np.nonzero(samples == n)
        size = max(CHUNK // n, 1)
        for start in range(0, ue.size, size):
            u, b = ue[start : start + size], bs[start : start + size]
            along_row, along_col, along_z = (
                (to - of)[:, None] * t + of[:, None]
                for of, to in ((bs_row[b], ue_row[u]), (bs_col[b], ue_col[u]), (bs_z[b], ue_z[u]))
            )
            i, j = (
                np.clip(v, 0, m - 1).astype(np.int32) for v, m in zip((along_row, along_col), roof.shape, strict=True)
            )
            fraction[u, b] = np.count_nonzero(roof[i, j] > along_z, axis=1) / n
    return fraction


def _roofs(city: City, x: NDArray, y: NDArray) -> tuple[Singles, int, int]:
    """z of roofs [m] in the box of these points, -inf outdoors and a cell round it, and its first row and column."""
    row, col, _ = city.grid.index(x, y)
    rows, cols = slice(row.min(), row.max() + 1), slice(col.min(), col.max() + 1)
    layers = city.raster.isel(y=rows, x=cols)
    top = np.where(layers["building"].values == 1, layers["height"].values + layers["ground"].values, -np.inf)
    return np.pad(top.astype(np.float32), 1, constant_values=-np.inf), int(rows.start) - 1, int(cols.start) - 1
