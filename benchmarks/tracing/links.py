"""Links by paths: how fast, from how much memory; and which of many azimuths, by a map."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tracing.scene import OTHER_SEED, RADIO, SEED, SIM, Bench
from benchmarks.tracing.side_by_side import clock, distance, in_turns, time_at
from rfloc.config import project_root
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.plane import Rays
from rfloc.simulation.scene import load_scene

#: Azimuths that are asked for.
AZIMUTHS = 180


def links(bench: Bench) -> dict[str, Any]:
    """Links a second at equal rays a source, and how far the links are from a converged trace of the whole array."""
    s, one = bench.sizes, bench.stations.take(range(bench.sizes.released_stations))

    def warm_up() -> None:
        bench.ours(bench.stations.take([0]), s.batch, 100)
        bench.theirs(bench.stations.take([0]), s.batch, 100)

    found, times = in_turns(
        {
            "ours": lambda _: bench.ours(bench.stations, s.ues, s.samples),
            "released": lambda turn: bench.theirs(bench.stations.take([turn]), s.batch, s.samples),
        },
        s.released_stations,
        warm_up,
    )
    rate = {"ours": s.stations * s.ues / times["ours"], "released": s.batch / times["released"]}
    n = min(s.truth_ues, s.batch, s.ues)
    truth = bench.theirs(one, n, -(-s.truth_samples // 36), seed=OTHER_SEED, max_paths=1 << 17, batch=16)
    got = {
        "ours": found["ours"][0][:n, : s.released_stations],
        "released": np.concatenate([gain[:n] for gain in found["released"]], 1),
    }
    spearman = {way: distance(gain, truth)["spearman"] for way, gain in got.items()}
    more = (s.samples, 3 * s.samples, 10 * s.samples)
    dense, taken = in_turns({f"{m}": lambda _, m=m: bench.ours(one, s.batch, m) for m in more}, 1)
    curve = [{"s": taken[key], **distance(gain[0][:n], truth)} for key, gain in dense.items()]
    seconds, within = time_at(spearman["released"], curve)
    return {
        "ratio": rate["ours"] / rate["released"],
        "ratio_at_equal_spearman": s.batch * one.n / seconds / rate["released"],
        "within_curve": within,
        "links_per_s": rate,
        "spearman": spearman,
        "converged_stations": one.n,
        "converged_ues": n,
    }


def azimuth(bench: Bench, released_s_a_ue: float) -> dict[str, Any]:
    """Which of 180 azimuths: traces again, against one map that is read again."""
    s, station, (x, y) = bench.sizes, bench.stations.take([0]), bench.ues(bench.sizes.ues)

    def traced() -> Any:
        return trace_maps(bench.plane, station, Rays(SIM, RADIO, s.map_at, SEED), progress=False)

    isotropic = traced()

    def read() -> None:
        for angle in np.arange(AZIMUTHS) * 360.0 / AZIMUTHS:
            read_maps(isotropic.assign_coords(bs_azimuth=("bs", [angle])), x, y, RADIO)

    def element() -> None:
        bench.theirs(station, s.ues, s.samples, array=False, max_paths=1 << 19, batch=s.ues)

    _, times = in_turns({"map": lambda _: traced(), "read": lambda _: read(), "one": lambda _: element()}, s.repeats)
    ours = times["map"] + times["read"]
    return {
        "ratio": AZIMUTHS * released_s_a_ue * s.ues / ours,
        "ratio_of_one_element": AZIMUTHS * times["one"] / ours,
        "map_s": times["map"],
        "read_s": times["read"],
    }


def memory(bench: Bench, name: str) -> dict[str, Any]:
    """Peak memory of both past the imports, a process each.

    The released code has all stations of a patch in a call (dataset C), or one (dataset B); ours has one at a time.
    """
    n, mb = bench.sizes.memory_ues, {}
    for stations in (bench.sizes.stations, 1):
        for way in ("released", "ours"):
            command = [sys.executable, "-m", "benchmarks.simulation", "--peak-of", way, "--sizes", name]
            command += ["--city", str(bench.city.folder), "--ues", str(n), "--stations", str(stations)]
            run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=project_root())
            mb[way, stations] = json.loads(run.stdout.splitlines()[-1])
    (all_theirs, all_ours), (theirs, ours) = (
        [mb[w, k] for w in ("released", "ours")] for k in (bench.sizes.stations, 1)
    )
    return {
        "ratio": all_theirs / all_ours,
        "ratio_of_one_station": theirs / ours,
        "released_mb": all_theirs,
        "ours_mb": all_ours,
    }


def peak_of(bench: Bench, way: str, stations: int, ues: int) -> float:
    """Peak memory [MB] that some stations' links to some UEs take past imports and a loaded scene."""
    some, work = bench.stations.take(range(stations)), bench.theirs if way == "released" else bench.ours
    scene = load_scene(bench.city, RADIO.carrier_hz, SIM.scattering)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    clock(lambda: work(some, ues, bench.sizes.samples))
    del scene
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """Memory of this process [MB]: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3
