"""Predictors of levels for :mod:`rfloc.studies.levels`: regressors of distance, azimuth, city and rays, shrunk.

All are mixed models (:mod:`rfloc.datasets.mixed`): shared coefficients and stations' own deviations, by restricted
maximum likelihood on declustered measurements. Where a mast stands is known to some hundred metres at best, so a model
may be averaged over candidate poses by their posterior, and what it leaves may be kriged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.fitting import declustered, fit
from rfloc.datasets.mixed import mixed_model
from rfloc.datasets.radio import SUBCARRIERS
from rfloc.stations import Stations
from rfloc.studies.level_regressors import Columns
from rfloc.studies.levels import Predictor

Array = NDArray[np.float64]
Group = tuple[Array, Array, Array]

#: Trials that were read on all UEs of the Rome campaign before these models were settled; some sixty came before them.
CONFIGURATIONS_READ = 85

#: Effects of a station by name: their regressors, and the scale of their spread beforehand (half-normal).
EFFECTS = {
    "level": (("one",), 10.0),
    "exponent": (("decades",), 1.0),
    "harmonic": (("north", "east"), 6.0),
    "second": (("north2", "east2"), 4.0),
    "rays": (("rays",), 0.3),
    "street": (("street",), 0.3),
}
#: What is known of shared coefficients beforehand: 0 give or take this. Of level and exponent nothing is.
SHARED_SD = {
    "one": np.inf,
    "decades": np.inf,
    "obstructed": 50.0,
    "rays": 3.0,
    "street": 3.0,
    "edges": 3.0,
    "roofs": 3.0,
}
#: The predictor that all others are compared with.
BASELINE = "distance and azimuth"

#: Every other predictor: shared regressors, own effects, whether averaged over poses, whether kriged.
RECIPES: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool, bool]] = {
    BASELINE: (("one", "decades"), ("level", "exponent", "harmonic"), False, False),
    "one level a station": (("one", "decades"), ("level",), False, False),
    "+ second harmonic": (("one", "decades"), ("level", "exponent", "harmonic", "second"), False, False),
    "+ obstructed fraction": (("one", "decades", "obstructed"), ("level", "exponent", "harmonic"), False, False),
    "+ Walfisch-Ikegami": (("one", "decades", "roofs"), ("level", "exponent", "harmonic"), False, False),
    "+ cascaded edges": (("one", "decades", "edges"), ("level", "exponent", "harmonic"), False, False),
    "+ rays": (("one", "decades", "rays"), ("level", "exponent", "harmonic"), False, False),
    "rays alone": (("one", "rays"), ("level", "rays", "harmonic"), False, False),
    "rays alone, smoothed": (("one", "street"), ("level", "street", "harmonic"), False, False),
    "rays alone, smoothed, poses": (("one", "street"), ("level", "street", "harmonic"), True, False),
    "poses": (("one", "decades"), ("level", "exponent", "harmonic"), True, False),
    "poses + obstructed": (("one", "decades", "obstructed"), ("level", "exponent", "harmonic"), True, False),
    "poses + obstructed + rays": (
        ("one", "decades", "obstructed", "street"), ("level", "exponent", "harmonic"), True, False,
    ),
    "kriged": (("one", "decades"), ("level", "exponent", "harmonic"), False, True),
    "rays alone, smoothed, poses, kriged": (("one", "street"), ("level", "street", "harmonic"), True, True),
    "hybrid": (("one", "decades", "obstructed"), ("level", "exponent", "harmonic"), True, True),
    "hybrid with rays": (
        ("one", "decades", "obstructed", "street"), ("level", "exponent", "harmonic"), True, True,
    ),
}  # fmt: skip

#: Measurements of a station in one square of this edge are one observation of the residual [m].
KRIGED = 50.0
#: Edge of a tile [m], and how many tiles its likelihood is taken of.
TILE, TILES = 300.0, 60


@dataclass(frozen=True)
class LevelModel:
    """A mixed model as a predictor, at one pose or averaged over several.

    The spreads, the shared coefficients and the residual come from the nominal pose. Under them every candidate pose of
    a station has a likelihood with the station's own effects integrated out; all are alike beforehand. Declustered
    weights keep neighbours, which repeat each other, from making it too sharp. A station without a measurement keeps
    the average over all its poses.

    Parameters
    ----------
    shared : ndarray, shape (pose, bs, ue, p)
        Regressors that stations share, the nominal pose first.
    own : ndarray, shape (pose, bs, ue, q)
        Regressors of a station's own effects.
    shared_sd, spread_of, scales
        As :func:`rfloc.datasets.mixed.mixed_model`.
    x, y : ndarray, shape (ue,)
        Positions [m].
    """

    shared: Array
    own: Array
    shared_sd: tuple[float, ...]
    spread_of: tuple[int, ...]
    scales: tuple[float, ...]
    x: Array
    y: Array

    @classmethod
    def of(cls, poses: Sequence[Columns], x: Array, y: Array, shared: Sequence[str], own: Sequence[str]) -> Self:
        """The model of named regressors (`SHARED_SD`) and effects (`EFFECTS`), one table of columns a pose."""
        columns = [column for name in own for column in EFFECTS[name][0]]
        shared_columns, own_columns = (
            np.stack([np.stack([p[c].T for c in names], -1) for p in poses]) for names in (shared, columns)
        )
        return cls(
            shared_columns,
            own_columns,
            tuple(SHARED_SD[name] for name in shared),
            tuple(k for k, name in enumerate(own) for _ in EFFECTS[name][0]),
            tuple(EFFECTS[name][1] for name in own),
            x,
            y,
        )

    def __call__(self, measured: Array) -> Array:
        """Levels of all links, (ue, bs), from those shown, NaN where hidden (raises SimulationError where too few)."""
        weight, effects, beta = self._posterior(measured)
        level = self.shared @ beta + (self.own @ effects[..., None])[..., 0]
        return np.einsum("cb,cbu->ub", weight, level)

    def pose_weights(self, measured: Array) -> Array:
        """Posterior probability of each pose of each station, (pose, bs)."""
        return self._posterior(measured)[0]

    def _posterior(self, measured: Array) -> tuple[Array, Array, Array]:
        """Weights (pose, bs), effects (pose, bs, q) and shared coefficients (p,)."""
        weight = declustered(self.x, self.y, np.isfinite(measured))
        nominal = mixed_model(
            measured,
            self.shared[0].swapaxes(0, 1),
            self.own[0].swapaxes(0, 1),
            weight,
            spread_of=self.spread_of,
            scales=self.scales,
            shared_sd=self.shared_sd,
        )
        rest = np.nan_to_num(measured).T - self.shared @ nominal.shared  # (pose, bs, ue)
        scaled = self.own * (weight.T / nominal.residual_sd**2)[..., None]
        cov = np.linalg.inv(scaled.swapaxes(-1, -2) @ self.own + np.diag(nominal.spread**-2.0))
        pull = (rest[..., None, :] @ scaled)[..., 0, :]
        effects = (cov @ pull[..., None])[..., 0]
        log = -0.5 * np.einsum("bu,cbu->cb", weight.T / nominal.residual_sd**2, rest**2)
        log += 0.5 * ((pull * effects).sum(-1) + np.linalg.slogdet(cov)[1])
        likely = np.exp(log - log.max(axis=0))
        return likely / likely.sum(axis=0), effects, nominal.shared


@dataclass(frozen=True)
class Kriged:
    """A predictor and a Gaussian process of what it leaves of each station's measurements.

    Covariance sd^2 exp(-distance / length) plus white noise, of means over squares of KRIGED metres (Rasmussen and
    Williams 2006, ch. 2). The three numbers are shared by the stations and have the largest likelihood on what is
    shown, of the TILES fullest tiles of TILE metres, taken as independent (block likelihood, Caragea and Smith 2007).
    """

    model: Predictor
    x: Array
    y: Array

    def __call__(self, measured: Array) -> Array:
        """Levels of all links, (ue, bs), from those shown, NaN where hidden."""
        level = np.array(self.model(measured))
        here = np.column_stack([self.x, self.y])
        groups = [self._means(residual) for residual in (measured - level).T]
        sd, length, noise = _likeliest([part for group in groups for part in _tiles(*group)])
        for b, (at, mean, count) in enumerate(groups):
            if len(at):
                pull = np.linalg.solve(_covariance(sd, length, noise, cdist(at, at), count), mean)
                level[:, b] += sd**2 * np.exp(-cdist(here, at) / length) @ pull
        return level

    def _means(self, residual: Array) -> Group:
        """Position (n, 2), mean residual and number of measurements of each square of one station."""
        known = np.isfinite(residual)
        at = np.column_stack([self.x, self.y])[known]
        _, index, count = np.unique(np.floor(at / KRIGED), axis=0, return_inverse=True, return_counts=True)
        x, y, mean = (np.bincount(index.ravel(), v, len(count)) / count for v in (*at.T, residual[known]))
        return np.column_stack([x, y]), mean, count.astype(float)


def _covariance(sd: float, length: float, noise: float, gap: Array, count: Array) -> Array:
    """Covariance of means of `count` measurements each, (..., n, n): of the noise a quarter is the square's own."""
    return sd**2 * np.exp(-gap / length) + noise**2 * (0.25 + 1 / count)[..., None] * np.eye(gap.shape[-1])


def _tiles(at: Array, mean: Array, count: Array) -> list[Group]:
    """One station's squares, tile by tile."""
    tile = np.unique(np.floor(at / TILE), axis=0, return_inverse=True)[1].ravel()
    return [(at[tile == k], mean[tile == k], count[tile == k]) for k in range(tile.max(initial=-1) + 1)]


def _likeliest(tiles: list[Group]) -> tuple[float, float, float]:
    """Standard deviation [dB], length [m] and noise [dB] of the process."""
    fullest = sorted(tiles, key=lambda tile: -len(tile[1]))[:TILES]
    parts = [(cdist(at, at), mean, count) for at, mean, count in fullest]

    def loss(log: Array) -> float:
        total, (sd, length, noise) = 0.0, np.exp(log)
        for gap, mean, count in parts:
            root = np.linalg.cholesky(_covariance(sd, length, noise, gap, count))
            total += 0.5 * (solve_triangular(root, mean, lower=True, check_finite=False) ** 2).sum()
            total += np.log(np.diag(root)).sum()
        return total

    bounds = [(np.log(0.1), np.log(20.0)), (np.log(10.0), np.log(500.0)), (np.log(0.5), np.log(20.0))]
    found = minimize(loss, np.log([5.0, 80.0, 3.0]), method="L-BFGS-B", bounds=bounds, options={"maxiter": 20})
    sd, length, noise = np.exp(found.x)
    return float(sd), float(length), float(noise)


@dataclass(frozen=True)
class Simulator:
    """The statistical simulator (:func:`rfloc.datasets.fitting.fit`) as a predictor; its sector is the element."""

    links: xr.Dataset
    city: City
    radio: RadioParams

    def __call__(self, measured: Array) -> Array:
        """Levels of all links, (ue, bs), from those shown, NaN where hidden."""
        stations, x, y = Stations.from_dataset(self.links), self.links["ue_x"].values, self.links["ue_y"].values
        shown = self.links.assign(nrsrp=(("ue", "bs"), measured.astype(np.float32)))
        model = fit(shown, np.ones(len(x), bool), self.city, self.radio)
        element = stations.power - 10 * np.log10(SUBCARRIERS * self.radio.resource_blocks)
        return model.path_gain_db(self.city, stations, x, y, self.radio) + element


def level_models(poses: Sequence[Columns], links: xr.Dataset, city: City, radio: RadioParams) -> dict[str, Predictor]:
    """Every predictor of RECIPES by name, and the statistical simulator.

    Parameters
    ----------
    poses : sequence of dict
        Regressors (:mod:`rfloc.studies.level_regressors`) of every candidate pose, the nominal one first.
    """
    x, y = links["ue_x"].values, links["ue_y"].values
    models: dict[str, Predictor] = {}
    for name, (shared, own, averaged, kriged) in RECIPES.items():
        model = LevelModel.of(poses if averaged else poses[:1], x, y, shared, own)
        models[name] = Kriged(model, x, y) if kriged else model
    return models | {"statistical simulator": Simulator(links, city, radio)}
