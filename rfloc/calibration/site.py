"""The search over one site's position and height: screened without rays, traced where it matters, judged by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from rfloc.calibration.candidates import Orientations, Site, cloud_of
from rfloc.calibration.likelihood import Solved
from rfloc.calibration.surrogate import Surrogate, surrogate, weights_of
from rfloc.city import City
from rfloc.config import CalibrationParams
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


@dataclass
class SiteFit:
    """What the search of a site found."""

    site: Site  #: with the correlation of residuals that was learned
    cloud: Floats  #: candidate poses, (candidate, 3)
    cheap: Floats  #: their log-evidence by the direct line alone, (candidate,)
    traced: list[int]  #: candidates that were traced, in order
    gains: list[Floats]  #: theirs [dB], each (ue,)
    evidence: Floats  #: theirs, (trace,)
    chosen: int  #: the candidate of the calibrated pose
    history: list[int]  #: the candidate that was best after each trace
    seed: int  #: of the fits

    @property
    def stated_evidence(self) -> Floats:
        """Log posterior density of the traced candidates as it is stated, (trace,), up to a constant."""
        prior = self.site.log_prior(self.cloud[self.traced])
        return STATED * (self.evidence - prior) + prior

    def stated(self, poses: Floats, cheap: Floats) -> Surrogate:
        """Log posterior density as it is stated, of poses (pose, 3) with their log-evidence by the direct line."""
        prior = self.site.log_prior(poses)
        cheap = STATED * (cheap - prior) + prior
        return surrogate(poses, cheap, np.array(self.traced), self.stated_evidence, self.seed)

    @cached_property
    def weights(self) -> Floats:
        """Posterior weights of the candidates, (candidate,)."""
        return weights_of(self.stated(self.cloud, self.cheap), self.cloud)

    @property
    def pose(self) -> Floats:
        """The calibrated pose, (3,)."""
        return self.cloud[self.chosen]

    def solved(self, candidate: int | None = None) -> list[Solved]:
        """Levels of a traced candidate, or else of the calibrated pose, a sector each; silent UEs are censored."""
        k = self.chosen if candidate is None else candidate
        return self.site.solve(self.cloud[k], self.gains[self.traced.index(k)], censored=True)

    def mean(self) -> Floats:
        """Posterior mean of x, y, h [m]."""
        return np.array([self.weights @ axis for axis in np.ascontiguousarray(self.cloud.T)])

    def sd(self) -> Floats:
        """Posterior standard deviation of x, y, h [m]."""
        away = (self.cloud - self.mean()) ** 2
        return np.array([np.sqrt(self.weights @ axis) for axis in np.ascontiguousarray(away.T)])


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


def search_site(site: Site, city: City, trace: Trace, params: CalibrationParams, seed: int) -> SiteFit:
    """Find out where a site stands.

    A cloud of candidates fills the prior's box and is screened by the direct line, which costs no ray. The best of
    them, well apart, are traced, and the nominal pose with them. A Gaussian process on the difference between rays
    and screening says which candidate is worth the next trace (expected improvement), in clouds that close in on the
    best one (:data:`STAGES`). The last trace is that of the posterior's mean, which is the calibrated pose, unless it
    lies between modes (:data:`BETWEEN_MODES`).
    """
    nominal = site.nominal.x[0], site.nominal.y[0], site.nominal.h[0]
    cloud = site.above_roofs(city, cloud_of(nominal, params.radius, params.height, params.candidates, seed))
    direct = site.direct_line_db(city, cloud)
    site.learn_correlation(cloud[NOMINAL], direct[NOMINAL])
    search = _Search(site, city, trace, cloud, direct, seed)
    search.screen()
    for number, (share, _) in enumerate(STAGES):
        until = round((params.traces - 1) * sum(part for _, part in STAGES[: number + 1]))
        if number == 0:
            for k in search.spread_out(max(until - 2, 2), APART * params.radius):
                search.trace(k)
        else:
            search.surround(share * params.radius, params, seed + number)
        while len(search.traced) < until:
            search.trace(search.next())
        if number in (0, len(STAGES) - 1):
            search.relearn()
    search.add(site.above_roofs(city, search.known().mean()[None]))
    search.trace(len(search.cloud) - 1)
    return search.result()


class _Search:
    """The course of a search: candidates, and what was traced of them."""

    def __init__(self, site: Site, city: City, trace: Trace, cloud: Floats, direct: Floats, seed: int) -> None:
        self.site, self.city, self._trace, self.cloud, self.direct, self.seed = site, city, trace, cloud, direct, seed
        self.traced: list[int] = []
        self.gains: list[Floats] = []
        self.evidence = self.cheap = np.empty(0)
        self.history: list[int] = []

    def _screened(self, poses: Floats, direct: Floats) -> Floats:
        return np.array([self.site.log_evidence(pose, g, fine=False) for pose, g in zip(poses, direct, strict=True)])

    def screen(self) -> None:
        """Evidence of every candidate by the direct line."""
        self.cheap = self._screened(self.cloud, self.direct)

    def relearn(self) -> None:
        """Correlation of residuals from the best candidate, and everybody's evidence under it."""
        best = int(self.evidence.argmax())
        self.site.learn_correlation(self.cloud[self.traced[best]], self.gains[best])
        self.screen()
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

    def model(self) -> Surrogate:
        """Log-evidence of all candidates by those that were traced."""
        return surrogate(self.cloud, self.cheap, np.array(self.traced), self.evidence, self.seed)

    def next(self) -> int:
        """The candidate of greatest expected improvement that was not traced."""
        gain = self.model().expected_improvement(float(self.evidence.max()))
        gain[self.traced] = -1.0
        return int(gain.argmax())

    def surround(self, radius: float, params: CalibrationParams, seed: int) -> None:
        """Add a cloud of half the candidates round the best one."""
        best = self.cloud[self.traced[int(self.evidence.argmax())]]
        low, high = params.height
        height = np.clip(best[2] + np.array([-radius, radius]), low, high)
        more = cloud_of(best, radius, height.tolist(), params.candidates // 2 + 1, seed)[1:]
        away = np.abs(more[:, :2] - [self.site.nominal.x[0], self.site.nominal.y[0]]).max(axis=1)
        more = more[away <= params.radius]
        if len(more):
            self.add(self.site.above_roofs(self.city, more))

    def add(self, more: Floats) -> None:
        """More candidates, screened."""
        direct = self.site.direct_line_db(self.city, more)
        self.cloud, self.direct = np.vstack([self.cloud, more]), np.vstack([self.direct, direct])
        self.cheap = np.append(self.cheap, self._screened(more, direct))

    def known(self) -> SiteFit:
        """What is known, the last that was traced being the calibrated pose."""
        return SiteFit(
            self.site, self.cloud, self.cheap, self.traced, self.gains, self.evidence, self.traced[-1], self.history,
            self.seed,
        )  # fmt: skip

    def result(self) -> SiteFit:
        """What was found: the last that was traced, the posterior's mean, or a better one."""
        found = self.known()
        stated = found.stated_evidence
        if stated[-1] < stated.max() - BETWEEN_MODES:
            found = replace(found, chosen=self.traced[int(self.model().mean[self.traced].argmax())])
        return found
