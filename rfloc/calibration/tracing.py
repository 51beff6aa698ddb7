"""One trace: the isotropic path gain of a pose at the UEs that ask, off a radio map, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfloc.calibration.memo import Memo, named
from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.simulation.maps import map_grid, outdoor_share, over_rooftops, read_maps, trace_maps
from rfloc.simulation.rooftop import rooftop_maps
from rfloc.simulation.shards import files_digest, plan_versions
from rfloc.simulation.worker import worker_city
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: Names of the stations that share a site, joined, are the name of its file.
_JOIN = "+"


@dataclass(frozen=True)
class World:
    """Where rays are traced and how: all that a trace depends on beside the pose and the UEs.

    Parameters
    ----------
    folder : Path
        Of the city.
    sim, radio
        Solver and carrier.
    samples : int
        Rays a trace.
    seed : int
        Of the rays, common to all poses, so that candidates are compared under the same ones.
    kept : Path, optional
        Folder in which traced gains are kept.
    """

    folder: Path
    sim: SimulationParams
    radio: RadioParams
    samples: int
    seed: int
    kept: Path | None = None


class Tracer:
    """Traces poses of one site, and counts the traces.

    Parameters
    ----------
    world : World
        Where.
    name : str
        Of what is traced, for the file's name.
    x, y : ndarray, shape (ue,)
        UEs [m].
    """

    def __init__(self, world: World, name: str, x: Floats, y: Floats) -> None:
        self.world, self.x, self.y = world, x, y
        digest = files_digest(world.folder)
        self.city: City = worker_city(world.folder, digest)
        self._grid = map_grid(self.city, world.sim.cell)
        row, column, inside = self._grid.index(x, y)
        share, *at = outdoor_share(self.city, self._grid)
        cells, which = np.unique(np.stack([row, column]), axis=1, return_inverse=True)
        self._cell = which.ravel()
        self._cell_x, self._cell_y = (axis[cells[0], cells[1]] for axis in at)
        self._open = share[cells[0], cells[1]] > 0
        self._inside = inside
        about: dict[str, Any] = {
            "city": digest, "versions": plan_versions(), "sim": world.sim.model_dump(exclude={"check_ues"}),
            "carrier_hz": world.radio.carrier_hz, "ue_height": world.radio.ue_height, "samples": world.samples,
            "seed": world.seed, "x": [float(v).hex() for v in x], "y": [float(v).hex() for v in y],
        }  # fmt: skip
        self.memo = Memo(named(world.kept, name, about), about)

    @property
    def computed(self) -> int:
        """Traces that were not kept from before."""
        return self.memo.computed

    @property
    def saved_s(self) -> float:
        """Time that those kept from before took then [s]."""
        return self.memo.saved_s

    def __call__(self, pose: Stations) -> Floats:
        """Isotropic path gain of one pose at the UEs [dB], shape (ue,); -inf where nothing arrives."""
        key = float(pose.x[0]), float(pose.y[0]), float(pose.h[0])
        return self.memo.recall(key, lambda: self._trace(pose))

    def _trace(self, pose: Stations) -> Floats:
        world = self.world
        rays = world.sim.model_copy(update={"rooftop": False})
        maps = trace_maps(
            self.city, pose, self._grid, rays, world.radio, world.seed, samples=world.samples, progress=False
        )
        gain = read_maps(maps, self.x, self.y)[:, 0]
        if world.sim.rooftop:  # at cells where a UE stands, not on the whole map
            floor, clear = rooftop_maps(
                self.city, pose.above_roofs(self.city), self._cell_x[None], self._cell_y[None], self._open[None],
                world.radio.carrier_hz, world.radio.ue_height,
            )  # fmt: skip
            joined = over_rooftops(gain, floor[0, 0, self._cell], clear[0, 0, self._cell])
            gain = np.where(self._inside, joined, 0.0)
        return 10 * np.log10(np.where(gain > 0, gain, 0.0), where=gain > 0, out=np.full(len(gain), -np.inf))


def site_name(sectors: Stations) -> str:
    """Name of a site: those of its sectors."""
    return _JOIN.join(sectors.id.tolist()).replace("/", "_")
