"""How much of the direct line from a station to a UE lies inside buildings, off the city raster."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.city import City
from rfloc.simulation.profiles import profiles
from rfloc.stations import Stations


def obstructed_fraction(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, ue_height: float
) -> NDArray[np.float64]:
    """Share of each line from antenna to UEs at x, y [m], (ue, bs), that lies inside buildings, by roof heights.

    Past the edge of the raster nothing is built. A station below the roof it stands on starts inside that building.
    """
    x, y = np.asarray(x, float)[:, None], np.asarray(y, float)[:, None]
    layers = city.raster
    top = np.where(layers["building"].values == 1, layers["height"].values + layers["ground"].values, -np.inf)
    antennas = stations.x, stations.y, city.ground_at(stations.x, stations.y) + stations.h
    return profiles(top, city.grid, antennas, (x, y, city.ground_at(x, y) + ue_height)).covered
