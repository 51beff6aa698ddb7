"""Gains traced path by path, against closed forms, Sionna's own solver and radio maps."""

from pathlib import Path

import numpy as np
import pytest

from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import BackendError, SimulationError
from rfloc.frames import sionna_orientation
from rfloc.simulation import paths, sionna_patch
from rfloc.simulation.antennas import directivity
from rfloc.simulation.maps import read_error_db, read_maps, sector_gain_db, trace_maps
from rfloc.simulation.paths import Ends, compare_with_maps, sector, trace_gain
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.propagation import free_space_gain
from rfloc.simulation.scene import itu_parameters, load_scene
from tests.simulation.scenes import one_station, small_city, traced

RADIO = RadioParams()
ISOTROPIC = RadioParams(pattern="isotropic", downtilt=0.0)
SIM = SimulationParams(cell=10.0, samples=300_000, max_depth=1, rooftop=False, diffuse=False, scattering=0.0)
X, Y = np.array([40.0, 0.0, -60.0, 25.0]), np.array([0.0, 50.0, 10.0, -35.0])
WALLS = ((60.0, -60.0, 70.0, 60.0, 20.0), (-80.0, 20.0, 20.0, 26.0, 14.0), (-50.0, -50.0, -40.0, -20.0, 25.0))
DIFFUSE = SIM.model_copy(update={"diffuse": True, "scattering": 0.4, "max_depth": 3})


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory):
    return small_city(tmp_path_factory.mktemp("walls"), ground="concrete", boxes=WALLS)


def some(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.uniform(-38, 58, n), rng.uniform(-58, 18, n)


@pytest.mark.parametrize("carrier", [0.8e9, 3.6e9])
@pytest.mark.parametrize("made_of", ["medium_dry_ground", "wet_ground", "very_dry_ground", "concrete", "metal"])
def test_two_rays_over_ground_of_any_depth(tmp_path: Path, made_of: str, carrier: float):
    """Both polarisations by Fresnel's half space (ITU-R P.2040-3, eq. 31), in paths and, vertical, on the map."""
    city, h = small_city(tmp_path, ground=made_of, half=(220, 60)), 20.0
    radio = ISOTROPIC.model_copy(update={"carrier_hz": carrier})
    x = np.array([7.5, 22.5, 37.5, 62.5, 107.5, 197.5])
    direct, mirrored = np.hypot(x, h - 1.5), np.hypot(x, h + 1.5)
    permittivity, sigma = itu_parameters(made_of, carrier)
    eps, cos = permittivity - 1j * sigma / (2 * np.pi * carrier * 8.8541878128e-12), (h + 1.5) / mirrored
    root = np.sqrt(eps - (1 - cos**2))
    fresnel = {"V": (eps * cos - root) / (eps * cos + root), "H": (cos - root) / (cos + root)}
    wanted = {port: free_space_gain(direct, carrier) + np.abs(r) ** 2 * free_space_gain(mirrored, carrier)
              for port, r in fresnel.items()}  # fmt: skip
    for port, want in wanted.items():
        ends = Ends(sector(radio, port))
        gain, count = trace_gain(city, one_station(h=h, azimuth=90.0), x, 0 * x, Rays(SIM, radio, 2_000, 1), ends)
        np.testing.assert_allclose(gain[:, 0], want, rtol=0.01)
        np.testing.assert_array_equal(count, 2)
    maps = traced(city, one_station(y=2.5, h=h), SIM.model_copy(update={"cell": 5.0}), 1, 2_000_000, radio=radio)
    np.testing.assert_allclose(read_maps(maps, x, 0 * x + 2.5)[:, 0], wanted["V"], rtol=0.06)


@pytest.mark.parametrize("pattern", ["tr38901", "dipole", "isotropic"])
def test_in_free_space_the_sector_in_the_scene_is_the_pattern_applied_to_maps(tmp_path: Path, pattern: str):
    city, station = small_city(tmp_path), one_station(h=20.0, azimuth=210.0)
    radio = RadioParams(pattern=pattern, downtilt=6.0, front_to_back_db=8.0)
    gain, _ = trace_gain(city, station, X, Y, Rays(SIM, radio, 2_000, 1))
    pattern = 10 ** (sector_gain_db(station, X, Y, radio)[0] / 10)
    want = free_space_gain(np.hypot(np.hypot(X, Y), 18.5), radio.carrier_hz) * pattern
    np.testing.assert_allclose(gain[:, 0], want, rtol=2e-3)  # Sionna's dipole has 1.643 at boresight, not 1.641


def test_power_sum_is_the_mean_of_sionnas_own_response_over_a_wide_band(walled):
    """Sionna's solver as it comes, its element and its `Paths.cfr`; ports share a station's power in neither."""
    import mitsuba as mi
    from sionna.rt import PathSolver, PlanarArray, Receiver, Transmitter

    x, y = some(3)
    ends = Ends(sector(RadioParams(front_to_back_db=30.0), "VH"))
    station = one_station(x=-10.0, h=20.0, azimuth=130.0)
    ours, _ = trace_gain(walled, station, x, y, Rays(DIFFUSE, RADIO, 3_000, 1), ends=ends)
    scene = load_scene(walled, RADIO.carrier_hz, DIFFUSE.scattering)
    scene.tx_array = PlanarArray(num_rows=1, num_cols=1, pattern="tr38901", polarization="VH")
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
    turned = mi.Point3f(*sionna_orientation(130.0, RADIO.downtilt))
    scene.add(Transmitter("bs", position=mi.Point3f(-10, 0, 20), orientation=turned))
    for i in range(x.size):
        scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(x[i]), float(y[i]), RADIO.ue_height)))
    how = {"max_depth": 3, "samples_per_src": 3_000, "diffuse_reflection": True, "refraction": False, "seed": 1}
    found = PathSolver(deterministic=True)(scene, **how)
    f = mi.Float(np.linspace(-5e9, 5e9, 20_001).astype(np.float32))  # coefficients stay the carrier's
    response = np.asarray(found.cfr(f, normalize_delays=False, out_type="numpy"))  # (ue, port, bs, port, time, f)
    boresight = directivity("tr38901") / 10**0.8
    np.testing.assert_allclose(ours[:, 0], boresight * (np.abs(response) ** 2).sum((1, 2, 3)).mean((1, 2)), rtol=0.05)


def test_full_buffer_is_doubled_or_refused(walled, monkeypatch: pytest.MonkeyPatch):
    def gains(buffer: int) -> tuple[np.ndarray, np.ndarray]:
        monkeypatch.setattr(paths, "BUFFER", buffer)
        return trace_gain(walled, one_station(h=20.0), X, Y, Rays(DIFFUSE, ISOTROPIC, 2_000, 1))

    roomy, count = gains(1 << 14)
    grown, _ = gains(int(count.sum()) - 1)
    np.testing.assert_allclose(grown, roomy, rtol=1e-3)
    monkeypatch.setattr(paths, "LARGEST_BUFFER", 512)
    with pytest.raises(SimulationError, match="more than 512 candidate paths"):
        gains(512)


def test_paths_do_not_depend_on_the_other_ues(walled, monkeypatch: pytest.MonkeyPatch):
    """The same gains from one call, from two, in another order and for some of the UEs alone."""
    x, y = some(12)
    monkeypatch.setattr(paths, "LARGEST_TABLE", 16)  # so small that chains do collide

    def gains(order: np.ndarray, call: int) -> np.ndarray:
        rays = Rays(DIFFUSE, ISOTROPIC, 2_000, 1)
        return trace_gain(walled, one_station(x=-10.0, h=20.0), x[order], y[order], rays, ues=call)[0][:, 0]

    everyone = np.arange(x.size)
    one = gains(everyone, 12)
    assert (one > 0).all()
    for order, call in ((everyone, 12), (everyone, 6), (everyone[::-1], 12), (everyone[3:9], 12)):
        np.testing.assert_allclose(gains(order, call), one[order], rtol=1e-5)


def test_what_cannot_be_traced(tmp_path: Path):
    city = small_city(tmp_path, boxes=((-20.0, -60.0, 20.0, 60.0, 40.0),))
    behind, _ = trace_gain(city, one_station(x=-60.0, h=10.0), [60.0], [0.0], Rays(SIM, ISOTROPIC, 2_000, 1))
    assert behind.tolist() == [[0.0]]
    with pytest.raises(SimulationError, match="no azimuth"):
        trace_gain(city, one_station(), X, Y, Rays(SIM, RADIO, 100_000, 1))
    with pytest.raises(SimulationError, match="more than their station sends"):  # 2 cm from the antenna
        trace_gain(city, one_station(x=-60.0, h=1.52), [-60.0], [0.0], Rays(SIM, ISOTROPIC, 2_000, 1))


def test_diffuse_maps_rank_a_city_as_paths_do(toy_city):
    """Where a map is sure, it is right; in the shadows, where both have little but noise, most UEs are reached."""
    x, y = toy_city.street_points(60, np.random.default_rng(0))
    station, sim = one_station(20.0, -60.0, 32.0), DIFFUSE.model_copy(update={"cell": 5.0})
    maps = trace_maps(Plane(toy_city, 5.0, 1.5), station, Rays(sim, RADIO, 300_000, 1), progress=False)
    found = compare_with_maps(toy_city, maps, x, y, Rays(sim, RADIO, 300_000, 1))
    assert found["paths"] > 0.9 and found["missed"] < 0.25 and found["spearman"] > 0.85, found
    traced, _ = trace_gain(toy_city, station, x, y, Rays(sim, ISOTROPIC, 100_000, 1))
    sure = read_error_db(maps, x, y) < 0.5
    difference = 10 * np.log10(read_maps(maps, x, y)[sure] / traced[sure])
    assert sure.sum() >= 5 and abs(np.median(difference)) < 0.5


@pytest.mark.parametrize(("names", "tested"), [({"no_such_name": None}, sionna_patch.TESTED), ({}, "0.19")])
def test_an_unknown_release_of_sionna_is_refused(names: dict, tested: str, monkeypatch: pytest.MonkeyPatch):
    from sionna.rt.path_solvers.sb_deterministic import SBDeterministicCandidateGenerator as Stock

    monkeypatch.setattr(sionna_patch, "TESTED", tested)
    with pytest.raises(BackendError, match=r"sionna-rt .* is not"):
        sionna_patch.rebound(Stock._shoot_and_bounce_loop, **names)
