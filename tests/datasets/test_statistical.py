from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rfloc.config import RadioParams
from rfloc.datasets.hidden import simulate_statistically
from rfloc.datasets.radio import features
from rfloc.datasets.statistical import PRIORS, StationEffects, StatisticalModel
from rfloc.errors import SimulationError
from rfloc.frames import bearing
from rfloc.schema import FEATURES, validate
from rfloc.simulation.maps import sector_gain_db
from rfloc.simulation.propagation import free_space_gain
from rfloc.stations import Stations
from tests.simulation.scenes import one_station, raster_city

RADIO = RadioParams(pattern="isotropic")
SECTORS = RadioParams(sensitivity_dbm=-110.0)
FREE = StatisticalModel(0.0, 2.0, 0.0, 0.0, 50.0, 0.0, source="free space")
CITY = raster_city(np.zeros((200, 600)))


@pytest.fixture(scope="module")
def stations(toy_city) -> Stations:
    n = 5
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-150, 150, (2, n))
    azimuth = np.array([0.0, 72.0, np.nan, 216.0, 288.0])
    return Stations(x, y, np.full(n, 30.0), azimuth, np.full(n, 43.0), np.array([f"s{k}" for k in range(n)]))


@pytest.fixture(scope="module")
def model(stations) -> StatisticalModel:
    model = StatisticalModel(-5.0, 3.0, 15.0, 6.0, 50.0, 3.0, level_sd=3.0, exponent_sd=0.3, swing_sd=5.0)
    return model.for_stations(stations, np.random.default_rng(1))


def test_without_buildings_and_with_exponent_two_it_is_friis():
    x, y = np.array([5.0, 120.0, -280.0]), np.array([0.0, 40.0, 7.0])
    station = one_station(h=30.0)
    distance = np.sqrt(x**2 + y**2 + 28.5**2)
    want = free_space_gain(distance, RADIO.carrier_hz)
    np.testing.assert_allclose(FREE.path_gain(CITY, station, x, y, RADIO, 0)[:, 0], want, rtol=1e-12)
    twice = FREE.path_gain_db(CITY, station, x, y, RADIO.model_copy(update={"carrier_hz": 1.6e9}))
    np.testing.assert_allclose(twice[:, 0], 10 * np.log10(want) - 20 * np.log10(2))


def test_a_wall_costs_its_share_of_the_line():
    roofs = np.zeros((60, 200))
    roofs[:, 120:140] = 100.0
    city = raster_city(roofs)
    link = one_station(-64.0, 0.5), [64.0], [0.5], RADIO
    walled = dataclasses.replace(FREE, obstruction_db=16.0)
    assert (walled.path_gain_db(city, *link) - FREE.path_gain_db(city, *link)).item() == pytest.approx(-16.0 * 20 / 128)
    half = raster_city(np.where(roofs > 0, 3.0, 0.0))  # the line passes over it, its plan does not
    assert (walled.path_gain_db(half, *link) == FREE.path_gain_db(half, *link)).all()
    plan = dataclasses.replace(walled, line="footprint").path_gain_db(half, *link)
    assert (plan - FREE.path_gain_db(half, *link)).item() == pytest.approx(-16.0 * 20 / 128)


def test_antennas_inside_a_building_are_lifted_above_its_roof():
    roofs = np.zeros((60, 200))
    roofs[:, :50] = 40.0
    link = ([0.0], [0.5], RADIO)
    got = FREE.path_gain_db(raster_city(roofs), one_station(-80.0, 0.5, h=20.0), *link)
    assert got == FREE.path_gain_db(raster_city(roofs), one_station(-80.0, 0.5, h=42.0), *link)


def test_the_sector_is_the_element_pattern_or_a_cosine(toy_city, stations):
    x, y = toy_city.street_points(30, np.random.default_rng(0))
    flat = FREE.path_gain_db(toy_city, stations, x, y, RADIO)
    want = sector_gain_db(stations, x, y, SECTORS).T
    np.testing.assert_allclose(FREE.path_gain_db(toy_city, stations, x, y, SECTORS) - flat, want)
    n = stations.n
    azimuth = np.linspace(10, 300, n)
    effects = StationEffects(stations.id, np.zeros(n), np.zeros(n), azimuth, np.arange(n, dtype=float))
    cosine = dataclasses.replace(FREE, sector="cosine", effects=effects)
    off = bearing(x[:, None] - stations.x, y[:, None] - stations.y) - azimuth
    swing = np.arange(n) * np.cos(np.radians(off))
    np.testing.assert_allclose(cosine.path_gain_db(toy_city, stations, x, y, SECTORS) - flat, swing, atol=1e-9)


def test_effects_belong_to_their_stations(toy_city, stations, model):
    x, y = toy_city.street_points(20, np.random.default_rng(0))
    gain = model.path_gain_db(toy_city, stations, x, y, SECTORS)
    some = model.path_gain_db(toy_city, stations.take([3, 1]), x, y, SECTORS)
    np.testing.assert_array_equal(some, gain[:, [3, 1]])
    average = dataclasses.replace(model, effects=None)
    known = stations.replace(azimuth=model.effects.azimuth)
    level, bent = model.effects.level_db, gain - average.path_gain_db(toy_city, known, x, y, SECTORS)
    d = np.sqrt((x[:, None] - stations.x) ** 2 + (y[:, None] - stations.y) ** 2 + 28.5**2)
    np.testing.assert_allclose(bent, level - 10 * model.effects.exponent * np.log10(d / 300.0), atol=1e-9)
    with pytest.raises(SimulationError, match="knows no station other"):
        model.path_gain_db(toy_city, stations.replace(id=["s0", "s1", "other", "s3", "s4"]), x, y, SECTORS)


def test_stations_are_drawn_from_the_spread_between_stations():
    n = 4000
    table = Stations(*np.zeros((3, n)), np.full(n, np.nan), np.zeros(n), np.arange(n).astype(str))
    table.azimuth[0] = 123.0
    spread = dataclasses.replace(FREE, level_sd=4.0, exponent_sd=0.5, swing_sd=6.0)
    effects = spread.for_stations(table, np.random.default_rng(0)).effects
    assert effects.level_db.std() == pytest.approx(4.0, rel=0.05) and abs(effects.level_db.mean()) < 0.3
    assert effects.exponent.std() == pytest.approx(0.5, rel=0.05)
    assert np.sqrt(np.mean(effects.swing_db**2) / 2) == pytest.approx(6.0, rel=0.05)
    assert effects.azimuth[0] == 123.0
    assert np.histogram(effects.azimuth, 8, (0, 360))[0] == pytest.approx(n / 8, rel=0.2)


def test_shadowing_and_noise_have_their_spread(stations):
    model = StatisticalModel(0.0, 2.0, 0.0, 5.0, 20.0, 3.0)
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 4000)) * [[300.0], [100.0]]
    mean = model.path_gain_db(CITY, stations, x, y, RADIO)
    field = 10 * np.log10(model.path_gain(CITY, stations, x, y, RADIO, 1)) - mean
    assert field.std(axis=0) == pytest.approx(np.hypot(5.0, 3.0), rel=0.1)
    calm = dataclasses.replace(model, noise_sd=0.0).path_gain(CITY, stations, x, y, RADIO, 1)
    assert (field - 10 * np.log10(calm) + mean).std() == pytest.approx(3.0, rel=0.05)


def test_one_seed_one_answer_whatever_the_order_of_ues(toy_city, stations, model):
    x, y = toy_city.street_points(50, np.random.default_rng(0))
    first = model.path_gain(toy_city, stations, x, y, SECTORS, 5)
    np.testing.assert_array_equal(model.path_gain(toy_city, stations, x, y, SECTORS, 5), first)
    turned = np.random.default_rng(1).permutation(50)
    np.testing.assert_allclose(model.path_gain(toy_city, stations, x[turned], y[turned], SECTORS, 5), first[turned])
    assert (model.path_gain(toy_city, stations, x, y, SECTORS, 6) != first).all()


def test_models_drawn_from_priors_lie_in_them_and_differ():
    drawn = [StatisticalModel.draw(np.random.default_rng(seed)) for seed in range(20)]
    for name, (low, high) in PRIORS.items():
        values = np.array([getattr(model, name) for model in drawn])
        assert (values >= low).all() and (values <= high).all() and np.unique(values).size == 20
    assert StatisticalModel.draw(np.random.default_rng(3)) == drawn[3]


def test_links_are_those_of_the_gain(toy_city, stations, model):
    x, y = toy_city.street_points(200, np.random.default_rng(0))
    links = simulate_statistically(toy_city, model, stations, x, y, SECTORS, seed=4)
    assert validate(links, "links") is links
    assert links.attrs["source"] == "statistical simulation, given"
    want = features(model.path_gain(toy_city, stations, x, y, SECTORS, 4), stations.power, SECTORS)
    for name in FEATURES:
        np.testing.assert_allclose(links[name], want[name], rtol=1e-5)
    table = np.stack([links[name].values[links["heard"].values] for name in FEATURES])
    singular = np.linalg.svd(table - table.mean(1, keepdims=True), compute_uv=False)
    assert (singular > 0.01 * singular[0]).sum() >= 3
    few = simulate_statistically(toy_city, model, stations, x, y, SECTORS, step=1.0, strongest=2, seed=4)
    assert few["heard"].values.sum(1).max() == 2
    np.testing.assert_array_equal(few["nrsrp"], np.round(links["nrsrp"].where(few["heard"])))
