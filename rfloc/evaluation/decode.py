"""From a posterior over the crop grid to a point and a region. Points are x, y relative to the crop centre [m].

`size` is the edge of all crops or of each, (B,) [m]; points are found in crop edges and then scaled by it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.crops import cell_centres

Floats = NDArray[np.float64]
Method = Literal["median", "mean", "argmax"]


def _centres(cells: int) -> Floats:
    """Cell centres in crop edges, (cells^2, 2)."""
    return np.stack(cell_centres(1.0, cells), axis=-1).reshape(-1, 2)


def _metres(size: ArrayLike) -> Floats:
    """Sizes as a column, to scale points in crop edges."""
    return np.asarray(size, float).reshape(-1, 1)


def argmax(posterior: NDArray[np.floating], size: ArrayLike) -> Floats:
    """Centre of the most probable cell, (B, 2): what the paper decodes (the first one on ties)."""
    best = posterior.reshape(len(posterior), -1).argmax(axis=1)
    return _metres(size) * _centres(posterior.shape[-1])[best]


def mean(posterior: NDArray[np.floating], size: ArrayLike) -> Floats:
    """Posterior mean, (B, 2): minimises the expected squared error."""
    return _metres(size) * (posterior.reshape(len(posterior), -1) @ _centres(posterior.shape[-1]))


def geometric_median(
    posterior: NDArray[np.floating], size: ArrayLike, *, tolerance: float = 0.01, iterations: int = 500
) -> Floats:
    """Geometric median, (B, 2): minimises the expected Euclidean error, which is what tables report.

    Weiszfeld's iteration from the mean, on cell centres, with distances smoothed by 3 % of a cell so that an
    iterate may rest on a centre. Stops when no crop moves by more than `tolerance` [m].
    """
    flat = posterior.reshape(len(posterior), -1).astype(float)
    at, scale = _centres(posterior.shape[-1]), np.broadcast_to(_metres(size)[:, 0], len(posterior))
    smooth = (0.03 / posterior.shape[-1]) ** 2
    estimate = flat @ at
    moving = np.arange(len(flat))
    for _ in range(iterations):
        if not moving.size:
            break
        now = estimate[moving]
        square = (at[:, 0] - now[:, :1]) ** 2 + (at[:, 1] - now[:, 1:]) ** 2
        weight = flat[moving] / np.sqrt(square + smooth)
        moved = weight @ at / weight.sum(axis=1, keepdims=True)
        estimate[moving] = moved
        moving = moving[np.linalg.norm(moved - now, axis=1) * scale[moving] > tolerance]
    return scale[:, None] * estimate


def decode(posterior: NDArray[np.floating], size: ArrayLike, method: Method = "median") -> Floats:
    """Point estimate by name, (B, 2)."""
    return {"median": geometric_median, "mean": mean, "argmax": argmax}[method](posterior, size)


def hpd(
    posterior: NDArray[np.floating], target: NDArray[np.integer], level: float = 0.9
) -> tuple[Floats, NDArray[np.bool_]]:
    """Highest-density region of each crop: the fewest cells that hold at least `level` of the probability.

    Returns
    -------
    area : ndarray
        Shape (B,), share of the crop's area.
    inside : ndarray of bool
        Shape (B,), the cell with flat index `target` belongs to the region.
    """
    flat = posterior.reshape(len(posterior), -1).astype(float)
    order = np.argsort(-flat, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(flat, order, axis=1), axis=1)
    before = np.concatenate([np.zeros((len(flat), 1)), before[:, :-1]], axis=1)
    count = (before < level - 1e-12).sum(axis=1)
    rank = (order == np.asarray(target)[:, None]).argmax(axis=1)
    return count / flat.shape[1], rank < count
