"""Areas that a split holds out: blocks or boxes, kept as geometry in the split's attributes.

A block is a square of the plane, cell (floor(x / block), floor(y / block)) of the city's frame. A box is bounded by
two parallels and two meridians. Both become polygons in the frame [m], written as WKT into `unknown_area` and
`val_area`, so that whoever reads a split decides by the same geometry. Borders belong to an area.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from rfloc.frames import LocalFrame

Bools = NDArray[np.bool_]

#: Sides of a box are broken at this length [deg], so that the polygon keeps within a millimetre of its parallels.
BOX_STEP = 0.001


def blocks_of(x: ArrayLike, y: ArrayLike, block: float) -> NDArray[np.int64]:
    """Block (column, row) of each position [m], shape (n, 2)."""
    return np.floor(np.column_stack([x, y]) / block).astype(np.int64)


def area_of_blocks(blocks: NDArray[np.int64], edge: float) -> BaseGeometry:
    """The union of blocks, shape (n, 2), of `edge` metres."""
    low = blocks * edge
    return shapely.union_all(shapely.box(low[:, 0], low[:, 1], low[:, 0] + edge, low[:, 1] + edge))


def area_of_box(box: list[float], frame: LocalFrame) -> BaseGeometry:
    """The polygon in a frame of a box (lat_min, lat_max, lon_min, lon_max) [deg]."""
    lat_min, lat_max, lon_min, lon_max = box
    outline = shapely.segmentize(shapely.box(lon_min, lat_min, lon_max, lat_max), BOX_STEP)
    return shapely.transform(outline, lambda at: np.column_stack(frame.to_local(at[:, 1], at[:, 0])))


def near(area: BaseGeometry, x: ArrayLike, y: ArrayLike, distance: float = 0.0) -> Bools:
    """Whether each position [m] lies in an area or no further than `distance` [m] from it."""
    return np.asarray(shapely.dwithin(area, shapely.points(np.asarray(x, float), np.asarray(y, float)), distance))


def squares(centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike) -> NDArray[np.object_]:
    """Square polygons round centres [m], of one size or one each [m]."""
    x, y, half = np.broadcast_arrays(centre_x, centre_y, np.asarray(size, float) / 2)
    return np.atleast_1d(shapely.box(x - half, y - half, x + half, y + half))


def unknown_area(split: xr.Dataset) -> BaseGeometry:
    """The held-out area (unknown streets) in the split's frame [m], maybe of several parts, or empty."""
    return _parsed(split.attrs["unknown_area"])


def val_area(split: xr.Dataset) -> BaseGeometry:
    """The area whose UEs validate, in the split's frame [m]; where it meets the held-out one, the latter counts."""
    return _parsed(split.attrs["val_area"])


def held_out(split: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Bools:
    """Whether positions [m] lie in a held-out area or within the buffer of one, and so must not be trained on."""
    return near(unknown_area(split), x, y, float(split.attrs["buffer"]))


def overlaps(split: xr.Dataset, centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike, gap: float = 0.0) -> Bools:
    """Whether square crops, by centre and edge [m], touch a held-out area or come within `gap` [m] of one."""
    return np.asarray(shapely.dwithin(unknown_area(split), squares(centre_x, centre_y, size), gap))


def crosses(split: xr.Dataset, centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike) -> Bools:
    """Whether training crops come nearer to a held-out area than the split's `crop_gap`; never, where it has none."""
    gap = split.attrs.get("crop_gap")
    if gap is None:
        return np.zeros(np.broadcast(np.atleast_1d(centre_x), centre_y, size).shape, bool)
    return overlaps(split, centre_x, centre_y, size, float(gap))


@lru_cache(maxsize=64)
def _parsed(wkt: str) -> BaseGeometry:
    geometry = shapely.from_wkt(wkt)
    shapely.prepare(geometry)
    return geometry
