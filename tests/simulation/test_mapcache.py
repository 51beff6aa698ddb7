from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rfloc.config import SimulationParams
from rfloc.errors import DataError
from rfloc.simulation import maps
from rfloc.simulation.mapcache import RayMap, content_key, recall, scene_hash
from tests.simulation.scenes import one_station, small_city, traced

SIM = SimulationParams(cell=10.0, samples=20_000, max_depth=1, rooftop=False, map_batches=2)
SHAPE = (6, 7)


def ray_map(seed: int = 0) -> RayMap:
    gain, error = np.random.default_rng(seed).random((2, *SHAPE), np.float32)
    error[0] = np.nan
    return gain, error


def refuse() -> RayMap:
    raise AssertionError("traced again")


def test_a_map_is_read_back_bit_by_bit_and_turning_an_antenna_traces_nothing(tmp_path: Path, monkeypatch):
    city, cache = small_city(tmp_path / "city", boxes=((10.0, -20.0, 20.0, 20.0, 12.0),)), tmp_path / "cache"
    station = one_station(x=-30.0, h=15.0, azimuth=20.0)
    without = traced(city, station, SIM, 1)
    first = traced(city, station, SIM, 1, cache=cache)
    np.testing.assert_allclose(first["ray_gain"], without["ray_gain"], rtol=1e-4)  # sums in no fixed order
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(maps, "_solve", lambda *_: refuse())
    turned = station.replace(azimuth=[200.0], power=[10.0], id=["other"])
    again = traced(city, turned, SIM, 1, cache=cache)
    for name in ("path_gain", "ray_gain", "ray_error"):
        assert again[name].values.tobytes() == first[name].values.tobytes()
    deeper = SIM.model_copy(update={"max_depth": 2})
    for one, sim, seed, samples in (
        (station.moved(0.01), SIM, 1, None),
        (station.replace(h=[15.01]), SIM, 1, None),
        (station, deeper, 1, None),
        (station, SIM, 2, None),
        (station, SIM, 1, 20_001),
    ):
        with pytest.raises(AssertionError, match="traced again"):
            traced(city, one, sim, seed, samples, cache=cache)


def test_the_scene_enters_by_what_its_files_hold(tmp_path: Path):
    one, same = (small_city(tmp_path / name, boxes=((0.0, 0.0, 5.0, 5.0, 9.0),)).scene_path for name in "ab")
    other = small_city(tmp_path / "c", boxes=((0.0, 0.0, 5.0, 5.0, 9.5),)).scene_path
    assert scene_hash(one) == scene_hash(same) != scene_hash(other)
    assert content_key(one, height=1.5) == content_key(same, height=1.5) != content_key(one, height=1.6)
    mesh = one.parent / "meshes" / "box0.ply"
    mesh.write_bytes(mesh.read_bytes()[:-1] + b"\x07")
    assert scene_hash(one) != scene_hash(same)
    mesh.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        scene_hash(one)


@pytest.mark.parametrize("harm", ["cut", "bit", "text", "shape"])
def test_a_damaged_file_is_named_and_replaced(tmp_path: Path, harm: str):
    file = tmp_path / "map.npz"
    recall(file, SHAPE, ray_map)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 16
    if harm == "shape":
        np.savez_compressed(file, gain=np.zeros((2, 2), np.float32), error=np.zeros((2, 2), np.float32))
    else:
        file.write_bytes({"cut": whole[: len(whole) // 2], "bit": bytes(flipped), "text": b"no map"}[harm])
    with pytest.warns(UserWarning, match=r"map\.npz is damaged"):
        gain, _ = recall(file, SHAPE, ray_map)
    np.testing.assert_array_equal(gain, ray_map()[0])
    assert file.read_bytes() == whole
    np.testing.assert_array_equal(recall(file, SHAPE, refuse)[1], ray_map()[1])


def test_writers_at_the_same_time_and_a_failing_one_leave_whole_files(tmp_path: Path):
    file = tmp_path / "deep" / "map.npz"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: recall(file, SHAPE, ray_map)[0].tobytes(), range(32)))
    assert set(found) == {ray_map()[0].tobytes()}

    def killed() -> RayMap:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recall(tmp_path / "deep" / "other.npz", SHAPE, killed)
    assert [f.name for f in file.parent.iterdir()] == ["map.npz"]
    with pytest.raises(DataError, match="cannot be kept"):
        recall(file / "inside" / "a-file.npz", SHAPE, ray_map)
