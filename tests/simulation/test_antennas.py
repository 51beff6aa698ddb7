import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.backend import prepare
from rfloc.simulation.antennas import directivity, pattern_gain_db


@given(st.sampled_from(["tr38901", "dipole", "isotropic"]), st.floats(0, 60), st.floats(-20, 45), st.booleans())
def test_every_antenna_radiates_the_power_that_it_is_fed(pattern, attenuation: float, tilt: float, known: bool):
    """Mean over the sphere by Gauss-Legendre over the sine of elevation, evenly over azimuth: 1, in the mean too."""
    sine, weight = np.polynomial.legendre.leggauss(181)
    azimuth = np.linspace(-180, 180, 361)[1:] if known else np.array([np.nan])
    gain = pattern_gain_db(pattern, azimuth, np.degrees(np.arcsin(sine))[:, None], tilt, attenuation)
    assert weight @ (10 ** (gain / 10)).mean(axis=1) / 2 == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize(
    ("pattern", "attenuation", "gain"),
    [
        ("isotropic", 30.0, 0.0),
        ("tr38901", 0.0, 0.0),  # the same in all directions
        ("dipole", 30.0, 10 * np.log10(4 / 2.4377)),  # 4 / Cin(2 pi), Balanis, eq. 4-91
        ("tr38901", 6.0, 8.0 - 2.72),  # the table's 8 dBi with 6, 12, 30 dB would radiate 1.87, 0.92, 0.66 times
        ("tr38901", 12.0, 8.0 + 0.36),
        ("tr38901", 30.0, 8.0 + 1.80),
    ],
)
def test_the_gain_at_boresight_follows_from_the_shape(pattern, attenuation: float, gain: float):
    assert 10 * np.log10(directivity(pattern, attenuation)) == pytest.approx(gain, abs=0.03)
    assert pattern_gain_db(pattern, 0.0, 0.0, 0.0, attenuation) == pytest.approx(gain, abs=0.03)


def test_parity_with_sionna_in_shape():
    """Sionna's element has 8 dBi at boresight, its dipole 1.643."""
    prepare()
    import mitsuba as mi
    from sionna.rt.antenna_pattern import v_hw_dipole_pattern, v_tr38901_pattern

    azimuth, zenith = (v.ravel() for v in np.meshgrid(np.linspace(-179, 179, 37), np.linspace(1, 179, 31)))
    for pattern, theirs, peak in (("tr38901", v_tr38901_pattern, 10**0.8), ("dipole", v_hw_dipole_pattern, 1.643)):
        amplitude = theirs(mi.Float(np.radians(zenith)), mi.Float(np.radians(azimuth)))
        shape = 20 * np.log10(np.array(amplitude.real)) - 10 * np.log10(peak)
        ours = pattern_gain_db(pattern, azimuth, 90 - zenith) - 10 * np.log10(directivity(pattern))
        np.testing.assert_allclose(ours, shape, atol=2e-3)


@pytest.mark.parametrize("tilt", [0.0, 9.0])
def test_unknown_azimuth_radiates_the_mean_over_azimuth(tilt: float):
    azimuth, elevation = np.linspace(-180, 180, 720, endpoint=False), np.array([-40.0, -6.0, 0.0, 3.3])
    mean = np.mean(10 ** (pattern_gain_db("tr38901", azimuth, elevation[:, None], tilt) / 10), axis=1)
    np.testing.assert_allclose(10 ** (pattern_gain_db("tr38901", np.nan, elevation, tilt) / 10), mean, rtol=1e-3)
