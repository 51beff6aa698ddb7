from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.simulation.propagation import free_space_gain
from rfloc.simulation.rooftop import multiscreen_db, rooftop_gain, rooftop_to_street_db, walfisch_ikegami_db
from tests.simulation.scenes import one_station, small_city

CARRIER = 0.8e9


def test_worked_example_by_hand():
    """900 MHz, roofs at 20 m, street of 20 m, UE at 1.5 m, station at 30 m, 1 km away."""
    street = -16.9 - 13.0103 + 29.5424 + 20 * np.log10(18.5)
    assert rooftop_to_street_db(18.5, 20.0, 0.9e9) == pytest.approx(street, abs=1e-3)
    k_f = -4 + 1.5 * (900 / 925 - 1)
    screens = -18 * np.log10(11) + 54 + 0.0 + k_f * 2.95424 - 9 * np.log10(40)
    assert multiscreen_db(10.0, 20.0, 1000.0, 0.9e9) == pytest.approx(screens, abs=1e-3)
    assert 20 < street + screens < 35  # COST 231 puts such streets some 25 to 30 dB under free space


def test_a_station_below_the_roofs_loses_more():
    heights = np.array([15.0, 5.0, 0.0, -5.0, -10.0])
    for distance in (300.0, 1000.0):
        assert (np.diff(multiscreen_db(heights, 20.0, distance, CARRIER)) >= 0).all()


@given(st.lists(st.floats(0, 40), min_size=5, max_size=40), st.floats(2, 60), st.floats(50, 3000))
def test_loss_is_never_a_gain_and_clear_profiles_have_none(roofs: list[float], h_tx: float, total: float):
    distance = total * np.arange(1, len(roofs) + 1) / (len(roofs) + 1)
    heights = np.array(roofs)
    loss = walfisch_ikegami_db(distance, heights, np.array(total), h_tx, 1.5, CARRIER)
    line = h_tx + (1.5 - h_tx) * distance / total
    if (heights <= line - 1e-6).all():
        assert np.isnan(loss)
    elif (heights > line + 1e-6).any():
        assert 0 <= loss < 150


def test_map_is_free_space_in_sight_and_the_model_behind_a_wall(tmp_path: Path):
    city = small_city(tmp_path, half=(120, 40), boxes=((-2.0, -40.0, 2.0, 40.0, 20.0),))
    station = one_station(x=-100.0, h=15.0)
    x, y = np.array([-50.0, 60.0]), np.zeros(2)
    gain, clear = (part[0] for part in rooftop_gain(city, station, x, y, CARRIER, 1.5))
    assert clear.tolist() == [True, False]
    assert gain[0] == pytest.approx(float(free_space_gain(np.hypot(50, 13.5), CARRIER)), rel=1e-5)
    # The last edge is the wall's far face, 58 m from the UE: the street is as wide as the model allows.
    loss = rooftop_to_street_db(18.5, 60.0, CARRIER) + multiscreen_db(-5.0, 20.0, 160.0, CARRIER)
    want = 10 * np.log10(free_space_gain(np.hypot(160, 13.5), CARRIER)) - loss
    assert 10 * np.log10(gain[1]) == pytest.approx(float(want), abs=0.1)
