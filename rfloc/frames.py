"""Coordinate frames, raster grids and angles: the only place where any of them is converted.

Stored coordinates are EPSG:4326 degrees; computations run in a city's local frame [m]: x east, y north, z up. Azimuth
is in degrees clockwise from north, downtilt in degrees below the horizon.
"""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from pyproj import CRS, Transformer

from rfloc.arrays import Bools, Floats, Ints
from rfloc.errors import FrameError

Bounds = tuple[float, float, float, float]  #: x_min, y_min, x_max, y_max [m]


@dataclass(frozen=True)
class _Carried:
    """What a dataset carries as attributes, each named after the prefix and a field."""

    prefix: ClassVar[str]

    def to_attrs(self) -> dict[str, Any]:
        """The attributes of a dataset."""
        return {f"{self.prefix}_{name}": value for name, value in asdict(self).items()}

    @classmethod
    def from_attrs(cls, attrs: dict[Any, Any]) -> Self:
        """Read from the attributes of a dataset (raises FrameError where one is missing)."""
        try:
            return cls(**{field.name: attrs[f"{cls.prefix}_{field.name}"] for field in fields(cls)})
        except KeyError as missing:
            mend = f"write it with `ds.attrs.update({cls.prefix}.to_attrs())`"
            raise FrameError(f"dataset carries no {cls.prefix}: attribute {missing} is missing", "", mend) from None


@dataclass(frozen=True)
class LocalFrame(_Carried):
    """Transverse Mercator plane centred on a city: x east, y north [m], unit scale at its origin lat0, lon0 [deg]."""

    prefix = "frame"
    lat0: float
    lon0: float

    def __post_init__(self) -> None:
        if not (-85.0 <= self.lat0 <= 85.0 and -180.0 <= self.lon0 <= 180.0):
            why = "latitude lies in [-85, 85], longitude in [-180, 180]; check the order: latitude comes first"
            raise FrameError(f"frame origin lat={self.lat0}, lon={self.lon0} is not on the map", why)

    @cached_property
    def crs(self) -> CRS:
        """The frame as geopandas and pyproj want it."""
        at = f"+lat_0={self.lat0} +lon_0={self.lon0}"
        return CRS.from_proj4(f"+proj=tmerc {at} +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs")

    @cached_property
    def _transformers(self) -> tuple[Transformer, Transformer]:
        forward = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
        return forward, Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)

    def to_local(self, lat: ArrayLike, lon: ArrayLike) -> tuple[Floats, Floats]:
        """Latitude and longitude [deg] to x, y [m], element by element."""
        x, y = self._transformers[0].transform(np.asarray(lon, float), np.asarray(lat, float))
        return np.asarray(x), np.asarray(y)

    def to_geographic(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """x, y [m] to latitude and longitude [deg], element by element."""
        lon, lat = self._transformers[1].transform(np.asarray(x, float), np.asarray(y, float))
        return np.asarray(lat), np.asarray(lon)

    def require_same(self, other: Self, what: str) -> None:
        """Raise FrameError unless `other`, the frame of `what`, is this very one."""
        if self != other:
            mend = "transform through latitude and longitude first"
            raise FrameError(f"{what} are in frame {other}, not in {self}", "", mend)


@dataclass(frozen=True)
class Grid(_Carried):
    """A raster grid: cell (i, j) covers [x0 + j*cell, +cell) x [y0 + i*cell, +cell); row 0 is the southernmost."""

    prefix = "grid"
    x0: float  #: south-west corner [m]
    y0: float
    cell: float  #: edge of a cell [m]
    nx: int  #: number of columns
    ny: int  #: number of rows

    @classmethod
    def covering(cls, x_min: float, y_min: float, x_max: float, y_max: float, cell: float) -> Self:
        """The smallest grid with corners on multiples of `cell` that covers a box [m]."""
        x0, y0 = np.floor(x_min / cell) * cell, np.floor(y_min / cell) * cell
        nx, ny = int(np.ceil((x_max - x0) / cell)), int(np.ceil((y_max - y0) / cell))
        return cls(float(x0), float(y0), float(cell), nx, ny)

    def part(self, rows: slice, cols: slice) -> Self:
        """The grid of some rows and columns of this one, given by slices with both ends."""
        x0, y0 = self.x0 + cols.start * self.cell, self.y0 + rows.start * self.cell
        return type(self)(x0, y0, self.cell, cols.stop - cols.start, rows.stop - rows.start)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.ny, self.nx

    @property
    def x(self) -> Floats:
        """Column centres [m], shape (nx,)."""
        return self.x0 + (np.arange(self.nx, dtype=np.float64) + 0.5) * self.cell

    @property
    def y(self) -> Floats:
        """Row centres [m], south to north, shape (ny,)."""
        return self.y0 + (np.arange(self.ny, dtype=np.float64) + 0.5) * self.cell

    @property
    def bounds(self) -> Bounds:
        """(x_min, y_min, x_max, y_max) [m]."""
        return self.x0, self.y0, self.x0 + self.nx * self.cell, self.y0 + self.ny * self.cell

    @property
    def extent(self) -> Bounds:
        """(x_min, x_max, y_min, y_max) [m], as matplotlib's `imshow(origin="lower")` wants it."""
        return self.bounds[0], self.bounds[2], self.bounds[1], self.bounds[3]

    def to_pixel(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """x, y [m] to fractional (row, column); a cell's centre is at +0.5."""
        return (np.asarray(y, float) - self.y0) / self.cell, (np.asarray(x, float) - self.x0) / self.cell

    def index(self, x: ArrayLike, y: ArrayLike) -> tuple[Ints, Ints, Bools]:
        """Integer (row, column) of the cell that holds x, y, clipped into the grid, and whether it lay inside."""
        row, col = self.to_pixel(x, y)
        i, j = np.floor(row).astype(int), np.floor(col).astype(int)
        inside = (i >= 0) & (i < self.ny) & (j >= 0) & (j < self.nx)
        return np.clip(i, 0, self.ny - 1), np.clip(j, 0, self.nx - 1), inside


def bearing(dx: ArrayLike, dy: ArrayLike) -> Floats:
    """Azimuth of a displacement (dx east, dy north) [m]: degrees clockwise from north in [0, 360)."""
    return np.asarray(np.degrees(np.arctan2(np.asarray(dx, float), np.asarray(dy, float))) % 360.0, dtype=np.float64)


def toward(azimuth: ArrayLike) -> tuple[Floats, Floats]:
    """East and north of a unit step towards an azimuth [deg]: the inverse of :func:`bearing`."""
    angle = np.radians(np.asarray(azimuth, float))
    return np.sin(angle), np.cos(angle)


def wrap_degrees(angle: ArrayLike) -> Floats:
    """Angle [deg] wrapped into [-180, 180)."""
    return np.asarray((np.asarray(angle, float) + 180.0) % 360.0 - 180.0, dtype=np.float64)


def sionna_orientation(azimuth: float, downtilt: float = 0.0) -> tuple[float, float, float]:
    """Sionna RT's orientation (yaw, pitch, roll) [rad] of a device that looks to `azimuth`, `downtilt` [deg].

    At zero the boresight is +x; yaw turns it counter-clockwise seen from above, positive pitch towards the ground.
    """
    return float(np.radians(90.0 - azimuth)), float(np.radians(downtilt)), 0.0
