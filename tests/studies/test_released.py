import dataclasses
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import trimesh

from rfloc.backend import prepare
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import wrap_degrees
from rfloc.schema import FEATURES
from rfloc.simulation.antennas import pattern_gain_db
from rfloc.simulation.plane import Rays
from rfloc.simulation.propagation import free_space_gain
from rfloc.studies import released
from rfloc.studies.released import DEPARTURES, Departure, fan_city, roll_orientation
from tests.simulation.scenes import one_station, small_city

RADIO = RadioParams(downtilt=6.0, front_to_back_db=26.0)
SIM = SimulationParams(max_depth=1, rooftop=False, diffuse=False, scattering=0.0)
X, Y = np.array([40.0, 0.0, -60.0, 25.0, 8.0]), np.array([0.0, 50.0, 10.0, -35.0, 0.1])
PLAIN = Departure("")
WALL = ((60.0, -60.0, 70.0, 60.0, 20.0),)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """Free space."""
    return small_city(tmp_path_factory.mktemp("space"))


def gain_db(city, departure, azimuth=90.0, sim=SIM, radio=RADIO, x=X, y=Y, h=20.0):
    """Path gain off the levels of one station's links, which report everything."""
    all_ears = radio.model_copy(update={"sensitivity_dbm": -400.0, "detection_db": -400.0})
    station = one_station(h=h, azimuth=azimuth)
    links = released.simulate(city, station, x, y, departure, Rays(sim, all_ears, 3_600, 1))
    return np.nan_to_num(links["nrsrp"].values[:, 0], nan=-np.inf) - 43.0 + 10 * np.log10(1008)


def free_line_db(east, north, up, azimuth, radio=RADIO):
    """Path gain [dB] in free space to a UE that lies so far off a sector and `up` metres under it."""
    far = np.hypot(east, north)
    off = wrap_degrees(np.degrees(np.arctan2(east, north)) - azimuth)
    elevation = -np.degrees(np.arctan2(up, far))
    pattern = pattern_gain_db(radio.pattern, off, elevation, radio.downtilt, radio.front_to_back_db)
    return pattern + 10 * np.log10(free_space_gain(np.hypot(far, up), radio.carrier_hz))


@pytest.mark.parametrize("azimuth", [0.0, 73.0, 200.0])
def test_in_the_roll_slot_an_azimuth_leaves_the_boresight_in_the_east(space, azimuth):
    """A UE straight ahead of an antenna that looks east hears the same at every azimuth, by the gain at boresight."""
    prepare()
    import mitsuba as mi
    from sionna.rt.utils import rotation_matrix

    turned = np.array(rotation_matrix(mi.Point3f(*roll_orientation(azimuth))) @ mi.Vector3f(1, 0, 0))
    np.testing.assert_allclose(turned.ravel(), [1, 0, 0], atol=1e-6)
    ahead = gain_db(space, Departure("", roll=True), azimuth, x=[50.0], y=[0.0], h=RADIO.ue_height)
    np.testing.assert_allclose(ahead, free_line_db(50.0, 0.0, 0.0, 90.0), atol=0.02)


def test_the_ports_of_the_array_add_up_to_72_times_one(space):
    """In sight: 36 elements, and ports V and H that each radiate the whole power, which a UE of two ports receives.

    18.57 dB in all, 3.01 dB of it from the second polarisation. The elements' distances differ by parts in a hundred,
    to either side of their middle's, so that powers agree to hundredths of a decibel.
    """
    ports = 10 * np.log10(72)
    without_size = gain_db(space, Departure("", array="synthetic")) - gain_db(space, PLAIN)
    np.testing.assert_allclose(without_size, ports, atol=1e-3)
    explicit = gain_db(space, Departure("", array="explicit")) - gain_db(space, PLAIN)
    np.testing.assert_allclose(explicit[:4], ports, atol=0.03)


def test_metrics_are_one_feature_and_constants():
    gain = 10 ** (np.random.default_rng(0).uniform(-13, -7, (30, 4)))
    gain[0] = 0.0
    found = released.one_feature(gain, np.full(4, 43.0))
    np.testing.assert_allclose(found["rssi"][1:], 43 + 10 * np.log10(gain[1:]))
    assert (found["rssi"][0] == -140.0).all()
    for name, constant in {"nsinr": 99.586, "nrsrp": -0.0346}.items():
        np.testing.assert_allclose(found[name] - found["rssi"], constant, atol=1e-3)
    np.testing.assert_allclose(found["nrsrq"], -10.7918, atol=1e-4)


@pytest.fixture(scope="module")
def walled(tmp_path_factory):
    """Three stations round a wall, and UEs on both of its sides."""
    city = small_city(tmp_path_factory.mktemp("walled"), ground="concrete", boxes=WALL)
    first = one_station(h=10.0, azimuth=0.0)
    columns = {"x": [0.0, -50.0, 40.0], "y": [0.0, 30.0, -50.0], "h": [10.0] * 3, "azimuth": [90.0, 120.0, 10.0]}
    stations = dataclasses.replace(first, **columns, power=[43.0] * 3, id=["a", "b", "c"])
    rng = np.random.default_rng(5)
    x, y = np.append(rng.uniform(-90, 55, 30), [90.0, 95.0]), np.append(rng.uniform(-55, 55, 30), [0.0, 20.0])
    sim = SIM.model_copy(update={"diffuse": True, "scattering": 0.4})
    return city, stations, x, y, sim


def simulate(walled, departure):
    city, stations, x, y, sim = walled
    return released.simulate(city, stations, x, y, departure, Rays(sim, RADIO, 2_000, 1))


@pytest.fixture(scope="module")
def right(walled):
    return simulate(walled, PLAIN)


def test_features_have_rank_three_here_and_one_there_and_the_same_links(walled, right):
    assert 0 < right["heard"].values.mean() < 1
    assert released.compare(right, right)["rank"] == 3
    found = released.compare(simulate(walled, DEPARTURES["one_feature"]), right)
    assert (found["rank"], found["lost"], found["invented"]) == (1, 0.0, 0.0)
    assert found["bias_db"] == pytest.approx(30.0, abs=0.01) and found["rms_db"] < 1e-4


def test_the_sentinel_is_a_level_of_what_is_not_heard_and_a_cap_loses_paths_of_some_ues(walled, right):
    sentinel, heard = simulate(walled, DEPARTURES["sentinel"]), right["heard"].values
    assert sentinel["heard"].values.all()
    for name in FEATURES:
        np.testing.assert_allclose(sentinel[name].values[heard], right[name].values[heard], atol=1e-3)
    assert set(sentinel["rssi"].values[~heard]) == {np.float32(-140.0)}
    found = released.compare(sentinel, right)
    assert found["lost"] == 0.0 and abs(found["bias_db"]) < 1e-4
    assert found["invented"] == pytest.approx((~heard).mean())
    capped = simulate(walled, DEPARTURES["cap"])
    assert 0 < capped.attrs["paths"] <= 20 * right.sizes["bs"] < right.attrs["paths"]  # 2,000 rays: room for 20 paths
    found = released.compare(capped, right)
    assert found["lost"] > 0 and found["invented"] == 0


def test_without_reflected_energy_only_straight_lines_remain(tmp_path: Path):
    """In sight, the direct ray alone; behind the wall, what two of its faces let through; nothing is reflected."""
    city = small_city(tmp_path, ground="concrete", boxes=WALL)
    x, y = np.array([40.0, -60.0, 90.0]), np.array([0.0, 10.0, 0.0])
    sim = SIM.model_copy(update=dict(DEPARTURES["reflection"].sim))
    traced = gain_db(city, DEPARTURES["reflection"], sim=sim, x=x, y=y, h=10.0)
    line = free_line_db(x, y, 8.5, 90.0)
    np.testing.assert_allclose(traced[:2], line[:2], atol=0.02)
    assert line[2] - 60 < traced[2] < line[2] - 3
    no_way_through = gain_db(city, PLAIN, sim=SIM.model_copy(update={"specular": False}), x=x, y=y, h=10.0)
    np.testing.assert_allclose(no_way_through, [*line[:2], -np.inf], atol=0.02)


def test_far_from_all_buildings_every_link_is_one_free_line(walled):
    _, stations, x, y, _ = walled
    off = simulate(walled, dataclasses.replace(DEPARTURES["frames"], shift=3000.0))
    np.testing.assert_array_equal(off["ue_x"], x)
    assert off.attrs["paths"] == x.size * stations.n
    line = free_line_db(x[:, None] - stations.x, y[:, None] - stations.y, 8.5, stations.azimuth)
    line += 43 - 10 * np.log10(1008)
    heard = off["heard"].values
    assert heard.mean() > 0.5
    np.testing.assert_allclose(off["nrsrp"].values[heard], line[heard], atol=0.05)


def test_fans_fill_courtyards(toy_city, tmp_path):
    city = fan_city(toy_city, tmp_path)
    assert (city.folder, city.grid) == (tmp_path, toy_city.grid)
    footprints = gpd.read_parquet(toy_city.folder / "buildings.parquet")
    filled = sum(shape.area if not shape.interiors else shape.convex_hull.area for shape in footprints.geometry)
    mesh = trimesh.load_mesh(tmp_path / "meshes" / "buildings.ply", process=False)
    z = mesh.triangles[..., 2]
    roofs = (np.ptp(z, axis=1) == 0) & (z[:, 0] > 0)
    assert mesh.is_watertight and mesh.triangles_cross[roofs, 2].sum() / 2 == pytest.approx(filled, rel=1e-5)


def test_carrier_and_height_are_parameters_all_together_and_what_cannot_be_asked(space, walled, right):
    fast = simulate(walled, DEPARTURES["carrier"])
    assert fast.attrs["carrier_hz"] == 3.5e9
    assert released.compare(fast, right)["bias_db"] == pytest.approx(-20 * np.log10(3.5 / 0.8), abs=1.5)
    assert DEPARTURES["height"].radio == {"ue_height": 1.0}
    everything = released.together(DEPARTURES.values(), "all")
    assert all(getattr(everything, k) for k in ("dipoles", "roll", "capped", "fans", "one_feature", "sentinel"))
    assert (everything.array, everything.shift) == ("explicit", 1100.0)
    assert set(everything.radio) == {"carrier_hz", "ue_height", "downtilt", "front_to_back_db"}
    found = simulate(walled, dataclasses.replace(everything, fans=False))
    assert released.compare(found, right)["rank"] == 1
    with pytest.raises(SimulationError, match="no footprints"):
        gain_db(space, everything)
