"""Every site of a campaign calibrated, in parallel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.calibration.candidates import Site
from rfloc.calibration.likelihood import FLOOR_DB, Solved
from rfloc.calibration.poses import Calibration, SectorPose, SiteResult
from rfloc.calibration.reports import Reports, reports_of, sites_of
from rfloc.calibration.site import NOMINAL, AzimuthPosterior, azimuth_posterior, search_site
from rfloc.calibration.tracing import Tracer
from rfloc.config import CalibrationParams, EngineParams
from rfloc.errors import CalibrationError
from rfloc.files import say
from rfloc.simulation.many import each
from rfloc.simulation.plane import Plane, Rays
from rfloc.splits import leakage_report
from rfloc.stations import Stations

Floats = NDArray[np.float64]


def calibrate(
    links: xr.Dataset, split: xr.Dataset, plane: Plane, rays: Rays, params: CalibrationParams,
    engine: EngineParams | None = None, kept: Path | None = None,
) -> Calibration:  # fmt: skip
    """Find position, height, azimuth, downtilt and levels of every station from what training UEs reported.

    Sites are searched one by one (:func:`rfloc.calibration.site.search_site`), in parallel where there is an engine;
    sectors of one site share its position and height. A run that was interrupted finds what it traced in the folder
    `kept`. The stations of `links` are nominal; `bs_position_error` [m], where it is finite, is a prior of their
    positions, but not where positions were estimated: that error came of the very levels that are judged here.

    Raises CalibrationError if no station can be calibrated, SimulationError naming the site whose search failed on a
    worker, SplitError if the split is not of these links, or leaks.
    """
    leakage_report(split, links)
    nominal = Stations.from_dataset(links)
    role, heard = split["role"].values.astype(str), links["heard"].values
    x, y = links["ue_x"].values, links["ue_y"].values
    train = (role == "train") & plane.in_the_open(x, y)
    counts = np.stack([heard[which].sum(axis=0) for which in (train, np.isin(role, ("known", "unknown")))], axis=1)
    reports = reports_of(links, train, rays.radio, rays.seed)
    x, y = x[train], y[train]
    skipped: dict[int, str] = {}
    jobs = []
    for members in sites_of(nominal):
        for b in members:
            if counts[b, 0] < params.min_ues:
                skipped[int(b)] = f"heard by {counts[b, 0]} training UEs, fewer than {params.min_ues}"
            elif np.ptp(reports[b].gain_db) == 0:
                skipped[int(b)] = f"its level is the same at all {counts[b, 0]} training UEs"
        usable = np.array([b for b in members if int(b) not in skipped], np.intp)
        if usable.size:
            prior = _position_sd(links, int(usable[0]), params)
            given = usable, nominal.take(usable), [reports[b] for b in usable], x, y
            jobs.append((*given, plane, rays, params, prior, kept))
    names = ["+".join(job[1].id.tolist()) for job in jobs]
    done: dict[int, SiteResult] = {}
    for k, result in each(fit_site, jobs, [f"the search of {name}" for name in names], engine):
        done[k], pose = result, result.poses[0]
        moved = np.hypot(pose.x - jobs[k][1].x[0], pose.y - jobs[k][1].y[0])
        told = pose.reason or f"moved {moved:.0f} m, h {pose.h:.0f} m"
        say(f"site {len(done)}/{len(jobs)} {names[k]}: {pose.traces} traces in {result.seconds:.0f} s, {told}")
    sites = [done[k] for k in sorted(done)]
    poses = [SectorPose.nominal(nominal, b, rays.radio, skipped.get(b, "")) for b in range(nominal.n)]
    unmoved = list(poses)
    for site in sites:
        for b, pose, stayed in zip(site.members, site.poses, site.unmoved, strict=True):
            poses[b], unmoved[b] = pose, stayed
    if all(pose.reason for pose in poses):
        raise CalibrationError(
            f"none of {nominal.n} stations can be calibrated",
            "; ".join(f"{name}: {pose.reason}" for name, pose in zip(nominal.id, poses, strict=True)),
            "take more training UEs, or lower calibration.min_ues",
        )
    return Calibration(nominal, poses, unmoved, sites, train, counts)


def _position_sd(links: xr.Dataset, b: int, params: CalibrationParams) -> float | None:
    """Standard deviation of a position [m]: what its table states, else what the parameters do."""
    at = links.isel(bs=b)
    estimated = "bs_position_source" in at.variables and str(at["bs_position_source"].values) == "estimated"
    stated = float(at["bs_position_error"]) if "bs_position_error" in at.variables and not estimated else np.nan
    return stated if np.isfinite(stated) else params.position_sd


def fit_site(
    members: NDArray[np.intp], nominal: Stations, reports: Sequence[Reports], x: Floats, y: Floats, plane: Plane,
    rays: Rays, params: CalibrationParams, position_sd: float | None, kept: Path | None,
) -> SiteResult:  # fmt: skip
    """Search one site, here and now; arguments as of :class:`~rfloc.calibration.candidates.Site`."""
    start = time.perf_counter()
    site = Site(nominal, reports, x, y, rays.radio, params, position_sd)
    trace = Tracer(plane, rays, x, y, kept)
    fit = search_site(site, plane.city, trace, rays.seed)
    reached = any((gain[report.ue] > FLOOR_DB).any() for gain in fit.gains for report in site.reports)
    seconds = time.perf_counter() - start + trace.saved_s
    if not reached:
        reason = "no ray of any candidate reaches a training UE that heard it"
        rows = [SectorPose.nominal(nominal, k, rays.radio, reason) for k in range(nominal.n)]
        return SiteResult(members, rows, rows, np.empty((0, 3)), np.empty(0), [], [], seconds)
    candidates, mean, sd = fit.posterior()
    poses, unmoved, azimuths, weights = [], [], [], []
    for k, (solved, stayed) in enumerate(zip(fit.solved(), fit.solved(NOMINAL), strict=True)):
        pose, facing = _levels(site, k, fit.pose, solved)
        sure: dict[str, Any] = {
            "white": site.likelihoods[k].white, "decorrelation": site.likelihoods[k].distance,
            "missed": site.reports[k].missed, "azimuth_sd": facing.sd,
            **dict(zip(("x_mean", "y_mean", "h_mean", "h_sd"), map(float, (*mean, sd[2])), strict=True)),
            "position_sd": float(np.hypot(sd[0], sd[1]) / np.sqrt(2.0)),
            "traces": len(fit.traced), "traced_now": trace.computed,
        }  # fmt: skip
        poses.append(replace(pose, **sure))
        unmoved.append(replace(_levels(site, k, fit.cloud[NOMINAL], stayed)[0], **sure))
        azimuths.append(facing.azimuths)
        weights.append(facing.weights)
    return SiteResult(members, poses, unmoved, fit.cloud, candidates, azimuths, weights, seconds)


def _levels(site: Site, k: int, pose: Floats, solved: Solved) -> tuple[SectorPose, AzimuthPosterior]:
    """What was solved for sector `k` of a site at a pose, (3,)."""
    facing, (x, y, h) = azimuth_posterior(solved, site.fine[k]), map(float, pose)
    offset, slope, contrast, scale = (
        float(getattr(solved, n)[facing.best]) for n in ("offset_db", "slope", "contrast", "scale_db")
    )
    power = float(site.nominal.power[k]) + offset
    tilt = float(site.fine[k].tilt[facing.best])
    return SectorPose(x, y, h, facing.azimuth, tilt, power, offset, slope, contrast, scale), facing
