"""The second step: moving a mast, kept only where UEs that were left out in blocks say that it pays.

Candidates are drawn from the prior of position and height that the table states. Each trace is of the one of greatest
expected improvement, by a Gaussian process on those before. The pose is the posterior's mean.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import norm, qmc

from rfloc.arrays import Bools, Floats
from rfloc.calibration.levels import solved_at
from rfloc.calibration.poses import Calibration, Search
from rfloc.calibration.sectors import OWN, SHARED, Likelihood, Orientations
from rfloc.config import CalibrationParams, EngineParams
from rfloc.datasets.mixed import Design
from rfloc.files import say
from rfloc.simulation.many import each
from rfloc.simulation.maps import gain_at
from rfloc.simulation.plane import Rays
from rfloc.stations import Stations

#: Stations nearer to each other than this share a mast [m]; step of azimuths where positions are compared [deg].
SITE, COARSE = 1.0, 15.0
#: UEs are left out in squares of this edge [m], dealt into so many folds; and the share of evidence that counts where
#: poses are compared, as each has rays of its own: chosen on a simulated campaign.
BLOCK, FOLDS, STATED = 150.0, 4, 0.4
#: The Gaussian process: length scales of position and height [m], least standard deviation and a trace's noise [nat].
#: Evidence further below the best than the last is as bad as that [nat].
SCALES, ADDED, NOISE, DEEP = [25.0, 25.0, 15.0], 1.0, 0.5, 15.0


def move(
    found: Calibration, links: xr.Dataset, rays: Rays, fine: Rays, params: CalibrationParams,
    engine: EngineParams | None = None, cache: Path | None = None,
) -> Calibration:  # fmt: skip
    """Move masts of a calibration of `links` where that pays, by `params.traces` traces of each, and solve all anew.

    Candidates are traced by `rays`, the poses that come of it by `fine` ones; what was traced is kept in the folder
    `cache`. A position's prior is what `bs_position_error` states, where it is finite, but not where positions were
    estimated: that error came of the very levels that are judged here.
    """
    nominal, sd = found.nominal, np.full(found.nominal.n, params.position_sd)
    if "bs_position_error" in links.variables:
        stated, source = links["bs_position_error"].values, links.get("bs_position_source", links["bs_id"]).astype(str)
        sd = np.where(np.isfinite(stated) & (source.values != "estimated"), stated, sd)
    used = np.array(sorted(found.facings))
    place = np.column_stack([nominal.x, nominal.y])[used]
    count, mast = connected_components(cdist(place, place) <= SITE)
    sites = [used[mast == k] for k in range(count)]
    names = ["+".join(nominal.id[site]) for site in sites]
    jobs = [(site, found, rays, params, float(sd[site[0]]), cache) for site in sites]
    at, done = np.stack([nominal.x, nominal.y, nominal.h]), {}
    for k, search in each(search_site, jobs, [f"the search of {name}" for name in names], engine):
        done[k] = search
        if search.pays_nat > 0:
            at[:, search.members] = search.pose[:, None]
        say(f"site {len(done)}/{len(jobs)} {names[k]}: {search.pays_nat:+.1f} nat held out, {search.seconds:.0f} s")
    again = solved_at(nominal.replace(x=at[0], y=at[1], h=at[2]), found.survey, fine, params, engine, cache)
    poses = list(again.poses)
    for b, of in ((b, search) for search in done.values() for b in search.members):
        poses[b] = replace(poses[b], position_sd=of.position_sd, h_sd=of.h_sd, pays_nat=of.pays_nat)
    return replace(again, nominal=nominal, poses=poses, searches=[done[k] for k in sorted(done)])


class Site:
    """One mast with its sectors: poses, of shape (pose, 3), are its positions and heights above ground [m]."""

    def __init__(self, members: NDArray[np.intp], found: Calibration, params: CalibrationParams, seed: int) -> None:
        self.survey, self.nominal = (of := found.survey), found.nominal.take(members)
        square = np.unique(np.floor(np.column_stack([of.x, of.y]) / BLOCK), axis=0, return_inverse=True)[1].ravel()
        fold = np.random.default_rng(seed).permutation(square.max() + 1)[square] % FOLDS

        def likelihood(b: int, use: Bools) -> Likelihood:
            return Likelihood(of.reports[b].of_ues(use), of.x, of.y, found.regression, found.poses[b].scale)

        #: Likelihoods of the sectors by all UEs, then by all but those of each fold.
        self.likelihoods = [[likelihood(b, fold != k) for b in members] for k in (-1, *range(FOLDS))]
        coarse = params.model_copy(update={"azimuth_step": COARSE})
        self.tried = [Orientations.of(of.radio, coarse, stated) for stated in self.nominal.azimuth]

    def at(self, poses: Floats) -> Stations:
        """Its first sector at other poses, lifted clear of roofs."""
        x, y, h = np.maximum(poses, [-np.inf, -np.inf, self.survey.plane.ue_height + 1.0]).T
        return self.nominal.take(np.zeros(len(x), int)).replace(x=x, y=y, h=h).above_roofs(self.survey.plane.city)

    def evidence(self, pose: Floats, rays: Floats) -> Floats:
        """Log-evidence of a pose, (1, 3), with traced gains (ue, 1), linear: by all UEs, then by all folds but one."""
        station, found = self.at(pose), np.zeros(1 + FOLDS)
        design = Design.of(self.survey.columns(station, rays), SHARED, OWN)
        for part, sectors in enumerate(self.likelihoods):
            for likelihood, tried in zip(sectors, self.tried, strict=True):
                log = likelihood(*self.survey.rows(likelihood.reports, design, 0, station, tried))[0]
                found[part] += STATED * logsumexp(log + tried.log_prior)
        return found


def search_site(
    members: NDArray[np.intp], found: Calibration, rays: Rays, params: CalibrationParams, position_sd: float,
    cache: Path | None,
) -> Search:  # fmt: skip
    """Search the mast of one site, here and now."""
    start, site = time.perf_counter(), Site(members, found, params, rays.seed)
    survey, nominal = site.survey, site.nominal
    sd = np.array([position_sd, position_sd, params.height_sd])
    draw = qmc.MultivariateNormalQMC(np.zeros(3), rng=np.random.default_rng(rays.seed)).random(params.candidates)
    cloud = np.array([nominal.x[0], nominal.y[0], nominal.h[0]]) + sd * np.vstack([np.zeros(3), draw[1:]])
    traced: list[int] = []
    evidence = np.empty((0, 1 + FOLDS))

    def trace(k: int) -> None:
        nonlocal evidence
        gain = gain_at(survey.plane, site.at(cloud[[k]]), rays, survey.x, survey.y, cache)[0]
        traced.append(k)
        evidence = np.vstack([evidence, site.evidence(cloud[[k]], gain)])

    trace(0)
    prior = -0.5 * (((cloud - cloud[0]) / sd) ** 2).sum(1)
    while len(traced) < params.traces - 1:
        mean, unsure = surrogate(cloud, traced, evidence[:, 0])
        z = (mean + prior - (evidence[:, 0] + prior[traced]).max()) / np.maximum(unsure, 1e-6)
        improvement = unsure * (z * norm.cdf(z) + norm.pdf(z))
        improvement[traced] = -1.0
        trace(int(improvement.argmax()))
    weight = np.asarray(softmax(surrogate(cloud, traced, evidence[:, 0])[0]))
    centre = weight @ cloud
    spread = np.sqrt(weight @ (cloud - centre) ** 2)
    cloud = np.vstack([cloud, centre])
    trace(len(cloud) - 1)
    among = evidence[:, 1:] - 0.5 * (((cloud[traced] - cloud[0]) / sd) ** 2).sum(1)[:, None]
    left_out = evidence[:, :1] - evidence[:, 1:]  # log-likelihood of each fold by the others, (trace, FOLDS)
    pays = float((logsumexp(left_out + log_softmax(among, axis=0), axis=0) - left_out[0]).sum())
    at, apart = site.at(centre[None]), float(np.sqrt((spread[:2] ** 2).mean()))
    pose = np.concatenate([at.x, at.y, at.h])
    return Search(members, cloud[:-1], weight, pose, apart, float(spread[2]), pays, time.perf_counter() - start)


def surrogate(points: Floats, traced: list[int], evidence: Floats) -> tuple[Floats, Floats]:
    """Expected log-evidence of candidates, x, y, h [m], (candidate, 3), and its standard deviation, (candidate,)."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    value = np.maximum(evidence, evidence.max() - DEEP)
    kernel = ConstantKernel(ADDED**2 + value.var()) * RBF(SCALES)
    process = GaussianProcessRegressor(kernel, alpha=NOISE**2, optimizer=None)
    mean, sd = process.fit(points[traced], value - value.mean()).predict(points, return_std=True)
    return mean + value.mean(), sd
