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
    smooth = pooled(gain, error, np.ones(gain.shape))
    window = slice(middle - reach, middle + reach + 1)
    assert smooth[window, window] == pytest.approx(1.0) and smooth.sum() == pytest.approx(gain.sum())


def test_many_rays_need_a_small_window_and_what_is_known_well_stays_and_leaks_nowhere():
    """Errors of n cells add as squares: 1 over 3 x 3 equal cells is a third, enough, over 1 it is not."""
    steps = np.tile(np.repeat([1.0, 3.0], 6), (12, 1))
    smooth = pooled(steps, np.ones(steps.shape), np.ones(steps.shape))
    assert smooth[5, :5] == pytest.approx(1.0) and smooth[5, 7:] == pytest.approx(3.0)
    assert smooth[5, 5:7] == pytest.approx([5 / 3, 7 / 3])
    gain, error = np.zeros(SHAPE), NONE.copy()
    gain[:, :5], error[:, :5] = 1.0, POOR_ERROR
    np.testing.assert_array_equal(pooled(gain, error, np.ones(SHAPE)), gain)


def test_a_dark_yard_takes_from_a_poorly_lit_street_and_no_further_than_half_a_window():
    gain, error, share = np.zeros(SHAPE), NONE.copy(), np.ones(SHAPE)
    gain[:, :2], error[:, :2], share[:, 2:4] = 1.0, 0.5, 0.0
    smooth = pooled(gain, error, share)
    assert (smooth[:, 4] > 0).all() and smooth.max() <= 1.0
    assert (smooth[:, 2 + WINDOWS[-1] // 2 :] == 0).all()


@given(arrays(float, SHAPE, elements=st.floats(0, 1)), arrays(float, SHAPE, elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_cells_are_means_of_power_by_outdoor_area(gain: np.ndarray, share: np.ndarray):
    gain = np.where(gain > 0.5, gain, 0.0)
    smooth = pooled(gain, np.where(gain > 0, 1.0, np.nan), share)
    outdoors = share > 0
    np.testing.assert_array_equal(smooth[~outdoors], gain[~outdoors])
    assert smooth[outdoors].max(initial=0.0) <= gain[outdoors].max(initial=0.0) * (1 + 1e-12)
    assert (smooth[outdoors & (gain > 0)] > 0).all()
