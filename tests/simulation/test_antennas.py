import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.backend import prepare
from rfloc.simulation.antennas import dipole_gain_db, pattern_gain_db, tr38901_gain_db


@pytest.mark.parametrize(
    ("azimuth", "zenith", "gain"),
    [
        (0, 90, 8),
        (65, 90, -4),
        (-65, 90, -4),
        (32.5, 90, 5),
        (0, 155, -4),
        (65, 155, -16),
        (180, 90, -22),
        (180, 0, -22),
    ],
)
def test_tr38901_table(azimuth: float, zenith: float, gain: float):
    assert tr38901_gain_db(azimuth, zenith) == pytest.approx(gain)


def test_parity_with_sionna():
    prepare()
    import mitsuba as mi
    from sionna.rt.antenna_pattern import v_hw_dipole_pattern, v_tr38901_pattern

    azimuth, zenith = (v.ravel() for v in np.meshgrid(np.linspace(-179, 179, 37), np.linspace(1, 179, 31)))
    amplitude = v_tr38901_pattern(mi.Float(np.radians(zenith)), mi.Float(np.radians(azimuth)))
    theirs = 20 * np.log10(np.array(amplitude.real))
    np.testing.assert_allclose(tr38901_gain_db(azimuth, zenith), theirs, atol=2e-3)
    amplitude = v_hw_dipole_pattern(mi.Float(np.radians(zenith)), mi.Float(np.radians(azimuth)))
    np.testing.assert_allclose(dipole_gain_db(zenith), 20 * np.log10(np.array(amplitude.real)), atol=2e-3)


@given(st.floats(-360, 360), st.floats(-90, 90), st.floats(-20, 45))
def test_gain_is_bounded_and_symmetric(azimuth: float, elevation: float, tilt: float):
    gain = pattern_gain_db("tr38901", azimuth, elevation, tilt)
    assert -22.0 - 1e-9 <= gain <= 8.0 + 1e-9
    assert gain == pytest.approx(pattern_gain_db("tr38901", -azimuth, elevation, tilt), abs=1e-6)
    assert pattern_gain_db("isotropic", azimuth, elevation, tilt) == 0.0


@given(st.floats(-20, 45))
def test_beam_points_below_the_horizon_by_the_downtilt(tilt: float):
    assert pattern_gain_db("tr38901", 0.0, -tilt, tilt) == pytest.approx(8.0)
    assert pattern_gain_db("tr38901", 0.0, -tilt + 10.0, tilt) < 8.0


def test_unknown_azimuth_radiates_the_mean_over_azimuth():
    azimuth = np.linspace(-180, 180, 720, endpoint=False)
    mean = np.mean(10 ** (pattern_gain_db("tr38901", azimuth, 0.0) / 10))
    assert 10 ** (pattern_gain_db("tr38901", np.nan, 0.0) / 10) == pytest.approx(mean, rel=1e-3)
    assert mean < 10 ** (pattern_gain_db("tr38901", 0.0, 0.0) / 10)


def test_dipole_by_hand():
    assert dipole_gain_db([90.0, 30.0]) == pytest.approx([2.156, 10 * np.log10(1.643 * 0.174557)], abs=1e-3)
    assert dipole_gain_db(0.0) == -np.inf
