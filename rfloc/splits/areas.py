"""Areas that a split holds out: blocks of the plane or boxes of latitude and longitude.

Both become polygons in the city's frame [m], kept as WKT in the split's attributes, by which all who read it decide;
borders belong to an area.
"""

from functools import lru_cache

import numpy as np
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from rfloc.arrays import Bools, Ints
from rfloc.frames import LocalFrame


def blocks_of(x: ArrayLike, y: ArrayLike, block: float) -> Ints:
    """Square block (column, row), floor(x / block) and floor(y / block), of each position [m], shape (n, 2)."""
    return np.floor(np.column_stack([x, y]) / block).astype(np.int64)


def area_of_blocks(blocks: Ints, edge: float) -> BaseGeometry:
    """The union of blocks, shape (n, 2), of `edge` metres."""
    return shapely.union_all(shapely.box(*(blocks * edge).T, *(blocks * edge + edge).T))


def area_of_box(box: list[float], frame: LocalFrame) -> BaseGeometry:
    """The polygon in a frame of a box (lat_min, lat_max, lon_min, lon_max) [deg]."""
    south, north, west, east = box
    # sides are broken every 0.001 deg, so that the polygon keeps within a millimetre of its parallels
    outline = shapely.segmentize(shapely.box(west, south, east, north), 0.001)
    return shapely.transform(outline, lambda at: np.column_stack(frame.to_local(at[:, 1], at[:, 0])))


def near(area: BaseGeometry, x: ArrayLike, y: ArrayLike, distance: float = 0.0) -> Bools:
    """Whether each position [m] lies in an area or no further than `distance` [m] from it."""
    return np.asarray(shapely.dwithin(area, shapely.points(np.asarray(x, float), np.asarray(y, float)), distance))


def squares(centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike) -> NDArray[np.object_]:
    """Square polygons round centres [m], of one size or one each [m]."""
    x, y, half = np.broadcast_arrays(centre_x, centre_y, np.asarray(size, float) / 2)
    return np.atleast_1d(shapely.box(x - half, y - half, x + half, y + half))


@lru_cache(maxsize=64)
def _parsed(wkt: str) -> BaseGeometry:
    geometry = shapely.from_wkt(wkt)
    shapely.prepare(geometry)
    return geometry


def unknown_area(split: xr.Dataset) -> BaseGeometry:
    """The held-out area (unknown streets) in the split's frame [m], maybe of several parts, or empty."""
    return _parsed(split.attrs["unknown_area"])


def val_area(split: xr.Dataset) -> BaseGeometry:
    """The area whose UEs validate, in the split's frame [m]; where it meets the held-out one, the latter counts."""
    return _parsed(split.attrs["val_area"])


def held_out(split: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Bools:
    """Whether positions [m] lie in a held-out area or within the buffer of one, and so must not be trained on."""
    return near(unknown_area(split), x, y, float(split.attrs["buffer"]))


def crosses(split: xr.Dataset, centre_x: ArrayLike, centre_y: ArrayLike, size: ArrayLike) -> Bools:
    """Whether training crops, by centre and edge [m], come within `crop_gap` of a held-out area; never, without one."""
    gap, crops = split.attrs.get("crop_gap"), squares(centre_x, centre_y, size)
    if gap is None:
        return np.zeros(len(crops), bool)
    return np.asarray(shapely.dwithin(unknown_area(split), crops, float(gap)))
