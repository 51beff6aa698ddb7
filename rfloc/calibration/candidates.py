"""Candidate poses of a site, and how well each explains the reports: by the direct line alone, or by rays.

A pose is an array of x, y and height above ground [m]; a cloud of them has shape (pose, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.stats import qmc

from rfloc.calibration.likelihood import FLOOR_DB, Solved, StationLikelihood, corrected_db, learned
from rfloc.calibration.reports import Reports
from rfloc.city import City
from rfloc.config import CalibrationParams, RadioParams
from rfloc.datasets.statistical import decades_db
from rfloc.frames import bearing, wrap_degrees
from rfloc.simulation.antennas import pattern_gain_db
from rfloc.simulation.rooftop import rooftop_gain
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: Step of the azimuth scan while candidates are screened [deg].
COARSE_STEP = 15.0
#: Prior standard deviation of the downtilt round the scenario's, and the steps from it that are tried [deg].
TILT_SD, TILTS = 4.0, (-6.0, -3.0, 0.0, 3.0, 6.0)
#: Step of the table of an antenna's directions [deg].
TABLE_STEP = 0.5


@dataclass(frozen=True)
class Orientations:
    """Azimuths and downtilts that are tried together, and their log prior, each of shape (orient,)."""

    azimuth: Floats  #: [deg], NaN: omnidirectional
    tilt: Floats  #: [deg]
    log_prior: Floats


def orientations(radio: RadioParams, step: float, nominal: float, tilts: Sequence[float] = TILTS) -> Orientations:
    """All pairs of azimuth and downtilt; an isotropic antenna has one.

    Azimuths have a flat prior. Where the table states none, omnidirectional weighs as much as all of them together, so
    that a sector has to earn its place.
    """
    if radio.pattern == "isotropic":
        return Orientations(np.full(1, np.nan), np.full(1, radio.downtilt), np.zeros(1))
    azimuth = np.arange(0.0, 360.0 - 1e-9, step)
    prior = np.full(len(azimuth), -np.log(len(azimuth)))
    if np.isnan(nominal):
        azimuth, prior = np.append(azimuth, np.nan), np.append(prior, 0.0) - np.log(2.0)
    offset = np.array(tilts)
    of_tilt = -0.5 * (offset / TILT_SD) ** 2
    of_tilt -= np.log(np.exp(of_tilt).sum())
    return Orientations(
        np.repeat(azimuth, len(offset)),
        np.tile(radio.downtilt + offset, len(azimuth)),
        np.repeat(prior, len(offset)) + np.tile(of_tilt, len(azimuth)),
    )


class AntennaTable:
    """Antenna gain by direction at every downtilt that is tried, looked up along the straight line to UEs."""

    def __init__(self, radio: RadioParams) -> None:
        self._ue_height, self._tilts = radio.ue_height, radio.downtilt + np.array(TILTS)
        off = np.append(wrap_degrees(np.arange(0.0, 360.0, TABLE_STEP)), np.nan)  # omnidirectional last
        elevation = np.arange(-90.0, 90.0 + TABLE_STEP / 2, TABLE_STEP)[:, None]
        gain = [pattern_gain_db(radio.pattern, off, elevation, float(t), radio.front_to_back_db) for t in self._tilts]
        self._gain = np.stack(gain).astype(np.float32)  # (tilt, elevation, off boresight)

    def gain_db(self, tried: Orientations, pose: Stations, x: Floats, y: Floats) -> Floats:
        """Gain of one pose towards UEs [dBi], shape (orient, ue); off by 0.1 dB at most, by the table's step."""
        dx, dy = x - pose.x[0], y - pose.y[0]
        elevation = np.degrees(np.arctan2(self._ue_height - pose.h[0], np.hypot(dx, dy)))
        row = np.round((elevation + 90.0) / TABLE_STEP).astype(np.intp)
        sides = self._gain.shape[2] - 1
        azimuth = tried.azimuth[:, None]
        turned = np.round((bearing(dx, dy) - np.nan_to_num(azimuth)) / TABLE_STEP).astype(np.intp) % sides
        column = np.where(np.isnan(azimuth), sides, turned)
        tilt = np.searchsorted(self._tilts, tried.tilt)[:, None]
        return self._gain[tilt, row, column].astype(float)


def cloud_of(centre: ArrayLike, radius: float, height: Sequence[float], n: int, seed: int) -> Floats:
    """`n` poses, (n, 3): the centre, then a Sobol sequence within +-`radius` [m] of it and heights `height` [m]."""
    (x, y, h), (low, high) = np.asarray(centre, float), height
    points = qmc.Sobol(3, rng=np.random.default_rng(seed)).random(2 ** max(n - 1, 1).bit_length())[: n - 1]
    dx, dy = radius * (2 * points[:, :2].T - 1)
    around = np.column_stack([x + dx, y + dy, low + (high - low) * points[:, 2]])
    return np.vstack([[x, y, h], around])


class Site:
    """One site with its sectors on one mast: what training UEs at x, y [m] reported of them, and a pose's evidence.

    `position_sd` is the standard deviation per axis of the nominal position [m]; None: a flat prior.
    """

    def __init__(
        self, nominal: Stations, reports: Sequence[Reports], x: Floats, y: Floats, radio: RadioParams,
        params: CalibrationParams, position_sd: float | None = None,
    ) -> None:  # fmt: skip
        self.nominal, self.reports, self.x, self.y = nominal, list(reports), x, y
        self.radio, self.params, self.position_sd = radio, params, position_sd
        self.antenna, step = AntennaTable(radio), params.azimuth_step
        self.fine = [orientations(radio, step, a) for a in nominal.azimuth]
        self.coarse = [orientations(radio, max(COARSE_STEP, step), a, (0.0,)) for a in nominal.azimuth]
        self.likelihoods = [StationLikelihood(r, 0.5, 30.0) for r in self.reports]

    def at(self, poses: Floats) -> Stations:
        """Its first sector at other poses, (pose, 3) or (3,)."""
        x, y, h = np.atleast_2d(poses).T
        return self.nominal.take(np.zeros(len(x), int)).replace(x=x, y=y, h=h)

    def above_roofs(self, city: City, poses: Floats) -> Floats:
        """Poses, (pose, 3), none of them inside a building."""
        return np.column_stack([poses[:, :2], self.at(poses).above_roofs(city).h])

    def direct_line_db(self, city: City, poses: Floats) -> Floats:
        """Path gain of the direct line [dB], in sight or over the rooftops, without a ray, shape (pose, ue)."""
        radio = self.radio
        gain, _ = rooftop_gain(city, self.at(poses), self.x, self.y, radio.carrier_hz, radio.ue_height)
        return np.maximum(10 * np.log10(np.maximum(gain.astype(float), 1e-30)), FLOOR_DB)

    def log_prior(self, poses: Floats) -> Floats:
        """Log prior density of poses, (pose, 3), up to a constant."""
        if self.position_sd is None:
            return np.zeros(len(poses))
        away = np.hypot(poses[:, 0] - self.nominal.x[0], poses[:, 1] - self.nominal.y[0])
        return np.asarray(-0.5 * (away / self.position_sd) ** 2)

    def solve(self, pose: Floats, gain_db: Floats, fine: bool = True, censored: bool = False) -> list[Solved]:
        """Levels and evidence of a pose, a sector each, from its isotropic gains at the training UEs, (ue,) [dB]."""
        gain_db, station = np.maximum(gain_db, FLOOR_DB), self.at(pose)
        decades = decades_db(station, self.x, self.y, self.radio.ue_height)[:, 0]
        orients, found = self.fine if fine else self.coarse, []
        for report, likelihood, tried in zip(self.reports, self.likelihoods, orients, strict=True):
            quiet = report.quiet_ue if likelihood.counts_silence else report.quiet_ue[:0]
            sector, silent = (self.antenna.gain_db(tried, station, self.x[ue], self.y[ue]) for ue in (report.ue, quiet))
            heard = gain_db[report.ue], sector, decades[report.ue]
            found.append(likelihood.solve(*heard, gain_db[quiet], silent, decades[quiet], censored))
        return found

    def log_evidence(self, pose: Floats, gain_db: Floats, fine: bool = True) -> float:
        """Log posterior density of a pose up to a constant, all that is solved exactly summed out."""
        tried = self.fine if fine else self.coarse
        solved = self.solve(pose, gain_db, fine)
        told = sum(float(logsumexp(s.log_evidence + t.log_prior)) for s, t in zip(solved, tried, strict=True))
        return told + float(self.log_prior(pose[None])[0])

    def learn_correlation(self, pose: Floats, gain_db: Floats) -> None:
        """Take outliers and correlation of the residuals from what a pose leaves over."""
        station = self.at(pose)
        decades = decades_db(station, self.x, self.y, self.radio.ue_height)[:, 0]
        for k, solved in enumerate(self.solve(pose, gain_db)):
            report, best = self.reports[k], int(solved.log_evidence.argmax())
            sector = self.antenna.gain_db(self.fine[k], station, report.x, report.y)[best]
            level = corrected_db(gain_db[report.ue], decades[report.ue], solved.slope[best], solved.contrast[best])
            residual = report.gain_db - level - sector - solved.offset_db[best]
            self.likelihoods[k] = learned(report, residual)
