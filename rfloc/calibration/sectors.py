"""What training UEs say of stations, and how well a sector's orientation explains it.

Of station b at UE u the path gain that was reported is, in decibels,

S(azimuth, downtilt) - 95 dB + level + exponent decades - obstruction o + contrast (rays + 95 dB) + residual

with S the element pattern towards the UE, decades = -10 log10(d / 300 m), o the obstructed fraction of the direct line
(:func:`~rfloc.datasets.statistical.regressors`) and rays the traced isotropic path gain. Level, exponent and contrast
are a station's own, normal round what stations share, and are integrated out; azimuth and downtilt lie on a grid; the
residual is correlated shadowing and noise.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import log_ndtr, logsumexp, softmax

from rfloc.arrays import Bools, Floats
from rfloc.config import CalibrationParams, RadioParams
from rfloc.datasets.build import SUBCARRIERS, reportable_dbm
from rfloc.datasets.mixed import Columns, Design, own_effects
from rfloc.datasets.shadowing import Shadowing
from rfloc.datasets.statistical import regressors
from rfloc.errors import CalibrationError
from rfloc.frames import bearing, wrap_degrees
from rfloc.simulation.antennas import pattern_gain_db
from rfloc.simulation.plane import Plane
from rfloc.splits import leakage_report
from rfloc.stations import Stations

#: What stations share, and what each has of its own (:data:`rfloc.datasets.mixed.EFFECTS`).
SHARED, OWN = ("one", "decades", "obstructed", "rays"), ("level", "exponent", "rays")
#: Path gain that contrast leaves as it is, and the least that rays are taken to bring [dB].
PIVOT_DB, FLOOR_DB = -95.0, -140.0
#: A station that arrives this far above the weakest report is strong enough to be reported [dB], and so near it [m].
#: Where at least this share of UEs reports the greatest number of stations, that number is a limit.
STRONG_DB, NEAR, FULL = 20.0, 25.0, 0.02
#: Neighbours repeat each other: of a station so many reports count, at random, of silent UEs one a square so wide [m].
MOST, SQUARE = 400, 50.0
#: Downtilts tried, in standard deviations from the scenario's.
TILTS = np.array([-1.5, 0.0, 1.5])
#: Probability that a table's azimuth says nothing; and, where it states none, that the antenna is omnidirectional.
ASTRAY, OMNIDIRECTIONAL = 0.05, 0.05
#: Data tell an azimuth where its standard deviation falls below this share of the prior's.
TOLD = 0.9
#: Share of the log-likelihood of silent UEs that counts: their residuals are correlated, but not whitened; and Newton's
#: steps to a station's effects under silence.
SILENCE, NEWTON = 0.5, 4
#: Share of the log-likelihood that counts: a simulation errs in ways that no covariance of residuals holds. With it
#: regions of azimuth hold what they say on campaigns that calibration is not judged on (`benchmarks/tempering.py`).
TEMPER = 0.4
#: Expected scale of a station's residual relative to all stations' is 1, with the weight of so many UEs.
SCALE_WEIGHT = 20.0


@dataclass(frozen=True)
class Reports:
    """What training UEs say of one station, as path gain over -95 dB, which contrast leaves as it is [dB]."""

    heard: NDArray[np.intp]  #: UEs that reported it, among the training UEs, (n,)
    gain_db: Floats  #: what they reported, antenna included, (n,)
    quiet: NDArray[np.intp]  #: UEs that did not, (m,)
    below_db: Floats  #: path gain below which each of them reports nothing [dB], (m,)
    missed: float  #: probability that a UE does not report the station however strong

    def of_ues(self, use: Bools) -> "Reports":
        """Those of some UEs, (ue,)."""
        told, not_told = use[self.heard], use[self.quiet]
        known = self.heard[told], self.gain_db[told]
        return Reports(*known, self.quiet[not_told], self.below_db[not_told], self.missed)


class Rows(NamedTuple):
    """Regressors of one pose at UEs, and its antenna gain at orientations."""

    shared: Floats  #: (n, 4)
    own: Floats  #: (n, 3)
    pattern_db: Floats  #: (orient, n) [dBi]


@dataclass(frozen=True)
class Facing:
    """Which way a sector looks, how sure that is, and who says so."""

    azimuth: float  #: [deg]; NaN: unknown or omnidirectional, see `told`
    downtilt: float  #: [deg]
    sd: float  #: the azimuth's posterior standard deviation [deg], NaN where omnidirectional
    told: str  #: "data"; "stated" where the table knows it as well; "unknown" where nobody does; "omnidirectional"
    weights: Floats  #: posterior weights of whole degrees, (360,)


@dataclass(frozen=True)
class Orientations:
    """Azimuths and downtilts that are tried together, tilts within azimuths, and their log prior, each (orient,)."""

    azimuth: Floats  #: [deg], NaN, the last ones: omnidirectional
    tilt: Floats  #: [deg]
    log_prior: Floats

    @classmethod
    def of(cls, radio: RadioParams, params: CalibrationParams, stated: float) -> Self:
        """All that are tried for a sector whose table states an azimuth, or NaN; one alone if it is isotropic.

        A stated azimuth is normal round it, but with probability ASTRAY anything. Where none is stated all are alike,
        and OMNIDIRECTIONAL says how probable it is that there is none.
        """
        if radio.pattern != "tr38901":
            return cls(np.full(1, np.nan), np.full(1, radio.downtilt), np.zeros(1))
        azimuth = np.arange(0.0, 360.0 - 1e-9, params.azimuth_step)
        if np.isnan(stated):
            prior = np.append(np.full(len(azimuth), (1 - OMNIDIRECTIONAL) / len(azimuth)), OMNIDIRECTIONAL)
            azimuth = np.append(azimuth, np.nan)
        else:
            near = np.asarray(softmax(-0.5 * (wrap_degrees(azimuth - stated) / params.azimuth_sd) ** 2))
            prior = (1 - ASTRAY) * near + ASTRAY / len(azimuth)
        log_prior = np.log(prior)[:, None] - 0.5 * TILTS**2 - logsumexp(-0.5 * TILTS**2)
        tilt = np.tile(radio.downtilt + params.downtilt_sd * TILTS, len(azimuth))
        return cls(np.repeat(azimuth, len(TILTS)), tilt, log_prior.ravel())

    @classmethod
    def one(cls, azimuth: float, tilt: float) -> Self:
        """A single one [deg]."""
        return cls(np.array([azimuth]), np.array([tilt]), np.zeros(1))

    def pattern_db(self, radio: RadioParams, pose: Stations, x: Floats, y: Floats) -> Floats:
        """Antenna gain of one pose, a table of one, towards UEs [dBi], (orient, ue)."""
        dx, dy = x - pose.x[0], y - pose.y[0]
        elevation = np.degrees(np.arctan2(radio.ue_height - pose.h[0], np.hypot(dx, dy)))
        off = wrap_degrees(bearing(dx, dy) - self.azimuth[:, None])
        found = np.empty(off.shape)
        for tilt in np.unique(self.tilt):
            at = self.tilt == tilt
            found[at] = pattern_gain_db(radio.pattern, off[at], elevation, float(tilt), radio.front_to_back_db)
        return found

    def facing(self, log_likelihood: Floats, stated: float) -> Facing:
        """The azimuth of least expected error, if its posterior is sharper than its prior; else the stated one.

        `log_likelihood`, (orient,), is that of the reports.
        """
        weight, prior = (np.asarray(softmax(log)) for log in (log_likelihood + self.log_prior, self.log_prior))
        tilt, sided = float(weight @ self.tilt), np.isfinite(self.azimuth)
        if weight[sided].sum() < 0.5:
            return Facing(np.nan, tilt, np.nan, "omnidirectional", np.empty(0))
        (best, sd, profile), (_, known, _) = (_answer(self.azimuth[sided], w[sided]) for w in (weight, prior))
        if sd < TOLD * known:
            return Facing(best, tilt, sd, "data", profile)
        return Facing(stated, tilt, sd, "unknown" if np.isnan(stated) else "stated", profile)


def _answer(tried: Floats, weight: Floats) -> tuple[float, float, Floats]:
    """Azimuth of least expected error, standard deviation round it [deg], and weights of whole degrees, (360,)."""
    azimuths, which = np.unique(tried, return_inverse=True)
    log, fine = np.log(np.bincount(which, weight) + 1e-30), np.arange(0.0, 360.0)
    spline = CubicSpline(np.append(azimuths, 360.0), np.append(log, log[0]), bc_type="periodic")
    profile = np.asarray(softmax(spline(fine)))
    away = np.abs(wrap_degrees(fine[:, None] - fine))
    best = int((away @ profile).argmin())
    return float(fine[best]), float(np.sqrt(away[best] ** 2 @ profile)), profile


@dataclass(frozen=True)
class Survey:
    """What training UEs in the open say of all stations."""

    plane: Plane
    radio: RadioParams
    x: Floats  #: (ue,) [m]
    y: Floats
    reports: dict[int, Reports]  #: of stations by number, but for those that are left out
    skipped: dict[int, str]  #: why these are
    ues: Bools  #: which UEs of the links these are
    heard: NDArray[np.intp]  #: UEs that report each station: of those, and of held-out ones, (bs, 2)

    @classmethod
    def of(
        cls, links: xr.Dataset, split: xr.Dataset, plane: Plane, radio: RadioParams, min_ues: int, seed: int
    ) -> Self:
        """Read links; raises CalibrationError if no station has enough reports, SplitError on a leak."""
        leakage_report(split, links)
        role, nominal = split["role"].values.astype(str), Stations.from_dataset(links)
        x, y, heard = links["ue_x"].values, links["ue_y"].values, links["heard"].values
        train = (role == "train") & plane.in_the_open(x, y)
        counts = np.stack([heard[of].sum(axis=0) for of in (train, np.isin(role, ("known", "unknown")))], axis=1)
        x, y, level = x[train], y[train], links["nrsrp"].values.astype(float)[train]
        least = reportable_dbm(level, links["nsinr"].values[train], radio)
        count = np.isfinite(level).sum(axis=1)
        full = (count == count.max(initial=0)) & (count > 0)
        if full.mean() >= FULL:  # such UEs may have stopped counting, and report nothing weaker than their weakest
            least[full] = np.maximum(least[full], np.nanmin(level[full], axis=1))
        power = nominal.power + PIVOT_DB - 10 * np.log10(SUBCARRIERS * radio.resource_blocks)
        square, rng = np.floor(np.column_stack([x, y]) / SQUARE), np.random.default_rng(seed)
        skipped, reports = {}, {}
        for b, column in enumerate(level.T):
            told, quiet = np.flatnonzero(np.isfinite(column)), np.flatnonzero(np.isnan(column))
            if told.size < min_ues:
                skipped[b] = f"heard by {told.size} training UEs, fewer than {min_ues}"
            elif np.ptp(column[told]) == 0:
                skipped[b] = f"its level is the same at all {told.size} training UEs"
            else:
                told = np.sort(rng.permutation(told)[:MOST])
                quiet = quiet[np.unique(square[quiet], axis=0, return_index=True)[1]]
                missed = missed_share(x, y, column, least)
                reports[b] = Reports(told, column[told] - power[b], quiet, least[quiet] - power[b], missed)
        if not reports:
            raise CalibrationError(
                f"none of {nominal.n} stations can be calibrated",
                "; ".join(f"{nominal.id[b]}: {why}" for b, why in skipped.items()),
                "take more training UEs, or lower calibration.min_ues",
            )
        return cls(plane, radio, x, y, reports, skipped, train, counts)

    def columns(self, stations: Stations, rays: Floats) -> Columns:
        """Regressors by name, (ue, bs), of stations with traced isotropic gains `rays`, linear, (ue, bs)."""
        by_rays = 10 * np.log10(np.maximum(rays, 10 ** (FLOOR_DB / 10))) - PIVOT_DB
        return regressors(self.plane.city, stations, self.x, self.y, self.radio) | {"rays": by_rays}

    def rows(self, of: Reports, design: Design, k: int, stations: Stations, tried: Orientations) -> tuple[Rows, Rows]:
        """Of the k-th of some stations and their design, at the UEs that reported a station and at the silent ones."""
        at = np.append(of.heard, of.quiet)
        pattern, n = tried.pattern_db(self.radio, stations.take([k]), self.x[at], self.y[at]), len(of.heard)
        shared, own = design.shared[k, at], design.own[k, at]
        return Rows(shared[:n], own[:n], pattern[:, :n]), Rows(shared[n:], own[n:], pattern[:, n:])


def missed_share(x: Floats, y: Floats, measured: Floats, threshold: Floats) -> float:
    """Share of silent UEs beside a UE that reports a station strongly, pulled towards 0.1 by ten imagined UEs.

    Scanners miss cells: in Rome a quarter to a half of them, so that silence there is hardly about level. All of shape
    (ue,): positions [m], reports [dBm], NaN = silent, and the weakest level that each UE could have reported [dBm].
    """
    points, strong = np.column_stack([x, y]), measured > threshold + STRONG_DB
    if not strong.any():
        return 0.1
    distance = cKDTree(points[strong]).query(points, k=2)[0]  # a strong UE is its own nearest
    near = np.where(strong, distance[:, 1], distance[:, 0]) < NEAR
    return float((np.isnan(measured[near]).sum() + 1.0) / (near.sum() + 10.0))


@dataclass(frozen=True)
class Regression:
    """What stations share."""

    shared: Floats  #: coefficients of :data:`SHARED`, (4,)
    spread: Floats  #: standard deviations of what stations have of their :data:`OWN`, (3,)
    shadowing: Shadowing  #: covariance of the residual


class Likelihood:
    """The likelihood of one station's reports under a regression, of UEs at x, y [m].

    `scale` is that of the station's residual relative to all stations', see :meth:`rescaled`.
    """

    def __init__(self, reports: Reports, x: Floats, y: Floats, regression: Regression, scale: float = 1.0) -> None:
        at = np.column_stack([x, y])[reports.heard]
        covariance = regression.shadowing.covariance(cdist(at, at), np.ones(len(at)))
        self._whiten = solve_triangular(cholesky(covariance, lower=True), np.eye(len(at)), lower=True)
        self.reports, self._regression, self.scale = reports, regression, scale
        own = regression.shadowing.covariance(np.zeros((1, 1)), np.ones(1))[0, 0]
        self.sd = scale * float(np.sqrt(own))  #: of a single residual [dB]

    def __call__(self, heard: Rows, quiet: Rows) -> tuple[Floats, Floats]:
        """Log-likelihood (orient,), own effects integrated out (Laplace's approximation), and these, (orient, 3).

        Silent UEs say that the level was below what they could have reported, or that they missed it (a Tobit model):
        by reports alone a station is too loud and falls too slowly, as shadowing favours those who report it.
        """
        shared, spread = self._regression.shared, self._regression.spread
        rest = (self.reports.gain_db - heard.shared @ shared - heard.pattern_db) @ self._whiten.T
        own = self._whiten @ heard.own
        alone, log = own_effects(rest, own, self.scale**-2.0, spread)
        if not len(quiet.own):
            return TEMPER * log, alone
        known = own.T @ own / self.scale**2 + np.diag(spread**-2.0)
        margin = self.reports.below_db - quiet.shared @ shared - quiet.pattern_db  # (orient, m)
        products = np.einsum("mi,mj->mij", quiet.own, quiet.own).reshape(-1, 9)
        effects = alone
        for _ in range(NEWTON):
            z = (margin - effects @ quiet.own.T) / self.sd
            _, mills = silence(z, self.reports.missed)
            bend = np.maximum(mills * (mills + z), 0.0) @ products / self.sd**2
            curvature = known + SILENCE * bend.reshape(-1, 3, 3)
            slope = -(effects - alone) @ known - SILENCE / self.sd * mills @ quiet.own
            effects = effects + np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        away, z = effects - alone, (margin - effects @ quiet.own.T) / self.sd
        log += SILENCE * silence(z, self.reports.missed)[0].sum(1) - 0.5 * ((away @ known) * away).sum(1)
        log -= 0.5 * (np.linalg.slogdet(curvature)[1] - np.linalg.slogdet(known)[1])
        return TEMPER * log, effects

    def imputed(self, quiet: Rows, effects: Floats) -> tuple[Floats, Floats]:
        """Path gain that silent UEs are expected to have had [dB], and how far it is why they are silent, (m,) each."""
        mean = quiet.shared @ self._regression.shared + quiet.own @ effects + quiet.pattern_db[0]
        z = (self.reports.below_db - mean) / self.sd
        probable = np.exp(np.log1p(-self.reports.missed) + log_ndtr(z) - silence(z, self.reports.missed)[0])
        return mean - self.sd * silence(z, 0.0)[1], probable

    def rescaled(self, heard: Rows, effects: Floats) -> float:
        """Scale of what one orientation and its effects (3,) leave, shrunk towards 1 (:data:`SCALE_WEIGHT`)."""
        level = heard.shared @ self._regression.shared + heard.own @ effects + heard.pattern_db[0]
        left = self._whiten @ (self.reports.gain_db - level)
        return float(np.sqrt((SCALE_WEIGHT + left @ left) / (SCALE_WEIGHT + len(left))))


def silence(z: Floats, missed: float) -> tuple[Floats, Floats]:
    """Log-probability of silence where the threshold is `z` standard deviations over the level, and its derivative."""
    log = np.log(missed + (1 - missed) * np.exp(log_ndtr(z))) if missed else log_ndtr(z)
    return log, np.exp(np.log1p(-missed) - 0.5 * (z**2 + np.log(2 * np.pi)) - log)
