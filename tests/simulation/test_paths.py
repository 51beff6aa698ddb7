"""Antennas and frequencies applied to kept paths, against traces with these antennas and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from scipy.constants import speed_of_light

from rfloc.config import RadioParams, SimulationParams
from rfloc.datasets.radio import features
from rfloc.errors import SimulationError
from rfloc.frames import sionna_orientation
from rfloc.simulation.antennas import Antenna
from rfloc.simulation.paths import frequency_response, path_gain, resource_element_gain, resource_elements
from rfloc.simulation.scan import azimuth_scan, departure_spectrum
from rfloc.simulation.scene import load_scene
from rfloc.simulation.trace import trace_paths
from rfloc.stations import Stations
from tests.simulation.scenes import one_station, small_city

RADIO = RadioParams(downtilt=6.0)
WALLS = ((60.0, -60.0, 70.0, 60.0, 20.0), (-80.0, 20.0, 20.0, 26.0, 14.0), (-50.0, -50.0, -40.0, -20.0, 25.0))
SAMPLES = 3_000
Retrace = Callable[..., np.ndarray]


def simulation(diffuse: bool) -> SimulationParams:
    return SimulationParams(diffuse=diffuse, scattering=0.4 if diffuse else 0.0, max_depth=3)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory):
    return small_city(tmp_path_factory.mktemp("walls"), ground="concrete", boxes=WALLS)


@pytest.fixture(scope="module")
def ues() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.uniform(-38, 58, 20), rng.uniform(-58, 18, 20)


@pytest.fixture(scope="module")
def caches(city, ues) -> dict[bool, xr.Dataset]:
    """Paths of one station, without and with diffuse reflection."""
    station = one_station(x=-10.0, h=20.0)
    return {
        on: trace_paths(city, station, *ues, simulation(on), RADIO, seed=1, samples=SAMPLES) for on in (False, True)
    }


@pytest.fixture(scope="module")
def retrace(city, ues) -> Retrace:
    """Path gain as Sionna RT finds it with the antenna in the scene; an array's elements are fed in phase."""
    import mitsuba as mi
    from sionna.rt import PathSolver, PlanarArray, Receiver, Transmitter

    scenes = {on: load_scene(city, RADIO.carrier_hz, simulation(on).scattering) for on in (False, True)}
    for scene in scenes.values():
        scene.add(Transmitter("bs", position=mi.Point3f(-10, 0, 20)))
        for i, (x, y) in enumerate(zip(*ues, strict=True)):
            scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(x), float(y), RADIO.ue_height)))

    def run(
        diffuse: bool, azimuth: float, downtilt: float, pattern: str = "tr38901", slant: str = "V",
        ue: tuple[str, str] = ("iso", "VH"), **array: float,
    ) -> np.ndarray:  # fmt: skip
        scene = scenes[diffuse]
        shape = {"num_rows": 1, "num_cols": 1} | array
        scene.tx_array = PlanarArray(**shape, pattern=pattern, polarization=slant)
        scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern=ue[0], polarization=ue[1])
        scene.get("bs").orientation = mi.Point3f(*sionna_orientation(azimuth, downtilt))
        paths = PathSolver(deterministic=True)(
            scene, max_depth=3, samples_per_src=SAMPLES, diffuse_reflection=diffuse, refraction=False, seed=1
        )
        real, imag = (np.array(part)[:, :, 0] for part in paths.a)  # (ue, ue port, port, path)
        field = real + 1j * imag
        elements = int(shape["num_rows"] * shape["num_cols"])
        ports = field.shape[2] // elements
        field = field.reshape(*field.shape[:2], ports, elements, -1).sum(3) / np.sqrt(elements * ports)
        return (np.abs(field) ** 2).sum((1, 2, 3))

    return run


def error_db(cache: xr.Dataset, azimuth: float, theirs: np.ndarray, *antennas: Antenna) -> float:
    ours = path_gain(cache.assign_coords(bs_azimuth=("bs", [azimuth])), *antennas)[:, 0]
    assert (theirs > 0).all()
    return float(np.abs(10 * np.log10(ours / theirs)).max())


@pytest.mark.parametrize("diffuse", [False, True])
@pytest.mark.parametrize("azimuth", [90.0, 215.0])
def test_azimuth_is_applied_exactly(caches, retrace: Retrace, diffuse: bool, azimuth: float):
    assert error_db(caches[diffuse], azimuth, retrace(diffuse, azimuth, 0.0), Antenna("tr38901")) < 1e-3


@pytest.mark.parametrize("tilt", [-6.0, 6.0])
def test_tilt_is_applied_exactly_to_specular_paths_and_nearly_to_diffuse_ones(caches, retrace: Retrace, tilt: float):
    assert error_db(caches[False], 130.0, retrace(False, 130.0, tilt), Antenna("tr38901", tilt)) < 1e-3
    assert error_db(caches[True], 130.0, retrace(True, 130.0, tilt), Antenna("tr38901", tilt)) < 0.05


def test_slanted_ports_and_a_dipole_at_the_ue(caches, retrace: Retrace):
    slanted, dipole = Antenna("tr38901", slants=(45.0, -45.0)), Antenna("dipole")
    theirs = retrace(True, 130.0, 0.0, slant="cross", ue=("hw_dipole", "V"))
    assert error_db(caches[True], 130.0, theirs, slanted, dipole) < 1e-3
    tilted = Antenna("tr38901", 6.0)
    assert error_db(caches[True], 130.0, retrace(True, 130.0, 6.0, ue=("hw_dipole", "V")), tilted, dipole) < 0.05


def test_array_is_applied_exactly(caches, retrace: Retrace):
    array = Antenna("tr38901", 6.0, rows=2, columns=4, row_spacing=0.7)
    theirs = retrace(False, 60.0, 6.0, num_rows=2, num_cols=4, vertical_spacing=0.7)
    assert error_db(caches[False], 60.0, theirs, array) < 5e-3


def test_default_ue_hears_both_polarisations(caches):
    both = path_gain(caches[True], RADIO, Antenna(slants=(0.0, 90.0)))
    np.testing.assert_allclose(both, path_gain(caches[True], RADIO), rtol=1e-6)


@pytest.mark.parametrize("antenna", [Antenna("tr38901"), Antenna("tr38901", 6.0), Antenna(slants=(45.0, -45.0))])
def test_scan_is_the_gain_at_each_azimuth(caches, antenna: Antenna):
    azimuths = np.append(np.arange(0.0, 360.0, 30.0), 77.7)
    found = azimuth_scan(caches[True], azimuths, antenna)
    turned = [path_gain(caches[True].assign_coords(bs_azimuth=("bs", [a])), antenna)[:, 0] for a in azimuths]
    error = 10 * np.log10(found / np.stack(turned))
    assert found.shape == (13, 20)
    assert np.abs(error).max() < 0.2 and error.std() < 0.05 and abs(error.mean()) < 0.01
    fine = 10 * np.log10(azimuth_scan(departure_spectrum(caches[True], 0.5), azimuths, antenna) / np.stack(turned))
    assert np.abs(fine).max() < 0.05


def test_scan_takes_one_station(caches):
    with pytest.raises(SimulationError, match="2 stations"):
        azimuth_scan(xr.concat([caches[False]] * 2, "bs"), [0.0], RADIO)
    nothing = caches[False].isel(path=slice(0, 0))
    np.testing.assert_array_equal(azimuth_scan(nothing, [0.0, 5.0], RADIO), np.zeros((2, 20)))


@pytest.fixture(scope="module")
def two_rays(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """A station 20 m above ground of metal, UEs to the east of it."""
    plain = small_city(tmp_path_factory.mktemp("plain"), ground="metal")
    sim = SimulationParams(diffuse=False, scattering=0.0, max_depth=1)
    return trace_paths(plain, one_station(h=20.0), [20.0, 55.0, 95.0], [0.0] * 3, sim, RADIO, seed=1, samples=2_000)


def two_ray_response(distance: np.ndarray, f: np.ndarray) -> np.ndarray:
    """|H(f)|^2 between vertical isotropic elements over a mirror, (ue, f)."""
    direct, mirrored = np.hypot(distance, 18.5)[:, None], np.hypot(distance, 21.5)[:, None]
    wave = 2j * np.pi * f / speed_of_light
    field = np.exp(-wave * direct) / direct + np.exp(-wave * mirrored) / mirrored
    return np.abs(speed_of_light / RADIO.carrier_hz / (4 * np.pi) * field) ** 2


def test_two_rays_fade_over_frequency_as_in_closed_form(two_rays: xr.Dataset):
    f = RADIO.carrier_hz + np.linspace(-100e6, 100e6, 401)
    response = frequency_response(two_rays, f)
    assert response.shape == (1, 3, 2, 401)
    found, want = (np.abs(response[0]) ** 2).sum(1), two_ray_response(two_rays["ue_x"].values, f)
    np.testing.assert_allclose(found, want, rtol=5e-3, atol=1e-3 * want.max())
    assert np.ptp(10 * np.log10(found), axis=1).min() > 1.0


def test_nrsrp_is_the_mean_over_resource_elements(two_rays: xr.Dataset):
    want = two_ray_response(two_rays["ue_x"].values, resource_elements(RADIO)).mean(1)
    gain = resource_element_gain(two_rays, RadioParams(pattern="isotropic", downtilt=0.0))
    np.testing.assert_allclose(gain[:, 0], want, rtol=1e-2)
    nrsrp = features(gain, [43.0], RADIO)["nrsrp"]
    np.testing.assert_allclose(nrsrp[:, 0], 43.0 - 10 * np.log10(1008) + 10 * np.log10(want), atol=0.05)


def test_power_sum_is_the_mean_of_the_response_over_phases_and_over_a_wide_band(caches):
    cache = caches[True].isel(ue=slice(0, 3))
    want = path_gain(cache, RADIO)[:, 0]
    rng = np.random.default_rng(0)
    f = resource_elements(RADIO)[::200]
    draws = []
    for _ in range(200):
        phase = np.exp(2j * np.pi * rng.random(cache["delay"].shape))[..., None, None]
        shifted = cache.assign(transfer=(cache["transfer"].dims, cache["transfer"].values * phase))
        draws.append((np.abs(frequency_response(shifted, f, RADIO)[0]) ** 2).sum(1).mean(1))
    draws = np.array(draws)
    assert (np.abs(draws.mean(0) - want) < 4 * draws.std(0) / np.sqrt(len(draws))).all()
    wide = frequency_response(cache, np.linspace(0.3e9, 1.3e9, 20_001), RADIO)[0]
    np.testing.assert_allclose((np.abs(wide) ** 2).sum(1).mean(1), want, rtol=0.05)


def test_ports_share_the_power_of_a_station(caches):
    slanted = Antenna("tr38901", slants=(45.0, -45.0))
    cache = caches[True].isel(ue=[4])
    f = np.linspace(0.3e9, 1.3e9, 20_001)
    response = frequency_response(cache, f, slanted)
    assert response.shape[2] == 4
    np.testing.assert_allclose((np.abs(response) ** 2).sum(2).mean(-1), path_gain(cache, slanted).T, rtol=0.05)


def test_uneven_frequencies_are_refused(two_rays: xr.Dataset):
    with pytest.raises(SimulationError, match="evenly spaced"):
        frequency_response(two_rays, [1e9, 1.1e9, 1.3e9])


def test_features_of_several_cells(city, ues):
    stations = Stations(
        x=[-10.0, 30.0, -30.0], y=[0.0, -50.0, -5.0], h=[20.0, 25.0, 18.0], azimuth=[90.0, 330.0, 180.0],
        power=[43.0, 40.0, 46.0], id=np.array(["a", "b", "c"]),
    )  # fmt: skip
    paths = trace_paths(city, stations, *ues, simulation(True), RADIO, seed=1, samples=SAMPLES)
    open_radio = RADIO.model_copy(update={"sensitivity_dbm": -200.0, "detection_db": -300.0})
    for gain in (path_gain(paths, RADIO), resource_element_gain(paths, RADIO)):
        found = features(gain, stations.power, open_radio)
        table = np.stack([found[name][gain > 0] for name in ("rssi", "nsinr", "nrsrp", "nrsrq")])
        singular = np.linalg.svd(table - table.mean(1, keepdims=True), compute_uv=False)
        assert (singular > 0.01 * singular[0]).sum() >= 3
        assert np.nanmax(found["rssi"]) <= stations.power.max() + 8.0
        assert np.nanmax(found["nrsrq"]) <= -10 * np.log10(12) + 1e-9
        assert np.nanmin(found["nrsrq"]) < -15.0
