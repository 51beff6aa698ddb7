"""Both searches on one station: how far from the truth, how long, how many traces, and what held-out UEs say."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.posing.world import KnownTruth
from rfloc.calibration.candidates import direct_line_db
from rfloc.calibration.paper import paper_search, rank_agreement
from rfloc.calibration.site import SiteFit, search_site
from rfloc.calibration.surrogate import surrogate, weights_of
from rfloc.calibration.tracing import Tracer
from rfloc.frames import wrap_degrees
from rfloc.simulation.stations import Stations
from rfloc.simulation.statistical import decades_db

Floats = NDArray[np.float64]

#: What a region is stated for.
LEVEL = 0.9


@dataclass
class Clock:
    """Traces a pose to the training UEs, keeps poses and their gains at all UEs, and says when each was done."""

    tracer: Tracer
    train: NDArray[np.bool_]
    start: float = field(default_factory=time.perf_counter)
    finished: list[float] = field(default_factory=list)
    poses: list[Stations] = field(default_factory=list)
    gains: list[Floats] = field(default_factory=list)

    def __call__(self, pose: Stations) -> Floats:
        gain = self.tracer(pose)
        self.poses.append(pose)
        self.gains.append(gain)
        self.finished.append(time.perf_counter() - self.start)
        return gain[self.train]


def off(pose: Stations, truth: Stations, azimuth: float) -> dict[str, float]:
    """How far a pose is from the truth."""
    return {
        "position_m": float(np.hypot(pose.x[0] - truth.x[0], pose.y[0] - truth.y[0])),
        "height_m": float(abs(pose.h[0] - truth.h[0])),
        "azimuth_deg": float(abs(wrap_degrees(azimuth - truth.azimuth[0]))),
    }


def ours(world: KnownTruth, b: int) -> dict[str, Any]:
    """Our search of one station."""
    truth, site = world.truth.take([b]), world.site(b)
    clock = Clock(world.tracer(b), world.train)
    fit = search_site(site, clock.tracer.city, clock, world.params, world.sizes.seed)
    seconds = time.perf_counter() - clock.start
    solved = fit.solved()[0]
    azimuth = float(site.fine[0].turns.azimuth[solved.best])
    x, y, _ = fit.mean()
    mean = fit.pose().replace(x=[x], y=[y])
    rssi = world.links["rssi"].values[:, b].astype(float)
    led = [fit.traced.index(candidate) for candidate in fit.history]
    course = {
        part: [agreement(world, fit, clock, k, rssi, which) for k in led]
        for part, which in (("train", world.train), ("held_out", world.held_out))
    }
    return {
        "off": off(fit.pose(), truth, azimuth), "mean_off_m": off(mean, truth, azimuth)["position_m"],
        "position_sd_m": float(np.hypot(*fit.sd()[:2]) / np.sqrt(2)), "credibility": credibility(world, fit, b),
        "seconds": seconds, "finished": clock.finished, "course": course,
        "heldout_spearman": agreement(world, fit, clock, fit.traced.index(fit.chosen), rssi, world.held_out),
        "traces": len(fit.traced), "ues": world.reports(b).n,
    }  # fmt: skip


def agreement(world: KnownTruth, fit: SiteFit, clock: Clock, k: int, rssi: Floats, which: NDArray[np.bool_]) -> float:
    """Spearman's correlation of RSSI with the k-th traced candidate's levels, as they are solved."""
    pose, gain = fit.cloud.take([fit.traced[k]]), clock.gains[k]
    solved = fit.site.solve(pose, gain[world.train])[0]
    turns, best = fit.site.fine[0].turns, solved.best
    at = pose.replace(azimuth=[turns.azimuth[best]])
    radio = world.radio.model_copy(update={"downtilt": float(turns.tilt[best])})
    x, y = world.x[which], world.y[which]
    level = gain[which] + solved.slope[best] * decades_db(pose, x, y, radio.ue_height)[:, 0]
    return rank_agreement(level, at, rssi[which], x, y, radio)


def credibility(world: KnownTruth, fit: SiteFit, b: int) -> float:
    """Posterior mass of poses that are likelier than the truth: the truth lies in the region of any level above it."""
    truth = world.truth.take([b])
    direct = direct_line_db(world.tracer(b).city, truth, fit.site.x, fit.site.y, fit.site.radio)[0]
    cheap = np.append(fit.cheap, fit.site.log_evidence(truth, direct, fine=False))
    points = np.column_stack([np.append(getattr(fit.cloud, c), getattr(truth, c)) for c in "xyh"])
    model = surrogate(points, cheap, np.array(fit.traced), fit.evidence, world.sizes.seed)
    weights = weights_of(model, points)[:-1]
    return float(weights[model.mean[:-1] > model.mean[-1]].sum() / weights.sum())


def paper(world: KnownTruth, b: int, calls: int) -> dict[str, Any]:
    """The paper's search of one station, with the same rays."""
    truth, clock = world.truth.take([b]), Clock(world.tracer(b), world.train)
    rssi = world.links["rssi"].values[:, b].astype(float)
    train, held_out = world.train, world.held_out
    where = world.x[held_out], world.y[held_out]
    found = paper_search(
        world.nominal.take([b]), rssi[train], world.x[train], world.y[train], clock, world.radio, calls,
        world.sizes.seed,
    )  # fmt: skip
    lead = np.maximum.accumulate(found.spearman)
    course = [
        rank_agreement(clock.gains[k][held_out], clock.poses[k], rssi[held_out], *where, world.radio)
        for k in (int(np.flatnonzero(found.spearman == best)[0]) for best in lead)
    ]
    return {
        "off": off(found.pose, truth, float(found.pose.azimuth[0])), "seconds": float(found.seconds[-1]),
        "tracing_s": found.tracing, "overhead_s_a_call": (float(found.seconds[-1]) - found.tracing) / calls,
        "train_spearman": float(found.spearman.max()), "heldout_spearman": course[-1], "calls": calls,
        "finished": found.seconds.tolist(), "course": {"train": lead.tolist(), "held_out": course},
    }  # fmt: skip


def race(world: KnownTruth, b: int, mine: dict[str, Any], calls: int) -> dict[str, Any]:
    """Time and traces until our search ranks UEs as well as the paper's does in the end, training and held-out ones.

    Where it never does, time and traces are those of our whole search, and `reached` is false. `paper_at_our_time` is
    the held-out correlation of the pose that led the paper's search when ours was done.
    """
    theirs = paper(world, b, calls)
    done = int(np.searchsorted(theirs["finished"], mine["seconds"]))
    found: dict[str, Any] = {"paper": theirs, "paper_at_our_time": theirs["course"]["held_out"][max(done - 1, 0)]}
    for part, goal in (("train", theirs["train_spearman"]), ("held_out", theirs["heldout_spearman"])):
        reached = np.flatnonzero(np.array(mine["course"][part]) >= goal)
        k = int(reached[0]) if reached.size else mine["traces"] - 1
        seconds = mine["finished"][k] if reached.size else mine["seconds"]
        found[part] = {
            "reached": bool(reached.size), "traces": k + 1, "seconds": seconds,
            "time_ratio": theirs["seconds"] / seconds, "traces_ratio": calls / (k + 1),
        }  # fmt: skip
    return found


def ceiling(world: KnownTruth, b: int) -> float:
    """Held-out correlation of the true pose, rays of the searches: no pose can be expected to do better."""
    truth = world.truth.take([b])
    rssi, which = world.links["rssi"].values[:, b].astype(float), world.held_out
    gain = world.tracer(b)(truth)
    return rank_agreement(gain[which], truth, rssi[which], world.x[which], world.y[which], world.radio)
