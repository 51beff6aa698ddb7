from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import fresnel

from rfloc.simulation.rooftop import bullington_loss_db, knife_edge_loss_db, rooftop_maps
from rfloc.simulation.statistical import free_space_gain
from tests.simulation.scenes import one_station, small_city


def test_knife_edge_values_of_p526():
    np.testing.assert_allclose(knife_edge_loss_db([-0.78, 0.0, 1.0, 2.4]), [0.0, 6.0, 13.9, 20.5], atol=0.1)
    assert knife_edge_loss_db(-5.0) == knife_edge_loss_db(-0.78)


def test_knife_edge_approximates_the_fresnel_integrals():
    nu = np.linspace(-0.7, 20, 200)
    s, c = fresnel(nu)
    exact = -20 * np.log10(np.hypot(1 - c - s, c - s) / 2)  # P.526-15 equation 30
    np.testing.assert_allclose(knife_edge_loss_db(nu), exact, atol=0.25)


def test_single_edge_by_hand():
    wavelength, d1, d2, h = 0.375, 300.0, 100.0, 12.0
    loss = bullington_loss_db(np.array([[d1]]), np.array([[10.0 + h]]), np.array([d1 + d2]), 10.0, 10.0, wavelength)
    nu = h * np.sqrt(2 / wavelength * (1 / d1 + 1 / d2))
    edge = 6.9 + 20 * np.log10(np.sqrt((nu - 0.1) ** 2 + 1) + nu - 0.1)
    assert loss[0] == pytest.approx(edge + (1 - np.exp(-edge / 6)) * (10 + 0.02 * 0.4))


profiles = st.lists(st.floats(0, 60), min_size=3, max_size=8)


@given(profiles, st.floats(2, 50), st.floats(2, 50), st.floats(100, 2000))
def test_bullington_is_reciprocal(heights: list[float], h_tx: float, h_rx: float, total: float):
    distance = total * np.arange(1, len(heights) + 1) / (len(heights) + 1)
    there = bullington_loss_db(distance, np.array(heights), np.array(total), h_tx, h_rx, 0.375)
    back = bullington_loss_db(total - distance[::-1], np.array(heights[::-1]), np.array(total), h_rx, h_tx, 0.375)
    np.testing.assert_allclose(there, back, atol=1e-6, equal_nan=True)


def test_map_is_free_space_in_sight_and_follows_the_edge_behind_a_wall(tmp_path: Path):
    city = small_city(tmp_path, half=(120, 40), boxes=((-2.0, -40.0, 2.0, 40.0, 20.0),))
    station = one_station(x=-100.0, h=15.0)
    x, y = np.array([[-50.0, 0.5, 60.0]]), np.zeros((1, 3))
    gain, clear = (
        part[0, 0] for part in rooftop_maps(city, station, x, y, np.array([[True, False, True]]), 0.8e9, 1.5)
    )
    assert clear.tolist() == [True, False, False] and gain[1] == 0.0
    assert gain[0] == pytest.approx(float(free_space_gain(np.hypot(50, 13.5), 0.8e9)), rel=1e-5)
    wavelength = 299792458 / 0.8e9
    # Horizons of both ends are wall points: the far face seen from below is nearer the UE, the near one the station.
    up, down = (20 - 15.0) / 98.0, (20 - 1.5) / 58.0
    d1 = (1.5 - 15.0 + down * 160) / (up + down)
    above = up * d1 - (1.5 - 15.0) * d1 / 160
    edge = knife_edge_loss_db(above * np.sqrt(2 * 160 / (wavelength * d1 * (160 - d1))))
    loss = edge + (1 - np.exp(-edge / 6)) * 10
    want = 10 * np.log10(free_space_gain(np.hypot(160, 13.5), 0.8e9)) - loss
    assert 10 * np.log10(gain[2]) == pytest.approx(float(want), abs=0.6)  # profile points lie up to 2.6 m apart
