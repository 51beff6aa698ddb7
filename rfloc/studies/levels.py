"""How well levels (NRSRP) are predicted where nothing was measured: folds, held-out errors, paired ratios.

A predictor is a function of the measured levels, shape (ue, bs), NaN where it must not look: what it is not shown it
cannot use. It returns levels of every link. Errors are the root mean square of each station's held-out links, averaged
over stations; two predictors are compared by the ratio of these on the same links.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rfloc.config import EvaluationParams, LevelParams, SplitParams
from rfloc.errors import EvaluationError
from rfloc.evaluation.bootstrap import MIN_BLOCKS, block_weights, percentiles
from rfloc.splits.areas import area_of_blocks, blocks_of, near

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Predictor = Callable[[Array], Array]

#: The predictor that takes for each fold the one with the least error on the other folds.
CHOSEN = "chosen by inner folds"


class Fold(NamedTuple):
    """Links that are predicted, and those that are hidden meanwhile: these, and what is too near to them."""

    test: Bools  #: (ue, bs)
    hidden: Bools  #: (ue, bs)


def ways_of_holding_out(
    x: Array, y: Array, stations: int, split: SplitParams, params: LevelParams, seed: int
) -> dict[str, list[list[Fold]]]:
    """By way of holding out, allocations of links of UEs at x, y [m] to folds.

    Blocks of the split's size and of half that edge, with the split's buffer, in `params.draws` random allocations;
    random positions, dealt into twice as many folds; and a whole station, of which only its row in the table is known.
    """
    ways = {
        f"blocks of {edge:g} m": [
            block_folds(x, y, stations, edge, split.buffer, params.folds, seed + draw) for draw in range(params.draws)
        ]
        for edge in (split.block, split.block / 2)
    }
    ways["random positions"] = [random_folds(x, y, stations, 2 * params.folds, seed)]
    alone = [np.broadcast_to(np.arange(stations) == b, (len(x), stations)) for b in range(stations)]
    return ways | {"a whole station": [[Fold(test, test) for test in alone]]}


def block_folds(x: Array, y: Array, stations: int, block: float, buffer: float, k: int, seed: int) -> list[Fold]:
    """k folds of whole spatial blocks, dealt out at random; each UE is tested once.

    UEs within `buffer` of a fold's blocks, of edge `block` [m], are hidden with it. Raises EvaluationError where there
    are fewer blocks than folds.
    """
    blocks, index = np.unique(blocks_of(x, y, block), axis=0, return_inverse=True)
    label = _dealt(len(blocks), k, seed, f"blocks of {block:g} m")
    areas = [area_of_blocks(blocks[label == fold], block) for fold in range(k)]
    ues = label[index.ravel()]
    return [_fold(ues == fold, (ues == fold) | near(area, x, y, buffer), stations) for fold, area in enumerate(areas)]


def random_folds(x: Array, y: Array, stations: int, k: int, seed: int) -> list[Fold]:
    """k folds of random positions [m]; UEs at one position stay together (raises EvaluationError)."""
    positions, index = np.unique(np.column_stack([x, y]), axis=0, return_inverse=True)
    ues = _dealt(len(positions), k, seed, "positions")[index.ravel()]
    return [_fold(ues == fold, ues == fold, stations) for fold in range(k)]


def _dealt(n: int, k: int, seed: int, things: str) -> NDArray[np.int64]:
    if n < k:
        raise EvaluationError(
            f"{n} {things} make no {k} folds", "every fold needs one at least", "take smaller blocks or fewer folds"
        )
    return np.random.default_rng(seed).permutation(n) % k


def _fold(test: Bools, hidden: Bools, stations: int) -> Fold:
    return Fold(*(np.repeat(ues[:, None], stations, axis=1) for ues in (test, hidden)))


def held_out(
    measured: Array, models: Mapping[str, Predictor], ways: Mapping[str, Sequence[Sequence[Fold]]]
) -> tuple[dict[str, dict[str, Array]], list[str]]:
    """Held-out errors of every predictor by every way, and of :data:`CHOSEN` by the first way.

    Returns
    -------
    squares : dict
        By way and predictor, squared errors [dB^2], shape (allocation, ue, bs); NaN where not measured.
    choices : list of str
        Which predictor each fold of the first way got.
    """
    squares = {
        way: {name: np.array([held_out_squares(measured, of, folds) for folds in draws]) for name, of in models.items()}
        for way, draws in ways.items()
    }
    first, choices, chosen = next(iter(ways)), [], []
    for draw, folds in enumerate(ways[first]):
        outer = {name: square[draw] for name, square in squares[first].items()}
        square, names = chosen_within(measured, models, folds, outer)
        chosen.append(square)
        choices += names
    squares[first][CHOSEN] = np.array(chosen)
    return squares, choices


def held_out_squares(measured: Array, predictor: Predictor, folds: Sequence[Fold]) -> Array:
    """Squared error of each link by the fold that holds it out [dB^2], shape (ue, bs); NaN where not measured."""
    square = np.full(measured.shape, np.nan)
    for fold in folds:
        square[fold.test] = _squares(measured, predictor, fold.hidden)[fold.test]
    return square


def chosen_within(
    measured: Array, models: Mapping[str, Predictor], folds: Sequence[Fold], outer: Mapping[str, Array]
) -> tuple[Array, list[str]]:
    """Squared errors, (ue, bs), of the predictor that is best on the other folds, chosen anew for each; and its names.

    What chooses for a fold was predicted without the links of either that fold or the one it is in. `outer` has the
    errors of :func:`held_out_squares`, by predictor.
    """
    error = np.empty((len(models), len(folds)))
    for k, model in enumerate(models.values()):
        inner = np.full((len(folds), *measured.shape), np.nan)
        for f, g in combinations(range(len(folds)), 2):
            found = _squares(measured, model, folds[f].hidden | folds[g].hidden)
            for of, at in ((f, g), (g, f)):
                inner[of][folds[at].test] = found[folds[at].test]
        error[k] = [rms(square) for square in inner]
    names = [list(models)[k] for k in error.argmin(axis=0)]
    square = np.full(measured.shape, np.nan)
    for fold, name in zip(folds, names, strict=True):
        square[fold.test] = outer[name][fold.test]
    return square, names


def _squares(measured: Array, predictor: Predictor, hidden: Bools) -> Array:
    with threadpool_limits(1):  # a fit solves thousands of tiny systems, on which threads wait for each other
        return np.asarray((predictor(np.where(hidden, np.nan, measured)) - measured) ** 2)


def rms(square: Array) -> float:
    """Root mean square of errors [dB], squared (..., ue, bs), by station and allocation; averaged over these.

    NaN where there is no error; a station that was not measured is left out.
    """
    count = np.isfinite(square).sum(-2)
    mean = np.nansum(square, axis=-2)[count > 0] / count[count > 0]
    return float(np.sqrt(mean).mean())


def ratio(
    square: Array, baseline: Array, blocks: NDArray[np.int64], scoring: EvaluationParams, seed: int
) -> dict[str, float | None]:
    """Error of one predictor over that of another, with its interval by resampling blocks of UEs for both at once.

    Parameters
    ----------
    square, baseline : ndarray, shape (allocation, ue, bs)
        Squared errors on the same links.
    blocks : ndarray of int, shape (ue,)
        Block 0, 1, ... of each UE.

    Returns
    -------
    dict
        `ratio`, below 1 where `square` is better; `lo` and `hi`, None with fewer than MIN_BLOCKS blocks. Stations are
        not resampled: it is about these.

    Raises
    ------
    EvaluationError
        If the two are not errors of the same links: one predictor leaves some without a level.
    """
    if square.shape != baseline.shape or (np.isfinite(square) != np.isfinite(baseline)).any():
        raise EvaluationError(
            f"errors of {int(np.isfinite(square).sum())} and of {int(np.isfinite(baseline).sum())} links do not pair",
            "a ratio compares two predictors on the same links",
            "hold out the same folds for both",
        )
    n, found = int(blocks.max()) + 1, rms(square) / rms(baseline)
    if n < MIN_BLOCKS:
        return {"ratio": found, "lo": None, "hi": None}
    weights = block_weights(np.arange(n), scoring.bootstrap, np.random.default_rng(seed))
    low, high = percentiles(_resampled(square, blocks, weights) / _resampled(baseline, blocks, weights), scoring.level)
    return {"ratio": found, "lo": low, "hi": high}


def _resampled(square: Array, blocks: NDArray[np.int64], weights: Array) -> Array:
    """What :func:`rms` is in each draw of blocks, (draws,); a station of which a draw holds no link is left out."""
    sums, counts = np.zeros((2, weights.shape[1], *square.shape[::2]))
    for total, values in ((sums, np.nan_to_num(square)), (counts, np.isfinite(square).astype(float))):
        np.add.at(total, blocks, values.swapaxes(0, 1))
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.tensordot(weights, sums, 1) / np.tensordot(weights, counts, 1))
    return np.nanmean(root, axis=(1, 2))
