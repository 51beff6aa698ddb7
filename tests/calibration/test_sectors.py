"""Azimuths and levels where the truth is the statistical simulator's, which takes no ray."""

import numpy as np
import pytest

from rfloc.calibration import Calibration, calibrate, move
from rfloc.calibration.sectors import Orientations
from rfloc.config import CalibrationParams, RadioParams, SimulationParams
from rfloc.frames import wrap_degrees
from rfloc.simulation.plane import Plane, Rays
from rfloc.splits import all_train
from rfloc.stations import Stations
from tests.calibration.analytic import CITY, RADIO, measured, table, without_rays

PARAMS = CalibrationParams(position_sd=20.0, candidates=32, traces=6, azimuth_step=10.0)
TRUTH = table(8)


@pytest.fixture(autouse=True)
def _no_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    without_rays(monkeypatch)


def rays_of(radio: RadioParams) -> Rays:
    return Rays(SimulationParams(), radio, 1, 0)


def found_of(links, radio: RadioParams = RADIO, params: CalibrationParams = PARAMS) -> Calibration:
    return calibrate(links, all_train(links, [], 0), Plane(CITY, 10.0, RADIO.ue_height), rays_of(radio), params)


def off(azimuth: np.ndarray) -> np.ndarray:
    return np.abs(wrap_degrees(azimuth - TRUTH.azimuth))


@pytest.mark.parametrize("front_to_back", [6.0, 12.0, 30.0])
def test_stated_azimuths_get_better_or_stay_and_regions_hold_the_truth(front_to_back: float) -> None:
    radio = RADIO.model_copy(update={"front_to_back_db": front_to_back})
    turned = TRUTH.replace(azimuth=TRUTH.azimuth + 25.0 * np.random.default_rng(1).standard_normal(TRUTH.n))
    found = found_of(measured(TRUTH, turned, radio), radio)
    errors, sd = off(found.stations.azimuth), np.array([pose.azimuth_sd for pose in found.poses])
    assert np.median(errors) <= np.median(off(turned.azimuth)) + 2.0
    assert not (sd < 15.0).any() or np.median(errors[sd < 15.0]) <= 10.0
    credible = []
    for b, facing in found.facings.items():
        there = np.interp(TRUTH.azimuth[b], np.arange(360.0), facing.weights, period=360.0)
        credible.append(facing.weights[facing.weights > there].sum())
    assert np.mean(np.array(credible) <= 0.9) >= 0.75


def test_azimuths_that_nobody_states_are_found_and_levels_with_them() -> None:
    found = found_of(measured(TRUTH, TRUTH.replace(azimuth=np.full(TRUTH.n, np.nan))))
    assert np.median(off(found.stations.azimuth)) < 8.0
    assert {pose.told for pose in found.poses} == {"data"}
    assert np.allclose([pose.downtilt for pose in found.poses], RADIO.downtilt, atol=4.0)
    # by the simulator the exponent is 3; in free space it is 2 times the contrast
    slope = np.array([pose.slope + 2.0 * pose.contrast for pose in found.poses])
    assert np.median(slope) == pytest.approx(3.0, abs=0.3)


def test_omnidirectional_unknown_and_stated_are_different_answers() -> None:
    nobody = TRUTH.replace(azimuth=np.full(TRUTH.n, np.nan))
    found = found_of(measured(TRUTH, nobody, omni=True))
    assert np.mean([pose.told == "omnidirectional" for pose in found.poses]) > 0.8
    flat = RADIO.model_copy(update={"front_to_back_db": 0.0})  # a pattern that tells nothing
    for nominal, told in ((nobody, "unknown"), (TRUTH, "stated")):
        poses = found_of(measured(TRUTH, nominal, flat), flat).poses
        assert {pose.told for pose in poses} <= {told, "omnidirectional"}
        assert told == "unknown" or [pose.azimuth for pose in poses] == TRUTH.azimuth.tolist()


def test_who_hears_nothing_tells_of_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = RADIO.model_copy(update={"sensitivity_dbm": -80.0})
    links = measured(TRUTH, TRUTH, deaf)
    assert 0.2 < links.heard.values.mean() < 0.7
    clear = found_of(measured(TRUTH, TRUTH))
    error = {}
    for share in (0.0, 0.5):
        for module in ("sectors", "levels"):
            monkeypatch.setattr(f"rfloc.calibration.{module}.SILENCE", share)
        found = found_of(links, deaf)
        over = [a.offset_db - b.offset_db for a, b in zip(found.poses, clear.poses, strict=True)]
        error[share] = float(np.median(over))
    assert abs(error[0.5]) < 0.6 * error[0.0]


def test_masts_move_where_that_pays_and_stay_where_they_are_known() -> None:
    wrong = TRUTH.moved(*(40.0 * np.random.default_rng(2).standard_normal((2, TRUTH.n))))
    links, wide = measured(TRUTH, wrong), PARAMS.model_copy(update={"position_sd": 40.0})
    placed = found_of(links, params=wide)
    found = move(placed, links, rays_of(RADIO), rays_of(RADIO), wide)

    def away(stations: Stations) -> float:
        return float(np.median(np.hypot(stations.x - TRUTH.x, stations.y - TRUTH.y)))

    assert away(found.stations) <= away(wrong)
    assert [row["moved"] > 0 for row in found.records()] == [pose.pays_nat > 0 for pose in found.poses]
    exact = measured(TRUTH, TRUTH).assign_coords(bs_position_error=("bs", np.ones(TRUTH.n)))
    stayed = move(found_of(exact), exact, rays_of(RADIO), rays_of(RADIO), PARAMS)
    assert max(row["moved"] for row in stayed.records()) < 3.0
    for search in found.searches:
        assert search.weight.sum() == pytest.approx(1.0) and len(search.weight) == len(search.cloud)


def test_priors_sum_to_one_and_an_isotropic_antenna_has_no_orientation() -> None:
    for stated in (45.0, np.nan):
        tried = Orientations.of(RADIO, PARAMS, stated)
        assert np.exp(tried.log_prior).sum() == pytest.approx(1.0)
        assert np.isnan(tried.azimuth).any() == np.isnan(stated)
    isotropic = RADIO.model_copy(update={"pattern": "isotropic"})
    assert len(Orientations.of(isotropic, PARAMS, 45.0).azimuth) == 1
