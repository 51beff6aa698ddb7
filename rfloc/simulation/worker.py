"""What a worker process of a campaign does.

It traces on one thread, so that a shard's bytes depend on its plan alone, and holds the scene of one city; a process a
core is how a campaign uses a machine.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from rfloc.backend import run_on_one_thread
from rfloc.city import City, open_city
from rfloc.errors import SimulationError
from rfloc.simulation.maps import read_error_db, read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.shards import Part, Shard, differences, files_digest, plan_versions
from rfloc.simulation.store import Store

#: A process traces one station at a time, however many threads its Dask worker has: they share a scene.
_TRACING = threading.Lock()


def compute_station(root: Path, part: Part, todo: list[Shard], cache: Path | None) -> None:
    """Trace the one station of `part` and write the shards of it that are to do; runs in a worker process.

    Raises
    ------
    SimulationError
        If this process has other versions of what computes than the store's plan, or naming a shard that can't be
        written.
    """
    with _TRACING:
        run_on_one_thread()
        _compute_station(root, part, todo, cache)


def _compute_station(root: Path, part: Part, todo: list[Shard], cache: Path | None) -> None:
    store = Store.open(root)
    changes = list(differences(store.plan["versions"], plan_versions()))
    if changes:
        raise SimulationError(
            f"worker {socket.gethostname()} runs other versions than the plan was made with: {'; '.join(changes)}",
            "its shards would not be those of the plan",
            "install the same versions on all machines of the campaign, and change none while it runs",
        )
    todo = [shard for shard in todo if not store.finished(shard)]  # a worker that died may have come that far
    if not todo:
        return
    city = worker_city(part.city, store.plan["parts"][part.name]["city"])
    plane = Plane(city, part.sim.cell, part.radio.ue_height)
    maps = trace_maps(plane, part.stations, Rays(part.sim, part.radio, part.samples, part.seed), cache, False)
    for shard in todo:
        x, y = part.ue_x[shard.start : shard.stop], part.ue_y[shard.start : shard.stop]
        gain, error = read_maps(maps, x, y, part.radio), read_error_db(maps, x, y)
        try:
            store.write(shard, gain[:, 0], error[:, 0])
        except OSError as cause:
            raise SimulationError(
                f"{shard} could not be written", str(cause), "make room in its folder and run again"
            ) from None


#: The city that a worker process traces in, by the hash of its files.
_held: dict[str, City] = {}


def worker_city(folder: Path, digest: str) -> City:
    """A city that loads its scene once, for a worker: the one before is let go.

    Parameters
    ----------
    folder : Path
        Where it lies.
    digest : str
        Hash of its files.

    Raises
    ------
    SimulationError
        If they have another.
    """
    if digest not in _held:
        _held.clear()
        if files_digest(folder) != digest:
            raise SimulationError(
                f"the city in {folder} is not the one that was planned for",
                "it was built anew meanwhile, or this machine has another",
                "start the campaign again",
            )
        _held[digest] = open_city(folder)
    return _held[digest]
