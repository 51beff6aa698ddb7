"""How well levels (NRSRP) are predicted where nothing was measured: folds, held-out errors, paired ratios.

A predictor is a function of the measured levels, shape (ue, bs), NaN where it must not look: what it is not shown it
cannot use. It returns levels of every link. Errors are the root mean square of each station's held-out links, averaged
over stations; two predictors are compared by the ratio of these on the same links.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from rfloc.errors import EvaluationError
from rfloc.evaluation.bootstrap import MIN_BLOCKS, Interval, block_weights
from rfloc.splits.areas import area_of_blocks, blocks_of, near

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Predictor = Callable[[Array], Array]


@dataclass(frozen=True)
class Fold:
    """Links that are predicted, and those that are hidden meanwhile: these, and what is too near to them."""

    test: Bools  #: (ue, bs)
    hidden: Bools  #: (ue, bs)


def block_folds(
    x: ArrayLike, y: ArrayLike, stations: int, block: float, buffer: float, k: int, seed: int
) -> list[Fold]:
    """Folds of whole spatial blocks, dealt out at random; each UE is tested once.

    Parameters
    ----------
    x, y : array_like, shape (ue,)
        Positions [m].
    stations : int
        Number of stations: all links of a UE share its fate.
    block : float
        Edge of a block [m].
    buffer : float
        UEs this near to a fold's blocks are hidden with it [m].
    k : int
        Number of folds.

    Raises
    ------
    EvaluationError
        If there are fewer blocks than folds.
    """
    blocks, index = np.unique(blocks_of(x, y, block), axis=0, return_inverse=True)
    label = _dealt(len(blocks), k, seed, f"blocks of {block:g} m")
    folds = []
    for fold in range(k):
        hidden = near(area_of_blocks(blocks[label == fold], block), x, y, buffer)
        folds.append(_of_ues(label[index.ravel()] == fold, hidden, stations))
    return folds


def random_folds(x: ArrayLike, y: ArrayLike, stations: int, k: int, seed: int) -> list[Fold]:
    """Folds of random positions [m]; UEs at one position stay together (raises EvaluationError)."""
    positions, index = np.unique(np.column_stack([x, y]), axis=0, return_inverse=True)
    label = _dealt(len(positions), k, seed, "positions")[index.ravel()]
    return [_of_ues(label == fold, label == fold, stations) for fold in range(k)]


def station_folds(ues: int, stations: int) -> list[Fold]:
    """A fold a station: nothing that was measured of it is shown, its row in the table is."""
    folds = [np.broadcast_to(np.arange(stations) == b, (ues, stations)) for b in range(stations)]
    return [Fold(test, test) for test in folds]


def _dealt(n: int, k: int, seed: int, things: str) -> NDArray[np.int64]:
    if n < k:
        raise EvaluationError(
            f"{n} {things} make no {k} folds", "every fold needs one at least", "take smaller blocks or fewer folds"
        )
    return np.random.default_rng(seed).permutation(n) % k


def _of_ues(test: Bools, hidden: Bools, stations: int) -> Fold:
    return Fold(*(np.repeat(ues[:, None], stations, axis=1) for ues in (test, hidden | test)))


def held_out_squares(measured: Array, predictor: Predictor, folds: Sequence[Fold]) -> Array:
    """Squared error of each link by the fold that holds it out [dB^2], shape (ue, bs); NaN where not measured.

    Raises
    ------
    EvaluationError
        If the predictor leaves a measured link without a level.
    """
    square = np.full(measured.shape, np.nan)
    for fold in folds:
        square[fold.test] = _squares(measured, predictor, fold.hidden)[fold.test]
    return _whole(square, measured, np.logical_or.reduce([fold.test for fold in folds]))


def inner_squares(measured: Array, predictor: Predictor, folds: Sequence[Fold]) -> Array:
    """For a choice within folds: squared errors of the other folds' links while fold f is hidden too.

    Returns
    -------
    ndarray, shape (fold, ue, bs)
        Entry f says nothing about fold f: NaN there, and what it holds was predicted without f's links [dB^2].
    """
    square = np.full((len(folds), *measured.shape), np.nan)
    for f, g in combinations(range(len(folds)), 2):
        found = _squares(measured, predictor, folds[f].hidden | folds[g].hidden)
        for outer, inner in ((f, g), (g, f)):
            square[outer][folds[inner].test] = found[folds[inner].test]
    return square


def chosen_within(
    folds: Sequence[Fold], outer: Mapping[str, Array], inner: Mapping[str, Array]
) -> tuple[Array, list[str]]:
    """Squared errors of the predictor that is best on the other folds, chosen anew for every fold.

    Parameters
    ----------
    outer, inner : dict
        What :func:`held_out_squares` and :func:`inner_squares` gave, by predictor.

    Returns
    -------
    square : ndarray, shape (ue, bs)
    names : list of str
        Which predictor each fold got.
    """
    names = []
    for f in range(len(folds)):
        error = {name: rms(square[f]) for name, square in inner.items()}
        names.append(min(error, key=error.__getitem__))
    square = np.full(next(iter(outer.values())).shape, np.nan)
    for fold, name in zip(folds, names, strict=True):
        square[fold.test] = outer[name][fold.test]
    return square, names


def rms(square: Array) -> float:
    """Root mean square error of each station, averaged over stations that were measured, and over allocations [dB].

    Parameters
    ----------
    square : ndarray, shape (..., ue, bs)
        Squared errors, NaN where there is none; leading dimensions are allocations.
    """
    count = np.isfinite(square).sum(-2)
    mean = np.nansum(square, axis=-2)[count > 0] / count[count > 0]
    return float(np.sqrt(mean).mean())


def ratio(
    square: Array, baseline: Array, blocks: NDArray[np.int64], *, draws: int, level: float, seed: int
) -> tuple[float, Interval]:
    """Error of one predictor over that of another, with its interval by resampling blocks of UEs for both at once.

    Parameters
    ----------
    square, baseline : ndarray, shape (allocation, ue, bs)
        Squared errors on the same links.
    blocks : ndarray of int, shape (ue,)
        Block 0, 1, ... of each UE.
    draws : int
        Bootstrap draws.
    level : float
        Confidence level.

    Returns
    -------
    ratio : float
        Below 1: `square` is better.
    interval : (low, high) or None
        None with fewer than MIN_BLOCKS blocks. Stations are not resampled: it is about these.

    Raises
    ------
    EvaluationError
        If the two are not errors of the same links.
    """
    if square.shape != baseline.shape or (np.isfinite(square) != np.isfinite(baseline)).any():
        raise EvaluationError(
            f"errors of {int(np.isfinite(square).sum())} and of {int(np.isfinite(baseline).sum())} links do not pair",
            "a ratio compares two predictors on the same links",
            "hold out the same folds for both",
        )
    value = rms(square) / rms(baseline)
    n = int(blocks.max()) + 1
    if n < MIN_BLOCKS:
        return value, None
    weights = block_weights(np.arange(n), draws, np.random.default_rng(seed))
    drawn = [_resampled(errors, blocks, weights) for errors in (square, baseline)]
    low, high = np.quantile(drawn[0] / drawn[1], [(1 - level) / 2, (1 + level) / 2])
    return value, (float(low), float(high))


def _resampled(square: Array, blocks: NDArray[np.int64], weights: Array) -> Array:
    """What :func:`rms` is in each draw of blocks, (draws,); a station of which a draw holds no link is left out."""
    sums, counts = np.zeros((2, weights.shape[1], *square.shape[::2]))
    for total, values in ((sums, np.nan_to_num(square)), (counts, np.isfinite(square).astype(float))):
        np.add.at(total, blocks, values.swapaxes(0, 1))
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.tensordot(weights, sums, 1) / np.tensordot(weights, counts, 1))
    return np.nanmean(root, axis=(1, 2))


def _squares(measured: Array, predictor: Predictor, hidden: Bools) -> Array:
    with threadpool_limits(1):  # a fit solves thousands of tiny systems, on which threads wait for each other
        return np.asarray((predictor(np.where(hidden, np.nan, measured)) - measured) ** 2)


def _whole(square: Array, measured: Array, tested: Bools) -> Array:
    missing = tested & np.isfinite(measured) & ~np.isfinite(square)
    if missing.any():
        raise EvaluationError(
            f"{int(missing.sum())} measured links got no level",
            "errors of different predictors are compared on the same links",
            "see that the predictor's regressors are finite at every UE",
        )
    return square
