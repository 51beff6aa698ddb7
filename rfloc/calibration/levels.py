"""Levels, azimuth and downtilt of every station where its table puts it, by one shrunk regression over training UEs.

Stations share what distance, obstruction and rays are worth, as far as the reports of all of them say; each has a
level, an exponent and a contrast of its own, shrunk to what they share (:mod:`rfloc.datasets.mixed`). What rays add to
distance and obstruction is thus settled by evidence: in a city that the simulation knows well nearly all, in one
that it does not next to nothing. What is stated is a prior; nobody moves (see :mod:`.moving`).
"""

from pathlib import Path

import numpy as np
import xarray as xr

from rfloc.arrays import Floats
from rfloc.calibration.poses import Calibration, SectorPose
from rfloc.calibration.sectors import OWN, SHARED, SILENCE, Facing, Likelihood, Orientations, Regression, Survey
from rfloc.config import CalibrationParams, EngineParams
from rfloc.datasets.mixed import Columns, Design, declustered, mixed_model
from rfloc.datasets.shadowing import TYPICAL, Means, likeliest_shadowing
from rfloc.datasets.statistical import POINT
from rfloc.frames import bearing
from rfloc.simulation.maps import gain_at, trace_ahead
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations

#: Rounds of fitting what stations share, turning each of them, and filling in what silent UEs had. And over how many
#: metres residuals are correlated at most: one that is for longer would explain azimuths and slopes away.
ROUNDS, LONGEST = 5, 50.0


def calibrate(
    links: xr.Dataset, split: xr.Dataset, plane: Plane, rays: Rays, params: CalibrationParams,
    engine: EngineParams | None = None, cache: Path | None = None,
) -> Calibration:  # fmt: skip
    """Solve azimuth, downtilt and levels of every station of `links` from what training UEs reported, at its place.

    Rays are those of the nominal maps, kept in the folder `cache` or traced. Raises CalibrationError if no station can
    be calibrated, SimulationError if the reports lie in too few places, SplitError if the split leaks.
    """
    survey = Survey.of(links, split, plane, rays.radio, params.min_ues, rays.seed)
    return solved_at(Stations.from_dataset(links), survey, rays, params, engine, cache)


def solved_at(
    at: Stations, survey: Survey, rays: Rays, params: CalibrationParams, engine: EngineParams | None, cache: Path | None
) -> Calibration:
    """Orientations and levels of all stations as they would be if they stood there; azimuths are what is stated."""
    plane = survey.plane
    if cache is not None:
        trace_ahead([(plane, at, rays)], cache, engine)
    stations, gain = at.above_roofs(plane.city), gain_at(plane, at, rays, survey.x, survey.y, cache)[0]
    regression, solved = _learn(survey, survey.columns(stations, gain), stations, params)
    poses = [SectorPose.nominal(at, b, rays.radio, survey.skipped.get(b, "")) for b in range(at.n)]
    for b, of in solved.items():
        poses[b] = poses[b].solved(regression, *of)
    return Calibration(at, poses, {b: of[0] for b, of in solved.items()}, regression, survey)


def _learn(
    survey: Survey, columns: Columns, stations: Stations, params: CalibrationParams
) -> tuple[Regression, dict[int, tuple[Facing, Floats, float]]]:
    """What stations share; and of each, by number, where it looks, its effects (3,) and its residual's scale.

    Silent UEs take part as what they are expected to have had (expectation maximisation).
    """
    x, y, radio, shape = survey.x, survey.y, survey.radio, (len(survey.x), stations.n)
    level, quiet = np.full(shape, np.nan), np.zeros(shape, bool)
    for b, of in survey.reports.items():
        level[of.heard, b], quiet[of.quiet, b] = of.gain_db, True
    reported, azimuth = np.isfinite(level), stations.azimuth.copy()
    design, weight = Design.of(columns, SHARED, OWN), declustered(x, y, reported)
    tried = [Orientations.of(radio, params, stated) for stated in stations.azimuth]
    if (unknown := np.isnan(azimuth)).any():  # start where a harmonic says
        whole = Design.of(columns, SHARED, (*OWN, "harmonic"))
        north, east = mixed_model(level, whole, weight).effects[:, len(OWN) :].T
        azimuth[unknown] = bearing(east, north)[unknown]
    turned = [Orientations.one(side, radio.downtilt) for side in azimuth]
    solved, shadowing = dict[int, tuple[Facing, Floats, float]](), TYPICAL
    for _ in range(ROUNDS):
        antenna = [of.pattern_db(radio, stations.take([b]), x, y)[0] for b, of in enumerate(turned)]
        found = mixed_model(level - np.transpose(antenna), design, weight)
        left = np.where(reported.T, level.T - antenna - design.levels(found.shared, found.effects), np.nan)
        shadowing = likeliest_shadowing([Means.of(x, y, residual, POINT) for residual in left], shadowing)
        near = min(LONGEST / shadowing.length, 1.0)  # as rough from UE to UE
        near_by = shadowing._replace(sd=shadowing.sd * near**0.5, length=shadowing.length * near)
        regression = Regression(found.shared, found.spread, near_by)
        weight = declustered(x, y, reported | quiet)
        for b, of in survey.reports.items():
            likelihood = Likelihood(of, x, y, regression, solved[b][2] if b in solved else 1.0)
            rows = survey.rows(of, design, b, stations, tried[b])
            facing = tried[b].facing(likelihood(*rows)[0], float(stations.azimuth[b]))
            turned[b] = Orientations.one(facing.azimuth, facing.downtilt)
            heard, silent = survey.rows(of, design, b, stations, turned[b])
            effects = likelihood(heard, silent)[1][0]
            solved[b] = facing, effects, likelihood.rescaled(heard, effects)
            level[of.quiet, b], probable = likelihood.imputed(silent, effects)
            weight[of.quiet, b] *= SILENCE * probable
    return regression, solved
