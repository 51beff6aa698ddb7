import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from scipy.spatial.transform import Rotation

from rfloc.errors import FrameError
from rfloc.frames import Grid, LocalFrame, bearing, sionna_orientation, toward, wrap_degrees

ROME = LocalFrame(41.8695, 12.4615)
grids = st.builds(Grid, *[st.floats(-1e4, 1e4)] * 2, st.floats(0.5, 20), *[st.integers(1, 300)] * 2)
far = st.tuples(st.floats(0, 360), st.floats(14_000, 16_000))
centimetres = st.integers(-100_000, 100_000).map(lambda n: n / 100)
lengths = st.integers(1, 50_000).map(lambda n: n / 100)


@given(far, st.floats(-300, 300), st.floats(-300, 300), st.sampled_from([0.5, 1.0, 5.0]))
def test_lat_lon_to_pixel_and_back_15_km_from_the_origin(where, dx, dy, cell):
    """A crop there: degrees to metres to pixels and all the way back, within 1 cm and 0.01 pixels."""
    azimuth, distance = np.radians(where[0]), where[1]
    x, y = distance * np.sin(azimuth) + dx, distance * np.cos(azimuth) + dy
    lat, lon = ROME.to_geographic(x, y)
    grid = Grid.covering(x - 300, y - 300, x + 300, y + 300, cell)
    row, col = grid.to_pixel(*ROME.to_local(lat, lon))
    assert abs(row - (y - grid.y0) / cell) < 0.01 and abs(col - (x - grid.x0) / cell) < 0.01
    lat2, lon2 = ROME.to_geographic(grid.x0 + col * cell, grid.y0 + row * cell)
    assert Geod(ellps="WGS84").inv(lon, lat, lon2, lat2)[2] < 0.01


@given(st.floats(0, 359.9), st.floats(1, 3000))
def test_distances_and_directions_are_those_on_the_ellipsoid(azimuth, distance):
    lon, lat, _ = Geod(ellps="WGS84").fwd(ROME.lon0, ROME.lat0, azimuth, distance)
    x, y = ROME.to_local(lat, lon)
    assert math.hypot(x, y) == pytest.approx(distance, rel=1e-6)
    assert abs(wrap_degrees(bearing(x, y) - azimuth)) < 1e-3


def test_frames_travel_in_attributes_and_do_not_mix():
    with pytest.raises(FrameError, match="check the order"):
        LocalFrame(139.7, 35.7)
    assert LocalFrame.from_attrs(ROME.to_attrs()) == ROME
    with pytest.raises(FrameError, match="'frame_lat0' is missing"):
        LocalFrame.from_attrs({})
    ROME.require_same(LocalFrame(41.8695, 12.4615), "these")
    with pytest.raises(FrameError, match="these links are in frame"):
        ROME.require_same(LocalFrame(41.87, 12.4615), "these links")


@given(grids, st.data())
def test_a_cells_centre_is_at_plus_a_half(grid, data):
    i, j = data.draw(st.integers(0, grid.ny - 1)), data.draw(st.integers(0, grid.nx - 1))
    assert np.allclose(grid.to_pixel(grid.x[j], grid.y[i]), (i + 0.5, j + 0.5), atol=1e-6)
    assert grid.index(grid.x[j], grid.y[i]) == (i, j, True)


@given(centimetres, centimetres, lengths, lengths, st.sampled_from([0.5, 1.0, 5.0]))
def test_covering_covers_with_corners_on_multiples_and_no_cell_to_spare(x, y, width, height, cell):
    x_min, y_min, x_max, y_max = Grid.covering(x, y, x + width, y + height, cell).bounds
    assert x_min <= x and y_min <= y and x_max >= x + width - 1e-6 and y_max >= y + height - 1e-6
    assert max(x - x_min, y - y_min, x_max - x - width, y_max - y - height) < cell
    assert (x_min / cell, y_min / cell) == (round(x_min / cell), round(y_min / cell))


def test_shape_extent_and_attributes_agree_and_points_outside_are_clipped():
    found = Grid(0, 0, 10, 3, 2).index([-1, 29.9, 30, 5], [5, 19.9, 5, 20])
    assert np.array_equal(found, [[0, 1, 0, 1], [0, 2, 2, 0], [False, True, False, False]])
    grid = Grid(-5.0, 10.0, 2.0, 4, 3)
    assert grid.shape == (3, 4) == (len(grid.y), len(grid.x))
    assert (grid.bounds, grid.extent) == ((-5.0, 10.0, 3.0, 16.0), (-5.0, 3.0, 10.0, 16.0))
    assert Grid.from_attrs(grid.to_attrs()) == grid
    with pytest.raises(FrameError, match="grid_x0"):
        Grid.from_attrs({})


@given(st.floats(-1e4, 1e4))
def test_wrapping_keeps_the_direction(angle):
    wrapped = wrap_degrees(angle)
    assert -180 <= wrapped < 180
    assert math.isclose(math.cos(math.radians(wrapped)), math.cos(math.radians(angle)), abs_tol=1e-6)


def test_azimuth_runs_clockwise_from_north():
    assert bearing([0, 1, 0, -1], [1, 0, -1, 0]).tolist() == [0, 90, 180, 270]
    assert np.allclose(toward([0, 90, 180, 270]), ([0, 1, 0, -1], [1, 0, -1, 0]))


@given(st.floats(0, 360), st.floats(-20, 45))
def test_an_antenna_looks_along_its_azimuth_and_with_downtilt_at_the_ground(azimuth, downtilt):
    """Sionna rotates by yaw, pitch and roll, Rz Ry Rx (TR 38.901, equation 7.1-4)."""
    x, y, z = Rotation.from_euler("ZYX", sionna_orientation(azimuth, downtilt)).apply([1, 0, 0])
    assert z == pytest.approx(-math.sin(math.radians(downtilt)), abs=1e-9)
    assert abs(wrap_degrees(bearing(x, y) - azimuth)) < 1e-6


def test_an_origin_that_is_no_number_is_an_error():
    with pytest.raises(FrameError, match="not on the map"):
        LocalFrame(np.nan, 9.0)
