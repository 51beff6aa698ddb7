"""Confidence intervals by resampling spatial blocks: neighbouring UEs share streets, shadowing and fate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rfloc.errors import DataError
from rfloc.evaluation.errors import STATISTICS, UEErrors, mean_error

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None


def block_weights(blocks: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Floats:
    """How often each UE counts in each bootstrap draw of whole blocks: (draws, U)."""
    n = int(blocks.max()) + 1
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, blocks].astype(float)


def percentiles(draws: Floats | list[float], level: float) -> tuple[float, float]:
    """The central `level` of bootstrap draws: (low, high)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


#: From fewer blocks no interval is stated: a percentile bootstrap of so few clusters is far too narrow.
MIN_BLOCKS = 8


def block_interval(
    errors: UEErrors,
    statistics: dict[str, Callable[[UEErrors, Floats], float]] = STATISTICS,
    *,
    block: float,
    draws: int,
    level: float,
    seed: int,
) -> dict[str, Interval]:
    """Percentile interval of each statistic; None where the UEs lie in fewer than :data:`MIN_BLOCKS` blocks.

    Parameters
    ----------
    block : float
        Edge of a spatial block [m].
    draws : int
        Bootstrap draws.
    level : float
        Confidence level, e.g. 0.95.
    """
    blocks = errors.blocks(block)
    if blocks.max() + 1 < MIN_BLOCKS:
        return dict.fromkeys(statistics)
    weights = block_weights(blocks, draws, np.random.default_rng(seed))
    return {name: percentiles([of(errors, w) for w in weights], level) for name, of in statistics.items()}


def paired_difference(
    a: UEErrors, b: UEErrors, *, block: float, draws: int, level: float, seed: int
) -> tuple[float, Interval]:
    """Mean error of `a` minus that of `b` [m] over the same UEs, with the interval of the difference.

    Negative: `a` is better. Blocks are drawn once for both, so what the crops have in common cancels.

    Raises
    ------
    DataError
        If the two were not evaluated on the same UEs.
    """
    if not np.array_equal(a.ue, b.ue) or not np.allclose(a.xy, b.xy):
        raise DataError(
            "the two sets of errors are of different UEs",
            f"one has {len(a)}, the other {len(b)}; a paired difference needs the same crops",
            "evaluate both localizers on one crops dataset",
        )
    gap = UEErrors(a.ue, a.xy, a.error - b.error, np.full(len(a), np.nan), a.crops)
    interval = block_interval(gap, {"gap": mean_error}, block=block, draws=draws, level=level, seed=seed)
    return float(gap.error.mean()), interval["gap"]
