"""How well levels (NRSRP) are predicted where nothing was measured: predictors, folds, held-out errors, paired ratios.

Predictors are mixed models (:mod:`rfloc.datasets.mixed`) of distance, azimuth, city and rays. Where a mast stands is
known to some hundred metres at best, so a model may be averaged over candidate poses by their posterior, and what it
leaves may be kriged. They are one function of the measured levels, shape (ue, bs), NaN where they must not look: what
they are not shown they cannot use. It returns levels of every link by each, and fits once what they have in common.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import ndimage
from threadpoolctl import threadpool_limits

from rfloc.arrays import Bools, Floats, Ints
from rfloc.city import City
from rfloc.config import EvaluationParams, LevelParams, RadioParams, SplitParams
from rfloc.datasets.build import SUBCARRIERS
from rfloc.datasets.mixed import Columns, Design, declustered, mixed_model, own_effects
from rfloc.datasets.shadowing import Means, likeliest_shadowing
from rfloc.datasets.statistical import fitter, regressors
from rfloc.errors import EvaluationError
from rfloc.evaluation.errors import block_draws, percentiles
from rfloc.frames import Grid
from rfloc.splits import area_of_blocks, blocks_of, near
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
    are alike beforehand. Kriging adds the expected shadowing.
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
        names = {(shared, own) for shared, own, *_ in RECIPES.values()}
        every = {name: np.stack([pose[name] for pose in poses]) for name in poses[0]}
        first = {name: columns[:1] for name, columns in every.items()}
        designs = {of: Design.of(every if of in moved else first, *of) for of in names}
        sent = stations.power - 10 * np.log10(SUBCARRIERS * radio.resource_blocks)
        fitted = fitter(city, stations, x, y, radio)
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
        nominal = mixed_model(measured, replace(design, shared=design.shared[0], own=design.own[0]), weight)
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


Predictors = Callable[[Floats], dict[str, Floats]]
#: The predictor that takes for each fold the one with the least error on the other folds.
CHOSEN = "chosen by inner folds"


class Fold(NamedTuple):
    """Links that are predicted, and those that are hidden meanwhile: these, and what is too near to them."""

    test: Bools  #: (ue, bs)
    hidden: Bools  #: (ue, bs)


def ways_of_holding_out(
    x: Floats, y: Floats, stations: int, split: SplitParams, params: LevelParams, seed: int
) -> dict[str, list[list[Fold]]]:
    """By way of holding out, allocations of links of UEs at x, y [m] to folds.

    Blocks of the split's size and of half that edge, with the split's buffer, in `params.draws` random allocations;
    random positions, dealt into twice as many folds; and a whole station, of which only its row in the table is known.
    """
    ways = {
        f"blocks of {edge:g} m": [
            dealt_folds(x, y, stations, params.folds, seed + draw, edge, split.buffer) for draw in range(params.draws)
        ]
        for edge in (split.block, split.block / 2)
    }
    ways["random positions"] = [dealt_folds(x, y, stations, 2 * params.folds, seed)]
    alone = [np.broadcast_to(np.arange(stations) == b, (len(x), stations)) for b in range(stations)]
    return ways | {"a whole station": [[Fold(test, test) for test in alone]]}


def dealt_folds(
    x: Floats, y: Floats, stations: int, k: int, seed: int, block: float | None = None, buffer: float = 0.0
) -> list[Fold]:
    """k folds of blocks of an edge, hidden with UEs within `buffer` [m], or of positions (else EvaluationError)."""
    at = np.column_stack([x, y]) if block is None else blocks_of(x, y, block)
    places, index = np.unique(at, axis=0, return_inverse=True)
    if len(places) < k:
        what = f"{len(places)} {'positions' if block is None else f'blocks of {block:g} m'} make no {k} folds"
        raise EvaluationError(what, "every fold needs one at least", "take smaller blocks or fewer folds")
    label = np.random.default_rng(seed).permutation(len(places)) % k
    folds = []
    for fold in range(k):
        test = hidden = label[index.ravel()] == fold
        if block is not None:
            hidden = test | near(area_of_blocks(places[label == fold], block), x, y, buffer)
        folds.append(Fold(*(np.repeat(ues[:, None], stations, axis=1) for ues in (test, hidden))))
    return folds


def held_out(
    measured: Floats, predict: Predictors, ways: Mapping[str, Sequence[Sequence[Fold]]]
) -> tuple[dict[str, dict[str, Floats]], list[str]]:
    """Squared errors [dB^2] by way and predictor, (allocation, ue, bs), :data:`CHOSEN` by the first; folds' choices."""
    squares: dict[str, dict[str, Floats]] = {}
    for way, draws in ways.items():
        found = [held_out_squares(measured, predict, folds) for folds in draws]
        squares[way] = {name: np.array([by[name] for by in found]) for name in found[0]}
    first, choices = next(iter(ways)), []
    chosen = np.full((len(ways[first]), *measured.shape), np.nan)
    for draw, folds in enumerate(ways[first]):
        names = chosen_within(measured, predict, folds)
        for fold, name in zip(folds, names, strict=True):
            chosen[draw][fold.test] = squares[first][name][draw][fold.test]
        choices += names
    squares[first][CHOSEN] = chosen
    return squares, choices


def held_out_squares(measured: Floats, predict: Predictors, folds: Sequence[Fold]) -> dict[str, Floats]:
    """Squared error of each link by the fold that holds it out [dB^2], (ue, bs), by predictor; NaN: not measured."""
    squares: dict[str, Floats] = {}
    for fold in folds:
        for name, square in _squares(measured, predict, fold.hidden).items():
            squares.setdefault(name, np.full(measured.shape, np.nan))[fold.test] = square[fold.test]
    return squares


def chosen_within(measured: Floats, predict: Predictors, folds: Sequence[Fold]) -> list[str]:
    """For each fold the predictor that is best on the others, each of which is predicted without the links of both."""
    inner: list[dict[str, Floats]] = [{} for _ in folds]
    for f, g in combinations(range(len(folds)), 2):
        for name, square in _squares(measured, predict, folds[f].hidden | folds[g].hidden).items():
            for of, at in ((f, g), (g, f)):
                tested = folds[at].test
                inner[of].setdefault(name, np.full(measured.shape, np.nan))[tested] = square[tested]
    return [min(squares, key=lambda name: rms(squares[name])) for squares in inner]


def _squares(measured: Floats, predict: Predictors, hidden: Bools) -> dict[str, Floats]:
    with threadpool_limits(1):  # a fit solves thousands of tiny systems, on which threads wait for each other
        return {name: (level - measured) ** 2 for name, level in predict(np.where(hidden, np.nan, measured)).items()}


def rms(square: Floats) -> float:
    """Root mean square [dB] of squared errors (..., ue, bs) by station and allocation, averaged over those with any."""
    count = np.isfinite(square).sum(-2)
    mean = np.nansum(square, axis=-2)[count > 0] / count[count > 0]
    return float(np.sqrt(mean).mean())


def ratio(
    square: Floats, baseline: Floats, blocks: Ints, scoring: EvaluationParams, seed: int
) -> dict[str, float | None]:
    """Error of one predictor over that of another, with its interval by resampling blocks of UEs for both at once.

    Squared errors are of the same links, (allocation, ue, bs); `blocks`, (ue,), numbers each UE's from 0. `ratio` is
    below 1 where `square` is better; `lo` and `hi` are None with fewer than MIN_BLOCKS blocks. Stations are not
    resampled: it is about these. Raises EvaluationError where one predictor leaves links out that the other has.
    """
    if (np.isfinite(square) != np.isfinite(baseline)).any():
        counts = " and ".join(str(int(np.isfinite(errors).sum())) for errors in (square, baseline))
        raise EvaluationError(f"errors of {counts} links do not pair", "a ratio is of the same links", "mend the other")
    draws = np.asfortranarray(block_draws(blocks, scoring, seed))  # the order in which committed results were summed
    found = _resampled(square, blocks, draws) / _resampled(baseline, blocks, draws)
    low, high = percentiles(found, scoring.level) or (None, None)
    return {"ratio": rms(square) / rms(baseline), "lo": low, "hi": high}


def _resampled(square: Floats, blocks: Ints, weights: Floats) -> Floats:
    """What :func:`rms` is in each draw of blocks, (draws,); a station of which a draw holds no link is left out."""
    sums, counts = np.zeros((2, weights.shape[1], *square.shape[::2]))
    for total, values in ((sums, np.nan_to_num(square)), (counts, np.isfinite(square).astype(float))):
        np.add.at(total, blocks, values.swapaxes(0, 1))
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.tensordot(weights, sums, 1) / np.tensordot(weights, counts, 1))
    return np.nanmean(root, axis=(1, 2))
