import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.simulation import propagation
from rfloc.simulation.propagation import free_space_gain, multiscreen_db, rooftop_gain, rooftop_to_street_db
from tests.simulation.scenes import one_station, raster_city

CARRIER = 0.8e9


def test_shadowing_has_the_variance_and_correlation_asked_for():
    x, y = np.meshgrid(np.arange(0, 4000, 40.0), np.arange(0, 4000, 40.0))
    field = propagation.correlated_shadowing(x.ravel(), y.ravel(), 6.0, 40.0, np.random.default_rng(1), n=3)
    assert field.std(axis=0) == pytest.approx(6.0, rel=0.05)
    assert field.mean(axis=0) == pytest.approx(0.0, abs=0.4)
    grids = field.T.reshape(3, *x.shape) / 6.0
    for lag in (1, 2):
        along_x = np.mean(grids[:, :, lag:] * grids[:, :, :-lag])
        along_y = np.mean(grids[:, lag:] * grids[:, :-lag])
        assert (along_x, along_y) == pytest.approx((np.exp(-lag),) * 2, abs=0.04)
    assert np.abs(np.corrcoef(field.T) - np.eye(3)).max() < 0.05


def test_worked_example_by_hand():
    """900 MHz, roofs at 20 m, street of 20 m, UE at 1.5 m, station at 30 m, 1 km away."""
    street = -16.9 - 13.0103 + 29.5424 + 20 * np.log10(18.5)
    assert rooftop_to_street_db(18.5, 20.0, 0.9e9) == pytest.approx(street, abs=1e-3)
    k_f = -4 + 1.5 * (900 / 925 - 1)
    screens = -18 * np.log10(11) + 54 + 0.0 + k_f * 2.95424 - 9 * np.log10(40)
    assert multiscreen_db(10.0, 20.0, 1000.0, 0.9e9) == pytest.approx(screens, abs=1e-3)
    assert 20 < street + screens < 35  # COST 231 puts such streets some 25 to 30 dB under free space
    for distance in (300.0, 1000.0):  # a station below the roofs loses more
        levels = multiscreen_db(np.array([15.0, 5.0, 0.0, -5.0, -10.0]), 20.0, distance, CARRIER)
        assert (np.diff(levels) >= 0).all()
    # Friis: 20 log10 d[km] + 20 log10 f[GHz] + 92.45 (ITU-R P.525-4, equation 4)
    assert -10 * np.log10(free_space_gain(1000.0, 2e9)) == pytest.approx(92.45 + 20 * np.log10(2), abs=0.005)


@given(st.lists(st.floats(0, 40), min_size=5, max_size=40), st.floats(2, 60))
def test_loss_is_never_a_gain_and_clear_lines_have_none(roofs: list[float], h_tx: float):
    """Houses of 10 m in a row, a station before the first, a UE after the last."""
    city = raster_city(np.kron([[0.0, *roofs, 0.0]], np.ones((1, 10))))
    total = 10.0 * len(roofs) + 10.0
    station, x = one_station(-total / 2, 0.0, h_tx), np.array([total / 2])
    gain, clear = rooftop_gain(city, station, x, np.zeros(1), CARRIER, 1.5)
    loss = 10 * np.log10(free_space_gain(np.hypot(total, h_tx - 1.5), CARRIER) / gain.item())
    line = h_tx + (1.5 - h_tx) * (10.0 * np.arange(len(roofs) + 1) + 5.0) / total  # over the houses' walls
    room = np.minimum(line[:-1], line[1:]) - roofs
    if (room >= 1e-6).all():
        assert clear.item() and loss == pytest.approx(0.0, abs=1e-4)
    elif (room <= -1e-6).any():
        assert not clear.item() and -1e-4 <= loss < 150


@pytest.mark.parametrize("thickness", [1, 2, 10])
@pytest.mark.parametrize("length", [300, 1000, 3000])
def test_no_wall_is_too_thin_or_too_far_away_to_block(thickness: int, length: int):
    """Wherever on the line it stands; a sample every hundredth of the line would step over most."""
    for wall in np.linspace(20, length - 20 - thickness, 23).astype(int):
        roofs = np.zeros((3, length))
        roofs[:, wall : wall + thickness] = 30.0
        station, x, y = one_station(0.5 - length / 2, -0.2, 29.0), np.array([length / 2 - 0.5]), np.array([0.4])
        gain, clear = rooftop_gain(raster_city(roofs), station, x, y, CARRIER, 1.5)
        last = length - 0.5 - wall - thickness  # from the far face to the UE
        assert not clear.item(), wall
        total = np.hypot(length - 1.0, 0.6)
        loss = rooftop_to_street_db(28.5, np.clip(2 * last, 10.0, 60.0), CARRIER)
        loss += multiscreen_db(-1.0, 30.0, total, CARRIER)
        want = 10 * np.log10(free_space_gain(np.hypot(total, 27.5), CARRIER)) - max(loss, 0.0)
        assert 10 * np.log10(gain.item()) == pytest.approx(float(want), abs=0.01)
