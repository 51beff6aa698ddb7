"""Errors of predictions, averaged within a UE over its crops first, then over UEs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UEErrors:
    """Errors of U UEs, each averaged over its crops."""

    ue: NDArray[np.int64]  #: (U,)
    xy: Floats  #: (U, 2) true positions [m]
    error: Floats  #: (U,) mean Euclidean error over the UE's crops [m]
    square: Floats  #: (U,) mean squared Euclidean error over the UE's crops [m^2]
    crops: NDArray[np.int64]  #: (U,) number of crops

    def __len__(self) -> int:
        return len(self.ue)

    @classmethod
    def single(cls, ue: NDArray[np.int64], xy: Floats, gap: Floats) -> UEErrors:
        """Errors of UEs with one crop each; `gap` is estimate minus truth, (U, 2) [m]."""
        return cls(ue, xy, np.hypot(*gap.T), (gap**2).sum(axis=1), np.ones(len(ue), int))

    def blocks(self, edge: float) -> NDArray[np.int64]:
        """Index 0, 1, ... of the spatial block of `edge` metres that holds each UE, (U,)."""
        _, index = np.unique(np.floor(self.xy / edge).astype(np.int64), axis=0, return_inverse=True)
        return index.reshape(-1)


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


def _quantile(share: float) -> Callable[[UEErrors, Floats], float]:
    def statistic(errors: UEErrors, weight: Floats) -> float:
        order = np.argsort(errors.error)
        mass = np.cumsum(weight[order])
        at = (mass - weight[order] / 2) / mass[-1]
        return float(np.interp(share, at, errors.error[order]))

    return statistic


def mean_error(errors: UEErrors, weight: Floats) -> float:
    """Mean Euclidean error [m], which the paper's tables call RMSE."""
    return float(weight @ errors.error / weight.sum())


def rmse(errors: UEErrors, weight: Floats) -> float:
    """Root mean square Euclidean error [m]."""
    return float(np.sqrt(weight @ errors.square / weight.sum()))


#: Statistics of a weighted set of UEs by the name used in tables [m]. Quantiles are of per-UE mean errors.
STATISTICS: dict[str, Callable[[UEErrors, Floats], float]] = {
    "mean": mean_error,
    "rmse": rmse,
    "median": _quantile(0.5),
    "p67": _quantile(0.67),
    "p90": _quantile(0.9),
    "p95": _quantile(0.95),
}
