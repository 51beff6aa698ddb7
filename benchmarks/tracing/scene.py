"""The scene, its stations and UEs, and how much of them is traced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tracing import released
from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.datasets.hidden import place_stations
from rfloc.simulation.paths import path_gain
from rfloc.simulation.trace import trace_paths
from rfloc.stations import Stations

Array = NDArray[np.float64]

#: Depth of the paper; the other choices are this project's, without the rooftop floor, which no path has.
SIM = SimulationParams(max_depth=3, refraction=False, diffraction=False, rooftop=False, scattering=0.4)
RADIO = RadioParams()
SEED, OTHER_SEED = 7, 11


@dataclass(frozen=True)
class Sizes:
    """How much is traced."""

    stations: int = 10
    ues: int = 500
    samples: int = 100_000  # rays a source
    batch: int = released.BATCH
    repeats: int = 2
    released_stations: int = 1  # timed, one after the other
    truth_ues: int = 40
    truth_samples: int = 2_000_000
    curve_ues: int = 150
    curve_stations: int = 2
    curve_repeats: int = 1
    path_samples: tuple[int, ...] = (3_000, 10_000, 30_000, 100_000, 300_000)
    map_samples: tuple[int, ...] = (100_000, 1_000_000, 4_000_000)
    map_at: int = 1_000_000  # the map that the ratio is for
    memory_ues: int = 32
    rays: int = 4_000_000
    growth_ues: tuple[int, ...] = (25, 100, 400)
    growth_map_ues: tuple[int, ...] = (1_000, 10_000, 100_000)
    growth_stations: tuple[int, ...] = (1, 3, 10)
    growth_buildings: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    growth_workers: tuple[int, ...] = (1, 2)


SIZES = {
    "full": Sizes(),
    "quick": Sizes(
        stations=4, ues=100, samples=30_000, batch=64, repeats=2, released_stations=2, truth_ues=24,
        truth_samples=600_000, curve_ues=100, curve_stations=1, path_samples=(3_000, 10_000, 30_000, 100_000),
        map_samples=(100_000, 1_000_000), memory_ues=8, rays=1_000_000, growth_ues=(25, 100),
        growth_map_ues=(1_000, 10_000), growth_stations=(1, 3), growth_buildings=(100, 1_000, 10_000),
    ),
    "tiny": Sizes(
        stations=2, ues=4, samples=200, batch=4, repeats=1, released_stations=1, truth_ues=4, truth_samples=2_000,
        curve_ues=4, curve_stations=1, curve_repeats=1, path_samples=(200, 1_000), map_samples=(2_000,), map_at=2_000,
        memory_ues=2, rays=2_000, growth_ues=(2,), growth_map_ues=(100,), growth_stations=(1,), growth_buildings=(),
        growth_workers=(),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """The scene, its stations and UEs."""

    city: City
    sizes: Sizes

    @cached_property
    def stations(self) -> Stations:
        found = place_stations(self.city, self.sizes.stations, [20.0, 60.0], 43.0, None, np.random.default_rng(SEED))
        return found.above_roofs(self.city)

    @cached_property
    def row(self) -> tuple[Array, Array]:
        return self.city.street_points(100_000, np.random.default_rng(SEED))

    def ues(self, n: int) -> tuple[Array, Array]:
        """The first `n` of a row of UEs on streets."""
        return self.row[0][:n], self.row[1][:n]

    def ours(self, stations: Stations, ues: int, samples: int, seed: int = SEED) -> Array:
        """Path gain (ue, bs) by a path cache with isotropic elements, a station at a time, antennas applied to it."""
        x, y = self.ues(ues)
        one = (stations.take([k]) for k in range(stations.n))
        caches = (trace_paths(self.city, station, x, y, SIM, RADIO, seed, samples) for station in one)
        return np.concatenate([path_gain(paths, released.ELEMENT, released.UE) for paths in caches], 1)

    def theirs(self, stations: Stations, ues: int, samples: int, **options: Any) -> Array:
        """Path gain (ue, bs) as the released code traces it."""
        options = {"batch": self.sizes.batch} | options
        return released.trace_gain(self.city, stations, *self.ues(ues), SIM, RADIO, samples, **options)
