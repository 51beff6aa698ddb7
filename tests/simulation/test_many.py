"""Stations in parallel: the same numbers as here, kept when a run is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rfloc.config import EngineParams
from rfloc.errors import SimulationError
from rfloc.simulation import many
from rfloc.simulation.maps import trace_ahead
from rfloc.simulation.plane import open_plane
from tests.conftest import PROJECT
from tests.simulation.toy_campaign import ENGINE, STATIONS, asked


def kept(cache: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every kept map."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in cache.glob("*.npz")}


def test_a_killed_run_keeps_its_maps_and_ends_as_one_that_was_not(toy_city, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    samples = 1_000_000  # so many that they are at it for a while
    command = [sys.executable, "-m", "tests.simulation.toy_campaign", str(toy_city.folder), str(there), str(samples)]
    run = subprocess.Popen(command, cwd=PROJECT, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(kept(there)) < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = kept(there)
    assert 2 <= len(before) < STATIONS, "it was killed half-way"
    trace_ahead([asked(toy_city.folder, samples)], there, None, progress=False)
    trace_ahead([asked(toy_city.folder, samples)], here, None, progress=False)
    after = kept(there)
    assert len(after) == STATIONS and before.items() <= after.items(), "nothing is traced twice"
    if not many.cuda_devices():  # on a GPU sums come in no order
        alone = kept(here)
        assert {name: of[0] for name, of in after.items()} == {name: of[0] for name, of in alone.items()}


def test_a_campaign_that_ends_well_ends_in_silence():
    code = "import operator, time; from rfloc.simulation import many; from tests.simulation.toy_campaign import ENGINE"
    code += "\nprint(sorted(many.each(operator.add, [(1, 2), (3, 4)], 'ab', ENGINE))); time.sleep(0.5)"  # a heartbeat
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[(0, 3), (1, 7)]\n", "")


def _double(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return 2 * number


@pytest.fixture(scope="module")
def address():
    with many.connect(ENGINE) as client:
        yield client.scheduler.address


def test_jobs_run_where_they_are_told_to_and_a_failure_names_its_job(address):
    engine = EngineParams(scheduler=address)
    for where in (None, EngineParams(workers=1), engine):
        assert dict(many.each(_double, [(1,), (2,)], ["a", "b"], where)) == {0: 2, 1: 4}
    with pytest.raises(SimulationError, match="c failed") as error:
        list(many.each(_double, [(1,), (3,)], ["b", "c"], engine))
    assert "ValueError: three" in str(error.value)


def test_a_worker_refuses_another_city(toy_city, address):
    plane, _, _ = asked(toy_city.folder)
    make, about = plane.__reduce__()
    assert make(*about).grid == plane.grid
    with many.connect(EngineParams(scheduler=address)) as client:
        assert client.submit(lambda plane: plane.city.key, plane).result() == toy_city.key
    with pytest.raises(SimulationError, match="is not the one"):
        open_plane(toy_city.folder, 20.0, 1.5, "another hash")


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [("tcp://127.0.0.1:1", "no Dask scheduler with a worker answers at tcp://127"), ("slurm", "jobs of SLURM")],
)
def test_a_scheduler_that_is_not_there_or_not_described_is_said(monkeypatch, scheduler, said):
    monkeypatch.setattr(many, "PATIENCE", 0.5)
    with pytest.raises(SimulationError, match=said), many.connect(EngineParams(scheduler=scheduler)):
        pass
