"""One trace: the isotropic path gain of a pose at the UEs that ask, read off a radio map and kept by content."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rfloc.config import RadioParams, SimulationParams
from rfloc.files import Arrays, content_hash, digest, kept
from rfloc.simulation.maps import gain_at, tracer
from rfloc.simulation.plane import Rays, open_plane
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
        self._plane = open_plane(world.folder, world.sim.cell, world.radio.ue_height)
        self.city = self._plane.city
        self._about = digest(
            TRACES, tracer(), content_hash(world.folder), world.sim.model_dump(exclude={"check_ues"}),
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
        rays = Rays(world.sim, world.radio, world.samples, world.seed)
        gain = gain_at(self._plane, pose, rays, self.x, self.y)[0][:, 0]
        return 10 * np.log10(np.where(gain > 0, gain, 0.0), where=gain > 0, out=np.full(len(gain), -np.inf))
