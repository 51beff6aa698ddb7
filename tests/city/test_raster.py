import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely.geometry import LineString, Polygon, box

from rfloc.city import raster
from rfloc.city.raster import AreaPooler, city_layers, raster_of_scene, rasterize, scene_file, street_mask
from rfloc.errors import DataError
from rfloc.frames import Grid
from tests.handmade import make_raster

GRID = Grid(-50.0, -20.0, 1.0, 100, 60)
EAST_WEST = LineString([(-50, 10), (50, 10)])


def layers(buildings, streets):
    geometry, height = zip(*buildings, strict=True)
    lines, width, tunnel = zip(*streets, strict=True)
    buildings = gpd.GeoDataFrame({"height": height, "base": 0.0}, geometry=list(geometry))
    return city_layers(buildings, gpd.GeoDataFrame({"width": width, "tunnel": tunnel}, geometry=list(lines)), GRID)


@given(x=st.integers(-50, 40), y=st.integers(-20, 30), width=st.integers(1, 10), depth=st.integers(1, 10))
def test_cells_are_those_whose_centre_the_shape_holds_and_row_0_is_south(x, y, width, depth):
    got = rasterize([(box(x, y, x + width, y + depth), 1)], GRID, "uint8") == 1
    xs, ys = np.meshgrid(GRID.x, GRID.y)
    assert np.array_equal(got, (xs > x) & (xs < x + width) & (ys > y) & (ys < y + depth))
    assert GRID.y[0] < GRID.y[-1]


millimetres = st.integers(-20_000, 20_000).map(lambda n: n / 1000)
coordinates = st.tuples(millimetres, millimetres)


@settings(max_examples=50)
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


def test_counts_are_those_of_the_arrays():
    rng = np.random.default_rng(0)
    height = np.where(rng.random(GRID.shape) < 0.3, rng.uniform(3, 60, GRID.shape), 0).astype(np.float32)
    building = height > 0
    road = ~building & (rng.random(GRID.shape) < 0.5)
    facts = raster.layer_facts({"building": building.astype("u1"), "road": road.astype("u1"), "height": height})
    assert facts["cells"] == [100, 60]
    assert facts["built_share"] == round(float(building.mean()), 4)
    assert facts["road_share"] == round(float(road.mean()), 4)
    assert facts["median_height"] == pytest.approx(np.median(height[building]), abs=0.006)
    nothing = raster.layer_facts({name: np.zeros(GRID.shape) for name in ("building", "road", "height")})
    assert nothing["median_height"] == nothing["built_share"] == 0.0


@pytest.fixture(scope="module")
def random_layers():
    """Buildings, and roads everywhere else, at random in patches of 20 m."""
    building = np.kron(np.random.default_rng(1).random((60, 65)) < 0.3, np.ones((20, 20), bool)).astype(np.uint8)
    return {"building": building, "road": 1 - building}


@settings(max_examples=40)
@given(st.integers(-300, 1500), st.integers(-300, 1500), st.integers(1, 700), st.integers(1, 700))
def test_cells_are_the_slice_padded_with_zeros(random_layers, row, col, rows, cols):
    layer = random_layers["building"]
    want = np.pad(layer, 2300)[2300 + row :, 2300 + col :][:rows, :cols]
    got = raster.cells(layer, row, col, rows, cols)
    assert np.array_equal(got, want) and got.dtype == np.uint8
    assert raster.cells(layer, row, col, rows, cols, np.float32).dtype == np.float32


def cumulative(building: np.ndarray, x0: float, y0: float, x: float, y: float, size: float, pixels: int) -> np.ndarray:
    """Area averages by interpolating the integral of the whole raster: (pixels, pixels), row 0 = north."""
    sums = np.zeros((building.shape[0] + 1, building.shape[1] + 1))
    sums[1:, 1:] = building.cumsum(0).cumsum(1)
    edges = [(v - size / 2 - v0) + size / pixels * np.arange(pixels + 1) for v, v0 in ((y, y0), (x, x0))]
    rows = np.stack([np.interp(edges[0], np.arange(len(sums)), column) for column in sums.T], axis=1)
    corners = np.stack([np.interp(edges[1], np.arange(sums.shape[1]), row) for row in rows])
    return np.diff(np.diff(corners, axis=0), axis=1)[::-1] / (size / pixels) ** 2


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (301.37, 320.81), (-690.0, 590.25), (5000.0, 0.0)])
@pytest.mark.parametrize(("size", "pixels"), [(560.0, 112), (601.0, 98), (33.3, 98)])
def test_windows_pool_as_the_integral_of_the_whole_raster(random_layers, x, y, size, pixels):
    raster = make_raster(random_layers["building"], random_layers["road"], x0=-650.0, y0=-600.0)
    got = AreaPooler(raster, ["building", "road"]).window(x, y, size, pixels)
    for part, name in zip(got, ("building", "road"), strict=True):
        want = cumulative(random_layers[name].astype(float), -650.0, -600.0, x, y, size, pixels)
        np.testing.assert_allclose(part, want, atol=2e-6)


@settings(max_examples=30)
@given(st.floats(-400, 400), st.floats(-400, 400), st.sampled_from([(560.0, 56), (97.3, 13), (8.4, 24)]))
def test_pooling_is_exact_at_any_offset_and_zero_outside(x, y, window):
    size, pixels = window
    building = np.zeros((600, 500))
    building[100:250, 50:320] = 1
    pooler = AreaPooler(make_raster(building, x0=-250, y0=-300), ["building"])
    got = pooler.window(x, y, size, pixels)[0]

    def overlap(centre, low, high):
        edges = centre - size / 2 + size / pixels * np.arange(pixels + 1)
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (size / pixels)

    want = np.outer(overlap(y, -200, -50), overlap(x, -200, 70))[::-1]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert got.min() >= 0 and not got[want == 0].any()  # nothing where nothing is, not even rounding


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
