import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage
from shapely.geometry import LineString, Polygon, box

from rfloc.city.raster import AreaPooler, city_layers, raster_of_scene, rasterize, scene_file, street_mask
from rfloc.errors import DataError
from rfloc.frames import Grid
from tests.handmade import make_raster

GRID = Grid(-50.0, -20.0, 1.0, 100, 60)
EAST_WEST = LineString([(-50, 10), (50, 10)])
millimetres = st.integers(-20_000, 20_000).map(lambda n: n / 1000)
coordinates = st.tuples(millimetres, millimetres)


def layers(buildings, streets):
    geometry, height = zip(*buildings, strict=True)
    lines, width, tunnel = zip(*streets, strict=True)
    buildings = gpd.GeoDataFrame({"height": height, "base": 0.0}, geometry=list(geometry))
    return city_layers(buildings, gpd.GeoDataFrame({"width": width, "tunnel": tunnel}, geometry=list(lines)), GRID)


@given(st.lists(coordinates, min_size=3, max_size=9, unique=True))
def test_any_polygon_is_cut_at_cell_centres(corners):
    shape = shapely.make_valid(Polygon(corners), method="structure")
    assume(shape.area > 1e-3)
    grid = Grid(-16.0, -12.0, 1.0, 31, 25)
    xs, ys = np.meshgrid(grid.x, grid.y)
    inside = shapely.contains_xy(shape, xs, ys)
    sure = shapely.distance(shape.boundary, shapely.points(xs, ys)) > 1e-9
    whole = rasterize([(shape, 1)], grid, "uint8")
    assert np.array_equal(whole[sure] == 1, inside[sure])


def test_taller_building_wins_whatever_the_order():
    low, high = (box(0, 0, 20, 20), 10.0), (box(10, 10, 30, 30), 25.0)
    for pair in ([low, high], [high, low]):
        height = layers(pair, [(EAST_WEST, 4.0, False)])["height"]
        row, col, _ = GRID.index([5.5, 15.5, 25.5], [5.5, 15.5, 25.5])
        assert height[row, col].tolist() == [10.0, 25.0, 25.0]


def test_street_strip_has_its_width_and_stops_at_buildings_and_no_ue_stands_in_a_tunnel():
    got = layers([(box(0, 0, 20, 20), 10.0)], [(EAST_WEST, 4.0, False)])
    road = got["road"] == 1
    assert road[:, 10].sum() == 4 and road[:, 60].sum() == 0
    assert not (road & (got["building"] == 1)).any()
    kinds = {"building": "uint8", "road": "uint8", "height": "float32", "ground": "float32"}
    assert {name: str(v.dtype) for name, v in got.items()} == kinds
    assert not got["ground"].any()
    north = LineString([(-40, -20), (-40, 40)])
    got = layers([(box(0, 30, 5, 35), 10.0)], [(EAST_WEST, 4.0, True), (north, 4.0, False)])
    assert got["road"].sum() == 4 * 60


@given(
    st.floats(-400, 400) | st.just(5000.0),
    st.floats(-400, 400),
    st.sampled_from([(560.0, 56), (601.0, 98), (97.3, 13), (8.4, 24)]),
)
def test_pooling_is_exact_at_any_offset_and_zero_outside(x, y, window):
    """One block on a raster that is road elsewhere: overlaps of intervals, along either axis."""
    size, pixels = window
    building = np.zeros((600, 500))
    building[100:250, 50:320] = 1
    built, road = AreaPooler(make_raster(building, x0=-250, y0=-300), ["building", "road"]).window(x, y, size, pixels)

    def overlap(centre, low, high):
        edges = centre - size / 2 + size / pixels * np.arange(pixels + 1)
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (size / pixels)

    block = np.outer(overlap(y, -200, -50), overlap(x, -200, 70))[::-1]
    np.testing.assert_allclose(built, block, atol=1e-5)
    np.testing.assert_allclose(road, np.outer(overlap(y, -300, 300), overlap(x, -250, 250))[::-1] - block, atol=1e-5)
    assert built.min() >= 0 and not built[block == 0].any()  # nothing where nothing is, not even rounding


def test_street_mask_keeps_streets_and_leaves_out_courtyards_and_the_outside():
    building = np.zeros((100, 160), bool)
    building[20:80, 20:70] = building[20:80, 80:130] = True  # a street of 10 m between two blocks
    building[40:50, 30:42] = False  # a courtyard
    mask, facts = street_mask(building)
    assert (facts["hull_radius_m"], facts["street_regions"], facts["other_regions"]) == (25.0, 1, 1)
    assert mask[45, 75] and not mask[45, 35], "street in, courtyard out"
    assert not mask[10, 10] and not mask[50, 150], "empty ground round the city is out"
    assert not (mask & building).any()
    assert ndimage.label(mask)[1] == 1
    assert mask[25:75, 70:80].all()
    for nothing in (np.zeros, np.ones):
        assert not street_mask(nothing((20, 20), bool))[0].any()


@pytest.mark.parametrize(("width", "radius", "regions"), [(80, 50.0, 1), (400, 100.0, 2)])
def test_squares_and_fields_wider_than_the_hull_do_not_cost_half_of_the_streets(width, radius, regions):
    """Two villages of four blocks, with their own streets, on either side of open ground."""
    building = np.zeros((200, 320 + width), bool)
    for x in (40, 105, 175 + width, 240 + width):
        building[40:95, x : x + 55] = building[105:160, x : x + 55] = True
    mask, facts = street_mask(building)
    assert mask[100, 50] and mask[100, -50] and mask[100, 160 + width // 2] == (regions == 1)
    assert (facts["hull_radius_m"], facts["street_regions"]) == (radius, regions)


def test_scenes_on_a_slope_and_unknown_ones_are_refused():
    with pytest.raises(DataError, match=r"'san_francisco' lie between[\s\S]*horizontal plane[\s\S]*flatter"):
        raster_of_scene("san_francisco")
    with pytest.raises(DataError, match="munich"):
        scene_file("atlantis")
    with pytest.raises(DataError, match="no scene 'load_scene'"):
        scene_file("load_scene")


def test_the_place_and_both_halves_of_etoile_are_streets():
    _, layers, facts = raster_of_scene("etoile")
    assert (facts["hull_radius_m"], facts["street_regions"]) == (50.0, 1) and facts["other_share"] < 0.15
    assert layers["road"].mean() == pytest.approx(0.325, abs=0.01)


@pytest.mark.parametrize(
    ("name", "size", "built", "landmark", "height"),
    [
        ("munich", (1475, 1206), 0.31, (-208.0, 50.0), 98.57),  # southern tower of the Frauenkirche
        ("florence", (1000, 1100), 0.43, (128.0, -27.0), 114.5),  # dome of Santa Maria del Fiore
    ],
)
def test_rasters_of_the_demo_cities(name, size, built, landmark, height):
    grid, layers, facts = raster_of_scene(name)
    assert tuple(facts["size_m"]) == size
    building, road = layers["building"] == 1, layers["road"] == 1
    assert building.mean() == pytest.approx(built, abs=0.01)
    assert 0.12 < road.mean() < 0.21 and not (road & building).any()
    assert (layers["height"][building] > 2.0).all() and (layers["height"][~building] == 0.0).all()
    row, col, _ = grid.index(*landmark)
    near = layers["height"][row - 15 : row + 16, col - 15 : col + 16]
    assert near.max() == pytest.approx(height, abs=1.0)
    assert layers["height"].max() == pytest.approx(height, abs=1.0)
