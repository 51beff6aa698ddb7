"""Links by paths: how fast, from how much memory, and for how many azimuths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tracing import released
from benchmarks.tracing.scene import OTHER_SEED, RADIO, SEED, SIM, Bench
from benchmarks.tracing.side_by_side import clock, distance, in_turns, time_at
from rfloc.config import project_root
from rfloc.simulation.paths import path_gain
from rfloc.simulation.scan import azimuth_scan, departure_spectrum
from rfloc.simulation.scene import load_scene
from rfloc.simulation.trace import trace_paths

#: Azimuths that are asked for.
AZIMUTHS = 180


def links(bench: Bench) -> dict[str, Any]:
    """Links a second, and how far the links are from converged traces of one element and of the whole array."""
    s = bench.sizes
    ours_n = s.stations * s.ues

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
    rate = {"ours": ours_n / times["ours"]["s"], "released": s.batch / times["released"]["s"]}
    n, some = min(s.truth_ues, s.batch, s.ues), bench.stations.take(range(s.released_stations))
    a_element = -(-s.truth_samples // (released.SHAPE[0] * released.SHAPE[1]))
    truths = {
        "element": bench.ours(some, n, s.truth_samples, OTHER_SEED),
        "array": bench.theirs(some, n, a_element, seed=OTHER_SEED, max_paths=1 << 17, batch=16),
    }
    more = {m: f"{m}" for m in (s.samples, 3 * s.samples, 10 * s.samples)}
    dense, taken = in_turns({key: lambda _, m=m: bench.ours(some, s.batch, m) for m, key in more.items()}, 1)
    got = {
        "ours": found["ours"][0][:n, : s.released_stations],
        "released": np.concatenate([gain[:n] for gain in found["released"]], 1),
    }
    curve = [
        {"samples": m, "s": taken[key]["s"], "links_per_s": dense[key][0].size / taken[key]["s"],
         **distance(dense[key][0][:n], truths["array"])}
        for m, key in more.items()
    ]  # fmt: skip
    reached = distance(got["released"], truths["array"])["spearman"]
    seconds, within = time_at(reached, curve)
    return {
        "ratio": rate["ours"] / rate["released"],
        "at_equal_spearman": {
            "spearman": reached, "to": "array", "ratio": s.batch * some.n / seconds / rate["released"],
            "within_curve": within, "ours": curve,
        },
        "links_per_s": rate,
        "times": times,
        "work": {
            "ours": f"{s.stations} stations x {s.ues} UEs",
            "released": f"a station x {s.batch} UEs a run; every element is a source of its own, so that {s.stations} "
            f"stations x {s.ues} UEs take {ours_n / rate['released']:.0f} s (extrapolated)",
            "samples_per_source": s.samples,
        },
        "distance_from_converged": {
            way: {f"to_{name}": distance(gain, truth) for name, truth in truths.items()} for way, gain in got.items()
        },
        "converged": {
            "ues": n, "stations": s.released_stations, "rays_of_element": s.truth_samples,
            "rays_of_array": a_element * released.SHAPE[0] * released.SHAPE[1], "max_paths_per_source": 1 << 17,
            "array_from_element": distance(truths["array"], truths["element"]),
        },
    }  # fmt: skip


def azimuth(bench: Bench, released_s_a_ue: float) -> dict[str, Any]:
    """Which of 180 azimuths: traces again, against one cache and a scan of it."""
    s, station, angles = bench.sizes, bench.stations.take([0]), np.arange(AZIMUTHS) * 360.0 / AZIMUTHS
    x, y = bench.ues(s.ues)

    def cache() -> Any:
        return trace_paths(bench.city, station, x, y, SIM, RADIO, SEED, s.samples)

    paths = cache()
    found, times = in_turns(
        {
            "cache": lambda _: cache(),
            "scan": lambda _: azimuth_scan(departure_spectrum(paths), angles, RADIO),
            "element": lambda _: bench.theirs(
                station, s.ues, s.samples, shape=(1, 1), explicit=False, max_paths=1 << 19, batch=s.ues
            ),
        },
        s.repeats,
        lambda: azimuth_scan(departure_spectrum(paths), angles, RADIO),
    )
    turned = [path_gain(paths.assign_coords(bs_azimuth=("bs", [angle])), RADIO)[:, 0] for angle in angles[::30]]
    scanned, exact = found["scan"][0][::30], np.array(turned)
    both = (scanned > 0) & (exact > 0)
    again = {"released": AZIMUTHS * released_s_a_ue * s.ues, "one_element": AZIMUTHS * times["element"]["s"]}
    ours = {"with_trace": times["cache"]["s"] + times["scan"]["s"], "without_trace": times["scan"]["s"]}
    ratios = {f"{way}_{part}": t / ours_s for way, t in again.items() for part, ours_s in ours.items()}
    return {
        "ratio": ratios["released_with_trace"],
        "ratio_is": "released formulation again for each azimuth over our cache's trace and its scan together",
        "ratios": ratios,
        "azimuths": AZIMUTHS,
        "ues": s.ues,
        "again_s": again,
        "extrapolated": f"one trace x {AZIMUTHS}; the released one from {s.batch} UEs",
        "scan_rms_db": float(np.sqrt((10 * np.log10(scanned[both] / exact[both]) ** 2).mean())),
        "times": times,
    }


def memory(bench: Bench, name: str) -> dict[str, Any]:
    """Peak memory of both past the imports, a process each.

    The released code has all stations of a patch in a call (dataset C), or one (dataset B); ours has one at a time.
    """
    n, all_of_them = bench.sizes.memory_ues, bench.sizes.stations
    work = {
        "released": (all_of_them, n), "ours": (all_of_them, n), "released_one_station": (1, n),
        "ours_one_station": (1, n), "ours_batch": (all_of_them, bench.sizes.batch),
    }  # fmt: skip
    peak = {}
    for way, (stations, ues) in work.items():
        command = [sys.executable, "-m", "benchmarks.simulation", "--peak-of", way.partition("_")[0], "--sizes", name]
        command += ["--city", str(bench.city.folder), "--ues", str(ues), "--stations", str(stations)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=project_root())
        peak[way] = json.loads(run.stdout.splitlines()[-1])
    mb = {way: found["peak_mb"] for way, found in peak.items()}
    return {
        "ratio": mb["released"] / mb["ours"],
        "ratio_is": f"{all_of_them} stations x {n} UEs in both, the released code's in one call",
        "ratio_of_one_station": mb["released_one_station"] / mb["ours_one_station"],
        "ratio_at_least": mb["released"] / mb["ours_batch"],
        "ratio_at_least_is": f"released with {n} UEs over ours with a whole batch of {bench.sizes.batch}",
        **peak,
    }


def peak_of(bench: Bench, way: str, stations: int, ues: int) -> dict[str, float]:
    """Peak memory [MB] that some stations' links to some UEs take past imports and a loaded scene, and the time."""
    some, work = bench.stations.take(range(stations)), bench.theirs if way == "released" else bench.ours
    scene = load_scene(bench.city, RADIO.carrier_hz, SIM.scattering)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    _, seconds, compiled = clock(lambda: work(some, ues, bench.sizes.samples))
    del scene
    return {
        "peak_mb": resident("VmHWM") - before, "before_mb": before, "stations": stations, "ues": ues, "s": seconds,
        "compile_s": compiled,
    }  # fmt: skip


def resident(field: str) -> float:
    """Memory of this process [MB]: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3
