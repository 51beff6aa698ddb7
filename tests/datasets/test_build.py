import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rfloc.config import RadioParams
from rfloc.datasets.build import features, reportable_dbm
from rfloc.errors import SimulationError

OPEN = RadioParams(sensitivity_dbm=-200.0, detection_db=-300.0)
gains_db = arrays(float, (5, 4), elements=st.floats(-150, -50))


def test_two_stations_by_hand():
    found = features(np.array([[1e-9, 1e-10]]), [40.0, 43.0], RadioParams(load=0.5))
    mw = np.array([1e-5, 10**4.3 * 1e-10])
    noise = 10 ** ((-173.975 + 10 * np.log10(1008 * 15e3) + 7.0) / 10)  # thermal noise is -174 dBm/Hz
    assert found["nrsrp"][0] == pytest.approx(10 * np.log10(mw / 1008))
    assert found["rssi"][0, 0] == pytest.approx(10 * np.log10(mw[0] + mw[1] / 2 + noise), abs=1e-3)
    assert found["nsinr"][0, 1] == pytest.approx(10 * np.log10(mw[1] / (mw[0] / 2 + noise)), abs=1e-3)


@given(gains_db)
def test_nrsrq_identity_and_bounds(gain_db):
    f = features(10 ** (gain_db / 10), np.full(4, 43.0), OPEN)
    np.testing.assert_allclose(f["nrsrq"], 10 * np.log10(84) + f["nrsrp"] - f["rssi"])
    assert (f["nrsrq"] <= -10 * np.log10(12) + 1e-9).all()
    assert (f["rssi"] >= f["nrsrp"] + 10 * np.log10(1008) - 1e-9).all()


def test_missing_is_nan_in_all_four_and_impossible_gain_is_refused():
    gain = np.array([[1e-8, 1e-15, 0.0, 1e-10]])
    f = features(gain, np.full(4, 43.0), RadioParams(sensitivity_dbm=-118.0, detection_db=-10.0))
    for values in f.values():
        assert np.isfinite(values[0]).tolist() == [True, False, False, False]  # the last drowns in the first
    for bad in (-1e-9, np.nan, np.inf):
        with pytest.raises(SimulationError, match="negative number or NaN"):
            features(np.array([[bad]]), [43.0], OPEN)


@given(gains_db)
def test_reportable_level_lies_above_everything_unheard_and_hardly_above_anything_heard(gain_db):
    radio = RadioParams(sensitivity_dbm=-110.0, detection_db=-15.0)
    everything = features(10 ** (gain_db / 10), np.full(4, 43.0), OPEN)["nrsrp"]
    f = features(10 ** (gain_db / 10), np.full(4, 43.0), radio)
    heard = np.isfinite(f["nrsrp"])
    some = heard.any(axis=1)
    level = np.broadcast_to(reportable_dbm(f["nrsrp"], f["nsinr"], radio)[:, None], heard.shape)
    unheard = ~heard & some[:, None]
    assert (everything[unheard] <= level[unheard] + 1e-6).all()
    assert (everything[heard] >= level[heard] - 0.2).all()
    assert (level[~some] == -110.0).all()
