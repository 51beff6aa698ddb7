"""What tracing costs: the released formulation against this project's, on one scene, stations and UEs, in one run.

`python -m benchmarks.simulation` takes some 20 minutes on two cores and writes results/benchmarks/simulation.json;
`--quick` asks the same at smaller sizes. The released formulation has the station's 6 x 6 elements of two ports in the
scene, each sending its own rays, 256 UEs a call and 10^4 paths a source; depth and interactions are the same in both.
Times are medians of runs in turns, without compilation. The last line is a JSON object of the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.tracing import growth, links, maps
from benchmarks.tracing.scene import SIZES, Bench
from benchmarks.tracing.side_by_side import rounded
from rfloc.backend import prepare
from rfloc.city import build_city, open_city
from rfloc.config import CityParams, check, project_root
from rfloc.files import save_json
from rfloc.pipeline.record import revision_of

#: Ratios to be reached on two cores.
GOALS = {"links_ratio": 20.0, "maps_ratio": 300.0, "azimuth_ratio": 500.0, "memory_ratio": 3.0}


def measure(name: str, folder: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    revision, dirty = revision_of(project_root())
    sizes, backend = SIZES[name], prepare()
    params = check(CityParams, yaml.safe_load((project_root() / "conf" / "city" / "munich.yaml").read_text()))
    bench = Bench(build_city("munich", params, folder, folder / "munich"), sizes)
    result: dict[str, Any] = {}

    def step(key: str, work: Callable[[], dict[str, Any]]) -> None:
        start = time.perf_counter()
        result[key] = rounded(work())
        print(f"  {key:14s} {time.perf_counter() - start:7.1f} s  {json.dumps(result[key])}", flush=True)

    step("links", lambda: links.links(bench))
    step("azimuth", lambda: links.azimuth(bench, 1 / result["links"]["links_per_s"]["released"]))
    step("maps", lambda: maps.maps(bench, diffuse=False))
    step("maps_diffuse", lambda: maps.maps(bench, diffuse=True))
    step("rays", lambda: maps.rays(bench))
    step("memory", lambda: links.memory(bench, name))
    step("growth", lambda: growth.growth(bench))
    ratios = {f"{key}_ratio": result[key]["ratio"] for key in ("links", "maps", "azimuth", "memory")}
    return result | {
        "ratios": ratios | {"rays_percent_of_backend": result["rays"]["percent"]},
        "sizes": {"name": name, "stations": sizes.stations, "ues": sizes.ues, "samples": sizes.samples},
        "machine": {"cores": os.cpu_count(), "backend": backend.kind, "sionna-rt": version("sionna-rt")},
        "revision": {"commit": revision, "dirty": dirty},
        "seconds": round(time.perf_counter() - begun),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, some minutes")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "simulation.json")
    parser.add_argument("--sizes", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--peak-of", choices=("ours", "released"), help=argparse.SUPPRESS)
    parser.add_argument("--city", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ues", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stations", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    name = args.sizes or ("quick" if args.quick else "full")
    if args.peak_of:
        bench = Bench(open_city(args.city), SIZES[name])
        print(json.dumps(links.peak_of(bench, args.peak_of, args.stations, args.ues)))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(name, Path(folder))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_json(result, args.output)
    for key, goal in GOALS.items():
        word = "reached" if result["ratios"][key] >= goal else "MISSED"
        print(f"{key:14s} {result['ratios'][key]:8.4g}, at least {goal:g}: {word}")
    print(json.dumps(result["ratios"]))


if __name__ == "__main__":
    main()
