import numpy as np
import pytest

from rfloc.errors import SimulationError
from rfloc.stations import ROOF_CLEARANCE
from tests.simulation.scenes import one_station, small_city


def test_only_an_azimuth_may_be_unknown():
    assert np.isnan(one_station(azimuth=np.nan).azimuth[0])
    with pytest.raises(SimulationError, match="stations s have no h"):
        one_station(h=np.nan)


def test_antennas_inside_a_building_are_lifted_clear_of_its_roof_and_counted(tmp_path):
    city, one = small_city(tmp_path, boxes=((-10.0, -10.0, 10.0, 10.0, 35.0),)), one_station(h=30.0)
    assert one.above_roofs(city).h[0] == 35.0 + ROOF_CLEARANCE
    assert one_station(x=50.0, h=30.0).above_roofs(city).h[0] == 30.0
    several = one.take([0, 0, 0, 0]).replace(x=[0.0, 0.0, 50.0, 50.0], h=[30.0, 40.0, 30.0, 0.5])
    assert several.lifted(city) == {"over_a_roof": 1, "in_the_open": 1, "median_m": 4.2, "most_m": 7.0}
    assert several.take([1, 2]).lifted(city) == {"over_a_roof": 0, "in_the_open": 0}
