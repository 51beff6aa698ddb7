"""One trace: the isotropic path gain of a pose at the UEs that ask, kept by content."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rfloc.files import Arrays, content_hash, digest, kept
from rfloc.simulation.maps import gain_at, tracer
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: Raise it where a change here changes what is kept.
TRACES = 1


class Tracer:
    """Traces poses of one site at its UEs x, y [m], each once; gains are kept in a folder, a file a pose.

    `computed` poses were traced now; the others took `saved_s` [s] when they were: an interrupted search still knows
    its cost.
    """

    def __init__(self, plane: Plane, rays: Rays, x: Floats, y: Floats, folder: Path | None = None) -> None:
        self.plane, self.rays, self.x, self.y, self.folder = plane, rays, x, y, folder
        self.computed, self.saved_s = 0, 0.0
        self._held: dict[tuple[float, ...], Floats] = {}
        sim = rays.sim.model_dump(exclude={"check_ues"})
        self._about = digest(
            TRACES, tracer(), content_hash(plane.city.folder), plane.cell, plane.ue_height, sim, rays.radio.carrier_hz,
            rays.samples, rays.seed, x, y,
        )  # fmt: skip

    def __call__(self, pose: Stations) -> Floats:
        """Isotropic path gain of one pose at the UEs [dB], shape (ue,); -inf where nothing arrives."""
        at = float(pose.x[0]), float(pose.y[0]), float(pose.h[0])
        if at not in self._held:
            before = self.computed
            found = kept(self.folder and self.folder / f"{digest(self._about, at)}.npz", lambda: self._trace(pose))
            if self.computed == before:
                self.saved_s += float(found["seconds"])
            self._held[at] = found["gain_db"]
        return self._held[at]

    def _trace(self, pose: Stations) -> Arrays:
        start = time.perf_counter()
        gain = gain_at(self.plane, pose, self.rays, self.x, self.y)[0][:, 0]
        gain_db = 10 * np.log10(np.where(gain > 0, gain, 0.0), where=gain > 0, out=np.full(len(gain), -np.inf))
        self.computed += 1
        return {"gain_db": gain_db, "seconds": np.array(time.perf_counter() - start)}
