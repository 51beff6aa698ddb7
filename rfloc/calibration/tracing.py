"""One trace: the isotropic path gain of a pose at the UEs that ask, read off a radio map and kept by content."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.files import Arrays, digest, kept
from rfloc.simulation import mapcache
from rfloc.simulation.maps import map_grid, outdoor_share, over_rooftops, read_maps, trace_maps
from rfloc.simulation.rooftop import rooftop_maps
from rfloc.simulation.shards import files_digest
from rfloc.simulation.worker import worker_city
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: Raise it where a change of the tracer changes what is kept.
TRACES = 1


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
    """Traces poses of one site at its UEs, each once.

    Parameters
    ----------
    world : World
        City, rays, and the folder in which a file a pose is kept.
    x, y : ndarray, shape (ue,)
        UEs [m].

    Attributes
    ----------
    computed : int
        Poses that were traced now.
    saved_s : float
        Time that the others took when they were [s], so that an interrupted search still knows its cost.
    """

    def __init__(self, world: World, x: Floats, y: Floats) -> None:
        self.world, self.x, self.y = world, x, y
        self.computed, self.saved_s = 0, 0.0
        self._held: dict[tuple[float, float, float], Floats] = {}
        city = files_digest(world.folder)
        self.city: City = worker_city(world.folder, city)
        self._grid = map_grid(self.city, world.sim.cell)
        row, column, inside = self._grid.index(x, y)
        share, *at = outdoor_share(self.city, self._grid)
        cells, which = np.unique(np.stack([row, column]), axis=1, return_inverse=True)
        self._cell = which.ravel()
        self._cell_x, self._cell_y = (axis[cells[0], cells[1]] for axis in at)
        self._open = share[cells[0], cells[1]] > 0
        self._inside = inside
        self._about = digest(
            TRACES, mapcache.versions(modules=()), city, world.sim.model_dump(exclude={"check_ues"}),
            world.radio.carrier_hz, world.radio.ue_height, world.samples, world.seed, x, y,
        )  # fmt: skip

    def __call__(self, pose: Stations) -> Floats:
        """Isotropic path gain of one pose at the UEs [dB], shape (ue,); -inf where nothing arrives."""
        at = float(pose.x[0]), float(pose.y[0]), float(pose.h[0])
        if at not in self._held:
            folder, before = self.world.kept, self.computed
            file = None if folder is None else folder / f"{digest(self._about, at)}.npz"
            found = kept(file, lambda: self._make(pose))
            if self.computed == before:
                self.saved_s += float(found["seconds"])
            self._held[at] = found["gain_db"]
        return self._held[at]

    def _make(self, pose: Stations) -> Arrays:
        start = time.perf_counter()
        gain = self._trace(pose)
        self.computed += 1
        return {"gain_db": gain, "seconds": np.array(time.perf_counter() - start)}

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
