"""What dataset C invents in a patch: stations and UEs.

Every draw has a generator of its own, seeded by the seed, the patch and the deployment: it does not depend on which
other patches are taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from rfloc.city import Bounds, City
from rfloc.config import RadioParams, SyntheticParams
from rfloc.datasets.hidden import place_stations, rng_of
from rfloc.errors import SimulationError
from rfloc.splits.areas import near
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: Stations that share a sub-region of a dense deployment: some more than the three that a crop must hold.
STATIONS_A_SUBREGION = 5
#: Places that are tried for sub-regions.
ATTEMPTS = 1000


class Deployment(NamedTuple):
    """One draw of a patch's stations and UEs, all over it or (`dense`) in sub-regions."""

    number: int
    dense: bool = False

    def __str__(self) -> str:
        return f"{self.number}-dense" if self.dense else str(self.number)


def deployments(params: SyntheticParams) -> list[Deployment]:
    """The deployments of every patch: `c_deployments`, each with a dense twin where `c_dense` asks for one."""
    variants = (False,) if params.c_dense is None else (False, True)
    return [Deployment(number, dense) for number in range(params.c_deployments) for dense in variants]


def areas(city: City, params: SyntheticParams, seed: int, at: Deployment) -> list[Bounds]:
    """Where stations and UEs stand: the whole city, or sub-regions (raises SimulationError where there is no room).

    These lie round points of streets, built up at least as much as the city on average, and do not overlap.
    """
    edge = params.c_dense
    if not at.dense or edge is None:
        return [city.bounds]
    x_min, y_min, x_max, y_max = city.bounds
    wanted = max(1, round(params.c_stations / STATIONS_A_SUBREGION))
    rng, centres = rng_of(seed, city.key, at, "areas"), np.empty((0, 2))
    inner = x_min + edge / 2, y_min + edge / 2, x_max - edge / 2, y_max - edge / 2
    if inner[0] < inner[2] and inner[1] < inner[3]:
        for x, y in zip(*city.street_points(ATTEMPTS, rng, within=inner), strict=True):
            if len(centres) == wanted:
                break
            apart = (np.abs(centres - (x, y)).max(axis=1) >= edge).all()
            if apart and city.window(x, y, edge, ["building"]).mean() >= city.facts["built_share"]:
                centres = np.vstack([centres, (x, y)])
    if len(centres) < wanted:
        raise SimulationError(
            f"{city.key!r} has room for {len(centres)} sub-regions of {edge:g} m, not for {wanted}",
            f"it spans {x_max - x_min:.0f} m x {y_max - y_min:.0f} m; they are built up and do not overlap",
            "lower synthetic.c_dense or synthetic.c_stations, or cut the region into fewer patches",
        )
    return [(x - edge / 2, y - edge / 2, x + edge / 2, y + edge / 2) for x, y in centres.tolist()]


def draw_stations(city: City, params: SyntheticParams, radio: RadioParams, seed: int, at: Deployment) -> Stations:
    """The stations of a patch: on its roofs, and where these have no room, on open ground; azimuths are random."""
    rng, boxes = rng_of(seed, city.key, at, "stations"), areas(city, params, seed, at)
    shares = map(len, np.array_split(range(params.c_stations), len(boxes)))
    each = zip(shares, boxes, rng.spawn(len(boxes)), strict=True)
    height, power = params.c_height, radio.power_dbm
    table = Stations.join([place_stations(city, n, height, power, own, box, masts=True) for n, box, own in each])
    return table.replace(id=[f"{city.key}-{k:02d}" for k in range(table.n)])


def draw_ues(city: City, params: SyntheticParams, seed: int, at: Deployment) -> tuple[Floats, Floats]:
    """UE positions x, y [m] on the streets of a patch or, dense, of its sub-regions; (c_ues,) each."""
    rng, boxes = rng_of(seed, city.key, at, "UEs"), areas(city, params, seed, at)
    shares = map(len, np.array_split(range(params.c_ues), len(boxes)))
    x, y = np.concatenate(list(map(city.street_points, shares, rng.spawn(len(boxes)), boxes)), axis=1)
    return x, y


def across_border(stations: Stations, home: City, city: City, reach: float) -> Stations:
    """The stations of one patch that stand within `reach` [m] of another, in the frame of the other."""
    x, y = city.frame.to_local(*home.frame.to_geographic(stations.x, stations.y))
    return stations.replace(x=x, y=y).take(near(shapely.box(*city.bounds), x, y, reach))
