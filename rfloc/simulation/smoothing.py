"""Diffuse power where rays are few: pooled over as many neighbouring cells as a stated error takes.

What diffuse reflection brings varies slowly over a street, but into shadow it comes by few rays: most cells of a map
get none, and the others too much. Where the scatter of the rays says so, their power is spread over a window, over
cells that are as poorly known alone: a street that is lit well shares nothing (the density estimate of photon maps, its
bandwidth chosen cell by cell). Windows know no walls: a poorly lit street shares with a dark yard within half of one.

On Munich (5 m, depth 3, S = 0.4) against paths of 10^6 rays at 400 UEs of a station, Spearman over all UEs, and the
share of path-covered UEs that the map misses, by 10^6 rays: 0.60 and 80 % spread evenly over directions, 0.79 and 53 %
aimed at the map, 0.83 and 9 % aimed and pooled (paths of 10^5 rays: 0.82 and 39 %). A further window of 17 cells misses
2 %, but ranks worse by 0.03.
"""

import numpy as np
from scipy import ndimage

from rfloc.arrays import Floats

#: Relative standard error above which a cell is pooled, and windows that are tried for less, in cells. Thresholds of
#: 0.35 and 0.5 differ by 0.004 in Spearman, either way round.
POOR_ERROR, WINDOWS = 0.4, (3, 5, 9)


def pooled(gain: Floats, error: Floats, share: Floats) -> Floats:
    """Path gain with poorly known cells pooled, each in the smallest window that is known well enough; (ny, nx).

    `gain` is that of rays, linear, 0 where none came, `error` its relative standard error, NaN there, independent from
    cell to cell; cells are weighted by their outdoor `share`. Those without a ray in the largest window keep 0.
    """
    poor = (share > 0) & ~(error <= POOR_ERROR)
    weight = np.where(poor, share, 0.0)
    power = gain * weight
    variance = (power * np.nan_to_num(error)) ** 2
    gain, todo = gain.copy(), poor
    for window in WINDOWS:
        total, spread, area = (_sums(part, window) for part in (power, variance, weight))
        with np.errstate(invalid="ignore", divide="ignore"):
            known = np.sqrt(spread) / total <= POOR_ERROR
        take = todo & (total > 0) & (known | (window == WINDOWS[-1]))
        gain[take] = total[take] / area[take]
        todo = todo & ~take
    return gain


def _sums(part: Floats, window: int) -> Floats:
    """Sums over square windows, each afresh: running sums would round strong cells into the weak ones after them."""
    for axis in (0, 1):
        part = ndimage.correlate1d(part, np.ones(window), axis, mode="constant")
    return part
