from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rfloc.errors import SimulationError
from rfloc.simulation import shards as plans
from rfloc.simulation import store as stores
from rfloc.simulation.shards import shards
from rfloc.simulation.store import ARRAYS, Store
from tests.simulation.test_engine import tree
from tests.simulation.toy_campaign import SHARDS, STATIONS, UES, parts


@pytest.fixture
def part(toy_city):
    return parts(toy_city.folder)[0]


@pytest.fixture
def store(part, tmp_path) -> Store:
    return Store.make(tmp_path / "campaign.zarr", [part], 20)


def fill(store: Store, part) -> tuple[np.ndarray, np.ndarray]:
    """Write numbers into every shard; the errors are NaN, as where no ray came."""
    gain = np.arange(STATIONS * UES, dtype=np.float32).reshape(UES, STATIONS)
    for shard in shards(part, 20):
        mine = gain[shard.start : shard.stop, shard.station]
        store.write(shard, mine, np.full(mine.shape, np.nan))
    return gain, np.full(gain.shape, np.nan)


def test_what_was_written_is_read(store, part):
    assert sum(len(todo) for _, todo in store.unfinished(part)) == SHARDS
    want = fill(store, part)
    assert store.unfinished(part) == []
    for got, wanted in zip(store.read(part), want, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_an_unfinished_part_is_not_read(store, part):
    fill(store, part)
    (store.root / "a/gain_error/c/3/1").unlink()
    assert [(k, str(todo[0])) for k, todo in store.unfinished(part)] == [(3, "shard a/s3/1 (UEs 17 to 33)")]
    with pytest.raises(SimulationError, match=r"shard a/s3/1 .* is not finished, and 0 others"):
        store.read(part)


def test_a_damaged_chunk_is_not_read(store, part):
    fill(store, part)
    chunk = store.root / "a/path_gain/c/3/1"
    damaged = bytearray(chunk.read_bytes())
    damaged[-8] ^= 1
    chunk.write_bytes(damaged)
    with pytest.raises(SimulationError, match="is damaged"):
        store.read(part)


class Killed(BaseException):
    """Stands for a signal that lets nothing be cleaned up."""


@pytest.mark.parametrize("array", ARRAYS)
def test_a_writer_killed_between_its_bytes_and_their_name_leaves_no_chunk(store, part, array, monkeypatch, tmp_path):
    rename = Path.replace

    def die(path: Path, target: Path) -> Path:
        if array in path.parts:
            raise Killed
        return rename(path, target)

    first = next(shards(part, 20))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", die)
        store.write(first, np.ones(first.links), np.ones(first.links))
    assert not store.finished(first)
    assert list(store.root.glob(f"a/{array}/c/0/0.*.partial"))
    fill(store, part)
    fill(other := Store.make(tmp_path / "undisturbed.zarr", [part], 20), part)
    assert tree(store.root) == tree(other.root)


def test_two_runs_make_one_store(part, tmp_path, monkeypatch):
    root, make = tmp_path / "campaign.zarr", stores._make

    def make_both(folder, parts, plan):
        make(folder, parts, plan)
        if not root.exists():
            make(root, parts, plan)  # the other run is a little faster
            fill(Store.open(root), part)

    monkeypatch.setattr(stores, "_make", make_both)
    assert Store.make(root, [part], 20).unfinished(part) == []
    assert list(tmp_path.iterdir()) == [root]


def test_the_store_of_another_plan_is_left_alone(store, part, monkeypatch):
    before = tree(store.root)
    with pytest.raises(SimulationError, match=r"parts\.a\.seed is 3 there and 4 here") as caught:
        Store.make(store.root, [replace(part, seed=4)], 20)
    assert "delete it" in caught.value.mend
    with pytest.raises(SimulationError, match="shard_links is 20 there and 10 here"):
        Store.make(store.root, [part], 10)
    with pytest.raises(SimulationError, match=r"parts\.b is none there"):
        Store.make(store.root, [part, replace(part, name="b")], 20)
    with pytest.raises(SimulationError, match=r"a\.ues"):
        store.read(replace(part, ue_x=part.ue_x + 1.0))
    older = plans.plan_versions() | {"drjit": "0.1"}
    monkeypatch.setattr(plans, "plan_versions", lambda: older)
    with pytest.raises(SimulationError, match=r"versions\.drjit is \S+ there and 0\.1 here"):
        Store.make(store.root, [part], 20)
    assert tree(store.root) == before


def test_a_city_built_anew_is_another_plan(part, tmp_path):
    shutil.copytree(part.city, tmp_path / "toy")
    moved = replace(part, city=tmp_path / "toy")
    Store.make(tmp_path / "campaign.zarr", [part], 20)
    Store.make(tmp_path / "campaign.zarr", [moved], 20)  # elsewhere, and the same
    mesh = next((tmp_path / "toy/meshes").iterdir())
    mesh.write_bytes(mesh.read_bytes() + b" ")
    with pytest.raises(SimulationError, match=r"parts\.a\.city"):
        Store.make(tmp_path / "campaign.zarr", [moved], 20)


def test_a_folder_that_is_no_store_is_left_alone(part, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(SimulationError, match="holds no campaign"):
        Store.make(tmp_path / "mine", [part], 20)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_store_that_cannot_be_made(part, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulationError, match="cannot be made"):
        Store.make(tmp_path / "file" / "campaign.zarr", [part], 20)
