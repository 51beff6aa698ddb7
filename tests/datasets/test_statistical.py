import dataclasses

import numpy as np
import pytest
import xarray as xr

from rfloc.city import City, build_city
from rfloc.config import CampaignParams, RadioParams, SplitParams
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.measured import read_campaign
from rfloc.datasets.statistical import StatisticalModel, distance_maps, fit
from rfloc.errors import FrameError, SimulationError
from rfloc.frames import Grid, LocalFrame, wrap_degrees
from rfloc.simulation.maps import nrsrp_map, sector_gain_db
from rfloc.simulation.propagation import free_space_gain
from rfloc.splits import make_split
from rfloc.stations import Stations
from tests.handmade import make_links
from tests.simulation.scenes import blocks_city, one_station, raster_city, row_of_stations
from tests.toy import city_params

#: Everything is heard: fitting has no model of silence.
RADIO = RadioParams(sensitivity_dbm=-200.0, detection_db=-300.0, front_to_back_db=12.0)
OMNI = RADIO.model_copy(update={"pattern": "isotropic"})
FREE = StatisticalModel(0.0, 2.0, 0.0, 0.0, 50.0, 0.0, source="free space")
TRUTH = StatisticalModel(-6.0, 3.2, 18.0, 5.0, 45.0, 3.0, level_sd=3.0, exponent_sd=0.2, source="truth")
FLAT = raster_city(np.zeros((200, 600)))


@pytest.fixture(scope="module")
def city() -> City:
    return blocks_city()


@pytest.fixture(scope="module")
def stations() -> Stations:
    return row_of_stations(*np.random.default_rng(4).uniform(-500, 500, (2, 8)))


@pytest.fixture(scope="module")
def truth(stations) -> StatisticalModel:
    return TRUTH.for_stations(stations, np.random.default_rng(2))


@pytest.fixture(scope="module")
def links(city, stations, truth) -> xr.Dataset:
    at = np.random.default_rng(9).uniform(-600, 600, (2, 1200))
    gain = truth.path_gain(city, stations, *at, RADIO, seed=3)
    return links_from_gain(city, gain, stations, *at, RADIO, "statistical simulation")


class TestModel:
    def test_without_buildings_and_with_exponent_two_it_is_friis(self):
        x, y = np.array([5.0, 120.0, -280.0]), np.array([0.0, 40.0, 7.0])
        station = one_station(h=30.0)
        want = free_space_gain(np.sqrt(x**2 + y**2 + 28.5**2), OMNI.carrier_hz)
        np.testing.assert_allclose(FREE.path_gain(FLAT, station, x, y, OMNI, 0)[:, 0], want, rtol=1e-12)
        twice = FREE.path_gain_db(FLAT, station, x, y, OMNI.model_copy(update={"carrier_hz": 1.6e9}))
        np.testing.assert_allclose(twice[:, 0], 10 * np.log10(want) - 20 * np.log10(2))

    def test_a_wall_costs_its_share_of_the_line_and_the_sector_its_pattern(self):
        roofs = np.zeros((60, 200))
        roofs[:, 120:140] = 100.0
        link = one_station(-64.0, 0.5), [64.0], [0.5]
        walled = dataclasses.replace(FREE, obstruction_db=16.0).path_gain_db(raster_city(roofs), *link, OMNI)
        free = FREE.path_gain_db(FLAT, *link, OMNI)
        assert (walled - free).item() == pytest.approx(-16.0 * 20 / 128)
        sector = link[0].replace(azimuth=[30.0])
        got = FREE.path_gain_db(FLAT, sector, *link[1:], RADIO) - free
        np.testing.assert_allclose(got, sector_gain_db(sector, *link[1:], RADIO).T)

    def test_effects_belong_to_their_stations(self, city, stations, truth):
        x, y = np.random.default_rng(0).uniform(-500, 500, (2, 20))
        gain = truth.path_gain_db(city, stations, x, y, RADIO)
        average, effects = dataclasses.replace(truth, effects=None), truth.effects
        bent = gain - average.path_gain_db(city, stations.replace(azimuth=effects.azimuth), x, y, RADIO)
        h = stations.above_roofs(city).h - RADIO.ue_height
        d = np.sqrt((x[:, None] - stations.x) ** 2 + (y[:, None] - stations.y) ** 2 + h**2)
        np.testing.assert_allclose(bent, effects.level_db - 10 * effects.exponent * np.log10(d / 300.0), atol=1e-9)

    def test_stations_are_drawn_from_the_spread_between_stations(self):
        n = 4000
        table = Stations(*np.zeros((3, n)), np.full(n, np.nan), np.zeros(n), np.arange(n).astype(str))
        table.azimuth[0] = 123.0
        spread = dataclasses.replace(FREE, level_sd=4.0, exponent_sd=0.5)
        effects = spread.for_stations(table, np.random.default_rng(0)).effects
        assert effects.level_db.std() == pytest.approx(4.0, rel=0.05) and abs(effects.level_db.mean()) < 0.3
        assert effects.exponent.std() == pytest.approx(0.5, rel=0.05)
        assert effects.azimuth[0] == 123.0
        assert np.histogram(effects.azimuth, 8, (0, 360))[0] == pytest.approx(n / 8, rel=0.2)

    def test_one_seed_one_answer_whatever_the_order_of_ues(self, city, stations, truth):
        x, y = np.random.default_rng(0).uniform(-500, 500, (2, 50))
        first = truth.path_gain(city, stations, x, y, RADIO, 5)
        np.testing.assert_array_equal(truth.path_gain(city, stations, x, y, RADIO, 5), first)
        turned = np.random.default_rng(1).permutation(50)
        np.testing.assert_allclose(truth.path_gain(city, stations, x[turned], y[turned], RADIO, 5), first[turned])
        assert (truth.path_gain(city, stations, x, y, RADIO, 6) != first).all()


class TestFit:
    def test_parameters_are_recovered(self, city, links, truth):
        fitted = fit(links, np.ones(links.sizes["ue"], bool), city, RADIO)
        assert fitted.exponent == pytest.approx(truth.exponent, abs=0.2)
        assert fitted.level_db == pytest.approx(truth.level_db, abs=2.5)
        assert fitted.obstruction_db == pytest.approx(truth.obstruction_db, abs=5.0)
        assert fitted.shadowing_sd == pytest.approx(truth.shadowing_sd, rel=0.1)
        assert fitted.noise_sd == pytest.approx(truth.noise_sd, rel=0.15)
        assert fitted.shadowing_distance == pytest.approx(truth.shadowing_distance, rel=0.3)
        assert fitted.level_sd == pytest.approx(truth.level_sd, rel=0.6)
        assert np.abs(wrap_degrees(fitted.effects.azimuth - truth.effects.azimuth)).max() < 15.0
        level = fitted.level_db + fitted.effects.level_db
        assert np.abs(level - truth.level_db - truth.effects.level_db).max() < 5.0

    def test_held_out_ues_play_no_part_and_order_changes_nothing(self, city, links):
        train = np.random.default_rng(0).random(links.sizes["ue"]) < 0.5
        model = fit(links, train, city, RADIO)
        secret = links["nrsrp"].where(xr.DataArray(train, dims="ue"), links["nrsrp"] + 20.0).astype(np.float32)
        turned = np.random.default_rng(1).permutation(links.sizes["ue"])
        for other, mask in ((links.assign(nrsrp=secret), train), (links.isel(ue=turned), train[turned])):
            again = fit(other, mask, city, RADIO)
            assert again.exponent == pytest.approx(model.exponent, abs=1e-3)
            assert again.shadowing_distance == pytest.approx(model.shadowing_distance, rel=1e-2)
            np.testing.assert_allclose(again.effects.level_db, model.effects.level_db, atol=1e-2)

    def test_a_station_that_nobody_reports_is_average_too_little_and_another_frame_are_refused(self, city, links):
        silent = links.assign(nrsrp=links["nrsrp"].where(xr.DataArray(np.arange(8) > 0, dims="bs")))
        effects = fit(silent, np.ones(links.sizes["ue"], bool), city, RADIO).effects
        assert effects.level_db[0] == pytest.approx(0.0, abs=1e-9)
        assert np.isnan(effects.azimuth[0]) and np.isfinite(effects.azimuth[1:]).all()  # and omnidirectional
        few = np.arange(links.sizes["ue"]) < 1
        with pytest.raises(SimulationError, match="squares of 100 m"):
            fit(links, few, city, RADIO)
        with pytest.raises(FrameError):
            fit(links.assign_attrs(frame_lat0=1.0), few, city, RADIO)


def test_rome_is_predicted_better_than_by_a_constant_a_cell(rome_data, project_root, tmp_path):
    params = city_params("rome").model_copy(update={"margin": 0.0})
    rome = build_city("home", params, rome_data, tmp_path / "rome")
    radio = RadioParams(resource_blocks=1, power_dbm=23.8, sensitivity_dbm=-120.0, front_to_back_db=12.0)
    campaign = CampaignParams(kind="nbiot", cities=["home"])
    links, _ = read_campaign(campaign, radio, rome_data, project_root, rome)
    stations, measured = Stations.from_dataset(links), links["nrsrp"].values.astype(float)
    blocks = SplitParams(block=300.0, buffer=50.0, unknown=0.25, known=0.0, val=0.0)
    role = make_split(links, blocks, 0)["role"].values
    train, test = role == "train", role == "unknown"
    model = fit(links, train, rome, radio)
    gain = model.path_gain_db(rome, stations, links["ue_x"].values, links["ue_y"].values, radio)
    guesses = gain + stations.power - 10 * np.log10(12), np.nanmean(measured[train], axis=0)
    ours, constant = (np.sqrt(np.nanmean((measured - guess)[test] ** 2)) for guess in guesses)
    assert ours < min(constant, 10.0)
    assert 1.0 < model.exponent < 4.0 and 0.0 < model.obstruction_db < 40.0
    assert 10.0 < model.shadowing_distance < 200.0


@pytest.mark.parametrize("pattern", ["isotropic", "tr38901"])
def test_a_law_of_each_station_is_found_and_read_off_the_maps(pattern):
    rng = np.random.default_rng(0)
    bs, ue = np.array([[0.0, 0.0], [900.0, 300.0]]), rng.uniform(-1000, 1000, (400, 2))
    radio = RadioParams(resource_blocks=1, pattern=pattern)

    def law(at):
        far = np.hypot(np.hypot(*(at[:, None] - bs).transpose(2, 0, 1)), 30.0 - radio.ue_height)
        return np.array([-70.0, -80.0]) - np.array([20.0, 30.0]) * np.log10(far / 300.0)

    links = make_links(ue, bs, law(ue) + rng.normal(0, 0.01, (400, 2)))
    grid = Grid.covering(-1000.0, -1000.0, 1000.0, 1000.0, 100.0)
    train = np.arange(400) < 300
    links["nrsrp"].values[~train] = -50.0  # what others report is not looked at
    levels = nrsrp_map(distance_maps(links, train, grid, radio), radio)
    x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
    assert pytest.approx(law(np.column_stack([x, y])), abs=0.2) == levels.reshape(2, -1).T
    assert LocalFrame.from_attrs(links.attrs) == LocalFrame.from_attrs(distance_maps(links, train, grid, radio).attrs)
