"""Both searches on one station: how far from the truth, how long, how many traces, and what held-out UEs say."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.posing.world import KnownTruth
from rfloc.calibration.candidates import Site
from rfloc.calibration.likelihood import StationLikelihood, corrected_db
from rfloc.calibration.paper import PaperFit, paper_search, rank_agreement
from rfloc.calibration.site import SiteSearch, azimuth_posterior, search_site
from rfloc.calibration.tracing import Tracer
from rfloc.config import RadioParams
from rfloc.datasets.statistical import decades_db
from rfloc.frames import wrap_degrees
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: What a region is stated for.
LEVEL = 0.9


@dataclass
class Clock:
    """Traces a pose to the training UEs, and notes poses, gains at all UEs, when it was asked, and what was known then.

    Of our search, `site` is what it learns about; `likelihoods` are those that it had when it asked.
    """

    tracer: Tracer
    train: NDArray[np.bool_]
    site: Site | None = None
    start: float = field(default_factory=time.perf_counter)
    asked: list[float] = field(default_factory=list)
    poses: list[Stations] = field(default_factory=list)
    gains: list[Floats] = field(default_factory=list)
    likelihoods: list[list[StationLikelihood]] = field(default_factory=list)

    def __call__(self, pose: Stations) -> Floats:
        self.asked.append(time.perf_counter() - self.start)
        gain = self.tracer(pose)
        self.poses.append(pose)
        self.gains.append(gain)
        if self.site is not None:
            self.likelihoods.append(list(self.site.likelihoods))
        return gain[self.train]

    def judged(self, end: float) -> Floats:
        """When each trace had been made use of, (trace,) [s]: as the next was asked for, the last at the `end`."""
        return np.array([*self.asked[1:], end])


def pose_of(stations: Stations, b: int) -> Floats:
    """Position and height of a station, (3,) [m]."""
    return np.array([stations.x[b], stations.y[b], stations.h[b]])


def distance(world: KnownTruth, b: int, pose: Stations) -> float:
    """How far a pose stands from the truth [m]."""
    return float(np.hypot(pose.x[0] - world.truth.x[b], pose.y[0] - world.truth.y[b]))


def off(world: KnownTruth, b: int, pose: Stations, azimuth: float) -> dict[str, float]:
    """How far a pose is from the truth."""
    return {
        "position_m": distance(world, b, pose),
        "azimuth_deg": float(abs(wrap_degrees(azimuth - world.truth.azimuth[b]))),
    }


def search(world: KnownTruth, b: int, stated: bool = False) -> tuple[SiteSearch, Clock, float]:
    """Our search of one station, its clock, and the seconds that it took; `stated`: its table says how sure it is."""
    site = world.site(b, stated)
    clock = Clock(world.tracer(b), world.train, site)
    fit = search_site(site, world.plane.city, clock, world.sizes.seed)
    return fit, clock, time.perf_counter() - clock.start


def ours(world: KnownTruth, b: int, stated: bool = False) -> dict[str, Any]:
    """How near to the truth our search comes, and how sure it says it is."""
    fit, _, _ = search(world, b, stated)
    azimuth = azimuth_posterior(fit.solved()[0], fit.site.fine[0]).azimuth
    return {"off": off(world, b, fit.site.at(fit.pose), azimuth), "credibility": credibility(world, fit, b)}


def credibility(world: KnownTruth, fit: SiteSearch, b: int) -> float:
    """Posterior mass of poses that are likelier than the truth: the truth lies in the region of any level above it."""
    truth = pose_of(world.truth, b)
    direct = fit.site.direct_line_db(world.plane.city, truth[None])[0]
    cheap = np.append(fit.cheap, fit.site.log_evidence(truth, direct, fine=False))
    poses = np.vstack([fit.cloud, truth])
    model = fit.stated(poses, cheap)
    weights = model.weights(poses)[:-1]
    return float(weights[model.mean[:-1] > model.mean[-1]].sum() / weights.sum())


def search_as_paper(world: KnownTruth, b: int, calls: int) -> tuple[PaperFit, Clock]:
    """The paper's search of one station, with the same rays and UEs, and its clock."""
    clock, train = Clock(world.tracer(b), world.train), world.train
    rssi, where = world.rssi(b)[train], (world.x[train], world.y[train])
    return paper_search(world.nominal.take([b]), rssi, *where, clock, world.radio, calls, world.sizes.seed), clock


def of_paper(world: KnownTruth, b: int, found: PaperFit) -> dict[str, Any]:
    """How near to the truth the paper's search comes, and what its time goes to."""
    seconds, calls = float(found.seconds[-1]), len(found.seconds)
    return {
        "off": off(world, b, found.pose, float(found.pose.azimuth[0])), "seconds": seconds,
        "tracing_s": found.tracing, "overhead_s_a_call": (seconds - found.tracing) / calls, "calls": calls,
    }  # fmt: skip


def race(world: KnownTruth, b: int, calls: int) -> dict[str, Any]:
    """Time and traces until our search ranks UEs as well as the paper's does in the end, held-out and training ones.

    Ours is there from the trace on from which its leading pose stays as good as the paper's last. The paper's search is
    charged with all its evaluations, which it was given; `paper_settled` are those until its last leader was found.
    `paper_at_our_time` is what leads the paper's search when ours is done.
    """
    fit, clock, seconds = search(world, b)
    found, their_clock = search_as_paper(world, b, calls)
    lead = np.maximum.accumulate(found.spearman)
    leaders = [int(np.flatnonzero(found.spearman == best)[0]) for best in lead]
    held_out = [agreement(world, b, their_clock.gains[k], their_clock.poses[k])["held_out"] for k in leaders]
    theirs = {"held_out": held_out, "train": lead.tolist()}
    led = [fit.traced.index(candidate) for candidate in [*fit.history[:-1], fit.chosen]]
    scores = [our_agreement(world, b, fit, clock, k, at) for at, k in enumerate(led)]
    mine = {part: [score[part] for score in scores] for part in theirs}
    finished = clock.judged(seconds)
    settled, done = leaders.index(leaders[-1]), max(int(np.searchsorted(found.seconds, seconds)) - 1, 0)
    row: dict[str, Any] = {
        "ours": {"seconds": seconds, "finished": finished.tolist(), "course": mine,
                 "position_m": distance(world, b, fit.site.at(fit.pose))},
        "paper": of_paper(world, b, found) | {"finished": found.seconds.tolist(), "course": theirs},
        "nominal_position_m": distance(world, b, world.nominal.take([b])),
        "paper_settled": {"seconds": float(found.seconds[settled]), "traces": settled + 1},
        "paper_at_our_time": {part: course[done] for part, course in theirs.items()},
        "truth": agreement(world, b, world.tracer(b)(world.truth.take([b])), world.truth.take([b])),
    }  # fmt: skip
    for part, course in theirs.items():
        short = np.flatnonzero(np.array(mine[part]) < course[-1])
        k = int(short[-1]) + 1 if short.size else 0
        reached = k < len(led)
        row[part] = {
            "reached": reached, "traces": k + 1 if reached else None,
            "seconds": float(finished[k]) if reached else None,
            "time_ratio": float(found.seconds[-1] / finished[k]) if reached else 0.0,
            "traces_ratio": calls / (k + 1) if reached else 0.0,
        }  # fmt: skip
    return row


def agreement(
    world: KnownTruth, b: int, level_db: Floats, pose: Stations, radio: RadioParams | None = None
) -> dict[str, float]:
    """Spearman's correlation of RSSI with what a pose's antenna makes of levels [dB], on held-out and training UEs."""
    found = {}
    for part, which in (("held_out", world.held_out), ("train", world.train)):
        where = world.x[which], world.y[which]
        found[part] = rank_agreement(level_db[which], pose, world.rssi(b)[which], *where, radio or world.radio)
    return found


def our_agreement(world: KnownTruth, b: int, fit: SiteSearch, clock: Clock, k: int, at: int) -> dict[str, float]:
    """The same of the k-th traced candidate's levels, as they were solved after trace `at`."""
    site, pose, gain = copy(fit.site), fit.cloud[fit.traced[k]], clock.gains[k]
    site.likelihoods = clock.likelihoods[at]
    solved, tried = site.solve(pose, gain[world.train], censored=True)[0], site.fine[0]
    facing, station = azimuth_posterior(solved, tried), site.at(pose)
    radio = world.radio.model_copy(update={"downtilt": float(tried.tilt[facing.best])})
    decades = decades_db(station, world.x, world.y, radio.ue_height)[:, 0]
    level = corrected_db(gain, decades, solved.slope[facing.best], solved.contrast[facing.best])
    return agreement(world, b, level, station.replace(azimuth=[facing.azimuth]), radio)


def levels_of_truth(world: KnownTruth, b: int) -> dict[str, float]:
    """Errors of power offset [dB], slope and contrast as solved at the true pose, without silence and with it."""
    truth, site, pose = world.truth.take([b]), world.site(b), pose_of(world.truth, b)
    gain, tried = world.tracer(b)(truth)[world.train], site.fine[0]
    site.learn_correlation(pose, gain)
    away = np.abs(wrap_degrees(tried.azimuth - truth.azimuth[0]))
    k = int(np.lexsort((np.abs(tried.tilt - world.radio.downtilt), away))[0])
    found = {}
    for name, censored in (("reports", False), ("silence", True)):
        solved = site.solve(pose, gain, censored=censored)[0]
        found[f"offset_db_{name}"] = float(solved.offset_db[k] - (truth.power[0] - world.nominal.power[b]))
        found[f"slope_{name}"] = float(solved.slope[k])
        found[f"contrast_{name}"] = float(solved.contrast[k])
    return found
