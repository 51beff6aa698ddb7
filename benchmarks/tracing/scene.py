"""The scene, its stations and UEs, and how much of them is traced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults import section
from benchmarks.tracing import released
from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.datasets.hidden import place_stations
from rfloc.simulation.paths import Ends, sector, trace_gain
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations
from rfloc.studies.released import BATCH, DIPOLES

Array = NDArray[np.float64]

#: Depth of the paper; the other choices are this project's, without the rooftop floor, which no path has.
SIM = section(SimulationParams, max_depth=3, rooftop=False)
RADIO = section(RadioParams, front_to_back_db=30.0)
SEED, OTHER_SEED = 7, 11

#: What both ways have in the scene for links: the sector of TR 38.901 without tilt.
SECTOR = RADIO.model_copy(update={"downtilt": 0.0})

#: Edge of a map's cell [m].
CELL = 5.0


@dataclass(frozen=True)
class Sizes:
    """How much is traced."""

    stations: int = 10
    ues: int = 500
    samples: int = 100_000  # rays a source
    batch: int = BATCH
    repeats: int = 2
    released_stations: int = 1  # timed, one after the other
    truth_ues: int = 40
    truth_samples: int = 2_000_000
    curve_ues: int = 150
    curve_stations: int = 2
    curve_repeats: int = 1
    path_samples: tuple[int, ...] = (3_000, 10_000, 30_000, 100_000, 300_000)
    map_at: int = 1_000_000  # rays of a map
    memory_ues: int = 32
    rays: int = 4_000_000
    growth_ues: tuple[int, ...] = (25, 100, 400)
    growth_map_ues: tuple[int, ...] = (1_000, 10_000, 100_000)
    growth_stations: tuple[int, ...] = (1, 3, 10)


SIZES = {
    "full": Sizes(),
    "quick": Sizes(
        stations=4, ues=100, samples=30_000, batch=64, repeats=2, released_stations=2, truth_ues=24,
        truth_samples=600_000, curve_ues=100, curve_stations=1, path_samples=(3_000, 10_000, 30_000, 100_000),
        memory_ues=8, rays=1_000_000, growth_ues=(25, 100), growth_map_ues=(1_000, 10_000), growth_stations=(1, 3),
    ),
    "tiny": Sizes(
        stations=2, ues=4, samples=200, batch=4, repeats=1, released_stations=1, truth_ues=4, truth_samples=2_000,
        curve_ues=4, curve_stations=1, curve_repeats=1, path_samples=(200, 1_000), map_at=2_000, memory_ues=2,
        rays=2_000, growth_ues=(2,), growth_map_ues=(100,), growth_stations=(1,),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """The scene, its stations and UEs."""

    city: City
    sizes: Sizes

    @cached_property
    def stations(self) -> Stations:
        found = place_stations(
            self.city, self.sizes.stations, [20.0, 60.0], 43.0, np.random.default_rng(SEED), self.city.bounds
        )
        return found.above_roofs(self.city)

    @cached_property
    def plane(self) -> Plane:
        return Plane(self.city, CELL, RADIO.ue_height)

    @cached_property
    def row(self) -> tuple[Array, Array]:
        return self.city.street_points(100_000, np.random.default_rng(SEED))

    def ues(self, n: int) -> tuple[Array, Array]:
        """The first `n` of a row of UEs on streets."""
        return self.row[0][:n], self.row[1][:n]

    def ours(self, stations: Stations, ues: int, samples: int, seed: int = SEED) -> Array:
        """Path gain (ue, bs) by one element, a station a call, its ports sharing the power."""
        ends = Ends(sector(SECTOR, "VH"), DIPOLES)
        return trace_gain(self.city, stations, *self.ues(ues), Rays(SIM, SECTOR, samples, seed), ends)[0] / 2

    def theirs(self, stations: Stations, ues: int, samples: int, **options: Any) -> Array:
        """Path gain (ue, bs) as the released code traces it."""
        options = {"batch": self.sizes.batch} | options
        return released.trace_gain(self.city, stations, *self.ues(ues), SIM, SECTOR, samples, **options)
