"""What straight lines meet on the height raster: every cell that a line crosses, however thin a wall is.

The traversal is Amanatides and Woo's (1987), compiled by Dr.Jit for all lines together; points along a line step over
whatever is thinner than they lie apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.backend import prepare
from rfloc.city import City
from rfloc.frames import Grid
from rfloc.stations import Stations

Array = NDArray[np.float64]

#: Lower things are no roofs [m].
LEAST_ROOF = 3.0


class Profile(NamedTuple):
    """What lines from an antenna to a UE cross; the cell that the UE stands in counts for `covered` alone."""

    covered: Array  #: share of the line that lies under roofs
    hidden: Array  #: the same without that cell; 0 where the line of sight is clear
    edge: Array  #: height of the roof whose far edge is the UE's horizon [m]
    beyond: Array  #: share of the line between that edge and the UE
    roof: Array  #: mean of what is over `LEAST_ROOF` along the line [m], 0 where nothing is


def profiles(top: NDArray[Any], grid: Grid, start: tuple[ArrayLike, ...], end: tuple[ArrayLike, ...]) -> Profile:
    """Walk lines from x, y, z [m] of antennas, `start`, to those of UEs, `end`, over roofs `top` [m], (ny, nx).

    Both ends are broadcast, and profiles have their shape. Past the edge of the raster nothing is built.
    """
    prepare()
    import drjit as dr
    import mitsuba as mi

    lines = np.broadcast_arrays(*(v for x, y, z in (start, end) for v in (*grid.to_pixel(x, y), np.asarray(z, float))))
    shape = lines[0].shape
    if lines[0].size == 0:
        return Profile(*np.zeros((5, *shape)))
    y0, x0, z0, y1, x1, z1 = (mi.Float64(np.ravel(v)) for v in lines)
    roofs, rows, columns = mi.Float(np.ravel(top)), dr.opaque(mi.Int, grid.ny), dr.opaque(mi.Int, grid.nx)

    def ahead(cell: Any, first: Any, length: Any) -> Any:
        """Share of the line at which it leaves a row or column."""
        return dr.select(length == 0, dr.inf, (mi.Float64(cell + dr.select(length > 0, 1, 0)) - first) / length)

    def step(row: Any, column: Any, at: Any, covered: Any, hidden: Any, slope: Any, edge: Any, beyond: Any, built: Any,
             volume: Any) -> tuple[Any, ...]:  # fmt: skip
        by_row, by_column = ahead(row, y0, y1 - y0), ahead(column, x0, x1 - x0)
        to = dr.clip(dr.minimum(by_row, by_column), at, 1.0)
        there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        height = mi.Float64(dr.gather(mi.Float, roofs, mi.UInt(row * columns + column), there))
        height = dr.select(there, height, -dr.inf)
        length, passed = to - at, (to > at) & (to < 1)
        low = z0 + dr.select(z1 < z0, to, at) * (z1 - z0)
        part = length * dr.clip((height - low) / dr.maximum(dr.abs(length * (z1 - z0)), 1e-9), 0.0, 1.0)
        lean, roof = (height - z1) / (1 - to), passed & (height > LEAST_ROOF)
        steeper, turn = passed & (lean > slope), by_row < by_column
        return (
            row + dr.select(turn, dr.select(y1 > y0, 1, -1), 0),
            column + dr.select(turn, 0, dr.select(x1 > x0, 1, -1)),
            to,
            covered + part,
            hidden + dr.select(passed, part, 0.0),
            *(dr.select(steeper, new, old) for new, old in ((lean, slope), (height, edge), (1 - to, beyond))),
            built + dr.select(roof, length, 0.0),
            volume + dr.select(roof, length * height, 0.0),
        )

    none = dr.zeros(mi.Float64, dr.width(x0))
    state = mi.Int(dr.floor(y0)), mi.Int(dr.floor(x0)), none, none, none, none - dr.inf, none, none, none, none
    walked = dr.while_loop(state, lambda *state: state[2] < 1, step)
    covered, hidden, _, edge, beyond, built, volume = (np.array(v).reshape(shape) for v in walked[3:])
    return Profile(covered, hidden, edge, beyond, volume / np.where(built > 0, built, 1.0))


def obstructed_fraction(city: City, stations: Stations, x: ArrayLike, y: ArrayLike, ue_height: float) -> Array:
    """Share of each line from antenna to UEs at x, y [m], (ue, bs), that lies inside buildings, by roof heights.

    A station below the roof it stands on starts inside that building.
    """
    x, y, layers = np.asarray(x, float)[:, None], np.asarray(y, float)[:, None], city.raster
    top = np.where(layers["building"].values == 1, layers["height"].values + layers["ground"].values, -np.inf)
    antennas = stations.x, stations.y, city.ground_at(stations.x, stations.y) + stations.h
    return profiles(top, city.grid, antennas, (x, y, city.ground_at(x, y) + ue_height)).covered
