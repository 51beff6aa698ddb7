import numpy as np
import pytest

from rfloc.simulation.propagation import correlated_shadowing, free_space_gain


def test_friis_in_decibels():
    # 20 log10 d[km] + 20 log10 f[GHz] + 92.45 (ITU-R P.525-4, equation 4)
    assert -10 * np.log10(free_space_gain(1000.0, 2e9)) == pytest.approx(92.45 + 20 * np.log10(2), abs=0.005)


def test_shadowing_has_the_variance_and_correlation_asked_for():
    x, y = np.meshgrid(np.arange(0, 4000, 40.0), np.arange(0, 4000, 40.0))
    field = correlated_shadowing(x.ravel(), y.ravel(), 6.0, 40.0, np.random.default_rng(1), n=3)
    assert field.std(axis=0) == pytest.approx(6.0, rel=0.05)
    assert field.mean(axis=0) == pytest.approx(0.0, abs=0.4)
    grids = field.T.reshape(3, *x.shape) / 6.0
    for lag in (1, 2):
        along_x = np.mean(grids[:, :, lag:] * grids[:, :, :-lag])
        along_y = np.mean(grids[:, lag:] * grids[:, :-lag])
        assert (along_x, along_y) == pytest.approx((np.exp(-lag),) * 2, abs=0.04)
    assert np.abs(np.corrcoef(field.T) - np.eye(3)).max() < 0.05


def test_shadowing_repeats_with_its_seed_and_is_shared_at_one_place():
    x, y = np.array([0.0, 0.0, 500.0]), np.zeros(3)
    first = correlated_shadowing(x, y, 6.0, 40.0, np.random.default_rng(3), n=2)
    np.testing.assert_array_equal(first, correlated_shadowing(x, y, 6.0, 40.0, np.random.default_rng(3), n=2))
    assert (first[0] == first[1]).all() and (first[0] != first[2]).all()
    assert not correlated_shadowing(x, y, 0.0, 40.0, np.random.default_rng(3)).any()
