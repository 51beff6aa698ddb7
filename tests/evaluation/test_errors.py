import numpy as np
import pytest

from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation.errors import MIN_BLOCKS, UEErrors, block_draws, block_interval, paired_difference, ue_errors
from tests.handmade import predictions


def errors_of(error, xy=None):
    error = np.asarray(error, float)
    n = len(error)
    xy = np.stack([1000.0 * np.arange(n), np.zeros(n)], axis=1) if xy is None else np.asarray(xy, float)
    return UEErrors(np.arange(n), xy, error, error**2, np.ones(n, int))


def scoring(draws, block=150.0):
    return EvaluationParams(bootstrap=draws, block=block, level=0.95)


def test_errors_are_averaged_within_a_ue_first():
    at = np.zeros((4, 2))
    hat = [[3, 4], [0, 15], [6, 8], [0, 100]]  # errors 5, 15 for UE 1; 10, 100 for UE 2 and 9
    errors = ue_errors(predictions([1, 1, 2, 9], at, hat, ["known", "known", "known", "unknown"]), "known")
    assert errors.error.tolist() == [10, 10] and errors.crops.tolist() == [2, 1]
    assert errors.statistics()["mean"] == 10
    assert errors.statistics()["rmse"] == pytest.approx(np.sqrt((125 + 100) / 2))
    with pytest.raises(DataError, match="roles here are known, unknown"):
        ue_errors(predictions([1, 1, 2, 9], at, hat, ["known"] * 3 + ["unknown"]), "val")


def test_statistics_of_a_centre_guess_quantiles_and_weights():
    """A UE uniform in +-270 m: mean error 270 (sqrt 2 + asinh 1) / 3 = 206.6 m, root mean square 220.5 m."""
    at = (np.arange(400) + 0.5) / 400 * 540 - 270
    found = errors_of(np.hypot(*np.meshgrid(at, at)).ravel()).statistics()
    assert found["mean"] == pytest.approx(270 * (np.sqrt(2) + np.arcsinh(1)) / 3, rel=1e-4)
    assert found["rmse"] == pytest.approx(220.45, abs=0.05)
    found = errors_of(np.arange(101.0)).statistics()
    assert found["median"] == pytest.approx(50)
    assert found["p90"] == pytest.approx(90, abs=0.5)
    assert errors_of([1.0, 2.0, 30.0]).mean(np.array([3.0, 1.0, 1.0])) == pytest.approx(7)


def test_draws_are_of_whole_blocks_and_ues_of_one_block_count_once():
    """Ten copies of every UE in its block leave the interval as wide as it was."""
    draws = block_draws(np.array([0, *range(8)]), scoring(500), 0)
    assert draws.shape == (500, 8) and (draws.sum(axis=1) == 8).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.15)
    error = np.random.default_rng(0).normal(100, 20, 30)
    xy = np.stack([1000.0 * np.arange(30), np.zeros(30)], axis=1) + 75
    one = block_interval(errors_of(error, xy), scoring(1500), 3)
    ten = block_interval(errors_of(np.repeat(error, 10), np.repeat(xy, 10, axis=0)), scoring(1500), 3)
    np.testing.assert_allclose(one, ten)


def test_interval_of_the_mean_matches_theory():
    rng = np.random.default_rng(0)
    error = rng.normal(100, 20, 200)
    low, high = block_interval(errors_of(error), scoring(4000, 500.0), 1)
    half = 1.96 * error.std() / np.sqrt(200)
    assert low == pytest.approx(error.mean() - half, abs=0.4) and high == pytest.approx(error.mean() + half, abs=0.4)


@pytest.mark.parametrize("blocks", [1, MIN_BLOCKS - 1, MIN_BLOCKS])
def test_few_blocks_give_no_interval(blocks: int):
    found = block_interval(errors_of(np.arange(1.0, blocks + 1.0)), scoring(50, 500.0), 0)
    assert (found is None) == (blocks < MIN_BLOCKS)


def test_paired_difference_cancels_what_is_common():
    rng = np.random.default_rng(0)
    common = rng.uniform(0, 300, 80)
    a, b = errors_of(common), errors_of(common + 12 + rng.normal(0, 1, 80))
    gap, (low, high) = paired_difference(a, b, scoring(500), 0)
    assert gap == pytest.approx(-12, abs=0.5) and high - low < 1 and low < gap < high
    unpaired = block_interval(a, scoring(500), 0)
    assert unpaired[1] - unpaired[0] > 20
    with pytest.raises(DataError, match="different UEs"):
        paired_difference(a, errors_of(common[:-1]), scoring(500), 0)
