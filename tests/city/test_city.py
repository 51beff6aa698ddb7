from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml
from shapely import Polygon

from rfloc.city import build_city, open_city
from rfloc.config import CityParams, check
from rfloc.errors import DataError, FrameError
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
    for rings, _, height in toy.BUILDINGS.values():
        area = Polygon(rings[0], rings[1:]).area
        assert (np.isclose(heights, height).sum()) == pytest.approx(area, rel=0.03)
    assert toy_city.height_at(120, 0) == pytest.approx(12.0)
    assert toy_city.height_at(0, 0) == 0.0 and toy_city.outdoor[180, 180], "the courtyard is open"
    assert toy_city.height_at(-100, 140) == 0.0, "so is the inner corner of the L"
    assert (toy_city.ground_at([0, 100], [0, 100]) == 0.0).all()
    assert toy_city.facts["height_sources"] == {"default": 1, "height": 5, "kind": 1, "levels": 2}


def test_what_was_built_is_read_back(toy_city):
    again = open_city(toy_city.folder)
    assert (again.key, again.params, again.frame, again.grid) == ("toy", toy_city.params, toy.FRAME, toy_city.grid)
    assert again.raster.identical(toy_city.raster)
    assert again.bounds == pytest.approx((-180.0, -180.0, 180.0, 180.0), abs=0.2)


def test_building_twice_gives_the_same_bytes(toy_city, tmp_path, project_root):
    again = build_city("toy", toy_city.params, project_root / "data", tmp_path / "toy", seed=7)
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


def test_ues_stay_in_the_box_asked_for(toy_city):
    x, y = toy_city.street_points(200, np.random.default_rng(3), within=(-70.0, -70.0, 0.0, 180.0))
    assert x.min() >= -70.5 and x.max() <= 0.5 and y.min() >= -70.5
    with pytest.raises(DataError, match="no street"):
        toy_city.street_points(1, np.random.default_rng(3), within=(-20.0, -20.0, 20.0, 20.0))


@pytest.fixture(scope="module")
def toy_map(toy_city):
    """Radio map of the toy city without interactions, 5 m cells: linear path gain (72, 72), and the station."""
    scene = toy_city.load_scene(CARRIER, 0.4)
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


def test_rome_has_the_buildings_that_its_source_counts(rome_data, tmp_path):
    city = build_city("rome", city_params("rome"), rome_data, tmp_path / "rome")
    facts = city.facts
    assert facts["in_box_polygons"] == pytest.approx(2033, abs=10)
    assert facts["in_box_tagged"] == pytest.approx(145, abs=2)
    assert facts["in_box_built_share"] == pytest.approx(0.25, abs=0.01)
    assert set(facts["height_sources"]) == {"default", "render_height"}
    assert city.grid.nx * city.grid.cell == pytest.approx(1910 + 640, abs=5)
    assert city.raster["height"].values.max() < 60.0
    x, y = city.street_points(500, np.random.default_rng(1))
    x_min, y_min, x_max, y_max = city.bounds
    assert x.min() > x_min - 1 and x.max() < x_max + 1 and y.min() > y_min - 1 and y.max() < y_max + 1
    scene = city.load_scene(CARRIER, 0.4)
    assert set(scene.radio_materials) == {"concrete", "medium_dry_ground"}
