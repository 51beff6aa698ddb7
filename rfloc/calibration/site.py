"""The search over one site's position and height: screened without rays, traced where it matters, judged by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from rfloc.calibration.candidates import Orientations, Site, cloud_of
from rfloc.calibration.likelihood import Solved
from rfloc.calibration.surrogate import Surrogate, surrogate
from rfloc.city import City
from rfloc.frames import wrap_degrees
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: The nominal pose: the first candidate, and the first that is traced.
NOMINAL = 0

#: One trace: isotropic path gain of a pose, a table of one, at the training UEs [dB], shape (ue,).
Trace = Callable[[Stations], Floats]

#: The first candidates that are traced stand at least this share of the radius apart from each other.
APART = 0.25
#: The calibrated pose is the posterior's mean, unless its stated density falls so far below the best candidate's: then
#: it lies between modes, and the pose is the best candidate [nat].
BETWEEN_MODES = 2.0
#: Share of the tempered log-likelihood that counts where uncertainty is stated. Chosen on two simulated campaigns;
#: benchmarks/calibration.py says how often 90 % and 50 % regions hold the true poses of a third.
STATED = 0.4
#: Stages of the search: a cloud of this share of the radius round the best candidate, for this share of all traces.
STAGES = ((1.0, 0.35), (0.4, 0.25), (0.15, 0.2), (0.06, 0.2))


@dataclass(frozen=True)
class AzimuthPosterior:
    """Which way a sector looks at one pose, and how sure that is."""

    best: int  #: index of the chosen orientation
    azimuth: float  #: of greatest posterior weight, tilts summed out [deg]; NaN: omnidirectional
    sd: float  #: [deg], NaN where omnidirectional
    azimuths: Floats  #: tried [deg], NaN last where omnidirectional was tried, (azimuth,)
    weights: Floats  #: their posterior weights, (azimuth,)


def azimuth_posterior(solved: Solved, tried: Orientations) -> AzimuthPosterior:
    """The likeliest azimuth, and the likeliest tilt at it."""
    weight = np.asarray(softmax(STATED * solved.log_evidence + tried.log_prior))
    azimuths, which = np.unique(tried.azimuth, return_inverse=True)  # NaN last
    profile = np.bincount(which, weight, len(azimuths))
    sides = np.isfinite(azimuths)
    omni = not sides.any() or profile[~sides].sum() > 0.5
    chosen = np.nan if omni else float(azimuths[np.where(sides, profile, -1.0).argmax()])
    among = np.flatnonzero(np.isnan(tried.azimuth) if omni else tried.azimuth == chosen)
    sd = np.nan
    if not omni:
        share = profile[sides] / profile[sides].sum()
        sd = float(np.sqrt(share @ wrap_degrees(azimuths[sides] - chosen) ** 2))
    return AzimuthPosterior(int(among[weight[among].argmax()]), chosen, sd, azimuths, profile / profile.sum())


def search_site(site: Site, city: City, trace: Trace, seed: int) -> SiteSearch:
    """Find out where a site stands.

    A cloud of candidates fills the prior's box and is screened by the direct line, which costs no ray. The best of
    them, well apart, are traced, and the nominal pose with them. A Gaussian process on the difference between rays
    and screening says which candidate is worth the next trace (expected improvement), in clouds that close in on the
    best one (:data:`STAGES`). The last trace is that of the posterior's mean, which is the calibrated pose, unless it
    lies between modes (:data:`BETWEEN_MODES`).
    """
    search, params = SiteSearch(site, city, trace, seed), site.params
    for number, (share, _) in enumerate(STAGES):
        until = round((params.traces - 1) * sum(part for _, part in STAGES[: number + 1]))
        if number == 0:
            for k in search.spread_out(max(until - 2, 2), APART * params.radius):
                search.trace(k)
        else:
            search.surround(share * params.radius, seed + number)
        while len(search.traced) < until:
            search.trace(search.next())
        if number in (0, len(STAGES) - 1):
            search.relearn()
    search.choose()
    return search


class SiteSearch:
    """The course of a search and what it found; of the :class:`Site`, it learns the correlation of residuals."""

    def __init__(self, site: Site, city: City, trace: Trace, seed: int) -> None:
        self.site, self._city, self._trace, self._seed = site, city, trace, seed
        nominal = site.nominal.x[0], site.nominal.y[0], site.nominal.h[0]
        params = site.params
        #: Candidate poses, (candidate, 3), and their path gains by the direct line alone [dB], (candidate, ue).
        self.cloud = site.above_roofs(city, cloud_of(nominal, params.radius, params.height, params.candidates, seed))
        self._direct = site.direct_line_db(city, self.cloud)
        site.learn_correlation(self.cloud[NOMINAL], self._direct[NOMINAL])
        #: Their log-evidence by the direct line alone, (candidate,).
        self.cheap = self._screened(self.cloud, self._direct)
        #: Candidates that were traced, in order, which was best after each trace, and which is the calibrated pose.
        self.traced: list[int] = []
        self.history: list[int] = []
        self.chosen = NOMINAL
        #: What was traced [dB], each (ue,), and its log-evidence, (trace,).
        self.gains: list[Floats] = []
        self.evidence = np.empty(0)

    def _screened(self, poses: Floats, direct: Floats) -> Floats:
        return np.array([self.site.log_evidence(pose, g, fine=False) for pose, g in zip(poses, direct, strict=True)])

    def relearn(self) -> None:
        """Correlation of residuals from the best candidate, and everybody's evidence under it."""
        best = int(self.evidence.argmax())
        self.site.learn_correlation(self.cloud[self.traced[best]], self.gains[best])
        self.cheap = self._screened(self.cloud, self._direct)
        poses = zip(self.cloud[self.traced], self.gains, strict=True)
        self.evidence = np.array([self.site.log_evidence(pose, gain) for pose, gain in poses])

    def spread_out(self, n: int, apart: float) -> list[int]:
        """The nominal candidate and the best by the direct line, none nearer to another than `apart` [m]."""
        chosen = [NOMINAL]
        for k in np.argsort(-self.cheap):
            distance = np.hypot(*(self.cloud[chosen] - self.cloud[k])[:, :2].T)
            if len(chosen) < n and (distance >= apart).all():
                chosen.append(int(k))
        return chosen

    def trace(self, k: int) -> None:
        """Trace a candidate and judge it."""
        pose = self.cloud[k]
        self.traced.append(k)
        self.gains.append(self._trace(self.site.at(pose)))
        self.evidence = np.append(self.evidence, self.site.log_evidence(pose, self.gains[-1]))
        self.history.append(self.traced[int(self.evidence.argmax())])

    def _model(self) -> Surrogate:
        return surrogate(self.cloud, self.cheap, np.array(self.traced), self.evidence, self._seed)

    def next(self) -> int:
        """The candidate of greatest expected improvement that was not traced."""
        gain = self._model().expected_improvement(float(self.evidence.max()))
        gain[self.traced] = -1.0
        return int(gain.argmax())

    def surround(self, radius: float, seed: int) -> None:
        """Add a cloud of half the candidates round the best one."""
        best, params = self.cloud[self.traced[int(self.evidence.argmax())]], self.site.params
        low, high = params.height
        height = np.clip(best[2] + np.array([-radius, radius]), low, high).tolist()
        more = cloud_of(best, radius, height, params.candidates // 2 + 1, seed)[1:]
        away = np.abs(more[:, :2] - [self.site.nominal.x[0], self.site.nominal.y[0]]).max(axis=1)
        if (away <= params.radius).any():
            self._add(more[away <= params.radius])

    def _add(self, more: Floats) -> None:
        more = self.site.above_roofs(self._city, more)
        direct = self.site.direct_line_db(self._city, more)
        self.cloud, self._direct = np.vstack([self.cloud, more]), np.vstack([self._direct, direct])
        self.cheap = np.append(self.cheap, self._screened(more, direct))

    def choose(self) -> None:
        """Trace the posterior's mean, which is the calibrated pose, or a better one."""
        self._add(self.posterior()[1][None])
        self.trace(len(self.cloud) - 1)
        stated, self.chosen = self.stated_evidence, self.traced[-1]
        if stated[-1] < stated.max() - BETWEEN_MODES:
            self.chosen = self.traced[int(self._model().mean[self.traced].argmax())]

    @property
    def stated_evidence(self) -> Floats:
        """Log posterior density of the traced candidates as it is stated, (trace,), up to a constant."""
        return self._as_stated(self.cloud[self.traced], self.evidence)

    def _as_stated(self, poses: Floats, evidence: Floats) -> Floats:
        prior = self.site.log_prior(poses)
        return STATED * (evidence - prior) + prior

    def stated(self, poses: Floats, cheap: Floats) -> Surrogate:
        """Log posterior density as it is stated, of poses (pose, 3) with their log-evidence by the direct line."""
        cheap = self._as_stated(poses, cheap)
        return surrogate(poses, cheap, np.array(self.traced), self.stated_evidence, self._seed)

    def posterior(self) -> tuple[Floats, Floats, Floats]:
        """Posterior weights of the candidates, (candidate,), mean and standard deviation of x, y, h [m], (3,) each."""
        weights = self.stated(self.cloud, self.cheap).weights(self.cloud)
        mean = np.array([weights @ axis for axis in np.ascontiguousarray(self.cloud.T)])
        away = (self.cloud - mean) ** 2
        return weights, mean, np.array([np.sqrt(weights @ axis) for axis in np.ascontiguousarray(away.T)])

    @property
    def pose(self) -> Floats:
        """The calibrated pose, (3,)."""
        return self.cloud[self.chosen]

    def solved(self, candidate: int | None = None) -> list[Solved]:
        """Levels of a traced candidate, or else of the calibrated pose, a sector each; silent UEs are censored."""
        k = self.chosen if candidate is None else candidate
        return self.site.solve(self.cloud[k], self.gains[self.traced.index(k)], censored=True)
