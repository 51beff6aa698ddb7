"""Both searches on one station: how far from the truth, how long, how many traces, and what held-out UEs say."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.posing.world import KnownTruth
from rfloc.calibration.candidates import direct_line_db
from rfloc.calibration.paper import PaperFit, paper_search, rank_agreement
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


def search(world: KnownTruth, b: int) -> tuple[SiteFit, Clock, float]:
    """Our search of one station, its clock, and the seconds that it took."""
    clock = Clock(world.tracer(b), world.train)
    fit = search_site(world.site(b), clock.tracer.city, clock, world.params, world.sizes.seed)
    return fit, clock, time.perf_counter() - clock.start


def ours(world: KnownTruth, b: int) -> dict[str, Any]:
    """How near to the truth our search comes, and how sure it says it is."""
    truth, (fit, _, seconds) = world.truth.take([b]), search(world, b)
    azimuth = float(fit.site.fine[0].turns.azimuth[fit.solved()[0].best])
    x, y, _ = fit.mean()
    mean = fit.pose().replace(x=[x], y=[y])
    return {
        "off": off(fit.pose(), truth, azimuth), "mean_off_m": off(mean, truth, azimuth)["position_m"],
        "position_sd_m": float(np.hypot(*fit.sd()[:2]) / np.sqrt(2)), "credibility": credibility(world, fit, b),
        "seconds": seconds, "traces": len(fit.traced), "ues": world.reports(b).n,
    }  # fmt: skip


def credibility(world: KnownTruth, fit: SiteFit, b: int) -> float:
    """Posterior mass of poses that are likelier than the truth: the truth lies in the region of any level above it."""
    truth = world.truth.take([b])
    direct = direct_line_db(world.tracer(b).city, truth, fit.site.x, fit.site.y, fit.site.radio)[0]
    cheap = np.append(fit.cheap, fit.site.log_evidence(truth, direct, fine=False))
    points = np.column_stack([np.append(getattr(fit.cloud, c), getattr(truth, c)) for c in "xyh"])
    model = surrogate(points, cheap, np.array(fit.traced), fit.evidence, world.sizes.seed)
    weights = weights_of(model, points)[:-1]
    return float(weights[model.mean[:-1] > model.mean[-1]].sum() / weights.sum())


def search_as_paper(world: KnownTruth, b: int, calls: int) -> tuple[PaperFit, Clock]:
    """The paper's search of one station, with the same rays and UEs, and its clock."""
    clock, train = Clock(world.tracer(b), world.train), world.train
    rssi, where = world.rssi(b)[train], (world.x[train], world.y[train])
    return paper_search(world.nominal.take([b]), rssi, *where, clock, world.radio, calls, world.sizes.seed), clock


def paper(world: KnownTruth, b: int, calls: int) -> dict[str, Any]:
    """How near to the truth the paper's search comes, and what its time goes to."""
    found, _ = search_as_paper(world, b, calls)
    return of_paper(world, b, found)


def of_paper(world: KnownTruth, b: int, found: PaperFit) -> dict[str, Any]:
    """What the paper's search amounts to."""
    seconds, calls = float(found.seconds[-1]), len(found.seconds)
    return {
        "off": off(found.pose, world.truth.take([b]), float(found.pose.azimuth[0])), "seconds": seconds,
        "tracing_s": found.tracing, "overhead_s_a_call": (seconds - found.tracing) / calls, "calls": calls,
    }  # fmt: skip


def race(world: KnownTruth, b: int, calls: int) -> dict[str, Any]:
    """Time and traces until our search is where the paper's is in the end, on three finish lines.

    Finish lines: the correlation of RSSI on training UEs, which the paper's search maximises, the one on UEs held out,
    and the distance from the truth. Where ours never gets there, time and traces are those of the whole search, and
    `reached` is false. `paper_at_our_time` is the held-out correlation of the pose that leads the paper's search when
    ours is done.
    """
    fit, clock, seconds = search(world, b)
    found, their_clock = search_as_paper(world, b, calls)
    lead = np.maximum.accumulate(found.spearman)
    leaders = [int(np.flatnonzero(found.spearman == best)[0]) for best in lead]
    theirs = {
        "train": lead, "held_out": np.array([held_out_agreement(world, b, their_clock, k) for k in leaders]),
        "position": np.array([-distance(world, b, their_clock.poses[k]) for k in leaders]),
    }  # fmt: skip
    led = [fit.traced.index(candidate) for candidate in fit.history]
    mine = {
        "train": np.array([agreement(world, fit, clock, k, b, world.train) for k in led]),
        "held_out": np.array([agreement(world, fit, clock, k, b, world.held_out) for k in led]),
        "position": np.array([-distance(world, b, clock.poses[k]) for k in led]),
    }
    done = max(int(np.searchsorted(found.seconds, seconds)) - 1, 0)
    row: dict[str, Any] = {
        "paper": of_paper(world, b, found) | _course(found.seconds.tolist(), theirs),
        "ours": {"seconds": seconds} | _course(clock.finished, mine),
        "heldout_spearman": agreement(world, fit, clock, fit.traced.index(fit.chosen), b, world.held_out),
        "paper_at_our_time": float(theirs["held_out"][done]), "ceiling": ceiling(world, b),
    }  # fmt: skip
    for part, course in theirs.items():
        reached = np.flatnonzero(mine[part] >= course[-1])
        k = int(reached[0]) if reached.size else len(led) - 1
        needed = clock.finished[k] if reached.size else seconds
        row[part] = {
            "reached": bool(reached.size), "traces": k + 1, "seconds": needed,
            "time_ratio": float(found.seconds[-1]) / needed, "traces_ratio": calls / (k + 1),
        }  # fmt: skip
    return row


def _course(finished: list[float], lines: dict[str, Floats]) -> dict[str, Any]:
    """When traces were done, and where the pose that then led stands on each finish line."""
    return {"finished": finished, "course": {line: values.tolist() for line, values in lines.items()}}


def distance(world: KnownTruth, b: int, pose: Stations) -> float:
    """How far a pose stands from the truth [m]."""
    return float(np.hypot(pose.x[0] - world.truth.x[b], pose.y[0] - world.truth.y[b]))


def agreement(world: KnownTruth, fit: SiteFit, clock: Clock, k: int, b: int, which: NDArray[np.bool_]) -> float:
    """Spearman's correlation of RSSI with the k-th traced candidate's levels, as they are solved."""
    pose, gain = fit.cloud.take([fit.traced[k]]), clock.gains[k]
    solved = fit.site.solve(pose, gain[world.train])[0]
    turns, best = fit.site.fine[0].turns, solved.best
    at = pose.replace(azimuth=[turns.azimuth[best]])
    radio = world.radio.model_copy(update={"downtilt": float(turns.tilt[best])})
    x, y = world.x[which], world.y[which]
    level = gain[which] + solved.slope[best] * decades_db(pose, x, y, radio.ue_height)[:, 0]
    return rank_agreement(level, at, world.rssi(b)[which], x, y, radio)


def held_out_agreement(world: KnownTruth, b: int, clock: Clock, k: int) -> float:
    """Spearman's correlation of held-out RSSI with the k-th pose that was traced."""
    which = world.held_out
    where = world.x[which], world.y[which]
    return rank_agreement(clock.gains[k][which], clock.poses[k], world.rssi(b)[which], *where, world.radio)


def ceiling(world: KnownTruth, b: int) -> float:
    """Held-out correlation of the true pose, rays of the searches."""
    clock = Clock(world.tracer(b), world.train)
    clock(world.truth.take([b]))
    return held_out_agreement(world, b, clock, 0)
