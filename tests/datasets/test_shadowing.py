import numpy as np
import pytest

from rfloc.datasets.shadowing import COMMON, Means, Shadowing, likeliest_shadowing
from rfloc.simulation.propagation import correlated_shadowing


def test_noise_is_told_from_shadowing():
    x, y = np.random.default_rng(0).uniform(0, 1500, (2, 1200))
    rng = np.random.default_rng(1)
    field = correlated_shadowing(x, y, 6.0, 40.0, rng, 6) + rng.normal(0, 3.0, (1200, 6))
    found = likeliest_shadowing([Means.of(x, y, residual, square=10.0) for residual in field.T])
    assert found.sd == pytest.approx(6.0, rel=0.1) and found.length == pytest.approx(40.0, rel=0.25)
    assert found.noise * np.sqrt(1 + COMMON) == pytest.approx(3.0, rel=0.15)


def test_squares_hold_means_of_what_was_measured():
    means = Means.of(np.array([1.0, 3.0, 60.0, 70.0]), np.zeros(4), np.array([2.0, 4.0, np.nan, 7.0]))
    assert means.at.tolist() == [[2.0, 0.0], [70.0, 0.0]]
    assert means.mean.tolist() == [3.0, 7.0] and means.ues.tolist() == [2.0, 1.0]


def test_kriging_meets_the_measurements_and_forgets_them_far_away():
    means = Means.of(np.array([0.0, 400.0]), np.zeros(2), np.array([5.0, -3.0]))
    found = Shadowing(6.0, 50.0, 0.1).kriged(means, np.array([0.0, 400.0, 2000.0]), np.zeros(3))
    np.testing.assert_allclose(found, [5.0, -3.0, 0.0], atol=0.02)
