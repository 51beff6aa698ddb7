"""One trace of a pose, at UEs alone, against whole maps."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rfloc.calibration.tracing import Tracer
from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.simulation.maps import read_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations
from tests.simulation.scenes import traced

RADIO = RadioParams()


@pytest.mark.parametrize("rooftop", [True, False])
def test_a_trace_reads_what_the_map_of_its_pose_says(toy_city: City, rooftop: bool) -> None:
    sim = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2, rooftop=rooftop)
    plane, rng = Plane(toy_city, sim.cell, 1.5), np.random.default_rng(3)
    x_min, y_min, x_max, y_max = plane.grid.bounds
    x, y = rng.uniform(x_min, x_max, 300), rng.uniform(y_min, y_max, 300)
    x[0] = x_max + 100.0  # outside
    pose = Stations([10.0], [-20.0], [25.0], [90.0], [43.0], ["a"])
    found = Tracer(plane, Rays(sim, RADIO, 2000, 5), x, y)(pose)
    maps = traced(toy_city, pose, sim, 5, 2000)
    expected = read_maps(maps, x, y)[:, 0]
    assert (expected == 0).any()
    assert 10 ** (found / 10) == pytest.approx(expected, rel=1e-5)


def test_a_pose_is_traced_once_and_says_what_it_took(toy_city: City, tmp_path: Path) -> None:
    sim = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)
    x, y = np.random.default_rng(0).uniform(-50.0, 50.0, (2, 20))
    pose = Stations([10.0], [-20.0], [25.0], [90.0], [43.0], ["a"])
    plane, rays = Plane(toy_city, sim.cell, 1.5), Rays(sim, RADIO, 2000, 5)
    first, again = (Tracer(plane, rays, x, y, tmp_path) for _ in range(2))
    gain = [trace(pose).tolist() for trace in (first, first, again, again)]
    assert gain[0] == gain[1] == gain[2] == gain[3]
    assert (first.computed, first.saved_s, again.computed) == (1, 0.0, 0)
    assert 0.0 < again.saved_s < 60.0
    again(pose.replace(azimuth=[0.0], power=[40.0]))  # the map is isotropic
    assert again.computed == 0
    Tracer(plane, dataclasses.replace(rays, seed=6), x, y, tmp_path)(pose)
    again(pose.replace(h=[25.0 + 1e-12]))
    assert (again.computed, len(list(tmp_path.iterdir()))) == (1, 3)
