"""Calibration recovers a pose that is known, from an analytic log-distance map, and says so when it cannot."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import xarray as xr
from scipy.stats import t

from rfloc.calibration import calibrate, candidate_stations
from rfloc.calibration.objective import LogSilence, effective_share, missed_share, profile, student_t
from rfloc.config import CalibrationParams, RadioParams, SplitParams
from rfloc.errors import CalibrationError, FrameError, SchemaError
from rfloc.frames import Grid, LocalFrame, wrap_degrees
from rfloc.schema import links_dataset, validate, with_units
from rfloc.simulation.maps import read_maps
from rfloc.simulation.stations import Stations
from rfloc.splits import leakage_report, make_split

FRAME = LocalFrame(48.14, 11.58)
GRID = Grid.covering(-600, -600, 600, 600, 5.0)
RADIO = RadioParams(load=0.0, sensitivity_dbm=-110.0)  # no interference: only the sensitivity censors
PARAMS = CalibrationParams()
TRUE_AZIMUTH = np.array([20.0, 140.0, 265.0, 355.0])
TRUE_OFFSET = np.array([-4.0, 0.0, 6.0, 3.0])
TRUE_CANDIDATE = np.array([0, 2, 4, 1])


def nominal(azimuth: np.ndarray) -> Stations:
    x, y = np.array([-200.0, 200.0, 150.0, -150.0]), np.array([-150.0, -200.0, 200.0, 150.0])
    return Stations(x, y, np.full(4, 35.0), azimuth, np.full(4, 43.0), np.array(list("abcd")))


def log_distance_maps(stations: Stations) -> xr.Dataset:
    """Isotropic path gain -30 - 35 log10(d), d three-dimensional [m]."""
    x, y = np.meshgrid(GRID.x, GRID.y)
    d = np.sqrt((x - stations.x[:, None, None]) ** 2 + (y - stations.y[:, None, None]) ** 2 + stations.h[0] ** 2)
    ds = xr.Dataset(
        {"path_gain": (("bs", "y", "x"), 10 ** ((-30 - 35 * np.log10(d)) / 10))},
        coords={"x": GRID.x, "y": GRID.y, **stations.coords()},
        attrs={"carrier_hz": 0.8e9, **FRAME.to_attrs(), **GRID.to_attrs()},
    )
    return validate(with_units(ds, "maps"), "maps")


def campaign(
    table: Stations,
    candidates: list[Stations],
    sd: float,
    n: int = 700,
    azimuth: np.ndarray = TRUE_AZIMUTH,
    seed: int = 0,
) -> xr.Dataset:
    """Links as UEs would report them from true poses, under the nominal table."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-450, 450, (2, n))
    columns = {c: np.array([getattr(candidates[k], c)[b] for b, k in enumerate(TRUE_CANDIDATE)]) for c in ("x", "y")}
    truth = table.replace(**columns, azimuth=azimuth, power=table.power + TRUE_OFFSET)
    gain = read_maps(log_distance_maps(truth), x, y, RADIO)
    level = truth.power - 10 * np.log10(12 * RADIO.resource_blocks) + 10 * np.log10(gain)
    level = level + sd * rng.standard_t(4, level.shape)
    level[level < RADIO.sensitivity_dbm] = np.nan
    features = {"rssi": level, "nsinr": level + 130.0, "nrsrp": level, "nrsrq": level}
    bs = {name: getattr(table, name) for name in ("x", "y", "h", "azimuth", "power", "id")}
    return links_dataset(features, {"x": x, "y": y}, bs, FRAME, source="test", city="toy", carrier_hz=0.8e9)


@functools.cache
def run(sd: float, known_azimuth: bool = False):
    """A calibration from unknown or wrong azimuths: result, candidates, links, split, maps. Not to be changed."""
    table = nominal(np.array([60.0, 100.0, 300.0, 20.0]) if known_azimuth else np.full(4, np.nan))
    candidates = candidate_stations(table, 5, 60.0, seed=1)
    links = campaign(table, candidates, sd)
    split = make_split(links, SplitParams(), 0)
    maps = [log_distance_maps(c) for c in candidates]
    return calibrate(links, split, maps, RADIO, PARAMS), candidates, links, split, maps


@pytest.mark.parametrize("known_azimuth", [True, False])
def test_recovers_position_azimuth_and_offset(known_azimuth: bool) -> None:
    result, candidates, *_ = run(2.0, known_azimuth)
    found = result.stations
    assert np.abs(wrap_degrees(found.azimuth - TRUE_AZIMUTH)).max() <= 10.0
    assert np.abs(found.power - 43.0 - TRUE_OFFSET).max() < 1.0
    assert result.table["candidate"].to_numpy().tolist() == TRUE_CANDIDATE.tolist()
    for b, k in enumerate(TRUE_CANDIDATE):
        assert (found.x[b], found.y[b]) == (candidates[k].x[b], candidates[k].y[b])
    table = result.table
    assert (table["spearman_calibrated_held_out"] > table["spearman_nominal_held_out"]).all()
    assert (table["rms_calibrated_held_out"] < table["rms_nominal_held_out"]).all()
    assert (table["offset_sd"] < 1.0).all() and (table["azimuth_sd"] < 10.0).all()


def test_heavy_noise_still_gives_the_azimuth_and_admits_less_certainty() -> None:
    noisy, *_ = run(7.0)
    quiet, *_ = run(2.0)
    assert np.abs(wrap_degrees(noisy.stations.azimuth - TRUE_AZIMUTH)).max() <= 15.0
    assert np.abs(noisy.stations.power - 43.0 - TRUE_OFFSET).max() < 3.0
    assert (noisy.table["position_sd"].mean(), noisy.table["azimuth_sd"].mean()) > (
        quiet.table["position_sd"].mean(), quiet.table["azimuth_sd"].mean(),
    )  # fmt: skip


def test_held_out_measurements_change_nothing() -> None:
    result, _, links, split, maps = run(3.0)
    spoilt = links.copy(deep=True)
    spoilt["nrsrp"][(split["role"] != "train").values] = -60.0
    spoilt["heard"][:] = np.isfinite(spoilt["nrsrp"])
    again = calibrate(spoilt, split, maps, RADIO, PARAMS)
    for name in ("x", "y", "azimuth", "power"):
        np.testing.assert_array_equal(getattr(again.stations, name), getattr(result.stations, name))
    assert not again.table["rms_calibrated_held_out"].equals(result.table["rms_calibrated_held_out"])
    np.testing.assert_array_equal(result.ues, split["role"].values == "train")
    assert leakage_report(split, links, calibration_ues=result.ues)["leaks"]["calibration"] == 0


def test_an_all_round_station_keeps_its_unknown_azimuth() -> None:
    table = nominal(np.full(4, np.nan))
    candidates = candidate_stations(table, 5, 60.0, seed=1)
    links = campaign(table, candidates, 3.0, azimuth=np.full(4, np.nan))
    split = make_split(links, SplitParams(), 0)
    result = calibrate(links, split, [log_distance_maps(c) for c in candidates], RADIO, PARAMS)
    assert np.isnan(result.stations.azimuth).all()
    assert np.abs(result.stations.power - 43.0 - TRUE_OFFSET).max() < 1.5


def test_silent_ues_tell_where_a_sector_does_not_look() -> None:
    """Only UEs in a narrow wedge report; levels alone fix the offset, silences the azimuth."""
    rng = np.random.default_rng(0)
    predicted = np.stack([np.full(400, -90.0), np.where(np.arange(400) < 200, -90.0, -120.0)])  # two azimuths
    heard = rng.normal(0, 3, 200)[None] + np.zeros((2, 1))
    silent = predicted[:, 200:]
    found = profile(heard, silent, -105.0, 3.0, 4.0, LogSilence(4.0, 0.1))
    assert found.log_likelihood[1] - found.log_likelihood[0] > 50.0
    assert found.offset_db[1] == pytest.approx(float(student_t(heard, 4.0)[0][1]), abs=0.3)


def test_stations_heard_by_few_stay_nominal_and_say_why() -> None:
    result, _, links, split, maps = run(2.0)
    few = links.copy(deep=True)
    few["nrsrp"][40:, 2] = np.nan
    few["heard"][:] = np.isfinite(few["nrsrp"])
    found = calibrate(few, split, maps, RADIO, PARAMS)
    row = found.table.iloc[2]
    assert "fewer than 30" in row["reason"] and row["offset_db"] == 0.0 and np.isnan(row["weight"])
    assert (found.stations.x[2], found.stations.power[2]) == (150.0, 43.0)
    assert found.stations.azimuth[0] == result.stations.azimuth[0]
    text = json.dumps(found.records(), allow_nan=False)
    assert json.loads(text)[2]["weight"] is None and json.loads(text)[0]["candidate"] == 0
    with pytest.raises(CalibrationError, match="none of 4"):
        calibrate(links, split, maps, RADIO, PARAMS.model_copy(update={"min_ues": 10_000}))


def test_maps_without_a_ray_leave_the_station_nominal() -> None:
    _, _, links, split, maps = run(2.0)
    dark = [m.copy(deep=True) for m in maps]
    for m in dark:
        m["path_gain"][1] = 0.0
    row = calibrate(links, split, dark, RADIO, PARAMS).table.iloc[1]
    assert "no ray" in row["reason"] and np.isnan(row["spearman_nominal_train"])


def test_maps_of_other_stations_are_refused() -> None:
    _, _, links, split, maps = run(2.0)
    with pytest.raises(SchemaError, match="different stations"):
        calibrate(links, split, [maps[0].isel(bs=[1, 0, 2, 3])], RADIO, PARAMS)
    with pytest.raises(CalibrationError, match="no candidate maps"):
        calibrate(links, split, [], RADIO, PARAMS)
    with pytest.raises(FrameError):
        calibrate(links, split, [maps[0].assign_attrs(frame_lat0=1.0)], RADIO, PARAMS)


def test_candidates_fill_the_disc() -> None:
    table = nominal(np.full(4, np.nan))
    found = candidate_stations(table, 21, 60.0, seed=3)
    assert len(found) == 21 and found[0] is table
    dx = np.stack([c.x - table.x for c in found[1:]])
    dy = np.stack([c.y - table.y for c in found[1:]])
    r = np.hypot(dx, dy)
    assert r.max() <= 60.0 and np.mean(r**2) == pytest.approx(60.0**2 / 2, rel=0.01)  # second moment of a uniform disc
    assert np.hypot(dx.mean(0), dy.mean(0)).max() < 5.0
    assert not np.allclose(np.arctan2(dy[0], dx[0])[0], np.arctan2(dy[0], dx[0])[1])
    np.testing.assert_array_equal(candidate_stations(table, 21, 60.0, seed=3)[7].x, found[7].x)
    assert len(candidate_stations(table, 1, 60.0, seed=3)) == 1


def test_student_t_agrees_with_scipys_maximum_likelihood() -> None:
    sample = t.rvs(4, loc=3.0, scale=5.0, size=400, random_state=1)
    location, scale = student_t(sample[None], 4.0, steps=100)
    _, want_location, want_scale = t.fit(sample, f0=4.0)
    assert location[0] == pytest.approx(want_location, abs=0.01) and scale[0] == pytest.approx(want_scale, abs=0.01)


def test_silence_is_bounded_and_monotone() -> None:
    z = np.linspace(-80, 80, 500)
    value = LogSilence(4.0, 0.2)(z)
    assert (np.diff(value) >= 0).all()
    assert value[0] == pytest.approx(np.log(0.2), abs=1e-3) and value[-1] == pytest.approx(0.0, abs=1e-3)
    assert LogSilence(4.0, 0.2)(np.zeros(1))[0] == pytest.approx(np.log(0.6))


@pytest.mark.parametrize("missed", [0.0, 0.4])
def test_missed_reports_are_counted_beside_strong_ones(missed: float) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 400, (2, 3000))
    measured = np.where(x < 200, -70.0, np.nan)  # the eastern half is silent because it is out of reach
    measured[rng.uniform(size=3000) < missed] = np.nan
    assert missed_share(x[x < 200], y[x < 200], measured[x < 200], -110.0) == pytest.approx(missed, abs=0.03)
    assert missed_share(x, y, measured, -110.0) == pytest.approx(missed, abs=0.12)  # the border counts a few
    assert missed_share(x, y, measured, -80.0) == 0.1  # nothing is strong


def test_neighbours_count_as_one_observation() -> None:
    x = np.array([1.0, 2.0, 3.0, 101.0])
    assert effective_share(x, np.ones(4)) == 0.5
