"""From a posterior over the crop grid to a point.

The point minimises the expected Euclidean error that tables report; the paper decodes the most probable cell.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.arrays import Floats
from rfloc.crops import cell_centres

#: Weiszfeld's iteration stops when no crop moves by more than this [m], or after so many steps.
TOLERANCE, ITERATIONS = 0.01, 500


def geometric_median(posterior: NDArray[np.floating], size: ArrayLike) -> Floats:
    """Points that minimise the expected distance, x, y relative to the crop centre [m], (B, 2).

    `size` is the edge of all crops or of each, (B,) [m]. Weiszfeld's iteration from the mean, on cell centres in crop
    edges, with distances smoothed by 3 % of a cell so that an iterate may rest on a centre.
    """
    flat, cells = posterior.reshape(len(posterior), -1).astype(float), posterior.shape[-1]
    at = np.stack(cell_centres(1.0, cells), axis=-1).reshape(-1, 2)
    scale = np.broadcast_to(np.asarray(size, float), len(posterior))
    smooth = (0.03 / cells) ** 2
    estimate = flat @ at
    moving = np.arange(len(flat))
    for _ in range(ITERATIONS):
        if not moving.size:
            break
        now = estimate[moving]
        square = (at[:, 0] - now[:, :1]) ** 2 + (at[:, 1] - now[:, 1:]) ** 2
        weight = flat[moving] / np.sqrt(square + smooth)
        moved = weight @ at / weight.sum(axis=1, keepdims=True)
        estimate[moving] = moved
        moving = moving[np.linalg.norm(moved - now, axis=1) * scale[moving] > TOLERANCE]
    return scale[:, None] * estimate
