"""A linear mixed model by restricted maximum likelihood: coefficients that stations share, and each one's deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

#: What is known beforehand, as scales of half-normal distributions: how far stations spread in level [dB], exponent,
#: and the coefficients of the azimuth harmonic [dB].
SPREAD_PRIOR = (10.0, 1.0, 6.0)
#: The obstruction loss is 0 give or take this, beforehand [dB]: it stays 0 where nothing is obstructed.
OBSTRUCTION_PRIOR_DB = 50.0

#: Random effects, in order: level, exponent, north and east coefficient of the harmonic; which spread each has.
SPREAD_OF = (0, 1, 2, 2)


@dataclass(frozen=True)
class MixedModel:
    """What :func:`mixed_model` found: p shared coefficients, q effects a station."""

    shared: Array  #: (p,)
    effects: Array  #: (bs, q), expected values
    spread: Array  #: (q,), standard deviation between stations
    residual_sd: float  #: standard deviation of a single measurement
    residual: Array  #: (ue, bs), NaN where nothing was measured


def mixed_model(
    measured: Array,
    shared: Array,
    own: Array,
    weight: Array,
    *,
    spread_of: Sequence[int] = SPREAD_OF,
    scales: ArrayLike = SPREAD_PRIOR,
    shared_sd: ArrayLike = (np.inf, np.inf, OBSTRUCTION_PRIOR_DB),
) -> MixedModel:
    """Solve measured = shared @ beta + own @ u_b + residual, u_b normal with a spread of its own for each kind.

    Beta is integrated out (restricted likelihood); spreads and residual are at the maximum of what is left.

    Parameters
    ----------
    measured : ndarray, shape (ue, bs)
        NaN where missing [dB].
    shared : ndarray, shape (ue, bs, p)
        Regressors that stations share; by default of level, exponent and obstruction.
    own : ndarray, shape (ue, bs, q)
        Regressors of a station's effects, by default the first q of level, exponent, north, east.
    weight : ndarray, shape (ue, bs)
        Observations that each measurement counts for; 0 where missing.
    spread_of : sequence of int
        Which spread each effect has: effects that are alike share one.
    scales : array_like
        Of each spread, half-normal beforehand.
    shared_sd : array_like, shape (p,)
        Standard deviation of each shared coefficient beforehand, about 0; inf: nothing is known.
    """
    n, q = measured.shape[1], own.shape[2]
    which = np.array(spread_of[:q])
    columns = np.concatenate([own, shared, np.nan_to_num(measured)[..., None]], axis=-1)
    gram = np.stack([(columns[:, b] * weight[:, b, None]).T @ columns[:, b] for b in range(n)])
    zz, zx, zy = gram[:, :q, :q], gram[:, :q, q:-1], gram[:, :q, -1]
    total = gram[:, q:, q:].sum(0)
    xx, xy, yy = total[:-1, :-1], total[:-1, -1], total[-1, -1]
    prior = np.diag(np.asarray(shared_sd, float) ** -2.0)
    scales = np.asarray(scales, float)[: which.max() + 1]

    def solve(log_sd: Array) -> tuple[float, Array, Array]:
        spread, variance = np.exp(log_sd[:-1]), np.exp(2 * log_sd[-1])
        cov = np.linalg.inv(zz / variance + np.diag(spread[which] ** -2.0))  # of the effects, (bs, q, q)
        a, r = zx / variance, zy / variance
        information = xx / variance + prior - np.einsum("bqi,bqr,brj->ij", a, cov, a)
        right = xy / variance - np.einsum("bqi,bqr,br->i", a, cov, r)
        beta = np.linalg.solve(information, right)
        misfit = yy / variance - np.einsum("bq,bqr,br->", r, cov, r) - right @ beta
        log_det = weight.sum() * np.log(variance) + 2 * n * np.log(spread[which]).sum()
        log_det += np.linalg.slogdet(information)[1] - np.linalg.slogdet(cov)[1].sum()
        loss = 0.5 * (misfit + log_det + ((spread / scales) ** 2).sum())
        return loss, beta, np.einsum("bqr,br->bq", cov, r - a @ beta)

    start = np.log(np.append(scales / 2, 7.0))
    bounds = [(np.log(1e-2), np.log(1e2))] * len(start)
    log_sd = minimize(lambda at: solve(at)[0], start, method="L-BFGS-B", bounds=bounds).x
    _, beta, effects = solve(log_sd)
    residual = measured - shared @ beta - np.einsum("ubq,bq->ub", own, effects)
    return MixedModel(beta, effects, np.exp(log_sd[:-1])[which], float(np.exp(log_sd[-1])), residual)
