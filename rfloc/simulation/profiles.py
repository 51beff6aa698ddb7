"""What straight lines meet on the height raster: every cell that a line crosses, however thin a wall is.

The traversal is Amanatides and Woo's (1987), compiled by Dr.Jit for all lines together; points along a line step over
whatever is thinner than they lie apart.
"""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.arrays import Floats
from rfloc.backend import prepare
from rfloc.city import City
from rfloc.files import digest
from rfloc.frames import Grid
from rfloc.stations import Stations

#: Lower things are no roofs [m].
LEAST_ROOF = 3.0
#: Answers of :func:`obstructed_fraction`, by what was asked, with the raster that was: folds ask for the same lines.
_answered: dict[tuple[int, str], tuple[xr.Dataset, Floats]] = {}
MOST_ANSWERS = 64


class Profile(NamedTuple):
    """What lines from an antenna to a UE cross; the cell that the UE stands in counts for `covered` alone."""

    covered: Floats  #: share of the line that lies under roofs
    hidden: Floats  #: the same without that cell; 0 where the line of sight is clear
    edge: Floats  #: height of the roof whose far edge is the UE's horizon [m]
    beyond: Floats  #: share of the line between that edge and the UE
    roof: Floats  #: mean of what is over `LEAST_ROOF` along the line [m], 0 where nothing is


def profiles(top: NDArray[Any], grid: Grid, start: tuple[ArrayLike, ...], end: tuple[ArrayLike, ...]) -> Profile:
    """Walk lines from x, y, z [m] of antennas, `start`, to those of UEs, `end`, over roofs `top` [m], (ny, nx).

    Both ends are broadcast, and profiles have their shape. Past the edge of the raster nothing is built.
    """
    prepare()
    import drjit as dr
    import mitsuba as mi

    lines = np.broadcast_arrays(*(v for x, y, z in (start, end) for v in (*grid.to_pixel(x, y), np.asarray(z, float))))
    if lines[0].size == 0:
        return Profile(*np.zeros((5, *lines[0].shape)))
    first = [np.floor(v) for v in lines[:2]]
    row, column = (mi.Int(np.ravel(v).astype(np.int32)) for v in first)
    y, x, z, dy, dx, dz = (mi.Float(np.ravel(v)) for v in (  # in single precision, and so from the first cell
        lines[0] - first[0], lines[1] - first[1], lines[2], *(lines[k + 3] - lines[k] for k in range(3))))  # fmt: skip
    roofs, rows, columns = mi.Float(np.ravel(top)), dr.opaque(mi.UInt, grid.ny), dr.opaque(mi.UInt, grid.nx)
    slope = 1 / dr.select(dr.abs(dz) < 1e-6, -1e-6, dz)

    def borders(d: Any, at: Any) -> tuple[Any, Any, Any]:
        """Which way cells are numbered along the line, and the shares of it at the first border and between borders."""
        none, ahead = d == 0, dr.select(d > 0, 1.0, 0.0)
        return dr.select(d > 0, 1, -1), dr.select(none, dr.inf, (ahead - at) / d), dr.select(none, 0.0, 1 / dr.abs(d))

    (up, row_at, row_by), (right, column_at, column_by) = borders(dy, y), borders(dx, x)

    def step(i: Any, j: Any, at: Any, covered: Any, hidden: Any, edge: Any, beyond: Any, built: Any,
             volume: Any) -> tuple[Any, ...]:  # fmt: skip
        next_row, next_column = row_at + i * row_by, column_at + j * column_by
        turn = next_row < next_column
        to = dr.clip(dr.select(turn, next_row, next_column), at, 1.0)
        r, c = mi.UInt(row + up * i), mi.UInt(column + right * j)  # negative ones are huge
        there = (r < rows) & (c < columns)
        height = dr.select(there, dr.gather(mi.Float, roofs, r * columns + c, there), -dr.inf)
        length, passed, under = to - at, (to > at) & (to < 1), (height - z) * slope  # where the line meets that height
        part = dr.clip(dr.select(slope < 0, to - under, under - at), 0.0, length)
        steeper = passed & ((height - z - dz) * beyond > (edge - z - dz) * (1 - to))
        roof = passed & (height > LEAST_ROOF)
        return (
            i + dr.select(turn, 1, 0), j + dr.select(turn, 0, 1), to, covered + part,
            hidden + dr.select(passed, part, 0.0), dr.select(steeper, height, edge), dr.select(steeper, 1 - to, beyond),
            built + dr.select(roof, length, 0.0), volume + dr.select(roof, length * height, 0.0),
        )  # fmt: skip

    none, nought = dr.zeros(mi.Float, dr.width(y)), dr.zeros(mi.Int, dr.width(y))
    state = nought, nought, none, none, none, none - dr.inf, none + 1, none, none
    walked = dr.while_loop(state, lambda *state: state[2] < 1, step)
    covered, hidden, edge, beyond, built, volume = (np.array(v, float).reshape(lines[0].shape) for v in walked[3:])
    return Profile(covered, hidden, edge, beyond, volume / np.where(built > 0, built, 1.0))


def obstructed_fraction(city: City, stations: Stations, x: ArrayLike, y: ArrayLike, ue_height: float) -> Floats:
    """Share of each line from antenna to UEs at x, y [m], (ue, bs), inside buildings by roof heights, its own too."""
    x, y, layers = np.asarray(x, float)[:, None], np.asarray(y, float)[:, None], city.raster
    if not layers["building"].values.any():  # no line needs to be followed
        return np.zeros((len(x), stations.n))
    antennas = stations.x, stations.y, city.ground_at(stations.x, stations.y) + stations.h
    if (key := (id(layers), digest(antennas, x, y, ue_height))) not in _answered:
        top = np.where(layers["building"].values == 1, layers["height"].values + layers["ground"].values, -np.inf)
        found = profiles(top, city.grid, antennas, (x, y, city.ground_at(x, y) + ue_height)).covered
        _answered[key] = layers, found
        if len(_answered) > MOST_ANSWERS:
            del _answered[next(iter(_answered))]
    return _answered[key][1]
