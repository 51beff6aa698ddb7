"""The table of base stations that simulation, calibration and campaigns share."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.arrays import Floats
from rfloc.city import City
from rfloc.errors import SimulationError
from rfloc.frames import Bounds

#: An antenna stands at least this far above the roof under it [m].
ROOF_CLEARANCE = 2.0


@dataclass(frozen=True)
class Stations:
    """Base stations, one array element a sector (raises SimulationError unless all but azimuths are finite)."""

    x: Floats  #: position in the city's frame [m], shape (bs,)
    y: Floats
    h: Floats  #: antenna height above ground [m]
    azimuth: Floats  #: of the boresight [deg clockwise from north]; NaN = unknown
    power: Floats  #: transmit power [dBm]
    id: NDArray[np.str_]

    def __post_init__(self) -> None:
        for name in ("x", "y", "h", "azimuth", "power"):
            object.__setattr__(self, name, np.atleast_1d(np.asarray(getattr(self, name), float)))
        object.__setattr__(self, "id", np.atleast_1d(np.asarray(self.id, str)))
        for name in ("x", "y", "h", "power"):
            if (bad := ~np.isfinite(getattr(self, name))).any():
                mend = "give it, or leave these stations out with `take`"
                raise SimulationError(f"stations {', '.join(self.id[bad])} have no {name}", "", mend)

    @property
    def n(self) -> int:
        """Number of stations."""
        return len(self.x)

    def replace(self, **columns: ArrayLike) -> Self:
        """The table with some columns replaced."""
        return dataclasses.replace(self, **columns)  # type: ignore[arg-type]

    def moved(self, dx: ArrayLike = 0.0, dy: ArrayLike = 0.0) -> Self:
        """The table with every station moved by dx, dy [m]; heights above ground stay."""
        return self.replace(x=self.x + np.asarray(dx, float), y=self.y + np.asarray(dy, float))

    def take(self, index: ArrayLike) -> Self:
        """Some of the stations, by integer index or boolean mask."""
        return type(self)(**{name: column[np.asarray(index)] for name, column in vars(self).items()})

    @classmethod
    def join(cls, tables: Sequence[Self]) -> Self:
        """Several tables as one."""
        return cls(*map(np.concatenate, zip(*(vars(table).values() for table in tables), strict=True)))

    def central_box(self, share: float) -> Bounds:
        """(x_min, y_min, x_max, y_max) [m]: central `share` of the box that the stations span (paper, section 4.2)."""
        x, y = (self.x.min() + self.x.max()) / 2, (self.y.min() + self.y.max()) / 2
        dx, dy = share * np.ptp(self.x) / 2, share * np.ptp(self.y) / 2
        return float(x - dx), float(y - dy), float(x + dx), float(y + dy)

    def above_roofs(self, city: City) -> Self:
        """The table with antennas lifted clear of a roof that a wrong position puts them under: it would catch rays."""
        return self.replace(h=np.maximum(self.h, city.height_at(self.x, self.y) + ROOF_CLEARANCE))

    def lifted(self, city: City) -> dict[str, Any]:
        """What :meth:`above_roofs` changes: antennas lifted over a roof, lifted in the open, and by how much [m]."""
        lift, roof = self.above_roofs(city).h - self.h, city.height_at(self.x, self.y) > 0
        up = lift[lift > 0]
        metres = {"median_m": round(float(np.median(up)), 1), "most_m": round(float(up.max()), 1)} if up.size else {}
        return {"over_a_roof": int((roof & (lift > 0)).sum()), "in_the_open": int((~roof & (lift > 0)).sum()), **metres}

    def coords(self) -> dict[str, tuple[str, Any]]:
        """The `bs_*` coordinates of links and maps."""
        return {f"bs_{name}": ("bs", column) for name, column in vars(self).items()}

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> Self:
        """The stations of a links or maps dataset."""
        return cls(**{f.name: ds[f"bs_{f.name}"].values for f in dataclasses.fields(cls)})
