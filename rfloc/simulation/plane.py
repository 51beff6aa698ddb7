"""Where radio maps lie and how their rays are traced, as two values."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from rfloc.arrays import Bools, Floats
from rfloc.city import City, open_city
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.files import content_hash, digest
from rfloc.frames import Grid


@dataclass(frozen=True)
class Rays:
    """How rays are traced: all that a trace depends on beside the plane and the station."""

    sim: SimulationParams
    radio: RadioParams
    samples: int  #: rays a station
    seed: int  #: common to all stations, so that candidates are compared under the same rays

    def without_rooftop(self) -> Self:
        """The same without the path over the rooftops."""
        return replace(self, sim=self.sim.model_copy(update={"rooftop": False}))


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of cells at the height of UEs, for a city's radio maps; it travels to a process as the city's folder."""

    city: City  #: its raster's area is the map's
    cell: float  #: edge of a cell [m]
    ue_height: float  #: above ground [m]

    @cached_property
    def grid(self) -> Grid:
        """The cells."""
        return Grid.covering(*self.city.grid.bounds, self.cell)

    @cached_property
    def z(self) -> float:
        """Height in the scene [m], over the median of the streets."""
        return float(np.percentile(self.city.raster["ground"].values[self.city.road], 50)) + self.ue_height

    @cached_property
    def outdoors(self) -> tuple[Floats, Floats, Floats]:
        """Share of each cell that no building covers, and x, y [m] of its outdoor point next to the centre, or that."""
        grid, city = self.grid, self.city
        steps = max(int(np.ceil(grid.cell / city.grid.cell)), 1)
        offsets = (np.arange(steps) + 0.5) / steps * grid.cell - grid.cell / 2
        pairs = sorted(((dx, dy) for dx in offsets for dy in offsets), key=lambda pair: pair[0] ** 2 + pair[1] ** 2)
        centre_x, centre_y = np.meshgrid(grid.x, grid.y)
        x, y, count, outdoor = centre_x.copy(), centre_y.copy(), np.zeros(grid.shape), city.outdoor
        for dx, dy in pairs:
            row, col, _ = city.grid.index(centre_x + dx, centre_y + dy)
            free = outdoor[row, col]
            first = free & (count == 0)
            x[first], y[first] = centre_x[first] + dx, centre_y[first] + dy
            count += free
        return count / len(pairs), x, y

    def in_the_open(self, x: ArrayLike, y: ArrayLike) -> Bools:
        """Whether UEs at x, y [m], shape (ue,), stand in a cell that buildings do not cover altogether."""
        row, column, inside = self.grid.index(np.asarray(x, float), np.asarray(y, float))
        return inside & (self.outdoors[0][row, column] > 0)

    @cached_property
    def scene_digest(self) -> str:
        """Hash of the files of the scene that rays are traced in."""
        return digest(self.city.scene_path, self.city.scene_path.parent / "meshes")

    def __reduce__(self) -> tuple[Any, ...]:
        folder = self.city.folder.resolve()
        return open_plane, (folder, self.cell, self.ue_height, content_hash(folder))


def open_plane(folder: Path, cell: float, ue_height: float, content: str) -> Plane:
    """The plane of a city's folder of a hash (else raises SimulationError); a process holds the last one."""
    if content != content_hash(folder):
        why = "it was built anew meanwhile, or this machine has another"
        raise SimulationError(f"the city in {folder} is not the one that was asked for", why, "start again")
    return _held(folder, cell, ue_height, content)


@lru_cache(maxsize=1)
def _held(folder: Path, cell: float, ue_height: float, _content: str) -> Plane:
    return Plane(open_city(folder), cell, ue_height)
