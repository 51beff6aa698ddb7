"""Predictors of levels for :mod:`rfloc.studies.levels`: regressors of distance, azimuth, city and rays, shrunk.

All are mixed models (:mod:`rfloc.datasets.mixed`). Where a mast stands is known to some hundred metres at best, so a
model may be averaged over candidate poses by their posterior, and what it leaves may be kriged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import ndimage

from rfloc.arrays import Floats
from rfloc.city import City
from rfloc.config import LevelParams, RadioParams
from rfloc.datasets.build import SUBCARRIERS
from rfloc.datasets.mixed import Columns, Design, declustered, mixed_model, own_effects
from rfloc.datasets.shadowing import Means, likeliest_shadowing
from rfloc.datasets.statistical import fitter, regressors
from rfloc.errors import EvaluationError
from rfloc.frames import Grid
from rfloc.stations import Stations

Names = tuple[tuple[str, ...], tuple[str, ...]]
#: Trials that were read on all UEs of the Rome campaign before these models were settled; some sixty came before them.
CONFIGURATIONS_READ = 85
#: The predictor that all others are compared with.
BASELINE = "distance and azimuth"

_SECTOR, _STREET = ("level", "exponent", "harmonic"), ("level", "street", "harmonic")
_BUILT = ("one", "decades", "obstructed")
#: Every predictor: shared regressors, own effects, whether averaged over poses, whether kriged.
RECIPES: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool, bool]] = {
    BASELINE: (("one", "decades"), _SECTOR, False, False),
    "one level a station": (("one", "decades"), ("level",), False, False),
    "+ second harmonic": (("one", "decades"), (*_SECTOR, "second"), False, False),
    "+ obstructed fraction": (_BUILT, _SECTOR, False, False),
    "+ rays": (("one", "decades", "rays"), _SECTOR, False, False),
    "rays alone": (("one", "rays"), ("level", "rays", "harmonic"), False, False),
    "rays alone, smoothed": (("one", "street"), _STREET, False, False),
    "rays alone, smoothed, poses": (("one", "street"), _STREET, True, False),
    "poses": (("one", "decades"), _SECTOR, True, False),
    "poses + obstructed": (_BUILT, _SECTOR, True, False),
    "poses + obstructed + rays": ((*_BUILT, "street"), _SECTOR, True, False),
    "kriged": (("one", "decades"), _SECTOR, False, True),
    "rays alone, smoothed, poses, kriged": (("one", "street"), _STREET, True, True),
    "hybrid": (_BUILT, _SECTOR, True, True),
    "hybrid with rays": ((*_BUILT, "street"), _SECTOR, True, True),
}
#: Standard deviation of the Gaussian window over which `street` averages rays in decibels [m].
STREET = 60.0
_GOLDEN, _GOLDEN_ANGLE = (np.sqrt(5.0) - 1.0) / 2.0, np.pi * (3.0 - np.sqrt(5.0))


def pose_tables(stations: Stations, params: LevelParams, seed: int) -> list[Stations]:
    """Candidate poses: the nominal one, then a sunflower over a disc, turned at random; heights by the golden ratio."""
    low, high = params.height
    turn = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, stations.n)
    tables = [stations]
    for k in range(1, params.candidates):
        r, angle = params.radius * np.sqrt((k - 0.5) / (params.candidates - 1)), turn + k * _GOLDEN_ANGLE
        height = np.full(stations.n, low + (high - low) * ((k * _GOLDEN) % 1.0))
        tables.append(stations.moved(r * np.cos(angle), r * np.sin(angle)).replace(h=height))
    return tables


def level_columns(
    city: City, stations: Stations, maps: xr.Dataset, x: ArrayLike, y: ArrayLike, radio: RadioParams
) -> Columns:
    """Regressors at UEs x, y [m], (ue, bs): :func:`~rfloc.datasets.statistical.regressors`, and path gain by rays [dB].

    `rays` is that of the UE's cell in isotropic `maps` of these stations, `street` its average over a window of STREET.
    A cell without a ray, inside a building for instance, takes the nearest cell's; EvaluationError where all are.
    """
    grid = Grid.from_attrs(maps.attrs)
    row, col, _ = grid.index(np.asarray(x, float), np.asarray(y, float))
    gain = maps["path_gain"].values.astype(float)
    if dark := int((gain <= 0).all((1, 2)).sum()):
        raise EvaluationError(f"{dark} maps are empty", "every link needs a level by rays", "trace more rays")
    nearest = (ndimage.distance_transform_edt(a <= 0, return_distances=False, return_indices=True) for a in gain)
    level = [10 * np.log10(a[i, j]) for a, (i, j) in zip(gain, nearest, strict=True)]
    street = [ndimage.gaussian_filter(a, STREET / grid.cell) for a in level]
    by_rays = {name: np.stack([a[row, col] for a in of], -1) for name, of in (("rays", level), ("street", street))}
    return regressors(city, stations, x, y, radio) | by_rays


@dataclass(frozen=True)
class LevelModels:
    """The mixed models of RECIPES, and the statistical simulator, as predictors of the levels of some UEs.

    Spreads, shared coefficients and the residual come from the nominal pose. Under them every candidate pose of a
    station has a likelihood with the station's own effects integrated out, not too sharp for declustered weights; all
    are alike beforehand. Kriging adds the expected shadowing (:mod:`rfloc.datasets.shadowing`). What recipes have in
    common is fitted once.
    """

    x: Floats  #: (ue,) [m]
    y: Floats
    designs: dict[Names, Design]  #: by shared regressors and own effects, at candidate poses, the nominal one first
    simulator: Callable[[Floats], Floats]  #: what the statistical simulator expects, (ue, bs)

    @classmethod
    def of(cls, poses: Sequence[Columns], links: xr.Dataset, city: City, radio: RadioParams) -> Self:
        """Predictors for the UEs of links; `poses` are :func:`level_columns`, nominal first."""
        x, y, stations = links["ue_x"].values, links["ue_y"].values, Stations.from_dataset(links)
        moved = {(shared, own) for shared, own, averaged, _ in RECIPES.values() if averaged}
        names = {(shared, own): poses if (shared, own) in moved else poses[:1] for shared, own, *_ in RECIPES.values()}
        sent = stations.power - 10 * np.log10(SUBCARRIERS * radio.resource_blocks)
        fitted = fitter(city, stations, x, y, radio)
        designs = {of: Design.of(at, *of) for of, at in names.items()}
        return cls(x, y, designs, lambda measured: fitted(measured - sent)[-1] + sent)

    def __call__(self, measured: Floats) -> dict[str, Floats]:
        """Levels of all links, (ue, bs), from those shown, NaN where hidden (raises SimulationError where too few)."""
        found, fitted = dict[str, Floats](), dict[Names, tuple[Floats, Floats]]()
        for name, (shared, own, averaged, kriged) in RECIPES.items():
            of = shared, own
            if of not in fitted:
                weight, effects, beta = self.posterior(measured, of)
                levels = self.designs[of].levels(beta, effects)
                fitted[of] = levels[0].T, np.einsum("cb,cbu->ub", weight, levels)
            found[name] = fitted[of][averaged] + (self._shadowing(measured - fitted[of][averaged]) if kriged else 0.0)
        return found | {"statistical simulator": self.simulator(measured)}

    def posterior(self, measured: Floats, of: Names) -> tuple[Floats, Floats, Floats]:
        """Probability of each pose of each station, (pose, bs), effects (pose, bs, q), shared coefficients (p,)."""
        design, weight = self.designs[of], declustered(self.x, self.y, np.isfinite(measured))
        nominal = mixed_model(measured, design.at(0), weight)
        rest = np.nan_to_num(measured).T - design.shared @ nominal.shared  # (pose, bs, ue)
        precision = weight.T / nominal.residual_sd**2
        effects, log = own_effects(rest, design.own, precision, nominal.spread)
        likely = np.exp(log - log.max(axis=0))
        return likely / likely.sum(axis=0), effects, nominal.shared

    def _shadowing(self, residual: Floats) -> Floats:
        """The residual's correlated part, kriged, at all links, (ue, bs)."""
        means = [Means.of(self.x, self.y, of) for of in residual.T]
        process, none = likeliest_shadowing(means), np.zeros(len(self.x))
        return np.stack([process.kriged(of, self.x, self.y) if len(of.at) else none for of in means], -1)
