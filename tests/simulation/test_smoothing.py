from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rfloc.simulation.smoothing import POOR_ERROR, WINDOWS, pooled

SHAPE = (12, 15)
NONE = np.full(SHAPE, np.nan)


def test_one_ray_is_shared_by_the_window_round_it():
    gain, error = np.zeros((2, 3 * WINDOWS[-1], 3 * WINDOWS[-1]))
    middle, reach = gain.shape[0] // 2, WINDOWS[-1] // 2
    error[:] = np.nan
    gain[middle, middle], error[middle, middle] = WINDOWS[-1] ** 2, 1.0
    smooth, left = pooled(gain, error, np.ones(gain.shape))
    window = slice(middle - reach, middle + reach + 1)
    assert smooth[window, window] == pytest.approx(1.0) and left[window, window] == pytest.approx(1.0)
    assert smooth.sum() == pytest.approx(gain.sum()) and np.isnan(left[smooth == 0]).all()


def test_many_rays_need_a_small_window_and_their_errors_add_as_squares():
    smooth, error = pooled(np.full(SHAPE, 2.0), np.full(SHAPE, 0.6), np.ones(SHAPE))
    assert smooth == pytest.approx(2.0)
    assert error[5, 5] == pytest.approx(0.6 / 3) and error[0, 0] == pytest.approx(0.6 / 2)


def test_what_is_known_well_stays_and_leaks_nowhere():
    gain, error = np.zeros(SHAPE), NONE.copy()
    gain[:, :5], error[:, :5] = 1.0, POOR_ERROR
    smooth, left = pooled(gain, error, np.ones(SHAPE))
    np.testing.assert_array_equal(smooth, gain)
    np.testing.assert_array_equal(left, error)


@given(arrays(float, SHAPE, elements=st.floats(0, 1)), arrays(float, SHAPE, elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_cells_are_means_of_power_by_outdoor_area(gain: np.ndarray, share: np.ndarray):
    gain = np.where(gain > 0.5, gain, 0.0)
    smooth, error = pooled(gain, np.where(gain > 0, 1.0, np.nan), share)
    outdoors = share > 0
    np.testing.assert_array_equal(smooth[~outdoors], gain[~outdoors])
    assert smooth[outdoors].max(initial=0.0) <= gain[outdoors].max(initial=0.0) * (1 + 1e-12)
    assert (smooth[outdoors & (gain > 0)] > 0).all()
    np.testing.assert_array_equal(np.isfinite(error[outdoors]), smooth[outdoors] > 0)
