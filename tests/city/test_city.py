from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon

from rfloc.city import build_city, build_patch, cut, open_any, open_city
from rfloc.config import CityParams, check
from rfloc.errors import ConfigError, DataError
from rfloc.simulation.scene import load_scene
from tests import toy
from tests.conftest import PROJECT
from tests.toy import FRAME, city_params

CARRIER = 0.8e9
REGION = city_params("rome_whole")


def test_toy_files_are_what_their_generator_makes_and_every_city_configuration_is_valid(project_root):
    for name, content in toy.files().items():
        assert (project_root / "data" / "toy" / name).read_text() == content, f"run `python -m tests.toy` for {name}"
    files = sorted((project_root / "conf" / "city").glob("*.yaml"))
    assert {"toy", "munich", "florence", "rome"} <= {file.stem for file in files}
    for file in files:
        check(CityParams, yaml.safe_load(file.read_text()))


def test_toy_raster_has_the_areas_and_heights_of_its_buildings(toy_city):
    assert toy_city.grid.shape == (360, 360)
    heights = toy_city.raster["height"].values
    for height in {height for _, _, height in toy.BUILDINGS.values()}:
        area = sum(Polygon(rings[0], rings[1:]).area for rings, _, h in toy.BUILDINGS.values() if h == height)
        assert (np.isclose(heights, height).sum()) == pytest.approx(area, rel=0.03)
    assert toy_city.height_at(120, 0) == pytest.approx(18.5)
    assert toy_city.height_at(0, 0) == 0.0 and toy_city.outdoor[180, 180], "the courtyard is open"
    assert toy_city.height_at(-100, 140) == 0.0, "so is the inner corner of the L"
    assert (toy_city.ground_at([0, 100], [0, 100]) == 0.0).all()
    facts = toy_city.facts
    assert facts["height_sources"] == {"area": 1, "height": 5, "kind": 1, "levels": 2} and facts["cells"] == [360, 360]
    built = sum(Polygon(rings[0], rings[1:]).area for rings, *_ in toy.BUILDINGS.values())
    assert facts["built_share"] == pytest.approx(built / 360**2, abs=0.003)
    assert facts["road_share"] == pytest.approx(toy_city.road.mean(), abs=1e-4)
    assert facts["median_height"] == 18.29, "the middle of all that is built"


def test_what_was_built_is_read_back(toy_city):
    again = open_city(toy_city.folder)
    assert (again.key, again.params, again.frame, again.grid) == ("toy", toy_city.params, toy.FRAME, toy_city.grid)
    assert again.raster is toy_city.raster, "a raster is held once"
    assert again.bounds == pytest.approx((-180.0, -180.0, 180.0, 180.0), abs=0.2)
    with pytest.raises(DataError, match="dvc repro"):
        open_city(toy_city.folder / "nowhere")


def test_building_twice_gives_the_same_bytes_and_a_failed_build_leaves_the_old_city(toy_city, tmp_path):
    again = build_city("toy", toy_city.params, PROJECT / "data", tmp_path / "toy")
    for name in ("scene.xml", "city.json", "meshes/buildings.ply", "meshes/ground.ply"):
        assert (again.folder / name).read_bytes() == (toy_city.folder / name).read_bytes(), name
    lacking = toy_city.params.model_copy(update={"streets": "nothing.geojson"})
    with pytest.raises(DataError, match=r"nothing\.geojson"):
        build_city("toy", lacking, PROJECT / "data", again.folder)
    assert open_city(again.folder).raster.identical(again.raster)


def test_a_city_without_a_map_is_open_ground_of_its_box(tmp_path):
    params = CityParams(name="Plain", source="none", box=[59.90, 59.902, 10.71, 10.714], margin=50.0)
    city = build_city("plain", params, tmp_path, tmp_path / "plain")
    assert city.outdoor.all() and not city.road.any() and city.facts["warnings"] == ["it has no map"]
    assert city.facts["built_share"] == city.facts["median_height"] == 0.0
    size = np.subtract(city.bounds[2:], city.bounds[:2])
    assert np.subtract(city.grid.bounds[2:], city.grid.bounds[:2]) == pytest.approx(size + 100.0, abs=2.0)
    assert load_scene(city, CARRIER, 0.4).objects.keys() == {"ground"}
    with pytest.raises(DataError, match="no street"):
        city.street_points(1, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="needs box"):
        check(CityParams, {"name": "Plain", "source": "none"})


def test_ues_stand_on_streets_uniformly_and_in_the_box_asked_for(toy_city):
    x, y = toy_city.street_points(4000, np.random.default_rng(3))
    row, col, inside = toy_city.grid.index(x, y)
    assert inside.all() and toy_city.road[row, col].all()
    # 12 slices from west to east: counts follow the road area (chi-square, 11 degrees of freedom, 99.99 % point 37.4)
    expected = toy_city.road.reshape(360, 12, 30).sum(axis=(0, 2)) * 4000 / toy_city.road.sum()
    observed = np.histogram(x, bins=12, range=(-180, 180))[0]
    assert ((observed - expected) ** 2 / expected).sum() < 37.4
    assert np.array_equal(toy_city.street_points(4000, np.random.default_rng(3)), (x, y))
    x, y = toy_city.street_points(200, np.random.default_rng(3), within=(-70.0, -70.0, 0.0, 180.0))
    assert x.min() >= -70.5 and x.max() <= 0.5 and y.min() >= -70.5
    with pytest.raises(DataError, match="no street"):
        toy_city.street_points(1, np.random.default_rng(3), within=(-20.0, -20.0, 20.0, 20.0))


def test_a_changed_cell_moves_the_ues_that_stood_on_it_and_more_ues_move_none(toy_city):
    at = np.transpose(toy_city.street_points(300, np.random.default_rng(5)))
    assert np.array_equal(at, np.transpose(toy_city.street_points(400, np.random.default_rng(5)))[:300])
    (row, col, _), road = toy_city.grid.index(*at.T), toy_city.raster["road"].copy()
    road.values[row[7], col[7]] = 0
    other = replace(toy_city, raster=toy_city.raster.assign(road=road))
    moved = (np.transpose(other.street_points(300, np.random.default_rng(5))) != at).any(axis=1)
    assert np.array_equal(moved, (row == row[7]) & (col == col[7]))


@pytest.mark.parametrize(("size", "row", "col"), [(601, 120.5, 33.2), (21, 180.0, 180.0), (40, 0.3, 359.0)])
def test_a_window_is_a_slice_of_the_raster(toy_city, size, row, col):
    x, y = toy_city.grid.x0 + col, toy_city.grid.y0 + row
    got = toy_city.window(float(x), float(y), size, ("building", "road", "height"))
    first = [int(np.floor(at)) - size // 2 if size % 2 else round(at - size / 2) for at in (row, col)]
    for part, name in zip(got, ("building", "road", "height"), strict=True):
        padded = np.pad(toy_city.raster[name].values, size)
        want = padded[first[0] + size :, first[1] + size :][:size, :size]
        assert part.shape == (size, size) and np.array_equal(part, want), name


@pytest.fixture(scope="module")
def rome(rome_data, tmp_path_factory):
    """Rome as conf/city/rome.yaml has it."""
    return build_city("rome", city_params("rome"), rome_data, tmp_path_factory.mktemp("rome") / "rome")


def test_rome_has_the_buildings_that_its_source_counts(rome):
    facts = rome.facts
    assert facts["in_box_polygons"] == pytest.approx(2033, abs=10)
    assert set(facts["height_sources"]) == {"prior", "render_height"}
    inside = np.ix_(*(np.abs(at) < half for at, half in ((rome.grid.y, 1050), (rome.grid.x, 950))))
    assert rome.raster["building"].values[inside].mean() == pytest.approx(0.25, abs=0.01)
    assert rome.grid.nx * rome.grid.cell == pytest.approx(1910 + 640, abs=5)
    assert rome.raster["height"].values.max() < 60.0


def test_rome_is_pixel_exact_at_sampled_points(rome):
    """Building and height as shapely finds them, roads as the strips."""
    buildings, streets = (gpd.read_parquet(rome.folder / f"{name}.parquet") for name in ("buildings", "streets"))
    grid, raster, rng = rome.grid, rome.raster, np.random.default_rng(2)
    row, col = rng.integers(0, grid.ny, 6000), rng.integers(0, grid.nx, 6000)
    at = shapely.points(grid.x[col], grid.y[row])
    what, which = shapely.STRtree(buildings.geometry.to_numpy()).query(at, predicate="within")[::-1]
    roof = np.zeros(len(at))
    np.maximum.at(roof, which, buildings["height"].to_numpy()[what])
    sure = np.ones(len(at), bool)
    sure[shapely.STRtree(buildings.geometry.boundary.to_numpy()).query(at, "dwithin", distance=1e-6)[0]] = False
    assert sure.mean() > 0.999 and 500 < (roof > 0).sum() < 5000
    assert np.array_equal(raster["building"].values[row, col][sure] == 1, (roof > 0)[sure])
    assert np.array_equal(raster["height"].values[row, col][sure], roof[sure].astype(np.float32))
    open_air = streets[~streets["tunnel"]]
    strips = shapely.STRtree(open_air.geometry.buffer(open_air["width"] / 2).to_numpy())
    near = np.zeros(len(at), bool)
    near[strips.query(at, predicate="within")[0]] = True
    assert np.array_equal(raster["road"].values[row, col][sure] == 1, (near & (roof == 0))[sure])
    assert 300 < raster["road"].values[row, col].sum() < 5000


def boxes(patches):
    south, north, west, east = np.array([patch.params.box for patch in patches]).T
    return shapely.box(west, south, east, north)


@given(st.integers(1, 6), st.integers(1, 6))
def test_patches_tile_the_region(rows, cols):
    if rows == cols == 1:
        return
    patches = cut("r", REGION, [rows, cols], 500.0)
    south, north, west, east = REGION.box
    assert len({patch.key for patch in patches}) == rows * cols
    areas = shapely.area(boxes(patches))
    np.testing.assert_allclose(areas, (north - south) * (east - west) / (rows * cols), rtol=1e-9)
    assert shapely.equals(shapely.union_all(boxes(patches), grid_size=1e-9), shapely.box(west, south, east, north))
    first, last = patches[0].params, patches[-1].params
    assert (first.box[0], first.box[2], last.box[1], last.box[3]) == (south, west, north, east)
    assert all(patch.params.margin == 500.0 and not patch.params.patches_only for patch in patches)
    np.testing.assert_allclose(patches[0].params.centre, [np.mean(first.box[:2]), np.mean(first.box[2:])])


def test_one_patch_is_the_city_as_it_is_and_a_scene_of_sionna_is_not_cut(tmp_path, toy_city):
    (patch,) = cut("munich", city_params("munich"), [1, 1], 500.0)
    assert patch.key == "munich" and patch.params == city_params("munich")
    with pytest.raises(DataError, match="there is no"):
        build_patch(patch, PROJECT / "data", tmp_path)
    (toy,) = cut("toy", city_params("toy"), [1, 1], 500.0)
    (tmp_path / "cities").mkdir()
    (tmp_path / "cities/toy").symlink_to(toy_city.folder)
    assert build_patch(toy, PROJECT / "data", tmp_path).grid == open_any(tmp_path, "toy").grid == toy_city.grid
    with pytest.raises(DataError, match="neither a city nor a patch called 'toy-00-00'"):
        open_any(tmp_path, "toy-00-00")
    with pytest.raises(ConfigError, match="can't be cut into 2 x 1"):
        cut("home", city_params("munich"), [2, 1], 0.0)


def test_a_patch_has_its_own_frame_and_the_buildings_that_stand_there(tmp_path, toy_city):
    patches = cut("toy", city_params("toy"), [2, 2], 30.0)
    for patch in patches:
        city = build_patch(patch, PROJECT / "data", tmp_path)
        assert city.folder == tmp_path / "patches" / patch.key and open_any(tmp_path, patch.key).key == patch.key
        assert city.frame != toy_city.frame
        x_min, y_min, x_max, y_max = city.bounds
        assert x_max + x_min == pytest.approx(0, abs=0.01) and y_max + y_min == pytest.approx(0, abs=0.01)
        assert city.grid.bounds == pytest.approx((x_min - 30, y_min - 30, x_max + 30, y_max + 30), abs=1.0)
        lat, lon = FRAME.to_geographic(*np.random.default_rng(0).uniform(-179, 179, (2, 2000)))
        x, y = city.frame.to_local(lat, lon)
        np.testing.assert_allclose(city.frame.to_geographic(x, y), (lat, lon), atol=1e-10)
        here = city.grid.index(x, y)[2]
        same = city.height_at(x, y)[here] == toy_city.height_at(*toy_city.frame.to_local(lat, lon))[here]
        assert here.sum() > 500 and same.mean() > 0.97, "but for cells that a wall crosses"


def test_a_patch_of_rome(rome_data, tmp_path):
    patch = cut("rome", REGION, [80, 80], 100.0)[40 * 80 + 40]
    city = build_patch(patch, rome_data, tmp_path)
    assert city.facts["buildings"] > 50
    x_min, y_min, x_max, y_max = city.bounds
    assert (x_max - x_min, y_max - y_min) == pytest.approx((33_000 / 80, 25_000 / 80), rel=0.01)
    x, y = city.street_points(100, np.random.default_rng(0))
    assert not city.height_at(x, y).any()
