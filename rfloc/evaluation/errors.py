"""Errors of predictions, averaged within a UE over its crops first, then over UEs; and how sure such a mean is.

Intervals resample spatial blocks: neighbouring UEs share streets, shadowing and fate.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.arrays import Floats, Ints
from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.splits import blocks_of

Interval = tuple[float, float] | None
#: From fewer blocks no interval is stated: a percentile bootstrap of so few clusters is far too narrow.
MIN_BLOCKS = 8
#: Quantiles of the UEs' mean errors that tables name.
QUANTILES = {"median": 0.5, "p67": 0.67, "p90": 0.9, "p95": 0.95}
#: Distances [m] within which tables say how many UEs are found, as `within_10`.
WITHIN = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class UEErrors:
    """Errors of U UEs, each averaged over its crops."""

    ue: Ints  #: (U,)
    xy: Floats  #: (U, 2) true positions [m]
    error: Floats  #: (U,) mean Euclidean error over the UE's crops [m]
    square: Floats  #: (U,) mean squared Euclidean error over the UE's crops [m^2]
    crops: Ints  #: (U,) number of crops

    def __len__(self) -> int:
        return len(self.ue)

    @classmethod
    def single(cls, ue: Ints, xy: Floats, gap: Floats) -> Self:
        """Errors of UEs with one crop each; `gap` is estimate minus truth, (U, 2) [m]."""
        return cls(ue, xy, np.hypot(*gap.T), (gap**2).sum(axis=1), np.ones(len(ue), int))

    def mean(self, weight: Floats) -> float:
        """Mean Euclidean error [m], which the paper's tables call RMSE; UEs count by `weight`, (U,)."""
        return float(weight @ self.error / weight.sum())

    def statistics(self) -> dict[str, float]:
        """Mean, root mean square, :data:`QUANTILES` of the errors [m], shares :data:`WITHIN`, by name in tables."""
        n, ones = len(self), np.ones(len(self))
        at, ordered = (np.arange(n) + 0.5) / n, np.sort(self.error)
        quantiles = {name: float(np.interp(share, at, ordered)) for name, share in QUANTILES.items()}
        shares = {f"within_{limit}": float((self.error <= limit).mean()) for limit in WITHIN}
        return {"mean": self.mean(ones), "rmse": float(np.sqrt(ones @ self.square / n))} | quantiles | shares


def distances(predictions: xr.Dataset) -> Floats:
    """Euclidean error of each sample [m]."""
    x, y, x_hat, y_hat = (predictions[name].values for name in ("x", "y", "x_hat", "y_hat"))
    return np.hypot(x_hat - x, y_hat - y)


def per_ue(predictions: xr.Dataset, values: NDArray[np.floating]) -> Floats:
    """Values of samples averaged within each UE, in ascending order of `ue`."""
    _, index, count = np.unique(predictions["ue"].values, return_inverse=True, return_counts=True)
    return np.bincount(index, values) / count


def ue_errors(predictions: xr.Dataset, role: str) -> UEErrors:
    """Errors of the UEs of one role (raises DataError where no sample has it)."""
    roles = predictions["role"].values.astype(str)
    if role not in roles:
        raise DataError(f"no prediction has the role {role!r}", f"roles here are {', '.join(sorted(set(roles)))}")
    predictions = predictions.isel(sample=roles == role)
    error = distances(predictions)
    ue, first, count = np.unique(predictions["ue"].values, return_index=True, return_counts=True)
    xy = np.stack([predictions["x"].values[first], predictions["y"].values[first]], axis=1)
    return UEErrors(ue, xy, per_ue(predictions, error), per_ue(predictions, error**2), count)


def block_index(xy: Floats, edge: float) -> Ints:
    """Index 0, 1, ... of the spatial block of `edge` metres that holds each UE at `xy` (U, 2) [m], (U,)."""
    return np.unique(blocks_of(xy[:, 0], xy[:, 1], edge), axis=0, return_inverse=True)[1].ravel()


def block_draws(blocks: Ints, params: EvaluationParams, seed: int) -> Floats:
    """How often each block counts in each bootstrap draw, (draws, blocks); no draw of fewer than :data:`MIN_BLOCKS`."""
    n = int(blocks.max()) + 1
    draws = params.bootstrap if n >= MIN_BLOCKS else 0
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)


def percentiles(draws: Floats | list[float], level: float) -> Interval:
    """The central `level` of bootstrap draws, (low, high); None where there are none."""
    if not len(draws):
        return None
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def block_interval(errors: UEErrors, params: EvaluationParams, seed: int) -> Interval:
    """Percentile interval of the mean error [m]; None where UEs lie in fewer than :data:`MIN_BLOCKS` blocks."""
    blocks = block_index(errors.xy, params.block)
    weights = block_draws(blocks, params, seed)[:, blocks]
    return percentiles([errors.mean(weight) for weight in weights], params.level)


def paired_difference(a: UEErrors, b: UEErrors, params: EvaluationParams, seed: int) -> tuple[float, Interval]:
    """Mean error of `a` minus that of `b` [m], and its interval, paired: of the same UEs (else DataError) and draws."""
    if not np.array_equal(a.ue, b.ue) or not np.allclose(a.xy, b.xy):
        why = f"one has {len(a)}, the other {len(b)}; a paired difference needs the same crops"
        raise DataError("the two sets of errors are of different UEs", why, "evaluate both on one crops dataset")
    gap = replace(a, error=a.error - b.error)
    return float(gap.error.mean()), block_interval(gap, params, seed)
