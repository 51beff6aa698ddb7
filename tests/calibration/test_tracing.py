"""One trace of a pose, at UEs alone, against whole maps."""

from __future__ import annotations

import numpy as np
import pytest

from rfloc.calibration.tracing import Tracer, World
from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.simulation.maps import map_grid, read_maps, trace_maps
from rfloc.stations import Stations

RADIO = RadioParams()


@pytest.mark.parametrize("rooftop", [True, False])
def test_a_trace_reads_what_the_map_of_its_pose_says(toy_city: City, rooftop: bool) -> None:
    sim = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2, rooftop=rooftop)
    grid, rng = map_grid(toy_city, sim.cell), np.random.default_rng(3)
    x_min, y_min, x_max, y_max = grid.bounds
    x, y = rng.uniform(x_min, x_max, 300), rng.uniform(y_min, y_max, 300)
    x[0] = x_max + 100.0  # outside
    pose = Stations([10.0], [-20.0], [25.0], [90.0], [43.0], ["a"])
    found = Tracer(World(toy_city.folder, sim, RADIO, 2000, 5), "a", x, y)(pose)
    maps = trace_maps(toy_city, pose, grid, sim, RADIO, 5, samples=2000, progress=False)
    expected = read_maps(maps, x, y)[:, 0]
    assert (expected == 0).any()
    assert 10 ** (found / 10) == pytest.approx(expected, rel=1e-5)
