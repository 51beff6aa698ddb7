"""Levels by a linear mixed model: coefficients that stations share, each one's deviation, and what is known of both.

How far stations deviate is estimated with the rest, by restricted maximum likelihood, and shrinks each of them
accordingly (Patterson and Thompson 1971; Laird and Ware 1982). Neighbouring measurements repeat each other, so those of
one station in one square of SQUARE metres count together as one (cell declustering, Isaaks and Srivastava 1989):
without that, azimuths follow the noise of the streets that happen to be measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from rfloc.arrays import Bools, Floats
from rfloc.errors import SimulationError

#: Regressors by name, each of shape (..., ue, bs); leading dimensions are places of a station.
Columns = Mapping[str, Floats]
#: Effects of a station by name: their regressors, and the scale of their spread between stations beforehand
#: (half-normal): level [dB], exponent, azimuth harmonics [dB], decibels a traced decibel.
EFFECTS: dict[str, tuple[tuple[str, ...], float]] = {
    "level": (("one",), 10.0),
    "exponent": (("decades",), 1.0),
    "harmonic": (("north", "east"), 6.0),
    "second": (("north2", "east2"), 4.0),
    "rays": (("rays",), 0.3),
    "street": (("street",), 0.3),
}
#: What is known of shared coefficients beforehand: 0 give or take this. Of level and exponent nothing is; the
#: obstruction loss [dB] stays 0 where nothing is obstructed.
SHARED_SD = {"one": np.inf, "decades": np.inf, "obstructed": 50.0, "rays": 3.0, "street": 3.0}
#: Measurements of a station in one square of this edge count as one [m]; fewest squares of all stations together.
SQUARE, MIN_SQUARES = 100.0, 20


@dataclass(frozen=True)
class Design:
    """Regressors of a mixed model at one place of each station, or at several, and what is known beforehand."""

    shared: Floats  #: (..., bs, ue, p) regressors that stations share; leading dimensions are places
    own: Floats  #: (..., bs, ue, q) regressors of a station's effects
    shared_sd: Floats  #: (p,) standard deviation of each shared coefficient, about 0; inf: nothing is known
    spread_of: NDArray[np.intp]  #: (q,) which spread each effect has: both coefficients of a harmonic share one
    scales: Floats  #: of each spread

    @classmethod
    def of(cls, columns: Columns, shared: Sequence[str], effects: Sequence[str]) -> Self:
        """The design of named regressors (SHARED_SD) and EFFECTS, from columns (..., ue, bs)."""
        own = [column for name in effects for column in EFFECTS[name][0]]
        by_shared, by_own = (np.stack([columns[c].swapaxes(-1, -2) for c in names], -1) for names in (shared, own))
        spread_of = np.array([k for k, name in enumerate(effects) for _ in EFFECTS[name][0]])
        shared_sd = np.array([SHARED_SD[name] for name in shared])
        return cls(by_shared, by_own, shared_sd, spread_of, np.array([EFFECTS[name][1] for name in effects]))

    def levels(self, shared: Floats, effects: Floats) -> Floats:
        """Expected levels, (..., bs, ue), from coefficients (p,) and effects (..., bs, q)."""
        return self.shared @ shared + (self.own @ effects[..., None])[..., 0]


class MixedModel(NamedTuple):
    """What :func:`mixed_model` found."""

    shared: Floats  #: (p,)
    effects: Floats  #: (bs, q), expected values
    spread: Floats  #: (q,), standard deviation of each effect between stations
    residual_sd: float  #: standard deviation of a single measurement


def mixed_model(measured: Floats, design: Design, weight: Floats) -> MixedModel:
    """Solve measured = shared @ beta + own @ u_b + residual, u_b normal with a spread of its own for each kind.

    Beta is integrated out (restricted likelihood); spreads and residual are at the maximum of what is left. `measured`,
    (ue, bs) [dB], is NaN where missing; `weight`, (ue, bs), is how many observations each counts for, 0 where missing.
    """
    n, q, which = measured.shape[1], design.own.shape[-1], design.spread_of
    columns = np.concatenate([design.own, design.shared, np.nan_to_num(measured).T[..., None]], axis=-1)
    gram = (columns * weight.T[..., None]).swapaxes(-1, -2) @ columns
    zz, zx, zy = gram[:, :q, :q], gram[:, :q, q:-1], gram[:, :q, -1]
    total = gram[:, q:, q:].sum(0)
    xx, xy, yy = total[:-1, :-1], total[:-1, -1], total[-1, -1]
    prior = np.diag(design.shared_sd**-2.0)

    def solve(log_sd: Floats) -> tuple[float, Floats, Floats]:
        spread, variance = np.exp(log_sd[:-1]), np.exp(2 * log_sd[-1])
        cov = np.linalg.inv(zz / variance + np.diag(spread[which] ** -2.0))  # of the effects, (bs, q, q)
        a, r = zx / variance, zy / variance
        information = xx / variance + prior - np.einsum("bqi,bqr,brj->ij", a, cov, a)
        right = xy / variance - np.einsum("bqi,bqr,br->i", a, cov, r)
        beta = np.linalg.solve(information, right)
        misfit = yy / variance - np.einsum("bq,bqr,br->", r, cov, r) - right @ beta
        log_det = weight.sum() * np.log(variance) + 2 * n * np.log(spread[which]).sum()
        log_det += np.linalg.slogdet(information)[1] - np.linalg.slogdet(cov)[1].sum()
        loss = 0.5 * (misfit + log_det + ((spread / design.scales) ** 2).sum())
        return loss, beta, np.einsum("bqr,br->bq", cov, r - a @ beta)

    start = np.log(np.append(design.scales / 2, 7.0))
    bounds = [(np.log(1e-2), np.log(1e2))] * len(start)
    log_sd = minimize(lambda at: solve(at)[0], start, method="L-BFGS-B", bounds=bounds).x
    _, beta, effects = solve(log_sd)
    return MixedModel(beta, effects, np.exp(log_sd[:-1])[which], float(np.exp(log_sd[-1])))


def own_effects(rest: Floats, own: Floats, precision: ArrayLike, spread: ArrayLike) -> tuple[Floats, Floats]:
    """Expected effects of single stations, (..., q), and the log-likelihood with effects integrated out, (...).

    `rest`, (..., ue) [dB], is what shared coefficients leave, `own`, (..., ue, q), the effects' regressors, `precision`
    weight over variance [dB^-2], 0 where missing, `spread`, (q,), sd of each effect. Terms of these alone are left out.
    """
    scaled = own * np.broadcast_to(precision, own.shape[:-1])[..., None]
    cov = np.linalg.inv(scaled.swapaxes(-1, -2) @ own + np.diag(np.asarray(spread, float) ** -2.0))
    pull = (rest[..., None, :] @ scaled)[..., 0, :]
    effects = (cov @ pull[..., None])[..., 0]
    explained = (pull * effects).sum(-1) + np.linalg.slogdet(cov)[1]
    return effects, 0.5 * (explained - (np.asarray(precision, float) * rest**2).sum(-1))


def declustered(x: Floats, y: Floats, used: Bools) -> Floats:
    """One over the measurements of a station in a square of SQUARE m: (ue, bs) (SimulationError: too few squares)."""
    square = np.unique(np.floor(np.column_stack([x, y]) / SQUARE), axis=0, return_inverse=True)[1]
    count = np.zeros((square.max(initial=-1) + 1, used.shape[1]))
    np.add.at(count, square, used)
    if (squares := np.count_nonzero(count)) < MIN_SQUARES:
        raise SimulationError(
            f"the training UEs' reports lie in {squares} squares of {SQUARE:g} m",
            f"neighbours repeat each other: fewer than {MIN_SQUARES} say too little about distance and azimuth",
            "take more training UEs",
        )
    return used / np.maximum(count[square], 1)
