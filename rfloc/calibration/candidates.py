"""Candidate poses of a site, and how well each explains the reports: by the direct line alone, or by rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from rfloc.calibration.likelihood import (
    FLOOR_DB,
    Correlation,
    Solved,
    StationLikelihood,
    likeliest_correlation,
    marginal,
    outlier_weight,
)
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
class Turns:
    """Azimuths and downtilts that are tried together, and their log prior, each of shape (turn,)."""

    azimuth: Floats  #: [deg], NaN: alike to all sides
    tilt: Floats  #: [deg]
    log_prior: Floats


def turns_of(radio: RadioParams, step: float, nominal: float, tilts: Sequence[float] = TILTS) -> Turns:
    """All pairs of azimuth and downtilt; an isotropic antenna has one.

    Azimuths have a flat prior. Where the table states none, radiating alike to all sides weighs as much as all of them
    together, so that a sector has to earn its place.
    """
    if radio.pattern == "isotropic":
        return Turns(np.array([np.nan]), np.array([radio.downtilt]), np.zeros(1))
    azimuth = np.arange(0.0, 360.0 - 1e-9, step)
    prior = np.full(len(azimuth), -np.log(len(azimuth)))
    if np.isnan(nominal):
        azimuth, prior = np.append(azimuth, np.nan), np.append(prior, 0.0) - np.log(2.0)
    offset = np.array(tilts)
    of_tilt = -0.5 * (offset / TILT_SD) ** 2
    of_tilt -= np.log(np.exp(of_tilt).sum())
    return Turns(
        np.repeat(azimuth, len(offset)),
        np.tile(radio.downtilt + offset, len(azimuth)),
        np.repeat(prior, len(offset)) + np.tile(of_tilt, len(azimuth)),
    )


class TurnedAntenna:
    """Gain of a station's antenna towards UEs at many turns, along the straight line, off a table of directions.

    Parameters
    ----------
    turns : Turns
        Azimuths and downtilts.
    radio : RadioParams
        Pattern, front-to-back ratio, height of UEs.
    """

    def __init__(self, turns: Turns, radio: RadioParams) -> None:
        self.turns, self._ue_height = turns, radio.ue_height
        self._tilts, self._which = np.unique(turns.tilt, return_inverse=True)
        off = np.arange(0.0, 360.0, TABLE_STEP)
        elevation = np.arange(-90.0, 90.0 + TABLE_STEP / 2, TABLE_STEP)[:, None]
        pattern, limit = radio.pattern, radio.front_to_back_db
        self._table = np.stack(
            [pattern_gain_db(pattern, wrap_degrees(off), elevation, float(t), limit) for t in self._tilts]
        ).astype(np.float32)
        everywhere = np.full(1, np.nan)
        self._omni = np.stack(
            [pattern_gain_db(pattern, everywhere, elevation, float(t), limit)[:, 0] for t in self._tilts]
        )

    def gain_db(self, pose: Stations, x: Floats, y: Floats) -> Floats:
        """Gain of one pose towards UEs [dBi], shape (turn, ue); off by 0.1 dB at most, by the table's step."""
        dx, dy = x - pose.x[0], y - pose.y[0]
        elevation = np.degrees(np.arctan2(self._ue_height - pose.h[0], np.hypot(dx, dy)))
        row = np.round((elevation + 90.0) / TABLE_STEP).astype(np.intp)
        found = np.empty((len(self.turns.azimuth), len(x)))
        known = np.isfinite(self.turns.azimuth)
        off = bearing(dx, dy) - self.turns.azimuth[known, None]
        column = np.round(off / TABLE_STEP).astype(np.intp) % self._table.shape[2]
        found[known] = self._table[self._which[known, None], row, column]
        found[~known] = self._omni[self._which[~known, None], row]
        return found


def cloud_of(nominal: Stations, params: CalibrationParams, n: int, seed: int) -> Stations:
    """`n` candidate poses of a site, the nominal one first, the others a Sobol sequence (uniform, space-filling).

    Within the square of half edge `radius` round the nominal position and the range `height` above ground.
    """
    low, high = params.height
    points = qmc.Sobol(3, rng=np.random.default_rng(seed)).random(2 ** max(n - 1, 1).bit_length())[: n - 1]
    dx, dy = params.radius * (2 * points[:, :2].T - 1)
    h = low + (high - low) * points[:, 2]
    many = nominal.take(np.zeros(n, int)).moved(np.append(0.0, dx), np.append(0.0, dy))
    return many.replace(h=np.append(nominal.h[0], h), id=[f"{nominal.id[0]}/{k}" for k in range(n)])


def direct_line_db(city: City, poses: Stations, x: Floats, y: Floats, radio: RadioParams) -> Floats:
    """Path gain of the direct line [dB], in sight or over the rooftops, without a ray, shape (pose, ue)."""
    gain, _ = rooftop_gain(city, poses, x, y, radio.carrier_hz, radio.ue_height)
    return np.maximum(10 * np.log10(np.maximum(gain.astype(float), 1e-30)), FLOOR_DB)


class Site:
    """One site with its sectors: what was reported of them, and the evidence of a pose.

    Parameters
    ----------
    nominal : Stations
        Its sectors, on one mast.
    reports : list of Reports
        One a sector.
    x, y : ndarray, shape (ue,)
        The training UEs [m].
    radio, params
        Antennas; steps and priors.
    position_sd : float, optional
        Standard deviation per axis of the nominal position [m], from the cell table's error ellipse; None: flat.
    """

    def __init__(
        self, nominal: Stations, reports: Sequence[Reports], x: Floats, y: Floats, radio: RadioParams,
        params: CalibrationParams, position_sd: float | None = None,
    ) -> None:  # fmt: skip
        self.nominal, self.reports, self.x, self.y = nominal, list(reports), x, y
        self.radio, self.params, self.position_sd = radio, params, position_sd
        step = params.azimuth_step
        self.fine = [TurnedAntenna(turns_of(radio, step, a), radio) for a in nominal.azimuth]
        self.coarse = [
            TurnedAntenna(turns_of(radio, max(COARSE_STEP, step), a, (0.0,)), radio) for a in nominal.azimuth
        ]
        self.likelihoods = [StationLikelihood(r, Correlation(0.5, 30.0)) for r in self.reports]

    def log_prior(self, x: Floats, y: Floats) -> Floats:
        """Log prior density of positions [m], up to a constant."""
        if self.position_sd is None:
            return np.zeros(np.shape(x))
        away = np.hypot(x - self.nominal.x[0], y - self.nominal.y[0])
        return np.asarray(-0.5 * (away / self.position_sd) ** 2)

    def solve(
        self, pose: Stations, gain_db: Floats, fine: bool = True, heed_silence: bool = False
    ) -> list[Solved]:  # fmt: skip
        """What a pose amounts to, a sector each, from its isotropic gains at the training UEs, shape (ue,) [dB]."""
        gain_db = np.maximum(gain_db, FLOOR_DB)
        decades = decades_db(pose, self.x, self.y, self.radio.ue_height)[:, 0]
        found = []
        for report, likelihood, antenna in zip(
            self.reports, self.likelihoods, self.fine if fine else self.coarse, strict=True
        ):
            quiet = report.quiet_ue if likelihood.counts_silence else report.quiet_ue[:0]
            sector, silent = (antenna.gain_db(pose, self.x[ue], self.y[ue]) for ue in (report.ue, quiet))
            found.append(
                likelihood.solve(
                    gain_db[report.ue], sector, decades[report.ue], gain_db[quiet], silent, decades[quiet],
                    heed_silence,
                )
            )  # fmt: skip
        return found

    def log_evidence(self, pose: Stations, gain_db: Floats, fine: bool = True) -> float:
        """Log posterior density of a pose up to a constant, all that is solved exactly summed out."""
        solved = self.solve(pose, gain_db, fine)
        priors = [antenna.turns.log_prior for antenna in (self.fine if fine else self.coarse)]
        return sum(marginal(s, p) for s, p in zip(solved, priors, strict=True)) + float(
            self.log_prior(pose.x, pose.y)[0]
        )

    def learn_correlation(self, pose: Stations, gain_db: Floats) -> None:
        """Take outliers and correlation of the residuals from what a pose leaves over."""
        decades = decades_db(pose, self.x, self.y, self.radio.ue_height)[:, 0]
        solved = self.solve(pose, gain_db)
        for k, (report, antenna) in enumerate(zip(self.reports, self.fine, strict=True)):
            sector = antenna.gain_db(pose, report.x, report.y)
            residual = self.likelihoods[k].residual(gain_db[report.ue], sector, decades[report.ue], solved[k])
            weight = outlier_weight(residual)
            self.likelihoods[k] = StationLikelihood(report, likeliest_correlation(report, residual, weight), weight)
