import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rfloc.simulation.profiles import obstructed_fraction
from tests.simulation.scenes import one_station, raster_city

UE = 1.5
box = st.tuples(st.integers(-90, 60), st.integers(-70, 40), st.integers(1, 30), st.integers(1, 30))


def walled(height: float, x0: int = 20, x1: int = 40, shape: tuple[int, int] = (60, 200)):
    """A city with one wall right across it between x0 and x1 [m]."""
    roofs = np.zeros(shape)
    roofs[:, x0 + shape[1] // 2 : x1 + shape[1] // 2] = height
    return raster_city(roofs)


def test_the_line_passes_over_low_roofs():
    station = one_station(-64.0, 0.5, h=30.0)
    under = 30.0 - 28.5 * (64.0 + 34.25) / 128.0  # height of the line at x = 34.25 [m]
    for height, want in ((under, 5.75 / 128.0), (5.0, 0.0)):
        got = obstructed_fraction(walled(height), station, [64.0], [0.5], UE)
        assert got.item() == pytest.approx(want, abs=1e-6)


def test_roofs_stand_on_the_ground_and_so_do_antennas():
    flat, hilly = walled(14.0), walled(14.0)
    hilly.raster["ground"] += 50.0
    x, y = np.array([64.0, 30.0]), np.array([0.5, 9.0])
    want = obstructed_fraction(flat, one_station(-64.0, 0.5), x, y, UE)
    np.testing.assert_array_equal(obstructed_fraction(hilly, one_station(-64.0, 0.5), x, y, UE), want)
    assert (want > 0).all()


@given(st.lists(box, min_size=1, max_size=4), *[st.floats(-150, 150), st.floats(-130, 130)] * 2)
def test_share_under_tall_roofs_is_that_of_the_polygons(rectangles, x0, y0, x1, y1):
    """Wherever the ends stand: nothing is built past the edge of the raster, 100 m and 80 m away."""
    roofs = np.zeros((160, 200))
    for x, y, width, depth in rectangles:
        roofs[y + 80 : y + depth + 80, x + 100 : x + width + 100] = 100.0
    shape = shapely.union_all([shapely.box(x, y, x + w, y + d) for x, y, w, d in rectangles])
    line = shapely.LineString([(x0, y0), (x1, y1)])
    inside = shape.buffer(-1e-3).intersection(line).length, shape.buffer(1e-3).intersection(line).length
    got = obstructed_fraction(raster_city(roofs), one_station(x0, y0), [x1], [y1], UE).item()
    length = max(line.length, 1e-9)
    assert inside[0] / length - 1e-3 <= got <= inside[1] / length + 1e-3 or line.length < 0.1


def test_order_and_company_change_nothing(toy_city):
    x, y = toy_city.street_points(60, np.random.default_rng(0))
    station = one_station(-120.0, -120.0)
    whole = obstructed_fraction(toy_city, station, x, y, UE)
    np.testing.assert_array_equal(obstructed_fraction(toy_city, station, x[::-1], y[::-1], UE), whole[::-1])
    one_by_one = [obstructed_fraction(toy_city, station, [a], [b], UE).item() for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(one_by_one, whole.ravel())
    assert 0 < whole.mean() < 1
    assert obstructed_fraction(toy_city, station, [], [], UE).shape == (0, 1)
