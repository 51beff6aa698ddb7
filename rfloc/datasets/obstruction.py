"""How much of the direct line from a station to a UE lies inside buildings, off the city raster."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.city import City
from rfloc.stations import Stations

#: Largest distance between two samples of a line [m]; of these a line has a multiple of BATCH, and CHUNK are in memory.
STEP, BATCH, CHUNK = 4.0, 64, 2**18


def obstructed_fraction(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, ue_height: float
) -> NDArray[np.float64]:
    """Share of each line from antenna to UEs at x, y [m], (ue, bs), that lies inside buildings, by roof heights.

    A line is sampled at the midpoints of equal parts, at most STEP apart: each wall is off by half a part at most. Past
    the edge of the raster nothing is built. A station below the roof it stands on starts inside that building.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    fraction = np.zeros((x.size, stations.n))
    if fraction.size == 0:
        return fraction
    row, col, _ = city.grid.index(np.append(x, stations.x), np.append(y, stations.y))
    row0, col0 = int(row.min()), int(col.min())
    layers = city.raster.isel(y=slice(row0, row.max() + 1), x=slice(col0, col.max() + 1))
    top = np.where(layers["building"].values == 1, layers["height"].values + layers["ground"].values, -np.inf)
    roof = np.pad(top.astype(np.float32), 1, constant_values=-np.inf)  # nothing is built in the cells round it
    ends = []
    for at_x, at_y, h in ((stations.x, stations.y, stations.h), (x, y, ue_height)):
        i, j = city.grid.to_pixel(at_x, at_y)
        ends.append([v.astype(np.float32) for v in (i - (row0 - 1), j - (col0 - 1), city.ground_at(at_x, at_y) + h)])
    length = np.hypot(x[:, None] - stations.x, y[:, None] - stations.y)  # (ue, bs)
    samples = BATCH * np.maximum(np.ceil(length / (BATCH * STEP)), 1).astype(int)
    for n in np.unique(samples):
        t = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n)
        ue, bs = np.nonzero(samples == n)
        size = max(CHUNK // n, 1)
        for start in range(0, ue.size, size):
            u, b = ue[start : start + size], bs[start : start + size]
            i, j, z = ((to[u] - of[b])[:, None] * t + of[b][:, None] for of, to in zip(*ends, strict=True))
            i, j = (np.clip(v, 0, m - 1).astype(np.int32) for v, m in zip((i, j), roof.shape, strict=True))
            fraction[u, b] = np.count_nonzero(roof[i, j] > z, axis=1) / n
    return fraction
