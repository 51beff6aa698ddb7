from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rfloc.city.materials import itu_parameters
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import sionna_orientation
from rfloc.simulation import trace
from rfloc.simulation.maps import map_grid, sector_gain_db, trace_maps
from rfloc.simulation.statistical import free_space_gain
from tests.simulation.scenes import one_station, small_city

RADIO = RadioParams()
SIM = SimulationParams(cell=10.0, samples=300_000, max_depth=1, rooftop=False, diffuse=False, scattering=0.0)
X, Y = np.array([40.0, 0.0, -60.0, 25.0]), np.array([0.0, 50.0, 10.0, -35.0])


def test_two_rays_over_ground(tmp_path: Path):
    city = small_city(tmp_path, ground="concrete")
    paths = trace.trace_paths(city, one_station(h=20.0), X, Y, SIM, RADIO, seed=1, samples=20_000)
    d = np.hypot(X, Y)
    direct, mirrored = np.hypot(d, 18.5), np.hypot(d, 21.5)
    permittivity, sigma = itu_parameters("concrete", RADIO.carrier_hz)
    eps = permittivity - 1j * sigma / (2 * np.pi * RADIO.carrier_hz * 8.8541878128e-12)
    cos = 21.5 / mirrored
    root = np.sqrt(eps - (1 - cos**2))
    fresnel = np.abs((eps * cos - root) / (eps * cos + root)) ** 2  # parallel polarisation (ITU-R P.2040-3, eq. 31b)
    want = free_space_gain(direct, RADIO.carrier_hz) + fresnel * free_space_gain(mirrored, RADIO.carrier_hz)
    np.testing.assert_allclose(trace.path_gain(paths)[:, 0], want, rtol=0.01)
    delays = np.sort(paths["delay"].values[0], axis=1)[:, :2]
    np.testing.assert_allclose(delays, np.stack([direct, mirrored], 1) / 299792458, rtol=1e-5)


def test_angle_of_departure_is_a_compass_bearing(tmp_path: Path):
    paths = trace.trace_paths(small_city(tmp_path), one_station(h=20.0), X, Y, SIM, RADIO, seed=1, samples=2_000)
    direct = np.nanargmin(paths["delay"].values[0], axis=1)
    azimuth = np.take_along_axis(paths["departure_azimuth"].values[0], direct[:, None], 1)[:, 0]
    np.testing.assert_allclose(azimuth, np.degrees(np.arctan2(X, Y)) % 360, atol=0.01)


@pytest.mark.parametrize(("azimuth", "downtilt"), [(90.0, 0.0), (210.0, 6.0)])
def test_pattern_applied_afterwards_equals_a_turned_sector(tmp_path: Path, azimuth: float, downtilt: float):
    """Isotropic gain times the pattern = Sionna's own tr38901 element, oriented; in free space, exactly."""
    city, station = small_city(tmp_path), one_station(h=20.0, azimuth=azimuth)
    radio = RadioParams(downtilt=downtilt)
    paths = trace.trace_paths(city, station, X, Y, SIM, radio, seed=1, samples=2_000)
    by_departure = trace.path_gain(paths, radio)[:, 0]
    by_bearing = trace.path_gain(paths)[:, 0] * 10 ** (sector_gain_db(station, X, Y, radio)[0] / 10)
    import mitsuba as mi
    from sionna.rt import PathSolver, PlanarArray, Receiver, Transmitter

    scene = city.load_scene(radio.carrier_hz, 0.0)
    scene.tx_array = PlanarArray(num_rows=1, num_cols=1, pattern="tr38901", polarization="V")
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
    turned = mi.Point3f(*sionna_orientation(azimuth, downtilt))
    scene.add(Transmitter("bs", position=mi.Point3f(0, 0, 20), orientation=turned))
    for i in range(X.size):
        scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(X[i]), float(Y[i]), radio.ue_height)))
    real, imag = (np.array(a) for a in PathSolver()(scene, max_depth=0).a)
    theirs = (real**2 + imag**2).sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(by_departure, theirs, rtol=1e-3)
    np.testing.assert_allclose(by_bearing, theirs, rtol=1e-3)


def test_full_buffer_is_doubled_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    city = small_city(tmp_path, ground="concrete", boxes=((60.0, -60.0, 70.0, 60.0, 20.0),))
    sim = SIM.model_copy(update={"diffuse": True, "scattering": 0.4})
    monkeypatch.setattr(trace, "BUFFER", 1 << 18)
    roomy = trace.trace_paths(city, one_station(h=20.0), X, Y, sim, RADIO, seed=1, samples=3_000)
    monkeypatch.setattr(trace, "BUFFER", 64)
    grown = trace.trace_paths(city, one_station(h=20.0), X, Y, sim, RADIO, seed=1, samples=3_000)
    assert grown.sizes["path"] > 64
    np.testing.assert_allclose(trace.path_gain(grown), trace.path_gain(roomy), rtol=1e-3)
    monkeypatch.setattr(trace, "LARGEST_BUFFER", 64)
    with pytest.raises(SimulationError, match="more than 64 candidate paths"):
        trace.trace_paths(city, one_station(h=20.0), X, Y, sim, RADIO, seed=1, samples=3_000)


def test_maps_agree_with_paths(tmp_path: Path):
    city = small_city(tmp_path, ground="concrete", boxes=((60.0, -30.0, 70.0, 30.0, 20.0),))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-95, 55, 20), rng.uniform(-55, 55, 20)
    station = one_station(h=20.0)
    paths = trace.trace_paths(city, station, x, y, SIM, RADIO, seed=1, samples=20_000)
    maps = trace_maps(city, station, map_grid(city, 5.0), SIM, RADIO, seed=1, progress=False)
    found = trace.compare_with_maps(paths, maps)
    assert found["missed"] == 0.0 and found["both"] == 20
    assert abs(found["bias_db"]) < 0.3 and found["rms_db"] < 0.8 and found["spearman"] > 0.9
