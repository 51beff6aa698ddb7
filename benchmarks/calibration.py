"""Calibration on stations whose poses only the judge knows, and a race with the paper's search, in cities that differ.

`python -m benchmarks.calibration` writes results/benchmarks/calibration.json in about 45 minutes; `--quick` asks the
same at smaller sizes, `--cities` of others, as conf/city or Sionna names them. Every campaign is simulated with 6 dB of
shadowing over 40 m, positions off by 12 m an axis and azimuths by 25 degrees; then with azimuths not stated, and all
with several front-to-back ratios. Azimuths are judged at the table's place, positions where masts are moved, and
masts whose tables state them exactly must stay. In the race blocks of UEs are held out: until when does ours rank
their RSSI as well as the paper's search does after 90 evaluations? A race in which ours ends below counts as 0. Both
trace with the same tracer, rays and UEs, on one thread. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from numpy.typing import NDArray
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.defaults import section
from benchmarks.tracing.side_by_side import rounded
from rfloc import calibration
from rfloc.backend import prepare
from rfloc.calibration.paper import paper_search, rank_agreement
from rfloc.city import build_city
from rfloc.config import (
    CalibrationParams,
    CampaignParams,
    CityParams,
    DataParams,
    RadioParams,
    SimulationParams,
    SplitParams,
    check,
    data_root,
    project_root,
)
from rfloc.datasets.hidden import hidden_campaign
from rfloc.frames import wrap_degrees
from rfloc.pipeline.record import revision_of
from rfloc.simulation.maps import gain_at, read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.splits import all_train, make_split
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: What is to be reached: at least, or within.
GOALS: dict[str, tuple[float, float]] = {
    "time_ratio": (10.0, np.inf), "azimuth_gain_deg": (-2.0, np.inf), "sharp_azimuth_deg": (0.0, 10.0),
    "sharp_azimuth_worst_deg": (0.0, 10.0), "coverage_90": (0.85, 0.95), "coverage_50": (0.45, 0.6),
    "position_gain_m": (0.0, np.inf), "exact_moved_m": (0.0, 3.0), "heldout_gain_at_equal_time": (1e-9, np.inf),
}  # fmt: skip
#: Where Sionna's other scene lies, nominally; nothing depends on it.
SCENES = {"etoile": [48.8738, 2.2950]}
FRONT_TO_BACK = (30.0, 12.0, 6.0)
#: An azimuth is told where its posterior is sharper than this [deg]; a campaign's are judged apart from so many on.
SHARP, TOLD = 15.0, 5
HELD_OUT = section(SplitParams, known=0.0, val=0.0)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    seed: int
    stations: int
    ues: int
    moved: int  #: stations of each city whose masts move, and of these so many race
    raced: int
    calls: int  #: evaluations of the paper's search
    traces: int  #: of ours
    samples: int  #: rays a trace


SIZES = {
    "full": Sizes(23, 20, 1500, 5, 2, 90, 12, 300_000),
    "quick": Sizes(17, 6, 800, 3, 1, 30, 8, 100_000),
    "tiny": Sizes(3, 3, 200, 2, 1, 11, 4, 4_000),
}


class World:
    """A city, its simulated campaigns, and what is kept of their rays."""

    def __init__(self, key: str, sizes: Sizes, folder: Path) -> None:
        path = project_root() / "conf" / "city" / f"{key}.yaml"
        known = path.exists() or {"name": key, "source": "sionna", "scene": key, "origin": SCENES[key]}
        params = check(CityParams, yaml.safe_load(path.read_text()) if known is True else known)
        self.city = build_city(key, params, data_root(section(DataParams), project_root()), folder / key)
        self.key, self.sizes, self.cache = key, sizes, folder / "maps"
        self.sim = section(SimulationParams, samples=sizes.samples)
        self.params = section(CalibrationParams, traces=sizes.traces, samples=sizes.samples, min_ues=15)

    def campaign(self, front_to_back: float) -> tuple[xr.Dataset, Stations]:
        campaign = section(CampaignParams, stations=self.sizes.stations, ues=self.sizes.ues)
        radio = section(RadioParams, front_to_back_db=front_to_back)
        links, maps = hidden_campaign(self.city, campaign, self.sim, radio, self.sizes.seed, self.cache)
        return links, Stations.from_dataset(maps)

    def rays(self, front_to_back: float) -> tuple[Plane, Rays]:
        radio = section(RadioParams, front_to_back_db=front_to_back)
        plane = Plane(self.city, self.sim.cell, radio.ue_height)
        return plane, Rays(self.sim, radio, self.sizes.samples, self.sizes.seed + 1)


def credibility(weights: Floats, truth: float) -> float:
    """Posterior mass of azimuths likelier than the truth: it lies in the region of any level above it."""
    there = np.interp(truth, np.arange(360.0), weights, period=360.0)
    return float(weights[weights > there].sum())


def azimuths(world: World, front_to_back: float, stated: str) -> dict[str, Any]:
    """One campaign's azimuths, `stated` within 25 degrees, not, or exactly, judged at the table's place."""
    (links, true), (plane, rays) = world.campaign(front_to_back), world.rays(front_to_back)
    truth, table = true.azimuth, links["bs_azimuth"].values
    table = {"stated": table, "not stated": table * np.nan, "stated exactly": truth}[stated]
    links = links.assign_coords(bs_azimuth=("bs", table))
    split = all_train(links, [], world.sizes.seed)
    start = time.perf_counter()
    found = calibration.calibrate(links, split, plane, rays, world.params, cache=world.cache)
    seconds = (time.perf_counter() - start) / found.nominal.n
    used = sorted(found.facings)
    poses = [found.poses[b] for b in used]
    facings = [(b, found.facings[b]) for b in used if len(found.facings[b].weights)]
    off = [abs(float(wrap_degrees(pose.azimuth - truth[b]))) for b, pose in zip(used, poses, strict=True)]
    return {
        "stated_deg": np.abs(wrap_degrees(table - truth))[used].tolist() if stated == "stated" else [],
        "off_deg": off, "sd_deg": [pose.azimuth_sd for pose in poses],
        "told": [pose.told for pose in poses], "seconds": seconds,
        "credibility": [credibility(f.weights, truth[b]) for b, f in facings],
    }  # fmt: skip


def off_by(name: str, found: Stations, truth: Stations) -> dict[str, float]:
    """How far one pose is off, in metres and in degrees."""
    away, turn = np.hypot(found.x[0] - truth.x[0], found.y[0] - truth.y[0]), found.azimuth[0] - truth.azimuth[0]
    return {f"{name}_m": float(away), f"{name}_deg": float(abs(wrap_degrees(turn)))}


def some(found: calibration.Calibration, n: int) -> calibration.Calibration:
    """A calibration of which only the first n stations may move."""
    return replace(found, facings={b: found.facings[b] for b in sorted(found.facings)[:n]})


def positions(world: World) -> dict[str, Any]:
    """Masts moved by the second step; and where the table states them exactly."""
    (reports, truth), (plane, rays) = world.campaign(FRONT_TO_BACK[0]), world.rays(FRONT_TO_BACK[0])
    nominal, split = Stations.from_dataset(reports), all_train(reports, [], world.sizes.seed)

    def moved(links: Any) -> calibration.Calibration:
        found = calibration.calibrate(links, split, plane, rays, world.params, cache=world.cache)
        return calibration.move(some(found, world.sizes.moved), links, rays, rays, world.params, cache=world.cache)

    found = moved(reports)
    exact = reports.assign_coords(
        bs_x=("bs", truth.x), bs_y=("bs", truth.y), bs_position_error=("bs", np.ones(truth.n))
    )
    stayed = moved(exact)
    searched = {int(b): search for search in found.searches for b in search.members}
    used = sorted(searched)
    away = [np.hypot(searched[b].pose[0] - truth.x[b], searched[b].pose[1] - truth.y[b]) for b in used]
    away = np.array(away) / [searched[b].position_sd for b in used]
    return {
        "stated_m": np.hypot(nominal.x - truth.x, nominal.y - truth.y)[used].tolist(),
        "off_m": np.hypot(found.stations.x - truth.x, found.stations.y - truth.y)[used].tolist(),
        "exact_moved_m": np.hypot(stayed.stations.x - truth.x, stayed.stations.y - truth.y)[used].tolist(),
        "credibility": (1 - np.exp(-(away**2) / 2)).tolist(),
        "seconds": [search.seconds / len(search.members) for search in found.searches],
    }


def races(world: World) -> list[dict[str, Any]]:
    """The paper's search against ours, with blocks of UEs held out; ours stands at the table's place, then moves."""
    (links, truth), (plane, rays) = world.campaign(FRONT_TO_BACK[0]), world.rays(FRONT_TO_BACK[0])
    split = make_split(links, HELD_OUT, world.sizes.seed)
    held_out = split["role"].values == "unknown"
    x, y, rssi = links["ue_x"].values, links["ue_y"].values, links["rssi"].values.astype(float)

    def ranks(of: calibration.Calibration) -> Floats:
        maps = of.maps(trace_maps(plane, of.stations, rays, world.cache, progress=False), plane.city, rays.radio)
        level = read_maps(maps, x, y, rays.radio)
        level = np.where(np.isfinite(rssi), level, np.nan)[held_out]
        pairs = zip(level.T, rssi[held_out].T, strict=True)
        return np.array([float(spearmanr(*pair, nan_policy="omit").statistic) for pair in pairs])

    def rank(pose: Stations, b: int) -> float:
        where = x[held_out], y[held_out]
        gain = gain_at(plane, pose, rays, *where)[0][:, 0]
        return rank_agreement(gain, pose, rssi[held_out, b], *where, rays.radio)

    start = time.perf_counter()
    levels = calibration.calibrate(links, split, plane, rays, world.params, cache=world.cache)
    seconds = (time.perf_counter() - start) / levels.nominal.n
    moved = calibration.move(some(levels, world.sizes.raced), links, rays, rays, world.params)
    took = {int(b): search.seconds / len(search.members) for search in moved.searches for b in search.members}
    train, rows = levels.survey.ues, []
    placed, found, true = ranks(levels), ranks(moved), truth
    for b in sorted(took):
        of = Stations.from_dataset(links).take([b]), rssi[train, b], x[train], y[train]
        paper = paper_search(*of, plane, rays, world.sizes.calls, world.sizes.seed)
        ours = (placed[b], seconds, 1), (found[b], seconds + took[b], world.sizes.traces + 1)
        theirs, whole = rank(paper.pose, b), float(paper.seconds[-1])
        by_then = max(int(np.searchsorted(paper.seconds, ours[1][1])), 1)  # their evaluations in our time
        there = [each for each in ours if each[0] >= theirs] if found[b] >= theirs else []
        rows.append({
            "levels": placed[b], "moved": found[b], "paper": theirs, "truth": rank(true.take([b]), b),
            "paper_at_our_time": rank(paper.poses.take([paper.spearman[:by_then].argmax()]), b),
            "seconds": seconds, "seconds_moved": took[b], "seconds_paper": whole,
            "overhead_s": (whole - paper.tracing) / world.sizes.calls,
            **off_by("paper", paper.pose, true.take([b])), **off_by("ours", moved.stations.take([b]), true.take([b])),
            "time_ratio": whole / there[0][1] if there else 0.0,
            "traces_ratio": world.sizes.calls / there[0][2] if there else 0.0,
        })  # fmt: skip
    return rows


def summary(of: dict[str, dict[str, Any]]) -> tuple[dict[str, float], dict[str, dict[str, dict[str, float]]]]:
    """What the last line says and what the chapter prints (title, row, column), from what was measured of each city."""

    def pooled(name: str, rows: list[dict[str, Any]]) -> Floats:
        return np.concatenate([np.atleast_1d(np.asarray(row[name], float)) for row in rows])

    def middle(values: Floats) -> float:
        return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")

    told: dict[str, dict[str, float]] = {}
    gains, sharp, every = (
        [],
        [],
        [row for city in of.values() for how, row in city["azimuths"].items() if "exactly" not in how],
    )
    for key, city in of.items():
        for how, row in city["azimuths"].items():
            off, sd, cred = (np.array(row[name], float) for name in ("off_deg", "sd_deg", "credibility"))
            table = np.array(row["stated_deg"])
            gains += [middle(table) - middle(off)] if table.size else []
            sharp += [middle(off[sd < SHARP])] if np.sum(sd < SHARP) >= TOLD else []
            row = {
                "stated off by [°]": middle(table), "ours off by [°]": middle(off),
                f"sharper than {SHARP:g}°": float(np.mean(sd < SHARP)), "these off by [°]": middle(off[sd < SHARP]),
                "in 90 %": float(np.mean(cred <= 0.9)), "in 50 %": float(np.mean(cred <= 0.5)),
            }  # fmt: skip
            told[f"{key}, {how}"] = {title: value for title, value in row.items() if np.isfinite(value)}
    off, sd, cred = (pooled(name, every) for name in ("off_deg", "sd_deg", "credibility"))
    exact = [row for city in of.values() for how, row in city["azimuths"].items() if how.endswith("exactly")]
    moves, raced = [city["positions"] for city in of.values()], [row for city in of.values() for row in city["races"]]
    gain = np.array([row["moved"] - row["paper_at_our_time"] for row in raced])
    redrawn = gain[np.random.default_rng(0).integers(len(gain), size=(2000, len(gain)))].mean(axis=1)
    low, high = np.quantile(redrawn, [0.025, 0.975])
    found = {
        "azimuth_gain_deg": float(min(gains)), "azimuth_stated_kept": float(np.mean(pooled("off_deg", exact) <= SHARP)),
        "sharp_azimuth_deg": middle(off[sd < SHARP]),
        "sharp_azimuth_worst_deg": max(sharp, default=middle(off[sd < SHARP])),
        "azimuth_within_10deg": float(np.mean(off <= 10.0)),
        "coverage_90": float(np.mean(cred <= 0.9)), "coverage_50": float(np.mean(cred <= 0.5)),
        "position_within_15m": float(np.mean(pooled("off_m", moves) <= 15.0)),
        "position_gain_m": float(min(middle(pooled("stated_m", [m])) - middle(pooled("off_m", [m])) for m in moves)),
        "position_coverage_90": float(np.mean(pooled("credibility", moves) <= 0.9)),
        "position_coverage_50": float(np.mean(pooled("credibility", moves) <= 0.5)),
        "exact_moved_m": float(pooled("exact_moved_m", moves).max()),
        "time_ratio": middle(pooled("time_ratio", raced)), "traces_ratio": middle(pooled("traces_ratio", raced)),
        "races_reached": float(np.mean(pooled("time_ratio", raced) > 0)),
        "heldout_spearman_levels": float(pooled("levels", raced).mean()),
        "heldout_spearman_ours": float(pooled("moved", raced).mean()),
        "heldout_spearman_paper": float(pooled("paper", raced).mean()),
        "heldout_spearman_truth": float(pooled("truth", raced).mean()),
        "heldout_gain_at_equal_time": float(gain.mean()), "heldout_gain_low": float(low),
        "heldout_gain_high": float(high), "skopt_overhead_s": middle(pooled("overhead_s", raced)),
        "paper_azimuth_deg": middle(pooled("paper_deg", raced)), "paper_position_m": middle(pooled("paper_m", raced)),
        "seconds_levels": middle(pooled("seconds", raced)), "seconds_moved": middle(pooled("seconds_moved", raced)),
        "seconds_paper": middle(pooled("seconds_paper", raced)),
    }  # fmt: skip
    places = {
        key: {
            "stated off by [m]": middle(pooled("stated_m", [city["positions"]])),
            "moved off by [m]": middle(pooled("off_m", [city["positions"]])),
            "in 90 %": float(np.mean(pooled("credibility", [city["positions"]]) <= 0.9)),
            "in 50 %": float(np.mean(pooled("credibility", [city["positions"]]) <= 0.5)),
            "exact ones moved by, at most [m]": float(pooled("exact_moved_m", [city["positions"]]).max()),
        }
        for key, city in of.items()
    }
    columns = {
        "levels, at its place": "levels", "moved where it pays": "moved", "paper's in that time": "paper_at_our_time",
        "paper's search": "paper", "true poses": "truth",
    }  # fmt: skip
    race = {
        key: {title: float(pooled(name, city["races"]).mean()) for title, name in columns.items()}
        for key, city in of.items()
        if city["races"]
    }
    units = {"m": "off by [m]", "deg": "off by [°]"}
    poses = {
        f"{key}, {title}": {units[u]: middle(pooled(f"{name}_{u}", city["races"])) for u in units}
        for key, city in of.items()
        for title, name in {"ours": "ours", "paper's search": "paper"}.items()
        if city["races"]
    }
    cost = {"levels, at its place": "seconds_levels", "moving": "seconds_moved", "paper's search": "seconds_paper"}
    return found, {
        "azimuths": told, "positions": places, "held-out ρ with RSSI": race, "poses of stations that raced": poses,
        "median time a station [s]": {title: {"seconds": found[name]} for title, name in cost.items()},
    }  # fmt: skip


@threadpool_limits.wrap(limits=1)
def measure(cities: list[str], sizes: Sizes, folder: Path, output: Path) -> dict[str, float]:
    """Write the tables after each city, with those that went before; what the last line says of all."""
    backend, of, found = prepare(), {}, {}
    revision, dirty = revision_of(project_root())
    packages = [f"{p} {version(p)}" for p in ("sionna-rt", "scikit-optimize", "scikit-learn", "numpy")]
    told = {"revision": {"commit": revision, "dirty": dirty}, "sizes": asdict(sizes)}
    machine = ", ".join([f"{os.cpu_count()} cores", f"{backend.kind} {backend.version}", *packages])
    for key in cities:
        start, world = time.perf_counter(), World(key, sizes, folder)
        of[key] = {
            "azimuths": {
                f"{ratio:g} dB, {stated}": azimuths(world, ratio, stated)
                for ratio in FRONT_TO_BACK
                for stated in ("stated", "not stated", "stated exactly")
                if stated != "stated exactly" or ratio == FRONT_TO_BACK[-1]  # where least tells
            },
            "positions": positions(world),
            "races": races(world),
        }
        print(f"  {key}: {time.perf_counter() - start:.0f} s", flush=True)
        found, tables = summary(of)
        save(rounded(told | {"cities": list(of), "tables": tables, "machine": machine}), output)
    return found


def save(result: dict[str, Any], path: Path) -> None:
    """A row of a table is a line of the file."""
    text = json.dumps(result, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"\{[^{}]*\}", lambda inner: " ".join(inner.group().split()), text) + "\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, some minutes")
    parser.add_argument("--cities", default="munich,florence,etoile,rome", help="names, comma between (%(default)s)")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "calibration.json")
    parser.add_argument("--sizes", choices=SIZES, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    cities, sizes = args.cities.split(","), SIZES[args.sizes or ("quick" if args.quick else "full")]
    with tempfile.TemporaryDirectory() as folder:
        found = rounded(measure(cities, sizes, Path(folder), args.output))
    for key, (low, high) in GOALS.items():
        value = found[key]
        print(f"{key:26s} {value:8.4g}, wanted {low:g} to {high:g}: {'reached' if low <= value <= high else 'MISSED'}")
    print(json.dumps(found | {"cities": cities}))


if __name__ == "__main__":
    main()
