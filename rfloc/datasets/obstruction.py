"""How much of the direct line from a station to a UE lies inside buildings, off the city raster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

Line = Literal["direct", "footprint"]

#: Largest distance between two samples of a line [m].
STEP = 4.0
#: Lines are sampled at a multiple of this many points.
BATCH = 64
#: Samples held in memory at a time.
CHUNK = 2**18


def obstructed_fraction(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, ue_height: float, line: Line = "direct"
) -> NDArray[np.float64]:
    """Share of each line from station to UE that lies inside buildings.

    A line is sampled at the midpoints of equal parts, at most STEP apart, so that each wall is off by half a part at
    most. Memory is bounded by CHUNK whatever the number of links. Past the edge of the raster nothing is built.

    Parameters
    ----------
    stations : Stations
        Antennas at `h` above ground [m]. One below the roof it stands on starts inside that building:
        :meth:`Stations.above_roofs` lifts it out.
    x, y : array_like, shape (ue,)
        UE positions [m].
    ue_height : float
        Height of a UE above ground [m].
    line : {"direct", "footprint"}
        The line from antenna to UE against roof heights; or its plan against footprints, whatever their height.

    Returns
    -------
    ndarray, shape (ue, bs)
        In [0, 1], a multiple of 1 / (samples of the line).
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    fraction = np.zeros((x.size, stations.n))
    if fraction.size == 0:
        return fraction
    roof, row0, col0 = _roofs(city, np.append(x, stations.x), np.append(y, stations.y), line)
    (ue_row, ue_col), (bs_row, bs_col) = (
        ((row - row0).astype(np.float32), (col - col0).astype(np.float32))
        for row, col in (city.grid.to_pixel(x, y), city.grid.to_pixel(stations.x, stations.y))
    )
    ue_z = (city.ground_at(x, y) + ue_height).astype(np.float32)
    bs_z = (city.ground_at(stations.x, stations.y) + stations.h).astype(np.float32)
    length = np.hypot(x[:, None] - stations.x, y[:, None] - stations.y)  # (ue, bs)
    samples = BATCH * np.maximum(np.ceil(length / (BATCH * STEP)), 1).astype(int)
    flat, (height, width) = roof.ravel(), roof.shape
    for n in np.unique(samples):
        t = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n)
        ue, bs = np.nonzero(samples == n)
        size = max(CHUNK // n, 1)
        at, top, col, cell = (np.empty((size, n), kind) for kind in (np.float32, np.float32, np.int32, np.intp))
        for start in range(0, ue.size, size):
            u, b = ue[start : start + size], bs[start : start + size]
            at, top, col, cell = (buffer[: u.size] for buffer in (at, top, col, cell))
            _along(bs_row[b], ue_row[u], t, at, height - 1)
            np.copyto(col, at, casting="unsafe")
            np.multiply(col, width, out=cell)
            _along(bs_col[b], ue_col[u], t, at, width - 1)
            np.copyto(col, at, casting="unsafe")
            cell += col
            np.take(flat, cell, out=top, mode="clip")
            _along(bs_z[b], ue_z[u], t, at)
            fraction[u, b] = np.count_nonzero(top > at, axis=1) / n
    return fraction


def _along(
    start: NDArray[np.float32], end: NDArray[np.float32], t: NDArray[np.float32], out: NDArray[np.float32],
    last: float | None = None,
) -> None:  # fmt: skip
    """Write points of lines into `out`, shape (line, t); kept within [0, last] where `last` is given."""
    np.multiply((end - start)[:, None], t, out=out)
    out += start[:, None]
    if last is not None:
        np.maximum(out, np.float32(0), out=out)
        np.minimum(out, np.float32(last), out=out)


def _roofs(city: City, x: NDArray, y: NDArray, line: Line) -> tuple[NDArray[np.float32], int, int]:
    """z of the roofs [m] in the box of these points, -inf outdoors and in the frame of one cell round the box.

    Returns
    -------
    roofs : ndarray, shape (rows, columns)
    row, col : int
        Of the raster that its first row and column stand for.
    """
    row, col, _ = city.grid.index(x, y)
    rows, cols = slice(row.min(), row.max() + 1), slice(col.min(), col.max() + 1)
    layers = city.raster.isel(y=rows, x=cols)
    height = layers["height"].values
    top = np.float32(np.inf) if line == "footprint" else height + layers["ground"].values
    roofs = np.pad(
        np.where(layers["building"].values == 1, top, -np.inf).astype(np.float32), 1, constant_values=-np.inf
    )
    return roofs, int(rows.start) - 1, int(cols.start) - 1
