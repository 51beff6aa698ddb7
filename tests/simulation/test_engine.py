from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rfloc.backend import cuda_devices
from rfloc.config import EngineParams
from rfloc.errors import SimulationError
from rfloc.simulation import cluster
from rfloc.simulation.engine import connect, read_part, run_campaign
from rfloc.simulation.maps import map_grid, read_error_db, read_maps, trace_maps
from rfloc.simulation.store import ARRAYS
from tests.conftest import PROJECT
from tests.simulation.toy_campaign import ENGINE, SHARDS, parts

pytestmark = pytest.mark.skipif(bool(cuda_devices()), reason="on a GPU sums come in no order, and bytes differ")


def tree(root: Path) -> dict[str, str]:
    """Hash of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def chunks(root: Path) -> dict[Path, int]:
    """When every chunk of finished shards was written [ns]."""
    done = [path for path in root.glob(f"*/{ARRAYS[-1]}/c/*/*") if not path.suffix]
    paths = done + [Path(str(path).replace(ARRAYS[-1], ARRAYS[0])) for path in done]
    return {path: path.stat().st_mtime_ns for path in paths}


def wait_for(shards: int, root: Path, seconds: float = 60.0) -> None:
    """Wait until a store has so many finished shards."""
    end = time.monotonic() + seconds
    while len(chunks(root)) // 2 < shards:
        assert time.monotonic() < end, f"{len(chunks(root)) // 2} of {shards} shards came in {seconds} s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(client, toy_city, tmp_path_factory) -> Path:
    """The store of a campaign that nothing disturbed."""
    root = tmp_path_factory.mktemp("undisturbed") / "campaign.zarr"
    report = run_campaign(parts(toy_city.folder), root, ENGINE, client)
    assert (report.links, report.shards, report.found) == (600, 2 * SHARDS, 0)
    return root


def test_a_campaign_reads_as_its_maps_do(undisturbed, toy_city, client):
    for part in parts(toy_city.folder):
        gain, error = read_part(undisturbed, part)
        maps = client.submit(
            trace_maps, toy_city, part.stations, map_grid(toy_city, part.sim.cell), part.sim, part.radio, part.seed,
            part.samples, False,
        ).result()  # fmt: skip
        np.testing.assert_array_equal(gain, read_maps(maps, part.ue_x, part.ue_y, part.radio).astype(np.float32))
        np.testing.assert_array_equal(error, read_error_db(maps, part.ue_x, part.ue_y).astype(np.float32))
        assert (gain > 0).all() and np.isfinite(error).any()


def test_a_finished_campaign_needs_no_worker(undisturbed, toy_city, capsys):
    nowhere = ENGINE.model_copy(update={"scheduler": "tcp://127.0.0.1:1"})
    report = run_campaign(parts(toy_city.folder), undisturbed, nowhere)
    assert report.found == report.shards == 2 * SHARDS and report.computed_links == 0
    assert "all finished before" in capsys.readouterr().out


def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_bytes(undisturbed, toy_city, client, tmp_path):
    root = tmp_path / "campaign.zarr"
    command = [sys.executable, "-m", "tests.simulation.toy_campaign", str(toy_city.folder), str(root)]
    run = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(4, root)
    os.killpg(run.pid, signal.SIGKILL)  # its workers too
    assert run.wait() == -signal.SIGKILL
    before = chunks(root)
    report = run_campaign(parts(toy_city.folder), root, ENGINE, client)
    assert 4 <= report.found == len(before) // 2 < report.shards
    assert {path: when for path, when in chunks(root).items() if path in before} == before  # not written again
    assert tree(root) == tree(undisturbed)


def test_a_killed_worker_is_replaced_and_its_shard_repeated(undisturbed, toy_city, client, tmp_path):
    root = tmp_path / "campaign.zarr"
    run = threading.Thread(target=run_campaign, args=(parts(toy_city.folder), root, ENGINE, client))
    run.start()
    wait_for(2, root)
    victim = next(iter(client.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)
    run.join()
    client.wait_for_workers(2, timeout=60)
    assert victim not in client.run(os.getpid).values()
    assert tree(root) == tree(undisturbed)


def test_a_full_disk_names_the_shard_and_leaves_the_finished_ones(undisturbed, toy_city, client, tmp_path):
    root = tmp_path / "campaign.zarr"
    shutil.copytree(undisturbed, root)
    shutil.rmtree(root / "b" / "path_gain" / "c")
    before = chunks(root)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    client.run(limit, 64)
    try:
        with pytest.raises(SimulationError, match=r"^shard b/s\d/\d \(UEs \d+ to \d+\) could not be written"):
            run_campaign(parts(toy_city.folder), root, ENGINE, client)
    finally:
        client.run(limit, resource.RLIM_INFINITY)
    assert chunks(root) == before
    assert run_campaign(parts(toy_city.folder), root, ENGINE, client).found == SHARDS
    assert tree(root) == tree(undisturbed)


def test_a_broken_scene_names_the_shard_and_leaves_the_finished_ones(undisturbed, toy_city, client, tmp_path):
    folder, root = tmp_path / "toy", tmp_path / "campaign.zarr"
    shutil.copytree(toy_city.folder, folder)
    mesh = next((folder / "meshes").glob("buildings*.ply"))
    mesh.write_bytes(mesh.read_bytes()[:-100])
    good, bad = parts(toy_city.folder)[0], parts(folder)[1]
    with pytest.raises(SimulationError, match=r"^shard b/s\d/0 .* failed") as caught:
        run_campaign([good, bad], root, ENGINE, client)
    assert "finished shards are kept" in caught.value.mend
    gain, _ = read_part(root, good)
    np.testing.assert_array_equal(gain, read_part(undisturbed, good)[0])


def test_no_scheduler_at_the_address(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with (
        pytest.raises(SimulationError, match="no Dask scheduler answers at tcp:"),
        connect(EngineParams(scheduler="tcp://127.0.0.1:1")),
    ):
        pass


def test_slurm_without_its_commands(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulationError, match="no `sbatch`"), connect(EngineParams(scheduler="slurm")):
        pass


def test_a_scheduler_that_runs_already_is_joined(client):
    with connect(EngineParams(scheduler=client.scheduler.address)) as joined:
        assert joined.scheduler.address == client.scheduler.address
        assert joined.submit(sum, [1, 2]).result(timeout=30) == 3


def test_slurm_jobs_ask_for_what_the_parameters_say(monkeypatch, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\ncat "$1" >> "$(dirname "$0")/jobs"\necho "Submitted batch job 1"\n')
    sbatch.chmod(0o755)
    scancel = tmp_path / "scancel"
    scancel.write_text("#!/bin/sh\n")
    scancel.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    engine = EngineParams(
        scheduler="slurm", slurm_queue="short", slurm_cores=3, slurm_memory_gb=12.0, slurm_walltime="01:30:00"
    )
    with connect(engine) as joined:
        script = joined.cluster.job_script()
    for line in ("-p short", "--cpus-per-task=3", "-t 01:30:00", "--mem=12G", "--nworkers 3"):
        assert line in script, script


def test_a_log_is_told_how_fast_a_campaign_goes(client, toy_city, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    report = run_campaign(parts(toy_city.folder)[:1], tmp_path / "campaign.zarr", ENGINE, client)
    said = capsys.readouterr().out
    assert f"{report.links:,} links in {report.shards} shards" in said
    assert "links/s" in said
