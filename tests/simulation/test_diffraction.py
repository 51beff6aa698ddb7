from __future__ import annotations

import numpy as np
import pytest
from scipy.constants import speed_of_light
from scipy.special import fresnel

from rfloc.simulation.diffraction import cascaded_edges_db, diffraction_db, edge_parameter, knife_edge_db
from tests.simulation.scenes import one_station, raster_city

CARRIER = 8e8


def profile(heights: dict[float, float], total: float = 1000.0, points: int = 999) -> tuple[np.ndarray, np.ndarray]:
    """Distances and roofs of one profile with walls one point thick."""
    distance = np.linspace(0.0, total, points + 2)[1:-1]
    roofs = np.zeros(points)
    for at, height in heights.items():
        roofs[np.abs(distance - at).argmin()] = height
    return distance[None], roofs[None]


def loss(heights: dict[float, float], h_tx: float = 10.0, h_rx: float = 10.0) -> float:
    return float(cascaded_edges_db(*profile(heights), np.array([1000.0]), h_tx, h_rx, CARRIER)[0])


def test_a_grazing_edge_costs_six_decibels():
    assert knife_edge_db(0.0) == pytest.approx(20 * np.log10(2), abs=0.02)


def test_the_approximation_follows_the_fresnel_integral():
    v = np.linspace(-0.7, 5.0, 50)
    s, c = fresnel(v)
    exact = -10 * np.log10(((1 - c - s) ** 2 + (c - s) ** 2) / 4)  # ITU-R P.526-11, eq. 30
    np.testing.assert_allclose(knife_edge_db(v), exact, atol=0.3)


def test_an_edge_far_below_the_line_costs_nothing():
    assert knife_edge_db(-1.0) == 0.0
    assert loss({500.0: 4.0}, 60.0, 60.0) == 0.0


def test_the_parameter_is_the_height_over_the_first_fresnel_zone():
    before, after = 300.0, 700.0
    radius = np.sqrt(speed_of_light / CARRIER * before * after / (before + after))
    assert edge_parameter(radius, before, after, CARRIER) == pytest.approx(np.sqrt(2.0))


def test_one_edge_is_a_single_knife_edge():
    v = edge_parameter(15.0, 500.0, 500.0, CARRIER)
    assert loss({500.0: 25.0}) == pytest.approx(float(knife_edge_db(v)))


def test_two_edges_cost_more_than_one_and_three_more_than_two():
    one, two = loss({500.0: 30.0}), loss({500.0: 30.0, 250.0: 30.0})
    assert one < two < loss({500.0: 30.0, 250.0: 30.0, 750.0: 30.0})


def test_it_works_both_ways():
    there = loss({300.0: 25.0, 500.0: 30.0}, 20.0, 10.0)
    assert there == pytest.approx(loss({700.0: 25.0, 500.0: 30.0}, 10.0, 20.0))


def test_the_plateau_of_one_building_is_one_edge():
    wide = loss({at: 25.0 for at in range(480, 521)})
    assert wide == pytest.approx(loss({500.0: 25.0}), abs=0.2)


def test_open_ground_costs_nothing_and_the_shadow_of_a_wall_much():
    height = np.zeros((40, 400))
    height[:, 195:205] = 20.0
    city = raster_city(height)
    found = diffraction_db(city, one_station(-100.0, 0.0, 10.0), [-50.0, 50.0], [0.0, 0.0], CARRIER, 1.5)
    assert found.shape == (2, 1)
    assert found[0, 0] == 0.0
    assert found[1, 0] > 10.0
