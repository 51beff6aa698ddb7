from pathlib import Path

import numpy as np
import pytest

from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import Grid
from rfloc.simulation import maps
from rfloc.simulation.maps import coverage, gain_at, joined, nrsrp_map, place_transmitter, read_error_db, read_maps
from rfloc.simulation.paths import beyond_errors
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.propagation import free_space_gain
from rfloc.simulation.scene import load_scene
from tests.simulation.scenes import one_station, small_city, traced

RADIO = RadioParams(front_to_back_db=30.0)
SIM = SimulationParams(cell=10.0, samples=1_000_000, max_depth=1, rooftop=False)


@pytest.fixture(scope="module")
def free_space(tmp_path_factory: pytest.TempPathFactory):
    """Maps of one station at (35, -25) in empty space, on an oblong grid."""
    city = small_city(tmp_path_factory.mktemp("free"), half=(100, 60))
    return traced(city, one_station(35.0, -25.0, 20.0, 90.0), SIM, 1)


def test_map_is_friis_in_free_space_with_row_0_in_the_south_and_read_by_cell(free_space):
    grid = Grid.from_attrs(free_space.attrs)
    assert free_space["path_gain"].shape == (1, 12, 20)
    x, y = np.meshgrid(grid.x, grid.y)
    want = free_space_gain(np.sqrt((x - 35) ** 2 + (y + 25) ** 2 + 18.5**2), RADIO.carrier_hz)
    error = 10 * np.log10(free_space["path_gain"].values[0] / want)
    # A V-polarised element seen from above loses nothing: |a|^2 sums both polarisations. Cells average 1 / d^2.
    assert np.abs(error).max() < 0.6
    assert abs(np.median(error)) < 0.05
    gain = read_maps(free_space, [37.0, 38.0, 5000.0], [-22.0, -21.0, 0.0])
    assert gain.shape == (3, 1)
    assert gain[0] == gain[1] == pytest.approx(free_space["path_gain"].values[0, 3, 13])
    assert gain[2] == 0.0  # outside


def test_azimuth_90_radiates_to_the_east_and_the_map_of_levels_says_what_is_read(free_space):
    east, west, north = 10 * np.log10(read_maps(free_space, [85.0, -15.0, 35.0], [-25.0, -25.0, 25.0], RADIO)[:, 0])
    assert east - west > 20.0
    assert west < north < east
    grid = Grid.from_attrs(free_space.attrs)
    x, y = (v.ravel() for v in np.meshgrid(grid.x, grid.y))
    level = 43.0 - 10 * np.log10(1008) + 10 * np.log10(read_maps(free_space, x, y, RADIO)[:, 0])
    np.testing.assert_allclose(nrsrp_map(free_space, RADIO)[0].ravel(), level)


def test_nothing_arrives_behind_a_wall_but_over_its_roof(tmp_path: Path):
    city = small_city(tmp_path, half=(100, 60), boxes=((-5.0, -60.0, 5.0, 60.0, 30.0),))
    station = one_station(x=-60.0, h=10.0)
    rays = traced(city, station, SIM, 1)
    assert rays["path_gain"].values[0, :, 12:].max() == 0.0
    assert np.isnan(nrsrp_map(rays, RADIO)[0, :, 12:]).all()
    both = traced(city, station, SIM.model_copy(update={"rooftop": True}), 1)
    assert (both["path_gain"].values[0, :, 12:] > 0).all()
    np.testing.assert_allclose(both["ray_gain"], rays["path_gain"], rtol=1e-3)
    sight = both["path_gain"].values[0, :, :8]
    np.testing.assert_allclose(sight, rays["path_gain"].values[0, :, :8], rtol=1e-3)  # the floor adds nothing in sight
    shares = coverage(both, Plane(city, 10.0, RADIO.ue_height))
    assert shares["covered"] > shares["by_rays"]


def test_outdoor_share_of_half_built_cells_and_who_stands_in_the_open(tmp_path: Path):
    city = small_city(tmp_path, half=(20, 10), boxes=((-20.0, -10.0, -5.0, 10.0, 9.0),))
    share, x, _ = Plane(city, 10.0, 1.5).outdoors
    np.testing.assert_allclose(share[0], [0.0, 0.5, 1.0, 1.0])
    assert x[0].tolist() == [-15.0, -4.5, 4.5, 14.5]
    found = Plane(city, 10.0, 1.5).in_the_open([-15.0, -8.0, 5.0, 25.0], [0.0, 1.0, 2.0, 0.0])
    assert found.tolist() == [False, True, True, False]  # -8 m: in a building, and its cell is half free; 25 m: off it


@pytest.mark.parametrize("diffuse", [False, True])
def test_stated_error_is_the_spread_of_seeds(toy_city: City, diffuse: bool):
    sim = SIM.model_copy(update={"diffuse": diffuse, "max_depth": 2, "samples": 40_000})
    station = one_station(20.0, -60.0, 26.0)
    runs = [traced(toy_city, station, sim, seed).isel(bs=0) for seed in range(10)]
    gain = np.array([run["ray_gain"].values for run in runs], float)
    error = np.array([run["ray_error"].values for run in runs], float) * gain
    reached = (gain > 0).all(0)
    assert reached.mean() > 0.2
    spread, stated = gain.std(0, ddof=1)[reached], np.sqrt((error**2).mean(0))[reached]
    assert np.median(spread / gain.mean(0)[reached]) > 0.01  # another seed gives other rays
    assert 0.75 < np.median(stated / spread) < 1.3
    np.testing.assert_array_equal(np.isnan(error), gain == 0)
    two, more = beyond_errors(runs[0], runs[1]).items()
    assert two[0] == "2.0" and two[1] >= more[1] and more[1] < 0.12


def test_rays_go_where_the_map_is(toy_city: City):
    """Closer to a map of 25 times the rays than Sionna's own lattice comes, and without bias."""
    import mitsuba as mi
    from sionna.rt import RadioMapSolver

    sim = SIM.model_copy(update={"diffuse": False, "max_depth": 2, "samples": 40_000, "cell": 5.0})
    station, level = one_station(20.0, -60.0, 26.0), Plane(toy_city, 5.0, RADIO.ue_height)
    scene = load_scene(toy_city, RADIO.carrier_hz, sim.scattering)
    place_transmitter(scene, (20.0, -60.0, float(toy_city.ground_at(20.0, -60.0)) + 26.0))
    x_min, y_min, x_max, y_max = level.grid.bounds
    plane = mi.Point3f((x_min + x_max) / 2, (y_min + y_max) / 2, level.z)
    stock = RadioMapSolver()(
        scene, center=plane, size=mi.Point2f(x_max - x_min, y_max - y_min), orientation=mi.Point3f(0.0), max_depth=2,
        cell_size=mi.Point2f(5.0), samples_per_tx=40_000, refraction=False, seed=0,
    )  # fmt: skip
    ours, many = (traced(toy_city, station, sim, 0, samples)["ray_gain"].values[0] for samples in (40_000, 1_000_000))
    whole = (level.outdoors[0] == 1) & (many > 0)
    errors = [np.median(np.abs(found[whole] / many[whole] - 1)) for found in (ours, np.array(stock.path_gain)[0])]
    assert errors[0] < 0.8 * errors[1], errors
    assert ours[whole].sum() == pytest.approx(many[whole].sum(), rel=0.02)


def test_error_in_db_is_that_of_the_rays_in_what_is_read(free_space):
    values = {"path_gain": 4.0, "ray_gain": 1.0, "ray_error": 0.2}
    maps = free_space.assign({name: 0 * free_space[name] + value for name, value in values.items()})
    maps["ray_gain"][0, 0, 0], maps["ray_error"][0, 0, 0] = 0.0, np.nan
    error = read_error_db(maps, [37.0, -99.0, 5000.0], [-22.0, -59.0, 0.0])
    assert error[0, 0] == pytest.approx(10 * np.log10(1 + 0.05), rel=0.03)
    assert np.isnan(error[1:]).all()  # no ray came; outside the map


def test_a_map_is_kept_for_all_that_it_depends_on_and_for_nothing_else(tmp_path: Path, monkeypatch):
    city, cache = small_city(tmp_path / "city", boxes=((10.0, -20.0, 20.0, 20.0, 12.0),)), tmp_path / "cache"
    station, sim = one_station(x=-30.0, h=15.0, azimuth=20.0), SIM.model_copy(update={"samples": 20_000})
    without, first = traced(city, station, sim, 1), traced(city, station, sim, 1, cache=cache)
    assert len(list(cache.iterdir())) == 1

    def refuse(*_):
        raise AssertionError("traced again")

    monkeypatch.setattr(maps, "_solve", refuse)
    turned = station.replace(azimuth=[200.0], power=[10.0], id=["other"])
    same = small_city(tmp_path / "same", boxes=((10.0, -20.0, 20.0, 20.0, 12.0),))
    for again in (traced(city, turned, sim, 1, cache=cache), traced(same, station, sim, 1, cache=cache)):
        for name in ("path_gain", "ray_gain", "ray_error"):
            assert again[name].values.tobytes() == first[name].values.tobytes() == without[name].values.tobytes()
    taller = small_city(tmp_path / "taller", boxes=((10.0, -20.0, 20.0, 20.0, 12.5),))
    for one, other, how, seed, samples in (
        (city, station.moved(0.01), sim, 1, None),
        (city, station.replace(h=[15.01]), sim, 1, None),
        (city, station, sim.model_copy(update={"max_depth": 2}), 1, None),
        (city, station, sim, 2, None),
        (city, station, sim, 1, 20_001),
        (taller, station, sim, 1, None),
    ):
        with pytest.raises(AssertionError, match="traced again"):
            traced(one, other, how, seed, samples, cache=cache)


@pytest.mark.parametrize("rooftop", [True, False])
def test_gain_at_ues_is_what_whole_maps_say(toy_city: City, rooftop: bool):
    sim = SIM.model_copy(update={"rooftop": rooftop, "samples": 20_000, "cell": 20.0})
    x, y = np.random.default_rng(0).uniform(-200.0, 200.0, (2, 300))
    station = one_station(20.0, -60.0, 26.0)
    gain, error = gain_at(Plane(toy_city, 20.0, 1.5), station, Rays(sim, RADIO, 20_000, 1), x, y)
    whole = traced(toy_city, station, sim, 1)
    np.testing.assert_allclose(gain, read_maps(whole, x, y), rtol=1e-6)
    np.testing.assert_allclose(error, read_error_db(whole, x, y), rtol=1e-5)
    assert (gain == 0).any() and (gain > 0).any()


def test_in_sight_the_direct_path_stands_in_where_rays_missed_it():
    floor, clear = np.array([1.0, 1.0, 1.0, 0.3]), np.array([True, True, True, False])
    rays = np.array([0.0, 0.01, 1.2, 0.5])  # missed; a crumb from a neighbour; hit; behind a house
    np.testing.assert_allclose(joined(rays, floor, clear), [1.0, 1.01, 1.2, 0.8])


def test_no_more_arrives_than_was_sent(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(maps, "rooftop_gain", lambda _, bs, x, *__: (np.full((bs.n, x.size), 2.0), x > 0))
    city, sim = small_city(tmp_path), SIM.model_copy(update={"rooftop": True, "samples": 1000})
    with pytest.raises(SimulationError, match=r"1 links .* 3\.0 dB more than their station sends"):
        gain_at(Plane(city, 10.0, 1.5), one_station(), Rays(sim, RADIO, 1000, 1), [30.0], [0.0])
    with pytest.raises(SimulationError, match=r"240 links .* more than their station sends"):
        traced(city, one_station(), sim, 1)


def test_refraction_goes_through_a_wall_at_a_loss(tmp_path: Path):
    city = small_city(tmp_path, half=(100, 60), boxes=((-5.0, -60.0, 5.0, 60.0, 30.0),))
    station, grid = one_station(x=-60.0, h=10.0), Plane(city, 10.0, 1.5).grid
    sim = SIM.model_copy(update={"refraction": True, "max_depth": 2, "scattering": 0.0})
    through = traced(city, station, sim, 1)
    x, y = grid.x[14:], np.zeros(len(grid.x[14:]))
    behind = read_maps(through, x, y)[:, 0]
    free = free_space_gain(np.hypot(x - station.x[0], station.h[0] - RADIO.ue_height), RADIO.carrier_hz)
    assert (behind > 0).all()
    assert (behind < free).all()
