"""What levels are regressed on: distance, azimuth, the city's profile, rays; at candidate poses of the stations."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from rfloc.city import City
from rfloc.config import LevelParams, RadioParams
from rfloc.datasets.obstruction import obstructed_fraction
from rfloc.datasets.statistical import azimuths, decades_db
from rfloc.errors import EvaluationError
from rfloc.frames import Grid
from rfloc.simulation.diffraction import diffraction_db
from rfloc.simulation.propagation import free_space_gain
from rfloc.simulation.rooftop import rooftop_gain
from rfloc.stations import Stations

Array = NDArray[np.float64]
Columns = dict[str, Array]

#: Standard deviation of the Gaussian window over which `street` averages rays in decibels [m].
STREET = 60.0

_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
_GOLDEN_ANGLE = np.pi * (3.0 - np.sqrt(5.0))


def pose_tables(stations: Stations, params: LevelParams, seed: int) -> list[Stations]:
    """Candidate poses: the nominal one, then a sunflower spread over a disc, each with a height of its range.

    The spread is turned by a random angle for each station; heights follow the golden ratio, which fills the range
    evenly whatever the number.
    """
    low, high = params.height
    turn = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, stations.n)
    tables = [stations]
    for k in range(1, params.candidates):
        r, angle = params.radius * np.sqrt((k - 0.5) / (params.candidates - 1)), turn + k * _GOLDEN_ANGLE
        tables.append(stations.moved(r * np.cos(angle), r * np.sin(angle)))
    heights = low + (high - low) * ((np.arange(len(tables)) * _GOLDEN) % 1.0)
    return [t if k == 0 else t.replace(h=np.full(t.n, heights[k])) for k, t in enumerate(tables)]


def regressors(city: City, stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams) -> Columns:
    """Regressors that need no ray, each of shape (ue, bs), of stations lifted above their roofs.

    `one`; `decades`, worth one of the path loss exponent; `north`, `east` and `north2`, `east2`, the first and second
    azimuth harmonic; `obstructed`, minus the obstructed fraction of the line; `edges` and `roofs`, gain over free space
    [dB] by cascaded knife edges (:mod:`rfloc.simulation.diffraction`) and by COST 231 Walfisch-Ikegami, 0 in sight.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    stations = stations.above_roofs(city)
    angle, decades = np.radians(azimuths(stations, x, y)), decades_db(stations, x, y, radio.ue_height)
    roofs, _ = rooftop_gain(city, stations, x, y, radio.carrier_hz, radio.ue_height)
    plan = np.maximum(np.hypot(x[:, None] - stations.x, y[:, None] - stations.y), 1.0)
    free = free_space_gain(np.hypot(plan, stations.h - radio.ue_height), radio.carrier_hz)
    return {
        "one": np.ones_like(decades),
        "decades": decades,
        "north": np.cos(angle),
        "east": np.sin(angle),
        "north2": np.cos(2 * angle),
        "east2": np.sin(2 * angle),
        "obstructed": -obstructed_fraction(city, stations, x, y, radio.ue_height),
        "edges": -diffraction_db(city, stations, x, y, radio.carrier_hz, radio.ue_height),
        "roofs": 10 * np.log10(roofs.T / free),
    }  # fmt: skip


def ray_regressors(maps: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Columns:
    """Ray-traced path gain [dB] at UEs, (ue, bs): `rays` of the UE's cell, `street` averaged over a window of STREET.

    A cell without a ray, inside a building for instance, takes the nearest cell's.

    Raises
    ------
    EvaluationError
        If a UE lies outside the maps, or no ray reaches any cell of a station.
    """
    grid = Grid.from_attrs(maps.attrs)
    row, col, inside = grid.index(np.asarray(x, float), np.asarray(y, float))
    gain = maps["path_gain"].values.astype(float)
    if not inside.all() or not (gain > 0).any((1, 2)).all():
        raise EvaluationError(
            f"{int((~inside).sum())} UEs lie outside the maps, {int((gain <= 0).all((1, 2)).sum())} maps are empty",
            "every link needs a level by rays",
            "trace maps that cover the UEs, with more rays",
        )
    columns: dict[str, list[Array]] = {"rays": [], "street": []}
    for found in gain:
        i, j = ndimage.distance_transform_edt(found <= 0, return_distances=False, return_indices=True)
        level = 10 * np.log10(found[i, j])
        columns["rays"].append(level[row, col])
        columns["street"].append(ndimage.gaussian_filter(level, STREET / grid.cell)[row, col])
    return {name: np.stack(values, axis=-1) for name, values in columns.items()}
