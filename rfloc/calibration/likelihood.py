"""How well a candidate pose explains what was reported: a likelihood with correlated residuals, solved exactly.

The path gain that UEs measured is modelled, in decibels, as

gain of the candidate's rays + sector(azimuth, downtilt) + offset - 10 slope log10(d / 300 m)
+ (contrast - 1) (gain of the rays + 95 dB) + residual.

Contrast below 1 says that measured levels differ less from place to place than simulated ones: a building that is a
box shadows too deeply. The residual is Gaussian: shadowing with correlation exp(-distance / decorrelation distance)
(Gudmundson 1991) and a white part, wider at outliers (a Student-t by its scale mixture). Offset, slope and contrast are
normal and integrated out together with the residual's scale (normal-inverse-gamma, in closed form); azimuth and
downtilt are scanned, which needs no ray. UEs that were silent say that the level was below what they could have
reported, or that they missed it: of a pose, at the offset and slope that reports suggest; then, of these themselves.
The paper and its code maximise Spearman's rank correlation instead, which sees neither level nor silence, and counts
neighbours on one street as independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import log_ndtr

from rfloc.calibration.reports import Reports

Floats = NDArray[np.float64]

#: Prior standard deviation of offset [dB], slope and contrast, for a residual of :data:`SCALE_DB`. The last was judged
#: by training UEs of Rome left out in blocks (results/benchmarks/contrast.json).
OFFSET_SD_DB, SLOPE_SD, CONTRAST_SD = 10.0, 1.5, 0.3
#: Path gain that contrast leaves as it is, and the least that rays are taken to bring [dB].
PIVOT_DB, FLOOR_DB = -95.0, -140.0
#: Expected residual [dB] and the weight of that expectation, in measurements.
SCALE_DB, SCALE_WEIGHT = 7.0, 4.0
#: Degrees of freedom of the residual's scale mixture.
RESIDUAL_DF = 4.0
#: Share of the log-likelihood that counts (tempering): a simulation errs in ways that the residual's few parameters do
#: not hold. Uncertainty is stated by less of it, see :mod:`.site`.
TEMPER = 0.5
#: White shares of the residual's variance and decorrelation distances [m] that are tried.
WHITE, DISTANCES = (0.1, 0.25, 0.5, 0.75, 1.0), (15.0, 30.0, 50.0, 80.0)
#: Share of the log-likelihood of silent UEs that counts beside that of the others: their residuals are correlated, but
#: not whitened. Halves the error of azimuths at true poses against counting all of it.
SILENCE = 0.3
#: Newton's steps to offset and slope under silence.
NEWTON = 3
#: Where more strong reports than this are missed, silence is not about level, and is not used.
MAX_MISSED = 0.2


@dataclass(frozen=True)
class Solved:
    """Levels and evidence of a candidate at every orientation that was tried, shape (orient,)."""

    log_evidence: Floats  #: tempered
    offset_db: Floats
    slope: Floats
    contrast: Floats
    scale_db: Floats


class StationLikelihood:
    """The likelihood of one station's reports, for residuals of a given correlation.

    `white` is the share of the residual's variance that is white, `distance` the decorrelation distance of the rest
    [m]. `weight`, shape (n,), is the precision of each UE's white part relative to the others', below 1 at outliers.
    """

    def __init__(self, reports: Reports, white: float, distance: float, weight: Floats | float = 1.0) -> None:
        self.reports, self.white, self.distance = reports, white, distance
        at = np.column_stack([reports.x, reports.y])
        covariance = (1 - white) * np.exp(-cdist(at, at) / distance)
        covariance[np.diag_indices(reports.n)] += np.maximum(white, 1e-3) / weight
        factor = cholesky(covariance, lower=True)
        self._whiten = solve_triangular(factor, np.eye(reports.n), lower=True)
        self._log_det = 2 * np.log(np.diag(factor)).sum()
        self.counts_silence = reports.missed <= MAX_MISSED and len(reports.quiet_ue) > 0

    def solve(
        self, gain_db: Floats, sector_db: Floats, decades: Floats,
        quiet_gain_db: Floats, quiet_sector_db: Floats, quiet_decades: Floats, censored: bool = False,
    ) -> Solved:  # fmt: skip
        """Evidence of a candidate's levels, with offset, slope and contrast integrated out.

        At the n UEs that reported the station: isotropic path gain (n,) [dB], at least :data:`FLOOR_DB`, antenna gain
        (orient, n) [dBi], and -10 log10(d / 300 m), (n,); then the same at the m that did not. Where `censored`, these
        bear on offset, slope and contrast as censored observations, which takes time and changes no evidence: for a
        pose whose levels are wanted.
        """
        regressors = self._whiten @ _regressors(gain_db, decades)
        prior = np.diag([(SCALE_DB / sd) ** 2 for sd in (OFFSET_SD_DB, SLOPE_SD, CONTRAST_SD)])
        information = prior + regressors.T @ regressors
        cov = np.linalg.inv(information)
        rest = (self._whiten @ (self.reports.gain_db - gain_db))[:, None] - self._whiten @ sector_db.T  # (n, orient)
        explained = regressors.T @ rest  # (3, orient)
        free = cov @ explained
        misfit = (rest**2).sum(0) - (explained * free).sum(0) + np.minimum(1 + free[2], 0.0) ** 2 / cov[2, 2]
        coefficients = _not_negative(free, cov[None])
        total = SCALE_WEIGHT * SCALE_DB**2 + np.maximum(misfit, 0.0)
        freedom = SCALE_WEIGHT + self.reports.n
        log_det = np.linalg.slogdet(information)[1] - np.linalg.slogdet(prior)[1]
        evidence = -0.5 * (self._log_det + log_det + freedom * np.log(total))
        scale = np.sqrt(total / freedom)
        if self.counts_silence:
            below = self.reports.threshold_db - quiet_gain_db - quiet_sector_db  # (orient, m)
            quiet = _regressors(quiet_gain_db, quiet_decades)
            evidence = evidence + SILENCE * self._log_silence(below, coefficients, quiet, scale)[0].sum(1)
            if censored:
                coefficients = self._with_silence(free, information, below, quiet, scale)
        offset, slope, contrast = coefficients
        return Solved(TEMPER * evidence, offset, slope, 1 + contrast, scale)

    def _log_silence(
        self, below_db: Floats, coefficients: Floats, regressors: Floats, scale: Floats
    ) -> tuple[Floats, Floats]:
        """Log-probability of silence, and the threshold in units of the residual's scale, each of shape (orient, m)."""
        z = (below_db - coefficients.T @ regressors.T) / scale[:, None]
        log_below = np.log1p(-self.reports.missed) + log_ndtr(z)
        return np.logaddexp(np.log(self.reports.missed), log_below), z

    def _with_silence(
        self, alone: Floats, information: Floats, below_db: Floats, regressors: Floats, scale: Floats
    ) -> Floats:
        """Offset, slope and contrast less 1, (3, orient), by reports and silence (a Tobit model).

        UEs that report a station are those that shadowing favours: by their levels alone it is too loud, and falls too
        slowly with distance. Newton's steps from `alone`, (3, orient), the solution by reports. Its `information`, (3,
        3), is in units of the residual's `scale` [dB]. `below_db`, (orient, m): silent UEs' threshold less level.
        """
        products = np.einsum("mi,mj->mij", regressors, regressors).reshape(-1, 9)
        found = alone
        for _ in range(NEWTON):
            log_silent, z = self._log_silence(below_db, found, regressors, scale)
            mills = np.exp(np.log1p(-self.reports.missed) - 0.5 * (z**2 + np.log(2 * np.pi)) - log_silent)
            curvature = information + SILENCE * (np.maximum(mills * (mills + z), 0.0) @ products).reshape(-1, 3, 3)
            gradient = -(found - alone).T @ information - SILENCE * scale[:, None] * (mills @ regressors)
            found = found + np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0].T
        return _not_negative(found, np.linalg.inv(curvature))


def corrected_db(gain_db: Floats, decades: Floats, slope: Floats | float, contrast: Floats | float) -> Floats:
    """Traced path gain [dB] with slope (times `decades`) and contrast applied; all shapes broadcast."""
    return PIVOT_DB + contrast * (np.maximum(gain_db, FLOOR_DB) - PIVOT_DB) + slope * decades


def _not_negative(coefficients: Floats, cov: Floats) -> Floats:
    """Coefficients (3, orient), contrast not negative, the likeliest by their covariance (orient or 1, 3, 3)."""
    negative = np.minimum(1 + coefficients[2], 0.0)
    found = coefficients - (cov[:, :, 2] / cov[:, 2:, 2]).T * negative
    found[2] = np.maximum(found[2], -1.0)  # but for rounding, it is
    return found


def _regressors(gain_db: Floats, decades: Floats) -> Floats:
    """What offset, slope and contrast less 1 are multiplied by, (ue, 3)."""
    return np.column_stack([np.ones_like(decades), decades, gain_db - PIVOT_DB])


def outlier_weight(residual: Floats) -> Floats:
    """Precision of each residual under Student's t, relative to the Gaussian's, at most 1 (Lange et al. 1989)."""
    scale = 1.4826 * np.median(np.abs(residual - np.median(residual))) + 1e-6
    z2 = ((residual - np.median(residual)) / scale) ** 2
    return np.minimum((RESIDUAL_DF + 1.0) / (RESIDUAL_DF + z2), 1.0)


def learned(reports: Reports, residual: Floats) -> StationLikelihood:
    """The likelihood under whose outliers and correlation a residual [dB] is most likely."""
    zero, none, weight = np.zeros(reports.n), np.empty(0), outlier_weight(residual)
    alone = replace(reports, gain_db=PIVOT_DB + residual, quiet_ue=np.empty(0, int), threshold_db=none)

    def evidence(correlation: tuple[float, float]) -> float:
        likelihood = StationLikelihood(alone, *correlation, weight)
        return float(likelihood.solve(zero + PIVOT_DB, zero[None], zero, none, none[None], none).log_evidence[0])

    tried = [(white, distance) for white in WHITE for distance in (DISTANCES if white < 1 else DISTANCES[:1])]
    return StationLikelihood(reports, *max(tried, key=evidence), weight)
