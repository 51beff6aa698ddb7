from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml
from shapely import Polygon

from rfloc.city import build_city, open_city
from rfloc.config import CityParams, check
from rfloc.errors import DataError, FrameError
from rfloc.simulation.scene import load_scene
from tests import toy
from tests.toy import city_params

CARRIER = 0.8e9


def test_toy_files_are_what_their_generator_makes(project_root):
    for name, content in toy.files().items():
        assert (project_root / "data" / "toy" / name).read_text() == content, f"run `python -m tests.toy` for {name}"


def test_every_city_configuration_is_valid(project_root):
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
    assert toy_city.facts["height_sources"] == {"area": 1, "height": 5, "kind": 1, "levels": 2}


def test_what_was_built_is_read_back(toy_city):
    again = open_city(toy_city.folder)
    assert (again.key, again.params, again.frame, again.grid) == ("toy", toy_city.params, toy.FRAME, toy_city.grid)
    assert again.raster is toy_city.raster, "a raster is held once"
    assert again.bounds == pytest.approx((-180.0, -180.0, 180.0, 180.0), abs=0.2)


def test_building_twice_gives_the_same_bytes(toy_city, tmp_path, project_root):
    again = build_city("toy", toy_city.params, project_root / "data", tmp_path / "toy")
    for name in ("scene.xml", "city.json", "meshes/buildings.ply", "meshes/ground.ply"):
        assert (again.folder / name).read_bytes() == (toy_city.folder / name).read_bytes(), name


def test_a_missing_city_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="dvc repro"):
        open_city(tmp_path / "nowhere")


def test_a_failed_build_leaves_the_old_city(tmp_path, project_root):
    params = city_params("toy")
    city = build_city("toy", params, project_root / "data", tmp_path / "toy")
    with pytest.raises(DataError, match=r"nothing\.geojson"):
        build_city("toy", params.model_copy(update={"streets": "nothing.geojson"}), project_root / "data", city.folder)
    assert open_city(city.folder).raster.identical(city.raster)


def test_frames_of_two_cities_do_not_mix(toy_city):
    other = replace(toy_city.frame, lon0=11.0)
    with pytest.raises(FrameError):
        toy_city.frame.require_same(other)


def test_a_patch_15_km_from_the_origin_has_its_buildings_round_its_ues(toy_city, tmp_path, project_root):
    """One map in two frames, the second with its origin 15 km away: same roofs, roads and crops at the same places."""
    lat, lon = toy_city.frame.to_geographic(-10_600.0, -10_600.0)
    params = toy_city.params.model_copy(update={"origin": [float(lat), float(lon)]})
    far = build_city("far", params, project_root / "data", tmp_path / "far")
    assert np.hypot(*np.mean(np.reshape(far.bounds, (2, 2)), axis=0)) == pytest.approx(15_000, rel=0.01)
    walls = gpd.read_parquet(toy_city.folder / "buildings.parquet").boundary.union_all()
    x, y = np.random.default_rng(0).uniform(-170, 170, (2, 3000))
    sure = shapely.distance(walls, shapely.points(x, y)) > 1.5  # a cell is that far from its own corner, twice
    assert np.array_equal(far.height_at(*_seen(toy_city, far, x, y))[sure], toy_city.height_at(x, y)[sure])
    assert 500 < (toy_city.height_at(x, y)[sure] > 0).sum() < 2000
    ue = far.street_points(2000, np.random.default_rng(1))
    row, col, inside = far.grid.index(*ue)
    assert inside.all() and far.road[row, col].all()
    row, col, _ = toy_city.grid.index(*_seen(far, toy_city, *ue))
    assert toy_city.road[row, col].mean() > 0.95  # but for those on the outermost half metre of a street
    near, distant = toy_city.window(-60.0, 60.0, 101), far.window(*map(float, _seen(toy_city, far, -60.0, 60.0)), 101)
    assert (near == distant).mean() > 0.97 and 0.2 < near[0].mean() < 0.8


def _seen(city, other, x, y):
    """x, y [m] of a place of one city in the frame of another."""
    return other.frame.to_local(*city.frame.to_geographic(x, y))


def test_ues_stand_on_streets_and_uniformly(toy_city):
    x, y = toy_city.street_points(4000, np.random.default_rng(3))
    row, col, inside = toy_city.grid.index(x, y)
    assert inside.all() and toy_city.road[row, col].all()
    # 12 slices from west to east: counts follow the road area (chi-square, 11 degrees of freedom, 99.99 % point 37.4)
    expected = toy_city.road.reshape(360, 12, 30).sum(axis=(0, 2)) * 4000 / toy_city.road.sum()
    observed = np.histogram(x, bins=12, range=(-180, 180))[0]
    assert ((observed - expected) ** 2 / expected).sum() < 37.4
    same = toy_city.street_points(4000, np.random.default_rng(3))
    assert np.array_equal(same, (x, y))


def test_positions_number_the_road_cells_row_by_row_from_the_south(toy_city):
    x, y = toy_city.street_points(300, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    row, col = np.nonzero(toy_city.raster["road"].values)
    pick, shift = rng.integers(len(row), size=300), rng.uniform(-0.5, 0.5, (2, 300))
    west, south, *_ = toy_city.grid.bounds
    assert np.array_equal(x, west + (col[pick] + 0.5) + shift[0])
    assert np.array_equal(y, south + (row[pick] + 0.5) + shift[1])


@pytest.mark.parametrize(("size", "row", "col"), [(601, 120.5, 33.2), (21, 180.0, 180.0), (40, 0.3, 359.0)])
def test_a_window_is_a_slice_of_the_raster(toy_city, size, row, col):
    x, y = toy_city.grid.x0 + col, toy_city.grid.y0 + row
    got = toy_city.window(float(x), float(y), size, ("building", "road", "height"))
    first = [int(np.floor(at)) - size // 2 if size % 2 else round(at - size / 2) for at in (row, col)]
    for part, name in zip(got, ("building", "road", "height"), strict=True):
        padded = np.pad(toy_city.raster[name].values, size)
        want = padded[first[0] + size :, first[1] + size :][:size, :size]
        assert part.shape == (size, size) and np.array_equal(part, want), name


def test_ues_stay_in_the_box_asked_for(toy_city):
    x, y = toy_city.street_points(200, np.random.default_rng(3), within=(-70.0, -70.0, 0.0, 180.0))
    assert x.min() >= -70.5 and x.max() <= 0.5 and y.min() >= -70.5
    with pytest.raises(DataError, match="no street"):
        toy_city.street_points(1, np.random.default_rng(3), within=(-20.0, -20.0, 20.0, 20.0))


@pytest.fixture(scope="module")
def toy_map(toy_city):
    """Radio map of the toy city without interactions, 5 m cells: linear path gain (72, 72), and the station."""
    scene = load_scene(toy_city, CARRIER, 0.4)
    import mitsuba as mi
    import sionna.rt as rt

    station = np.array([-57.5, -57.5, 10.0])
    scene.tx_array = scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    scene.add(rt.Transmitter("bs", mi.Point3f(station.tolist())))
    solved = rt.RadioMapSolver()(
        scene,
        center=mi.Point3f(0.0, 0.0, 1.5),
        size=mi.Point2f(360.0, 360.0),
        orientation=mi.Point3f(0.0, 0.0, 0.0),
        cell_size=mi.Point2f(5.0, 5.0),
        samples_per_tx=500_000,
        max_depth=0,
    )
    return np.array(solved.path_gain)[0], station


def test_line_of_sight_follows_friis(toy_map):
    gain, station = toy_map
    centre = -180 + 5 * (np.arange(72) + 0.5)
    along = (centre > -20) & (centre < 120)  # the street at y = -60, eastwards
    distance = np.hypot(centre[along] - station[0], station[2] - 1.5)
    friis = (299_792_458.0 / CARRIER / (4 * np.pi * distance)) ** 2
    got = gain[24, along]  # row 24: y = -57.5
    assert 10 * np.abs(np.log10(got / friis)).max() < 2.0
    assert 10 * abs(np.log10(np.median(got / friis))) < 0.3


def test_buildings_block(toy_map, toy_city):
    gain, _ = toy_map
    built = toy_city.raster["building"].values.reshape(72, 5, 72, 5).mean(axis=(1, 3))
    assert (gain[built == 1.0] == 0.0).all(), "nothing reaches the inside"
    assert gain[62, 60] == 0.0 and built[62, 60] == 1.0
    behind = 36, 36  # the courtyard, 21 m walls all round
    assert built[behind] == 0.0 and gain[behind] == 0.0


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
    x, y = rome.street_points(500, np.random.default_rng(1))
    x_min, y_min, x_max, y_max = rome.bounds
    assert x.min() > x_min - 1 and x.max() < x_max + 1 and y.min() > y_min - 1 and y.max() < y_max + 1
    scene = load_scene(rome, CARRIER, 0.4)
    assert set(scene.radio_materials) == {"concrete", "medium_dry_ground"}


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
