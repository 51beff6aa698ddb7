from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rfloc import schema
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import sionna_orientation
from rfloc.simulation import trace
from rfloc.simulation.maps import read_error_db, read_maps, sector_gain_db
from rfloc.simulation.plane import Plane
from rfloc.simulation.propagation import free_space_gain
from rfloc.simulation.scene import itu_parameters, load_scene
from rfloc.simulation.sionna_patch import LARGEST_TABLE, table_entries, ues_a_call
from tests.simulation.scenes import one_station, small_city, traced

RADIO = RadioParams()
SIM = SimulationParams(cell=10.0, samples=300_000, max_depth=1, rooftop=False, diffuse=False, scattering=0.0)
X, Y = np.array([40.0, 0.0, -60.0, 25.0]), np.array([0.0, 50.0, 10.0, -35.0])


def test_two_rays_over_ground(tmp_path: Path):
    city = small_city(tmp_path, ground="concrete")
    paths = trace.trace_paths(city, one_station(h=20.0), X, Y, SIM, RADIO, seed=1, samples=2_000)
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


def test_angles_are_compass_bearings_seen_from_either_end(tmp_path: Path):
    paths = trace.trace_paths(small_city(tmp_path), one_station(h=20.0), X, Y, SIM, RADIO, seed=1, samples=2_000)
    direct = paths.isel(bs=0).isel(path=paths["delay"][0].argmin("path"))
    bearing, zenith = np.degrees(np.arctan2(X, Y)), 90.0 + np.degrees(np.arctan2(18.5, np.hypot(X, Y)))
    np.testing.assert_allclose(direct["departure_azimuth"], bearing % 360, atol=0.01)
    np.testing.assert_allclose(direct["departure_zenith"], zenith, atol=0.01)
    np.testing.assert_allclose(direct["arrival_azimuth"], (bearing + 180) % 360, atol=0.01)
    np.testing.assert_allclose(direct["arrival_zenith"], 180 - zenith, atol=0.01)


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

    scene = load_scene(city, radio.carrier_hz, 0.0)
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
    monkeypatch.setattr(trace, "BUFFER", 1024)
    roomy = trace.trace_paths(city, one_station(h=20.0), X, Y, sim, RADIO, seed=1, samples=2_000)
    monkeypatch.setattr(trace, "BUFFER", 512)
    grown = trace.trace_paths(city, one_station(h=20.0), X, Y, sim, RADIO, seed=1, samples=2_000)
    assert 512 < int((grown["power"] > 0).any("slant").sum()) < 1024
    np.testing.assert_allclose(trace.path_gain(grown), trace.path_gain(roomy), rtol=1e-3)
    monkeypatch.setattr(trace, "LARGEST_BUFFER", 512)
    with pytest.raises(SimulationError, match="more than 512 candidate paths"):
        trace.trace_paths(city, one_station(h=20.0), X, Y, sim, RADIO, seed=1, samples=2_000)


WALLS = ((60.0, -60.0, 70.0, 60.0, 20.0), (-80.0, 20.0, 20.0, 26.0, 14.0), (-50.0, -50.0, -40.0, -20.0, 25.0))
DIFFUSE = SIM.model_copy(update={"diffuse": True, "scattering": 0.4, "max_depth": 3})


def test_paths_do_not_depend_on_the_other_ues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same gains from one call, from two, in another order and for some of the UEs alone."""
    city = small_city(tmp_path, ground="concrete", boxes=WALLS)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-38, 58, 12), rng.uniform(-58, 18, 12)
    monkeypatch.setattr(trace, "table_entries", lambda samples: 16)  # so small that chains do collide

    def gains(order: np.ndarray, call: int) -> np.ndarray:
        monkeypatch.setattr(trace, "ues_a_call", lambda samples, depth: call)
        station = one_station(x=-10.0, h=20.0)
        paths = trace.trace_paths(city, station, x[order], y[order], DIFFUSE, RADIO, seed=1, samples=2_000)
        found = np.full(x.size, np.nan)
        found[order] = trace.path_gain(paths)[:, 0]
        return found

    everyone = np.arange(x.size)
    one = gains(everyone, 12)
    assert (one > 0).all()
    np.testing.assert_allclose(gains(everyone, 12), one, rtol=1e-5)
    np.testing.assert_allclose(gains(everyone, 6), one, rtol=1e-5)
    np.testing.assert_allclose(gains(everyone[::-1], 12), one, rtol=1e-5)
    np.testing.assert_allclose(gains(everyone[3:9], 12)[3:9], one[3:9], rtol=1e-5)


def test_calls_are_bounded_by_memory():
    assert ues_a_call(1_000, 3) > ues_a_call(100_000, 3) > ues_a_call(100_000, 5) > ues_a_call(10**9, 5) == 1
    assert table_entries(1_000) == 1 << 14
    assert table_entries(10**7) == LARGEST_TABLE


def test_paths_survive_their_file(tmp_path: Path):
    city = small_city(tmp_path / "city", ground="concrete")
    stations = one_station(h=20.0)
    paths = trace.trace_paths(city, stations, X, Y, SIM, RADIO, seed=1, samples=2_000)
    back = schema.load(schema.save(paths, tmp_path / "paths.zarr", "paths"), "paths")
    np.testing.assert_array_equal(trace.path_gain(back, RADIO), trace.path_gain(paths, RADIO))


def test_unreached_ues_have_no_path_and_no_ues_are_refused(tmp_path: Path):
    city = small_city(tmp_path, boxes=((-5.0, -60.0, 5.0, 60.0, 30.0),))
    paths = trace.trace_paths(city, one_station(x=-60.0, h=10.0), [60.0], [0.0], SIM, RADIO, seed=1, samples=2_000)
    assert trace.path_gain(paths, RADIO).tolist() == [[0.0]]
    with pytest.raises(SimulationError, match="no UEs"):
        trace.trace_paths(city, one_station(), [], [], SIM, RADIO, seed=1)


def test_maps_agree_with_paths(tmp_path: Path):
    city = small_city(tmp_path, ground="concrete", boxes=((60.0, -30.0, 70.0, 30.0, 20.0),))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-95, 55, 20), rng.uniform(-55, 55, 20)
    station = one_station(h=20.0)
    paths = trace.trace_paths(city, station, x, y, SIM, RADIO, seed=1, samples=20_000)
    maps = traced(city, station, SIM.model_copy(update={"cell": 5.0}), 1)
    found = trace.compare_with_maps(paths, maps)
    assert found["missed"] == 0.0 and found["both"] == 20
    assert abs(found["bias_db"]) < 0.3 and found["rms_db"] < 0.8 and found["spearman"] > 0.9


def test_diffuse_maps_rank_a_city_as_paths_do(toy_city):
    """Where a map is sure, it is right; in the shadows, where both have little but noise, most UEs are reached."""
    x, y = toy_city.street_points(60, np.random.default_rng(0))
    station, sim = one_station(20.0, -60.0, 32.0), DIFFUSE.model_copy(update={"cell": 5.0})
    paths = trace.trace_paths(toy_city, station, x, y, sim, RADIO, seed=1, samples=10_000)
    maps = traced(toy_city, station, sim, 1)
    found = trace.compare_with_maps(paths, maps)
    assert found["paths"] > 0.9 and found["missed"] < 0.25 and found["spearman"] > 0.85, found
    sure = read_error_db(maps, x, y) < 0.5
    difference = 10 * np.log10(read_maps(maps, x, y)[sure] / trace.path_gain(paths)[sure])
    assert sure.sum() >= 5 and abs(np.median(difference)) < 0.5


def test_ues_that_no_ray_of_a_map_reached_are_traced_by_paths(tmp_path: Path):
    city = small_city(tmp_path, ground="concrete", boxes=((60.0, -60.0, 70.0, 60.0, 20.0),))
    sim = SIM.model_copy(update={"paths_where_missed": True, "rooftop": True})
    station = one_station(x=-20.0, h=12.0)
    maps = traced(city, station, sim, 1)
    x, y = np.array([-55.0, 45.0, 85.0]), np.array([5.0, -25.0, 0.0])  # two in sight, one behind the wall
    row, col, _ = Plane(city, 10.0, 1.5).grid.index(x, y)
    maps["ray_gain"][0, row[1], col[1]], maps["ray_error"][0, row[1], col[1]] = 0.0, np.nan
    gain, error = trace.read_or_trace(city, maps, x, y, sim, RADIO)
    plain = read_maps(maps, x, y, RADIO)
    paths = trace.path_gain(trace.trace_paths(city, station, x, y, sim, RADIO, seed=1), RADIO)
    assert gain[0] == plain[0] and np.isfinite(error[0])
    assert gain[1] == pytest.approx(paths[1]) != plain[1] and np.isnan(error[1])
    assert paths[2] == 0.0 < gain[2] == plain[2] and np.isnan(error[2])  # the rooftop floor alone
    off, _ = trace.read_or_trace(city, maps, x, y, SIM, RADIO)
    np.testing.assert_array_equal(off, plain)
