"""Finding base stations: the paper's search against this project's, on stations whose poses are known to the judge.

`python -m benchmarks.calibration` takes twenty minutes and writes results/benchmarks/calibration.json; `--quick` asks
the same at smaller sizes. Both searches trace with the same tracer, rays and UEs, one station a trace. Stations of a
simulated campaign are searched for with all its UEs: by ours where the table states how far positions may be off, as it
truly is, and where it does not; ten of them by the paper's search with the same number of traces. Then they race with
blocks of UEs held out, the paper's search having 90 evaluations, to the rank correlation of RSSI that it ends with, on
held-out and on training UEs; where ours does not get there and stay, its ratios count as 0. In comparisons with the
paper's search nobody knows how far positions may be off. Everything runs on one thread. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.posing import searches
from benchmarks.posing.world import SIZES, KnownTruth
from benchmarks.tracing.side_by_side import rounded
from rfloc.backend import prepare
from rfloc.city import build_city
from rfloc.config import CityParams, check, project_root
from rfloc.pipeline.record import revision_of

#: What is to be reached: at least, or within.
GOALS: dict[str, tuple[float, float]] = {
    "time_ratio": (10.0, np.inf), "traces_ratio": (3.0, np.inf), "azimuth_within_10deg": (0.8, 1.0),
    "position_within_15m": (0.8, 1.0), "coverage_90": (0.8, 0.97),
    "heldout_gain_at_equal_time": (1e-9, np.inf),
}  # fmt: skip

#: Times at which the course of a race is kept [s].
TIMES = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)


@threadpool_limits.wrap(limits=1)
def measure(name: str, folder: Path) -> dict[str, Any]:
    sizes, backend = SIZES[name], prepare()
    params = check(CityParams, yaml.safe_load((project_root() / "conf" / "city" / "munich.yaml").read_text()))
    build_city("munich", params, folder, folder / "munich")
    world = KnownTruth(folder / "munich", sizes)
    world.tracer(0)(world.nominal.take([0]))  # kernels are compiled before a clock runs
    stations, races, everyone = [], [], world.all_train()
    for b in range(sizes.stations):
        start = time.perf_counter()
        stated, mine = searches.ours(everyone, b, stated=True), searches.ours(everyone, b)
        theirs = None
        if b < sizes.compared:
            theirs = searches.of_paper(everyone, b, searches.search_as_paper(everyone, b, max(sizes.traces, 11))[0])
        raced = searches.race(world, b, sizes.calls) if b < sizes.raced else None
        nominal = {"position_m": searches.distance(world, b, world.nominal.take([b]))}
        levels = searches.levels_of_truth(everyone, b)
        stations.append(
            {"stated": stated, "ours": mine, "paper_same_traces": theirs, "nominal": nominal, "levels_of_truth": levels}
        )
        if raced:
            races.append(raced)
        print(
            f"  station {b:2d}  {time.perf_counter() - start:6.1f} s  off {mine['off']['position_m']:5.1f} m, "
            f"{mine['off']['azimuth_deg']:4.0f} deg, credibility {mine['credibility']:.2f}; error stated: "
            f"{stated['off']['position_m']:5.1f} m, {stated['off']['azimuth_deg']:4.0f} deg"
            + (f"; paper's {theirs['off']['position_m']:.0f} m" if theirs else "")
            + (f"; race {raced['held_out']['time_ratio']:.1f}" if raced else ""),
            flush=True,
        )
    revision, dirty = revision_of(project_root())
    packages = [f"{p} {version(p)}" for p in ("sionna-rt", "scikit-optimize", "scikit-learn", "numpy")]
    machine = ", ".join([f"{os.cpu_count()} cores", f"{backend.kind} {backend.version}", *packages])
    return {
        "revision": {"commit": revision, "dirty": dirty}, "sizes": {"name": name, **asdict(sizes)},
        "summary": (found := summary(stations, races)), "tables": tables(found, course(races)),
        "machine": machine,
    }  # fmt: skip


def course(races: list[dict[str, Any]], at: Sequence[float] = TIMES) -> dict[str, dict[str, float]]:
    """Mean over races of the leading pose's held-out rank correlation at some times [s], of either search.

    From when all races have a leader.
    """
    found: dict[str, dict[str, float]] = {}
    for name in ("ours", "paper"):
        runs = [r[name] for r in races]
        begun = max(r["finished"][0] for r in runs)
        found[name] = {
            f"{t:g}": float(
                np.mean([r["course"]["held_out"][np.searchsorted(r["finished"], t, "right") - 1] for r in runs])
            )
            for t in at
            if t >= begun
        }
    return found


def tables(found: dict[str, float], lead: dict[str, dict[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    """What the chapter prints: title -> row -> column, from the summary and the course of the races."""

    def row(key: str, columns: dict[str, str]) -> dict[str, float]:
        return {title: found[key + end] for title, end in columns.items() if key + end in found}

    stated = {"error of positions stated": "", "not stated": "_flat"}
    compared = {"ours": "_ours", "paper's search": "_paper", "nominal": "_nominal"}
    raced = {
        "nominal, solved": "_unmoved", "ours": "_ours", "paper's, in our time": "_paper_at_our_time",
        "paper's search": "_paper", "true poses": "_truth",
    }  # fmt: skip
    lines = {"on held-out UEs": "", "on training UEs": "_on_training_ues"}
    ratios = {"arrives": "races_reached", "time ratio": "time_ratio", "traces ratio": "traces_ratio"}
    return {
        "ours, all UEs training": {
            "position within 15 m": row("position_within_15m", stated),
            "azimuth within 10°": row("azimuth_within_10deg", stated),
            "median distance from the truth [m]": row("position_m_ours", stated),
            "90 % regions that hold the truth": row("coverage_90", stated),
            "50 % regions that hold the truth": row("coverage_50", stated),
        },
        "the same number of traces": {
            "position within 15 m": row("compared_position_within_15m", compared),
            "azimuth within 10°": row("compared_azimuth_within_10deg", compared),
            "median distance from the truth [m]": row("compared_position_m", compared),
        },
        "races": {
            "ρ with RSSI, held-out UEs": row("heldout_spearman", raced),
            "ρ with RSSI, training UEs": row("train_spearman", raced),
            "median distance from the truth [m]": row("race_position_m", compared),
            "median time a station [s]": row("seconds", compared),
            "scikit-optimize, an evaluation [s]": {"paper's search": found["skopt_overhead_s"]},
        },
        "until ours ranks as well as the paper's in the end": {
            **{line: {title: found[key + end] for title, key in ratios.items()} for line, end in lines.items()},
            "won by the nominal position, levels solved": {"arrives": found["races_won_at_once"]},
            "whole searches": {"time ratio": found["time_ratio_whole"]},
            "the paper's until it has found its last": {"time ratio": found["time_ratio_settled"]},
        },
        "held-out ρ of ours less the paper's, at equal time": {
            "95 % by redrawing stations": {
                "mean": found["heldout_gain_at_equal_time"],
                "low": found["heldout_gain_low"],
                "high": found["heldout_gain_high"],
            }
        },
        "held-out ρ after [s]": {"ours": lead["ours"], "paper's search": lead["paper"]},
    }


def save(result: dict[str, Any], path: Path) -> None:
    """Write the tables, without the summary that they hold; a row of a table is a line of the file."""
    text = json.dumps({key: value for key, value in result.items() if key != "summary"}, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"\{[^{}]*\}", lambda inner: " ".join(inner.group().split()), text) + "\n")


def summary(stations: list[dict[str, Any]], races: list[dict[str, Any]]) -> dict[str, float]:
    """What the last line says.

    "compared" are the stations that both searched for with as many traces; "flat" is ours where the table states no
    error of positions, as in all comparisons.
    """
    compared = [row for row in stations if row["paper_same_traces"]]

    def share(rows: list[dict[str, Any]], way: str, what: str, limit: float) -> float:
        return float(np.mean([row[way]["off"][what] <= limit for row in rows]))

    def middle(values: list[float]) -> float:
        return float(np.median(values))

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    mine, theirs, stated = "ours", "paper_same_traces", "stated"
    found: dict[str, float] = {}
    for line, name in (("held_out", ""), ("train", "_on_training_ues")):
        found |= {
            f"time_ratio{name}": middle([r[line]["time_ratio"] for r in races]),
            f"traces_ratio{name}": middle([r[line]["traces_ratio"] for r in races]),
            f"races_reached{name}": mean([r[line]["reached"] for r in races]),
            f"{line.replace('_', '')}_spearman_ours": mean([r["ours"]["course"][line][-1] for r in races]),
            f"{line.replace('_', '')}_spearman_paper": mean([r["paper"]["course"][line][-1] for r in races]),
            f"{line.replace('_', '')}_spearman_paper_at_our_time": mean([r["paper_at_our_time"][line] for r in races]),
            f"{line.replace('_', '')}_spearman_truth": mean([r["truth"][line] for r in races]),
        }
    for rows, name in ((stated, ""), (mine, "_flat")):
        found |= {
            f"azimuth_within_10deg{name}": share(stations, rows, "azimuth_deg", 10.0),
            f"position_within_15m{name}": share(stations, rows, "position_m", 15.0),
            f"coverage_90{name}": mean([row[rows]["credibility"] <= searches.LEVEL for row in stations]),
            f"coverage_50{name}": mean([row[rows]["credibility"] <= 0.5 for row in stations]),
            f"position_m_ours{name}": middle([row[rows]["off"]["position_m"] for row in stations]),
        }
    for key in stations[0]["levels_of_truth"]:
        found[f"truth_{key}"] = middle([row["levels_of_truth"][key] for row in stations])
    gains = np.array([r["ours"]["course"]["held_out"][-1] - r["paper_at_our_time"]["held_out"] for r in races])
    redrawn = gains[np.random.default_rng(0).integers(len(gains), size=(2000, len(gains)))].mean(axis=1)
    low, high = np.quantile(redrawn, [0.025, 0.975])
    return found | {
        "races_won_at_once": mean([r["held_out"]["traces"] == 1 for r in races]),
        "heldout_spearman_unmoved": mean([r["ours"]["course"]["held_out"][0] for r in races]),
        "heldout_gain_at_equal_time": float(gains.mean()),
        "heldout_gain_low": float(low),
        "heldout_gain_high": float(high),
        "time_ratio_whole": middle([r["paper"]["seconds"] / r["ours"]["seconds"] for r in races]),
        "time_ratio_settled": middle([r["paper_settled"]["seconds"] / r["ours"]["seconds"] for r in races]),
        "race_position_m_ours": middle([r["ours"]["position_m"] for r in races]),
        "race_position_m_paper": middle([r["paper"]["off"]["position_m"] for r in races]),
        "race_position_m_nominal": middle([r["nominal_position_m"] for r in races]),
        "position_within_15m_nominal": mean([row["nominal"]["position_m"] <= 15.0 for row in stations]),
        "compared_azimuth_within_10deg_ours": share(compared, mine, "azimuth_deg", 10.0),
        "compared_azimuth_within_10deg_paper": share(compared, theirs, "azimuth_deg", 10.0),
        "compared_position_within_15m_ours": share(compared, mine, "position_m", 15.0),
        "compared_position_within_15m_paper": share(compared, theirs, "position_m", 15.0),
        "compared_position_within_15m_nominal": mean([row["nominal"]["position_m"] <= 15.0 for row in compared]),
        "compared_position_m_ours": middle([row[mine]["off"]["position_m"] for row in compared]),
        "compared_position_m_paper": middle([row[theirs]["off"]["position_m"] for row in compared]),
        "compared_position_m_nominal": middle([row["nominal"]["position_m"] for row in compared]),
        "skopt_overhead_s": middle([r["paper"]["overhead_s_a_call"] for r in races]),
        "seconds_ours": middle([r["ours"]["seconds"] for r in races]),
        "seconds_paper": middle([r["paper"]["seconds"] for r in races]),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, some minutes")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "calibration.json")
    parser.add_argument("--sizes", choices=SIZES, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = rounded(measure(args.sizes or ("quick" if args.quick else "full"), Path(folder)))
    save(result, args.output)
    for key, (low, high) in GOALS.items():
        value = result["summary"][key]
        print(f"{key:22s} {value:8.4g}, wanted {low:g} to {high:g}: {'reached' if low <= value <= high else 'MISSED'}")
    print(json.dumps(result["summary"]))


if __name__ == "__main__":
    main()
