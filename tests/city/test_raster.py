from __future__ import annotations

import geopandas as gpd
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import LineString, box

from rfloc.city.raster import rasterize, rasterize_city
from rfloc.frames import Grid

GRID = Grid(-50.0, -20.0, 1.0, 100, 60)


def layers(buildings, streets):
    geometry, height = zip(*buildings, strict=True)
    footprints = gpd.GeoDataFrame({"height": height}, geometry=list(geometry))
    lines, width, tunnel = zip(*streets, strict=True)
    return rasterize_city(footprints, gpd.GeoDataFrame({"width": width, "tunnel": tunnel}, geometry=list(lines)), GRID)


EAST_WEST = LineString([(-50, 10), (50, 10)])


@given(x=st.integers(-50, 40), y=st.integers(-20, 30), width=st.integers(1, 10), depth=st.integers(1, 10))
def test_cells_are_those_whose_centre_the_shape_holds(x, y, width, depth):
    got = rasterize([(box(x, y, x + width, y + depth), 1)], GRID, "uint8") == 1
    xs, ys = np.meshgrid(GRID.x, GRID.y)
    assert np.array_equal(got, (xs > x) & (xs < x + width) & (ys > y) & (ys < y + depth))


def test_row_0_is_south():
    got = rasterize([(box(-50, -20, 50, -18), 1)], GRID, "uint8")
    assert got[:2].all() and not got[2:].any()


def test_taller_building_wins_whatever_the_order():
    low, high = (box(0, 0, 20, 20), 10.0), (box(10, 10, 30, 30), 25.0)
    for pair in ([low, high], [high, low]):
        height = layers(pair, [(EAST_WEST, 4.0, False)])["height"]
        row, col, _ = GRID.index([5.5, 15.5, 25.5], [5.5, 15.5, 25.5])
        assert height[row, col].tolist() == [10.0, 25.0, 25.0]


def test_street_strip_has_its_width_and_stops_at_buildings():
    got = layers([(box(0, 0, 20, 20), 10.0)], [(EAST_WEST, 4.0, False)])
    road = got["road"] == 1
    assert road[:, 10].sum() == 4 and road[:, 60].sum() == 0
    assert not (road & (got["building"] == 1)).any()


def test_no_ue_stands_in_a_tunnel():
    got = layers(
        [(box(0, 30, 5, 35), 10.0)], [(EAST_WEST, 4.0, True), (LineString([(-40, -20), (-40, 40)]), 4.0, False)]
    )
    assert got["road"].sum() == 4 * 60
