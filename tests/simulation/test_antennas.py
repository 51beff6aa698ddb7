from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.backend import prepare
from rfloc.errors import SimulationError
from rfloc.simulation.antennas import Antenna, dipole_gain_db, pattern_gain_db, tr38901_gain_db


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


directions = st.tuples(st.floats(-180, 180), st.floats(-85, 85))


def unit_vectors(azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction, zenith and azimuth unit vectors with x ahead, y to the left and z up; azimuth clockwise [deg]."""
    phi, theta = np.radians(-azimuth), np.radians(90.0 - elevation)
    ct, st_, cp, sp = np.cos(theta), np.sin(theta), np.cos(phi), np.sin(phi)
    return np.array([st_ * cp, st_ * sp, ct]), np.array([ct * cp, ct * sp, -st_]), np.array([-sp, cp, 0.0])


@given(directions, st.floats(-20, 20))
def test_tilt_turns_the_field_as_it_turns_the_antenna(direction: tuple[float, float], tilt: float):
    k, theta_hat, phi_hat = unit_vectors(*direction)
    t = np.radians(tilt)
    turn = np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0], [-np.sin(t), 0, np.cos(t)]])  # ahead goes down
    axis = turn @ [0.0, 0.0, 1.0]  # the zenith of the tilted antenna
    field = np.dot(axis, k) * k - axis  # its zenith unit vector, but for its length
    angle = Antenna(downtilt=tilt).polarisation(*direction)
    np.testing.assert_allclose(
        [np.cos(angle), np.sin(angle)], [field @ theta_hat, field @ phi_hat] / np.linalg.norm(field), atol=1e-9
    )


def test_untilted_antennas_keep_their_polarisation():
    azimuth = np.linspace(-180, 180, 50)
    np.testing.assert_allclose(Antenna("tr38901").polarisation(azimuth, 20.0), 0.0, atol=1e-12)
    assert Antenna("tr38901", 6.0).polarisation(np.nan, 20.0) == 0.0


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (1, 4), (8, 1)])
def test_array_adds_its_elements_fields_at_boresight(rows: int, columns: int):
    array = Antenna("tr38901", 6.0, rows=rows, columns=columns, row_spacing=0.7)
    assert array.gain_db(0.0, -6.0) == pytest.approx(8.0 + 10 * np.log10(rows * columns))


@given(directions, st.floats(-10, 10))
def test_array_factor_is_the_sum_over_its_elements(direction: tuple[float, float], tilt: float):
    array = Antenna(downtilt=tilt, rows=3, columns=4, row_spacing=0.7, column_spacing=0.55)
    t = np.radians(tilt)
    turn = np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0], [-np.sin(t), 0, np.cos(t)]])
    y, z = np.meshgrid(0.55 * (np.arange(4) - 1.5), 0.7 * (np.arange(3) - 1.0))
    places = turn @ np.stack([np.zeros(12), y.ravel(), z.ravel()])
    field = np.exp(2j * np.pi * unit_vectors(*direction)[0] @ places).sum() / np.sqrt(12)
    assert array.amplitude(*direction) == pytest.approx(field, abs=1e-9)


def test_total_power_is_conserved():
    """Half a wavelength apart, isotropic elements in a row do not couple: the mean over the sphere is 1."""
    sine, weight = np.polynomial.legendre.leggauss(60)
    azimuth = np.arange(0.0, 360.0, 1.0)
    for array in (Antenna(rows=6), Antenna(columns=5)):
        power = array.amplitude(azimuth[:, None], np.degrees(np.arcsin(sine))) ** 2
        assert float(power.mean(0) @ weight / 2) == pytest.approx(1.0, abs=1e-6)


def test_array_of_unknown_azimuth_radiates_its_mean():
    array = Antenna("tr38901", columns=4)
    azimuth = np.linspace(-180, 180, 3600, endpoint=False)
    assert array.amplitude(np.nan, 0.0) ** 2 == pytest.approx(np.mean(array.amplitude(azimuth, 0.0) ** 2), rel=1e-6)


@pytest.mark.parametrize("fault", [{"slants": ()}, {"rows": 0}])
def test_an_antenna_without_elements_is_refused(fault: dict):
    with pytest.raises(SimulationError, match="radiates nothing"):
        Antenna(**fault)
