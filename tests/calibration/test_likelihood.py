"""The likelihood of reports against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_t, norm

from rfloc.calibration import likelihood as module
from rfloc.calibration.likelihood import PIVOT_DB, SCALE_DB, TEMPER, StationLikelihood, corrected_db
from rfloc.calibration.reports import Reports
from rfloc.simulation.propagation import correlated_shadowing

NONE = np.empty(0)
#: Prior of the offset, the slope and the contrast.
PRIOR_SD = np.array([module.OFFSET_SD_DB, module.SLOPE_SD, module.CONTRAST_SD])


def reports(gain_db: np.ndarray, seed: int = 0, edge: float = 200.0, missed: float = 1.0) -> Reports:
    x, y = np.random.default_rng(seed).uniform(-edge, edge, (2, len(gain_db)))
    return Reports(np.arange(len(gain_db)), x, y, gain_db, np.empty(0, int), NONE, missed)


def solve(likelihood: StationLikelihood, gain: np.ndarray, decades: np.ndarray, sector: np.ndarray | None = None):
    sector = np.zeros((1, len(gain))) if sector is None else sector
    return likelihood.solve(gain, sector, decades, NONE, np.zeros((len(sector), 0)), NONE)


def test_evidence_is_the_multivariate_t_of_the_reports() -> None:
    rng = np.random.default_rng(1)
    said = reports(rng.normal(-90.0, 8.0, 20))
    decades, weight = rng.uniform(-5, 5, 20), rng.uniform(0.2, 1.0, 20)
    likelihood = StationLikelihood(said, 0.3, 40.0, weight)
    at = np.column_stack([said.x, said.y])
    k = 0.7 * np.exp(-cdist(at, at) / 40.0) + np.diag(0.3 / weight)
    prior = np.diag(PRIOR_SD / SCALE_DB) ** 2

    def exact(gain: np.ndarray) -> float:
        x = np.column_stack([np.ones(20), decades, gain - PIVOT_DB])
        return multivariate_t.logpdf(said.gain_db, gain, SCALE_DB**2 * (k + x @ prior @ x.T), df=module.SCALE_WEIGHT)

    gains = [said.gain_db + rng.normal(0.0, 4.0, 20) for _ in range(3)]
    found = [solve(likelihood, g, decades) for g in gains]
    assert min(f.contrast[0] for f in found) > 0
    assert np.diff([f.log_evidence[0] / TEMPER for f in found]) == pytest.approx(np.diff([exact(g) for g in gains]))


@pytest.mark.parametrize("contrast", [1.0, 0.4])
def test_offset_slope_and_contrast_are_solved(contrast: float) -> None:
    rng = np.random.default_rng(2)
    gain, decades = rng.normal(-90.0, 5.0, 300), rng.uniform(-6, 6, 300)
    said = reports(corrected_db(gain, decades, -0.7, contrast) + 4.0)
    likelihood = StationLikelihood(said, 1.0, 30.0)
    found = solve(likelihood, gain, decades)
    coefficients = [found.offset_db[0], found.slope[0], found.contrast[0] - 1]
    x = np.column_stack([np.ones(300), decades, gain - PIVOT_DB])
    prior = np.diag(SCALE_DB / PRIOR_SD) ** 2
    assert coefficients == pytest.approx(np.linalg.solve(prior + x.T @ x, x.T @ (said.gain_db - gain)), abs=1e-8)
    if contrast == 1:
        assert coefficients == pytest.approx([4.0, -0.7, 0.0], abs=0.02)
        assert found.scale_db[0] < 1.0


def test_contrast_is_not_negative() -> None:
    rng = np.random.default_rng(9)
    gain, decades = rng.normal(-90.0, 5.0, 100), rng.uniform(-6, 6, 100)
    likelihood = StationLikelihood(reports(corrected_db(gain, decades, -0.5, -1.0)), 1.0, 30.0)
    against, nothing = (solve(likelihood, g, decades) for g in (gain, np.full(100, PIVOT_DB)))
    assert against.contrast[0] == 0.0
    assert against.slope[0] == pytest.approx(nothing.slope[0], abs=1e-6)  # that of levels without rays
    assert against.offset_db[0] == pytest.approx(nothing.offset_db[0], abs=1e-6)
    assert against.log_evidence[0] < nothing.log_evidence[0]  # whose contrast is not far from expected


def test_the_right_turn_is_the_likeliest() -> None:
    rng = np.random.default_rng(3)
    gain, sector = rng.normal(-90.0, 5.0, 80), rng.normal(0.0, 6.0, (5, 80))
    said = reports(gain + sector[3] + rng.normal(0.0, 3.0, 80))
    found = solve(StationLikelihood(said, 0.5, 30.0), gain, np.zeros(80), sector)
    assert found.log_evidence.argmax() == 3


def test_silence_speaks_against_a_pose_that_would_be_heard() -> None:
    gain = np.full(40, -90.0) + np.random.default_rng(5).normal(0, 2, 40)
    said = reports(gain)
    quiet = Reports(said.ue, said.x, said.y, gain, np.arange(40, 50), np.full(10, -110.0), 0.05)
    likelihood = StationLikelihood(quiet, 1.0, 30.0)
    assert likelihood.counts_silence
    zero, ten = np.zeros(40), np.zeros(10)
    at = [likelihood.solve(gain, zero[None], zero, np.full(10, g), ten[None], ten).log_evidence[0] for g in (-130, -80)]
    most = TEMPER * module.SILENCE * 10 * np.log(1 / 0.05)  # one silence says no more than that it was missed
    assert 0 < at[0] - at[1] <= most + 1e-6
    deaf = Reports(said.ue, said.x, said.y, gain, np.arange(40, 50), np.full(10, -110.0), 0.5)
    assert not StationLikelihood(deaf, 1.0, 30.0).counts_silence


def test_silence_sets_right_what_selection_bends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 1.0)
    rng = np.random.default_rng(8)
    decades = rng.uniform(-6.0, 6.0, 1600)
    gain = -100.0 + 3.5 * decades
    level = gain + rng.normal(0.0, 6.0, 1600)
    heard = level > -100.0
    quiet = np.flatnonzero(~heard)
    said = reports(level[heard])
    said = replace(said, quiet_ue=quiet, threshold_db=np.full(len(quiet), -100.0), missed=0.001)
    likelihood = StationLikelihood(said, 1.0, 30.0)
    none = np.zeros((1, heard.sum())), np.zeros((1, len(quiet)))
    given = gain[heard], none[0], decades[heard], gain[quiet], none[1], decades[quiet]
    bent, found = likelihood.solve(*given), likelihood.solve(*given, censored=True)
    assert bent.log_evidence.tolist() == found.log_evidence.tolist()
    assert bent.offset_db[0] > 2.0 and bent.slope[0] < -0.5
    assert abs(found.offset_db[0]) < 0.2 * bent.offset_db[0]
    assert abs(found.slope[0]) < 0.3 * abs(bent.slope[0])

    def exact(at: np.ndarray) -> float:
        expected = gain + at[0] + at[1] * decades + at[2] * (gain - PIVOT_DB)
        below = norm.cdf((-100.0 - expected[quiet]) / found.scale_db[0])
        told = ((level - expected)[heard] ** 2).sum() + ((SCALE_DB * at / PRIOR_SD) ** 2).sum()
        return 0.5 * told / found.scale_db[0] ** 2 - np.log(0.001 + 0.999 * below).sum()

    options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000, "maxfev": 4000}
    best = minimize(exact, np.zeros(3), method="Nelder-Mead", options=options).x
    assert (found.offset_db[0], found.slope[0], found.contrast[0] - 1) == pytest.approx(tuple(best), abs=2e-3)


def test_silence_does_not_turn_contrast_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 1.0)
    rng = np.random.default_rng(10)
    gain, decades = rng.normal(-100.0, 5.0, 400), rng.uniform(-6.0, 6.0, 400)
    level = corrected_db(gain, decades, 0.5, -1.0) + rng.normal(0.0, 3.0, 400)
    heard = level > -95.0
    quiet, zero = np.flatnonzero(~heard), np.zeros((1, 400))
    said = replace(reports(level[heard]), quiet_ue=quiet, threshold_db=np.full(len(quiet), -95.0), missed=0.001)
    likelihood = StationLikelihood(said, 1.0, 30.0)

    def found(of: np.ndarray) -> np.ndarray:
        asked = of[heard], zero[:, heard], decades[heard], of[quiet], zero[:, quiet], decades[quiet]
        solved = likelihood.solve(*asked, censored=True)
        return np.array([solved.contrast[0], solved.offset_db[0], solved.slope[0]])

    against = found(gain)
    assert against[0] == 0.0
    assert against[1:] == pytest.approx(found(np.full(400, PIVOT_DB))[1:], abs=0.3)  # that of levels without rays


def test_outliers_weigh_less() -> None:
    residual = np.append(np.random.default_rng(6).normal(0.0, 3.0, 200), 60.0)
    weight = module.outlier_weight(residual)
    assert weight[-1] < 0.05 and weight[:-1].mean() > 0.7 and weight.max() <= 1.0


@pytest.mark.parametrize(("white", "expected"), [(True, 1.0), (False, 0.25)])
def test_correlation_is_learned(white: bool, expected: float) -> None:
    rng = np.random.default_rng(7)
    said = reports(np.zeros(300), seed=7, edge=150.0)
    field = correlated_shadowing(said.x, said.y, 6.0, 50.0, rng)[:, 0]
    residual = rng.normal(0.0, 6.0, 300) if white else field
    found = module.learned(said, residual).white
    assert found >= expected if white else found <= expected
