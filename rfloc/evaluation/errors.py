"""Errors of predictions, averaged within a UE over its crops first, then over UEs."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.arrays import Floats, Ints
from rfloc.errors import DataError

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
