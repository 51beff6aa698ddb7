"""The search over one site's position and height: screened without rays, traced where it matters, judged by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from rfloc.calibration.candidates import Site, Turns, cloud_of, direct_line_db
from rfloc.calibration.likelihood import Solved
from rfloc.calibration.surrogate import Surrogate, surrogate, weights_of
from rfloc.city import City
from rfloc.config import CalibrationParams
from rfloc.frames import wrap_degrees
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: The nominal pose: the first candidate, and the first that is traced.
NOMINAL = 0

#: Isotropic path gain of a pose at the training UEs [dB], shape (ue,): one trace.
Trace = Callable[[Stations], Floats]

#: The first candidates that are traced stand at least this share of the radius apart from each other.
APART = 0.25
#: The calibrated pose is the posterior's mean, unless its density as it is stated falls so far below the best
#: candidate's: then it lies between modes, and the pose is the best candidate [nat].
BETWEEN_MODES = 2.0
#: Share of the tempered log-likelihood that counts where uncertainty is stated: sharp where the search looks for its
#: best pose, blunt where it says how sure that is. Chosen on stations of two simulated campaigns with seeds of their
#: own; benchmarks/calibration.py says how often 90 % and 50 % regions hold the true poses of a third.
STATED = 0.4
#: Stages of the search: a cloud of this share of the radius round the best candidate, for this share of all traces.
STAGES = ((1.0, 0.35), (0.4, 0.25), (0.15, 0.2), (0.06, 0.2))


@dataclass
class SiteFit:
    """What the search of a site found.

    Parameters
    ----------
    site : Site
        With the correlation of residuals that was learned.
    cloud : Stations
        Candidate poses.
    cheap : ndarray, shape (candidate,)
        Their log-evidence by the direct line alone.
    traced : list of int
        Candidates that were traced, in order; `gains` and `evidence` are theirs.
    chosen : int
        The candidate of the calibrated pose.
    history : list of int
        The candidate that was best after each trace.
    seed : int
        Of the fits.
    """

    site: Site
    cloud: Stations
    cheap: Floats
    traced: list[int]
    gains: list[Floats]
    evidence: Floats
    chosen: int
    history: list[int]
    seed: int

    @property
    def stated_evidence(self) -> Floats:
        """Log posterior density of the traced candidates as it is stated, (trace,), up to a constant."""
        at = self.cloud.take(self.traced)
        prior = self.site.log_prior(at.x, at.y)
        return STATED * (self.evidence - prior) + prior

    def stated(self, points: Floats, cheap: Floats) -> Surrogate:
        """Log posterior density of poses as it is stated: x, y, h [m], (pose, 3), log-evidence by the direct line."""
        prior = self.site.log_prior(points[:, 0], points[:, 1])
        cheap = STATED * (cheap - prior) + prior
        return surrogate(points, cheap, np.array(self.traced), self.stated_evidence, self.seed)

    @cached_property
    def weights(self) -> Floats:
        """Posterior weights of the candidates, (candidate,)."""
        points = np.column_stack([self.cloud.x, self.cloud.y, self.cloud.h])
        return weights_of(self.stated(points, self.cheap), points)

    def pose(self) -> Stations:
        """The calibrated pose, as a table of one."""
        return self.cloud.take([self.chosen])

    def solved(self, candidate: int | None = None) -> list[Solved]:
        """What a traced candidate, or else the calibrated pose, amounts to, a sector each; its levels heed silence."""
        k = self.chosen if candidate is None else candidate
        return self.site.solve(self.cloud.take([k]), self.gains[self.traced.index(k)], heed_silence=True)

    def mean(self) -> tuple[float, float, float]:
        """Posterior mean of x, y, h [m]."""
        w = self.weights
        return float(w @ self.cloud.x), float(w @ self.cloud.y), float(w @ self.cloud.h)

    def sd(self) -> tuple[float, float, float]:
        """Posterior standard deviation of x, y, h [m]."""
        w, centre = self.weights, self.mean()
        spread = [w @ (getattr(self.cloud, c) - m) ** 2 for c, m in zip("xyh", centre, strict=True)]
        return tuple(float(np.sqrt(v)) for v in spread)  # type: ignore[return-value]


@dataclass(frozen=True)
class Turned:
    """Which way a sector looks at one pose, and how sure that is."""

    best: int  #: index of the chosen turn
    azimuth: float  #: of greatest posterior weight, tilts summed out [deg]; NaN: alike to all sides
    azimuth_sd: float  #: [deg], NaN where alike to all sides
    azimuths: Floats  #: tried [deg], NaN last where alike to all sides was tried, (azimuth,)
    weights: Floats  #: their posterior weights, (azimuth,)


def turned(solved: Solved, turns: Turns) -> Turned:
    """The likeliest azimuth, and the likeliest tilt at it."""
    weight = np.asarray(softmax(STATED * solved.log_evidence + turns.log_prior))
    azimuths, which = np.unique(turns.azimuth, return_inverse=True)  # NaN last
    profile = np.bincount(which, weight, len(azimuths))
    sides = np.isfinite(azimuths)
    omni = not sides.any() or profile[~sides].sum() > 0.5
    chosen = np.nan if omni else float(azimuths[np.where(sides, profile, -1.0).argmax()])
    among = np.flatnonzero(np.isnan(turns.azimuth) if omni else turns.azimuth == chosen)
    sd = np.nan
    if not omni:
        share = profile[sides] / profile[sides].sum()
        sd = float(np.sqrt(share @ wrap_degrees(azimuths[sides] - chosen) ** 2))
    return Turned(int(among[weight[among].argmax()]), chosen, sd, azimuths, profile / profile.sum())


def search_site(site: Site, city: City, trace: Trace, params: CalibrationParams, seed: int) -> SiteFit:
    """Find out where a site stands.

    A cloud of candidates fills the prior's box and is screened by the direct line, which costs no ray. The best of
    them, well apart, are traced, and the nominal pose with them. A Gaussian process on the difference between rays
    and screening says which candidate is worth the next trace (expected improvement), in clouds that close in on the
    best one (:data:`STAGES`). The last trace is that of the posterior's mean, which is the calibrated pose, unless it
    lies between modes (:data:`BETWEEN_MODES`).

    Parameters
    ----------
    trace : callable
        Traces a pose.
    params : CalibrationParams
        `traces` in all, `candidates` a cloud, `radius`, `height`.
    seed : int
        Of clouds and draws.
    """
    cloud = cloud_of(site.nominal, params, params.candidates, seed).above_roofs(city)
    direct = direct_line_db(city, cloud, site.x, site.y, site.radio)
    site.learn_correlation(cloud.take([NOMINAL]), direct[NOMINAL])
    search = _Search(site, city, trace, cloud, direct)
    search.screen()
    for number, (share, _) in enumerate(STAGES):
        until = round((params.traces - 1) * sum(part for _, part in STAGES[: number + 1]))
        if number == 0:
            for k in search.spread_out(max(until - 2, 2), APART * params.radius):
                search.trace(k)
        else:
            search.surround(share * params.radius, params, seed + number)
        while len(search.traced) < until:
            search.trace(search.next(seed))
        if number in (0, len(STAGES) - 1):
            search.relearn()
    search.trace_mean(seed)
    return search.result(seed)


class _Search:
    def __init__(self, site: Site, city: City, trace: Trace, cloud: Stations, direct: Floats) -> None:
        self.site, self.city, self._trace, self.cloud, self.direct = site, city, trace, cloud, direct
        self.traced: list[int] = []
        self.gains: list[Floats] = []
        self.evidence = self.cheap = np.empty(0)
        self.history: list[int] = []

    def screen(self) -> None:
        """Evidence of every candidate by the direct line."""
        self.cheap = np.array(
            [self.site.log_evidence(self.cloud.take([k]), g, fine=False) for k, g in enumerate(self.direct)]
        )

    def relearn(self) -> None:
        """Correlation of residuals from the best candidate, and everybody's evidence under it."""
        best = int(self.evidence.argmax())
        self.site.learn_correlation(self.cloud.take([self.traced[best]]), self.gains[best])
        self.screen()
        self.evidence = np.array(
            [self.site.log_evidence(self.cloud.take([k]), g) for k, g in zip(self.traced, self.gains, strict=True)]
        )

    def spread_out(self, n: int, apart: float) -> list[int]:
        """The nominal candidate and the best by the direct line, none nearer to another than `apart` [m]."""
        chosen = [NOMINAL]
        for k in np.argsort(-self.cheap):
            distance = np.hypot(self.cloud.x[chosen] - self.cloud.x[k], self.cloud.y[chosen] - self.cloud.y[k])
            if len(chosen) < n and (distance >= apart).all():
                chosen.append(int(k))
        return chosen

    def trace(self, k: int) -> None:
        pose = self.cloud.take([k])
        self.traced.append(k)
        self.gains.append(self._trace(pose))
        self.evidence = np.append(self.evidence, self.site.log_evidence(pose, self.gains[-1]))
        self.history.append(self.traced[int(self.evidence.argmax())])

    def model(self, seed: int) -> Surrogate:
        points = np.column_stack([self.cloud.x, self.cloud.y, self.cloud.h])
        return surrogate(points, self.cheap, np.array(self.traced), self.evidence, seed)

    def next(self, seed: int) -> int:
        """The candidate of greatest expected improvement that was not traced."""
        gain = self.model(seed).expected_improvement(float(self.evidence.max()))
        gain[self.traced] = -1.0
        return int(gain.argmax())

    def surround(self, radius: float, params: CalibrationParams, seed: int) -> None:
        """Add a cloud of half the candidates round the best one."""
        best = self.cloud.take([self.traced[int(self.evidence.argmax())]])
        low, high = params.height
        around = params.model_copy(
            update={"radius": radius, "height": np.clip(best.h[0] + np.array([-radius, radius]), low, high).tolist()}
        )
        more = cloud_of(best, around, params.candidates // 2 + 1, seed).take(np.arange(1, params.candidates // 2 + 1))
        away_x, away_y = more.x - self.site.nominal.x[0], more.y - self.site.nominal.y[0]
        more = more.take(np.maximum(abs(away_x), abs(away_y)) <= params.radius)
        if more.n:
            self.add(more.above_roofs(self.city))

    def add(self, more: Stations) -> None:
        """More candidates, screened."""
        direct = direct_line_db(self.city, more, self.site.x, self.site.y, self.site.radio)
        columns = {name: np.append(getattr(self.cloud, name), getattr(more, name)) for name in vars(self.cloud)}
        self.cloud, self.direct = Stations(**columns), np.vstack([self.direct, direct])
        extra = [self.site.log_evidence(more.take([k]), g, fine=False) for k, g in enumerate(direct)]
        self.cheap = np.append(self.cheap, extra)

    def trace_mean(self, seed: int) -> None:
        """Make the posterior's mean a candidate, and trace it."""
        x, y, h = self.known(seed).mean()
        mean = self.site.nominal.take([0]).replace(x=[x], y=[y], h=[h], id=[f"{self.site.nominal.id[0]}/mean"])
        self.add(mean.above_roofs(self.city))
        self.trace(self.cloud.n - 1)

    def known(self, seed: int) -> SiteFit:
        """What is known, were the last that was traced the calibrated pose."""
        return SiteFit(
            self.site, self.cloud, self.cheap, self.traced, self.gains, self.evidence, self.traced[-1], self.history,
            seed,
        )  # fmt: skip

    def result(self, seed: int) -> SiteFit:
        """What was found: the last that was traced, the posterior's mean, or a better one."""
        found = self.known(seed)
        stated = found.stated_evidence
        if stated[-1] < stated.max() - BETWEEN_MODES:
            best = self.traced[int(self.model(seed).mean[self.traced].argmax())]
            found = replace(found, chosen=best)
        return found
