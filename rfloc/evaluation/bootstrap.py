"""Confidence intervals by resampling spatial blocks: neighbouring UEs share streets, shadowing and fate."""

from dataclasses import replace

import numpy as np

from rfloc.arrays import Floats, Ints
from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation.errors import UEErrors
from rfloc.splits import blocks_of

Interval = tuple[float, float] | None

#: From fewer blocks no interval is stated: a percentile bootstrap of so few clusters is far too narrow.
MIN_BLOCKS = 8


def block_index(xy: Floats, edge: float) -> Ints:
    """Index 0, 1, ... of the spatial block of `edge` metres that holds each UE at `xy` (U, 2) [m], (U,)."""
    return np.unique(blocks_of(xy[:, 0], xy[:, 1], edge), axis=0, return_inverse=True)[1].ravel()


def block_weights(blocks: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """How often each UE counts in each bootstrap draw of whole blocks: (draws, U)."""
    n = int(blocks.max()) + 1
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, blocks].astype(float)


def percentiles(draws: Floats | list[float], level: float) -> tuple[float, float]:
    """The central `level` of bootstrap draws: (low, high)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def block_interval(errors: UEErrors, params: EvaluationParams, seed: int) -> Interval:
    """Percentile interval of the mean error [m]; None where UEs lie in fewer than :data:`MIN_BLOCKS` blocks."""
    blocks = block_index(errors.xy, params.block)
    if blocks.max() + 1 < MIN_BLOCKS:
        return None
    weights = block_weights(blocks, params.bootstrap, np.random.default_rng(seed))
    return percentiles([errors.mean(weight) for weight in weights], params.level)


def paired_difference(a: UEErrors, b: UEErrors, params: EvaluationParams, seed: int) -> tuple[float, Interval]:
    """Mean error of `a` minus that of `b` [m] over the same UEs (else DataError), and the difference's interval.

    Negative: `a` is better. Blocks are drawn once for both, so what the crops have in common cancels.
    """
    if not np.array_equal(a.ue, b.ue) or not np.allclose(a.xy, b.xy):
        why = f"one has {len(a)}, the other {len(b)}; a paired difference needs the same crops"
        raise DataError("the two sets of errors are of different UEs", why, "evaluate both on one crops dataset")
    gap = replace(a, error=a.error - b.error)
    return float(gap.error.mean()), block_interval(gap, params, seed)
