"""Finding base stations: the paper's search against this project's, on stations whose poses are known to the judge.

`python -m benchmarks.calibration` takes some half an hour on two cores and writes results/benchmarks/calibration.json;
`--quick` asks the same at smaller sizes. Both searches trace with the same tracer, rays and UEs, one station a trace.
Stations of a simulated campaign are searched for with all its UEs, ten of them by both with the same number of traces.
Five race with blocks of UEs held out, the paper's search having 90 evaluations, to where it ends: its rank correlation
of RSSI on held-out and on training UEs, its distance from the truth. Everything runs on one thread. The last line is a
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.posing import searches
from benchmarks.posing.world import SIZES, KnownTruth
from benchmarks.tracing.side_by_side import rounded
from rfloc.city import build_city
from rfloc.config import CityParams, check, project_root
from rfloc.schema import save_json
from rfloc.simulation.backend import prepare, run_on_one_thread

#: What is to be reached: at least, or within.
GOALS: dict[str, tuple[float, float]] = {
    "time_ratio": (10.0, np.inf), "traces_ratio": (3.0, np.inf), "azimuth_within_10deg": (0.8, 1.0),
    "position_within_15m": (0.8, 1.0), "coverage_90": (0.8, 0.97),
}  # fmt: skip


def measure(name: str, folder: Path) -> dict[str, Any]:
    sizes, backend = SIZES[name], prepare()
    run_on_one_thread()  # as the workers of a calibration do
    params = check(CityParams, yaml.safe_load((project_root() / "conf" / "city" / "munich.yaml").read_text()))
    build_city("munich", params, folder, folder / "munich", sizes.seed)
    world = KnownTruth(folder / "munich", sizes)
    world.tracer(0)(world.nominal.take([0]))  # kernels are compiled before a clock runs
    stations, races, everyone = [], [], world.all_train()
    for b in range(sizes.stations):
        start = time.perf_counter()
        mine = searches.ours(everyone, b)
        theirs = searches.paper(everyone, b, max(sizes.traces, 11)) if b < sizes.compared else None
        raced = searches.race(world, b, sizes.calls) if b < sizes.raced else None
        stations.append({"ours": mine, "paper_same_traces": theirs})
        if raced:
            races.append(raced)
        print(
            f"  station {b:2d}  {time.perf_counter() - start:6.1f} s  off {mine['off']['position_m']:5.1f} m, "
            f"{mine['off']['azimuth_deg']:4.0f} deg, credibility {mine['credibility']:.2f}"
            + (f"; paper's {theirs['off']['position_m']:.0f} m" if theirs else "")
            + (f"; race {raced['held_out']['time_ratio']:.1f}" if raced else ""),
            flush=True,
        )
    return {
        "sizes": {"name": name, **asdict(sizes)}, "summary": summary(stations, races), "stations": stations,
        "races": races,
        "machine": {
            "cores": os.cpu_count(), "backend": backend.kind, "llvm": backend.version,
            **{p: version(p) for p in ("sionna-rt", "scikit-optimize", "scikit-learn", "numpy")},
        },
    }  # fmt: skip


def summary(stations: list[dict[str, Any]], races: list[dict[str, Any]]) -> dict[str, float]:
    """What the last line says."""

    def share(way: str, what: str, limit: float) -> float:
        return float(np.mean([row[way]["off"][what] <= limit for row in stations if row[way]]))

    def middle(values: list[float]) -> float:
        return float(np.median(values))

    mine, theirs = "ours", "paper_same_traces"
    found: dict[str, float] = {}
    for line, name in (("held_out", ""), ("train", "_on_training_ues"), ("position", "_to_position")):
        found |= {
            f"time_ratio{name}": middle([r[line]["time_ratio"] for r in races]),
            f"traces_ratio{name}": middle([r[line]["traces_ratio"] for r in races]),
            f"races_reached{name}": float(np.mean([r[line]["reached"] for r in races])),
        }
    return found | {
        "train_spearman_paper": float(np.mean([r["paper"]["course"]["train"][-1] for r in races])),
        "heldout_spearman_ours": float(np.mean([r["heldout_spearman"] for r in races])),
        "heldout_spearman_paper": float(np.mean([r["paper"]["course"]["held_out"][-1] for r in races])),
        "heldout_spearman_paper_at_our_time": float(np.mean([r["paper_at_our_time"] for r in races])),
        "heldout_spearman_truth": float(np.mean([r["ceiling"] for r in races])),
        "azimuth_within_10deg": share(mine, "azimuth_deg", 10.0),
        "position_within_15m": share(mine, "position_m", 15.0),
        "coverage_90": float(np.mean([row[mine]["credibility"] <= searches.LEVEL for row in stations])),
        "paper_azimuth_within_10deg": share(theirs, "azimuth_deg", 10.0),
        "paper_position_within_15m": share(theirs, "position_m", 15.0),
        "position_m_ours": middle([row[mine]["off"]["position_m"] for row in stations]),
        "position_m_paper": middle([row[theirs]["off"]["position_m"] for row in stations if row[theirs]]),
        "skopt_overhead_s": middle([r["paper"]["overhead_s_a_call"] for r in races]),
        "seconds_ours": middle([row[mine]["seconds"] for row in stations]),
        "seconds_paper": middle([r["paper"]["seconds"] for r in races]),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, some minutes")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "calibration.json")
    parser.add_argument("--sizes", choices=SIZES, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = rounded(measure(args.sizes or ("quick" if args.quick else "full"), Path(folder)))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_json(result, args.output)
    for key, (low, high) in GOALS.items():
        value = result["summary"][key]
        print(f"{key:22s} {value:8.4g}, wanted {low:g} to {high:g}: {'reached' if low <= value <= high else 'MISSED'}")
    print(json.dumps(result["summary"]))


if __name__ == "__main__":
    main()
