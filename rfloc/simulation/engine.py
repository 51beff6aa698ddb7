"""Campaigns on Dask: many stations, many cities, many processes, interrupted at will.

A task is one station of a part with its unfinished shards: its map is traced once and read off at the UEs of a shard at
a time, each written when it is read. What a worker does is in :mod:`rfloc.simulation.worker`.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rfloc.config import EngineParams
from rfloc.errors import RFLocError, SimulationError
from rfloc.simulation.many import connect
from rfloc.simulation.shards import Part, Shard, blocks
from rfloc.simulation.store import Store
from rfloc.simulation.worker import compute_station

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CampaignReport", "Part", "connect", "read_part", "run_campaign"]

#: A part with one station, and shards of it.
Job = tuple[Part, list[Shard]]


@dataclass(frozen=True)
class CampaignReport:
    """What a run of a campaign did.

    Parameters
    ----------
    links, shards : int
        Of the whole campaign.
    found : int
        Shards that were finished before.
    seconds : float
        Time that the others took.
    computed_links : int
        Links of the others.
    bytes : int
        Size of the store.
    """

    links: int
    shards: int
    found: int
    seconds: float
    computed_links: int
    bytes: int

    def __str__(self) -> str:
        size = f"campaign: {self.links:,} links in {self.shards} shards, {self.bytes / 1e6:.1f} MB, "
        if self.found == self.shards:
            return f"{size}all finished before"
        rate = self.computed_links / self.seconds
        return f"{size}{self.found} finished before, the others in {self.seconds:.1f} s: {rate:,.0f} links/s"


def run_campaign(
    parts: Sequence[Part],
    store: str | Path,
    engine: EngineParams,
    client: Client | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> CampaignReport:
    """Fill the store of a campaign with the shards that it lacks.

    A shard that was finished stays, whatever ended the run that wrote it; those in flight are repeated. On a CPU the
    store ends with the same bytes as that of an undisturbed run.

    Parameters
    ----------
    parts : sequence of Part
        What to compute; their names differ.
    store : path
        Folder of the store, made if there is none.
    engine : EngineParams
        Where to run, and how many links a shard has.
    client : distributed.Client, optional
        From :func:`connect`, to share it between campaigns; default: one for this call.
    cache : Path, optional
        Folder of maps that are kept, see :func:`rfloc.simulation.maps.trace_maps`.
    progress : bool
        Show links a second and time left, and print a line at the end.

    Raises
    ------
    SimulationError
        If the store belongs to another plan, or naming a shard that could not be computed or written: no other is
        begun then, those in flight are finished, and what is finished stays.
    """
    start = time.perf_counter()
    opened = Store.make(store, parts, engine.shard_links)
    jobs = [(part.of_station(k), todo) for part in parts for k, todo in opened.unfinished(part)]
    links, left = sum(part.links for part in parts), sum(shard.links for _, todo in jobs for shard in todo)
    if jobs:
        every = 0.5 if sys.stdout.isatty() else 60.0  # a log, or a notebook, which keeps every state of the bar
        bar = tqdm(
            total=links, initial=links - left, desc="campaign", unit=" links", unit_scale=True, leave=False,
            disable=not progress, file=sys.stdout, mininterval=every, delay=every,
        )  # fmt: skip
        with bar, contextlib.nullcontext(client) if client else connect(engine) as joined:
            _compute(joined, opened, jobs, cache and Path(cache).resolve(), bar, engine.workers or 1)
    shards = sum(part.stations.n * blocks(part.ue_x.size, engine.shard_links) for part in parts)
    report = CampaignReport(
        links=links,
        shards=shards,
        found=shards - sum(len(todo) for _, todo in jobs),
        computed_links=left,
        seconds=time.perf_counter() - start,
        bytes=sum(path.stat().st_size for path in opened.root.rglob("*") if path.is_file()),
    )
    if progress:
        print(report, flush=True)
    return report


def _compute(client: Client, store: Store, jobs: list[Job], cache: Path | None, bar: tqdm[Any], least: int) -> None:
    """Run jobs, one more at a time than there are workers, which are `least` at least, some of them maybe yet to come.

    After a failure no other is begun, those begun are finished, and the failure is raised.
    """
    from distributed import as_completed

    waiting = iter(jobs)
    begun: dict[Any, Job] = {}
    failed: list[SimulationError] = []
    completed = as_completed(loop=client.loop)

    def begin() -> None:
        workers = max(len(client.nthreads()), least)
        for part, todo in itertools.islice(waiting, 0 if failed else max(workers + 1 - len(begun), 0)):
            future = client.submit(compute_station, store.root, part, todo, cache, pure=False)
            begun[future] = part, todo
            completed.add(future)

    begin()
    for future in completed:
        _, todo = begun.pop(future)
        if future.status == "finished":
            bar.update(sum(shard.links for shard in todo))
        else:
            failed.append(_failure(future, todo[0]))
        begin()
    if failed:
        raise failed[0]


def _failure(future: Any, shard: Shard) -> SimulationError:
    """What went wrong with a job, naming the first of its shards unless it says one itself."""
    error = future.exception()
    if isinstance(error, RFLocError):
        what = error.what if error.what.startswith("shard ") else f"{shard} failed: {error.what}"
        return SimulationError(what, error.why, error.mend)
    why = f"{type(error).__name__}: {error}" if error else f"its task was {future.status}: the scheduler is gone"
    mend = "mend its city, or give workers more memory by having fewer, and run again: finished shards are kept"
    return SimulationError(f"{shard} failed", why, mend)


def read_part(store: str | Path, part: Part) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gains of a part, antenna patterns applied, and their errors [dB], each of shape (ue, bs).

    Raises
    ------
    SimulationError
        If the store has another part under its name, or shards of it are missing or damaged.
    """
    return Store.open(store).read(part)
