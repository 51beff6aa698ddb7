from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from rfloc.city import City, build_city
from rfloc.config import CampaignParams, CityParams, RadioParams, SplitParams, check
from rfloc.datasets.fitting import declustered, fit, split_residual
from rfloc.datasets.hidden import simulate_statistically
from rfloc.datasets.measured import read_campaign
from rfloc.datasets.mixed import mixed_model
from rfloc.datasets.statistical import StatisticalModel
from rfloc.errors import FrameError, SimulationError
from rfloc.frames import wrap_degrees
from rfloc.simulation.propagation import correlated_shadowing
from rfloc.splits import make_split
from rfloc.stations import Stations
from tests.simulation.scenes import raster_city

#: Everything is heard: fitting has no model of silence.
RADIO = RadioParams(sensitivity_dbm=-200.0, detection_db=-300.0, front_to_back_db=12.0)
TRUTH = StatisticalModel(-6.0, 3.2, 18.0, 5.0, 45.0, 3.0, level_sd=3.0, exponent_sd=0.2, swing_sd=6.0, source="truth")


@pytest.fixture(scope="module")
def city() -> City:
    """Square blocks of 40 m, 15 to 30 m tall, every 70 m."""
    rng = np.random.default_rng(0)
    block = np.zeros((70, 70))
    block[15:55, 15:55] = 1.0
    return raster_city(np.kron(rng.uniform(15.0, 30.0, (18, 18)), np.ones((70, 70))) * np.tile(block, (18, 18)))


@pytest.fixture(scope="module")
def stations() -> Stations:
    n = 8
    rng = np.random.default_rng(4)
    x, y = rng.uniform(-500, 500, (2, n))
    return Stations(x, y, np.full(n, 35.0), np.full(n, np.nan), np.full(n, 43.0), np.array([f"s{k}" for k in range(n)]))


def simulated(city: City, stations: Stations, model: StatisticalModel, ues: int = 1200) -> xr.Dataset:
    x, y = np.random.default_rng(9).uniform(-600, 600, (2, ues))
    return simulate_statistically(city, model, stations, x, y, RADIO, seed=3)


@pytest.fixture(scope="module")
def truth(stations) -> StatisticalModel:
    return TRUTH.for_stations(stations, np.random.default_rng(2))


@pytest.fixture(scope="module")
def links(city, stations, truth) -> xr.Dataset:
    return simulated(city, stations, truth)


@pytest.fixture(scope="module")
def fitted(city, links) -> StatisticalModel:
    return fit(links, np.ones(links.sizes["ue"], bool), city, RADIO)


def test_parameters_are_recovered(truth, fitted):
    assert fitted.exponent == pytest.approx(truth.exponent, abs=0.2)
    assert fitted.level_db == pytest.approx(truth.level_db, abs=2.5)
    assert fitted.obstruction_db == pytest.approx(truth.obstruction_db, abs=5.0)
    assert np.hypot(fitted.shadowing_sd, fitted.noise_sd) == pytest.approx(np.hypot(5.0, 3.0), rel=0.1)
    assert fitted.shadowing_sd == pytest.approx(truth.shadowing_sd, rel=0.1)
    assert fitted.noise_sd == pytest.approx(truth.noise_sd, rel=0.15)
    assert fitted.shadowing_distance == pytest.approx(truth.shadowing_distance, rel=0.3)
    assert fitted.level_sd == pytest.approx(truth.level_sd, rel=0.6)
    assert np.abs(wrap_degrees(fitted.effects.azimuth - truth.effects.azimuth)).max() < 15.0
    level = fitted.level_db + fitted.effects.level_db
    assert np.abs(level - truth.level_db - truth.effects.level_db).max() < 5.0


def test_the_harmonic_is_recovered(city, stations, truth):
    cosine = dataclasses.replace(truth, sector="cosine")
    links = simulated(city, stations, cosine)
    found = fit(links, np.ones(links.sizes["ue"], bool), city, RADIO, sector="cosine").effects
    error = found.swing_db * np.exp(1j * np.radians(found.azimuth))
    error -= cosine.effects.swing_db * np.exp(1j * np.radians(cosine.effects.azimuth))
    assert np.abs(error).max() < 3.0


def test_held_out_ues_play_no_part_and_order_changes_nothing(city, links):
    train = np.random.default_rng(0).random(links.sizes["ue"]) < 0.5
    model = fit(links, train, city, RADIO, sector="cosine")
    secret = links["nrsrp"].where(xr.DataArray(train, dims="ue"), links["nrsrp"] + 20.0).astype(np.float32)
    turned = np.random.default_rng(1).permutation(links.sizes["ue"])
    for other, mask in ((links.assign(nrsrp=secret), train), (links.isel(ue=turned), train[turned])):
        again = fit(other, mask, city, RADIO, sector="cosine")
        assert again.exponent == pytest.approx(model.exponent, abs=1e-3)
        assert again.shadowing_distance == pytest.approx(model.shadowing_distance, rel=1e-2)
        np.testing.assert_allclose(again.effects.level_db, model.effects.level_db, atol=1e-2)


def test_a_station_that_nobody_reports_is_average(city, links):
    silent = links.copy()
    silent["heard"] = links["heard"].copy()
    for name in ("rssi", "nsinr", "nrsrp", "nrsrq"):
        silent[name] = links[name].copy()
        silent[name][:, 0] = np.nan
    silent["heard"][:, 0] = False
    model = fit(silent, np.ones(links.sizes["ue"], bool), city, RADIO)
    assert model.effects.level_db[0] == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(model.effects.azimuth[0]) and np.isfinite(model.effects.azimuth[1:]).all()


def test_the_fewer_squares_the_nearer_to_the_average():
    rng = np.random.default_rng(0)
    measured = rng.normal(0, 6, (400, 6)) + np.array([9.0, -5.0, 4.0, -8.0, 3.0, 9.0])
    measured[20:, 5] = np.nan
    shared = np.stack([np.ones_like(measured), rng.uniform(-8, 8, measured.shape), np.zeros_like(measured)], -1)
    found = mixed_model(measured, shared, shared[..., :2], np.isfinite(measured) * 0.2)
    raw = np.nanmean(measured, 0) - found.shared[0]
    kept = found.effects[:, 0] / raw
    assert (kept[:5] > 0.8).all() and 0.0 < kept[5] < kept[:5].min()
    assert found.shared[2] == pytest.approx(0.0, abs=1e-9)  # nothing was obstructed


def test_measurements_of_one_square_count_as_one():
    x, y = np.random.default_rng(0).uniform(0, 600, (2, 500))
    used = np.random.default_rng(1).random((500, 2)) < 0.5
    weight = declustered(x, y, used)
    assert weight.sum(0).tolist() == pytest.approx([36.0, 36.0])
    assert ((weight > 0) == used).all()


def test_noise_is_told_from_shadowing():
    x, y = np.random.default_rng(0).uniform(0, 1500, (2, 1200))
    rng = np.random.default_rng(1)
    field = correlated_shadowing(x, y, 6.0, 40.0, rng, 6) + rng.normal(0, 3.0, (1200, 6))
    noise_sd, shadowing_sd, distance = split_residual(x, y, field, float(field.std()))
    assert (noise_sd, shadowing_sd, distance) == (
        pytest.approx(3.0, rel=0.15), pytest.approx(6.0, rel=0.1), pytest.approx(40.0, rel=0.25)
    )  # fmt: skip


def test_too_little_is_refused(city, links):
    few = np.arange(links.sizes["ue"]) < 1
    with pytest.raises(SimulationError, match="squares of 100 m"):
        fit(links, few, city, RADIO)
    with pytest.raises(SimulationError, match="pairs nearer than"):
        split_residual(np.arange(50) * 300.0, np.zeros(50), np.ones((50, 2)), 1.0)
    elsewhere = links.assign_attrs(frame_lat0=1.0)
    with pytest.raises(FrameError):
        fit(elsewhere, few, city, RADIO)


def test_rome_is_predicted_better_than_by_a_constant_a_cell(rome_data, project_root, tmp_path: Path):
    params = check(CityParams, yaml.safe_load((project_root / "conf/city/rome.yaml").read_text()) | {"margin": 0.0})
    rome = build_city("home", params, rome_data, tmp_path / "rome", seed=7)
    radio = RadioParams(resource_blocks=1, power_dbm=23.8, sensitivity_dbm=-120.0, front_to_back_db=12.0)
    campaign = CampaignParams(kind="nbiot", cities=["home"])
    links, _ = read_campaign(campaign, radio, rome_data, project_root, rome, seed=7)
    stations, measured = Stations.from_dataset(links), links["nrsrp"].values.astype(float)
    blocks = SplitParams(block=300.0, buffer=50.0, unknown=0.25, known=0.0, val=0.0)
    errors = []
    for seed in range(2):
        role = make_split(links, blocks, seed)["role"].values
        train, test = role == "train", role == "unknown"
        model = fit(links, train, rome, radio)
        gain = model.path_gain_db(rome, stations, links["ue_x"].values, links["ue_y"].values, radio)
        predicted = gain + stations.power - 10 * np.log10(12)
        constant = np.nanmean(measured[train], axis=0)
        errors.append([np.sqrt(np.nanmean((measured - guess)[test] ** 2)) for guess in (predicted, constant)])
    ours, constant = np.array(errors).T
    assert (ours < constant).all() and ours.mean() < 10.0
    assert 1.0 < model.exponent < 4.0 and 0.0 < model.obstruction_db < 40.0
    assert 10.0 < model.shadowing_distance < 200.0
