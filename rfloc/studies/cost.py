"""What a campaign would cost: shards, links, disk, and the time that a measured probe predicts."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfloc.backend import run_on_one_thread
from rfloc.city import box_bounds, open_city
from rfloc.config import CityParams, EngineParams, Params, RadioParams, SimulationParams, SyntheticParams, check
from rfloc.datasets.deployments import deployments
from rfloc.frames import LocalFrame
from rfloc.simulation.many import connect
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.scene import load_scene
from rfloc.simulation.shards import blocks, files_digest
from rfloc.simulation.worker import worker_city
from rfloc.stations import Stations

if TYPE_CHECKING:
    from distributed import Client

#: UEs that a probe reads a map at, and bytes a link has in a store, before compression.
PROBE_UES, LINK_BYTES = 1000, 8

#: Height of the stations of a probe [m].
MAST = 30.0


@dataclass(frozen=True)
class CampaignSize:
    """How much a campaign computes.

    Parameters
    ----------
    name : str
        What is computed.
    parts : int
        Number of parts.
    stations : float
        Stations a part, on average.
    ues : int
        UEs a part.
    samples : int
        Rays a station.
    """

    name: str
    parts: int
    stations: float
    ues: int
    samples: int


@dataclass(frozen=True)
class Probe:
    """What one worker, one thread of this machine, needs in a city.

    Parameters
    ----------
    city : str
        Which one.
    load_seconds : float
        To load its scene.
    map_seconds, ray_seconds : float
        A map takes the first, and the second for every ray.
    read_seconds : float
        To read a map at 1000 UEs.
    map_bytes : int
        A map in the cache.
    memory_bytes : int
        The worker, after that.
    """

    city: str
    load_seconds: float
    map_seconds: float
    ray_seconds: float
    read_seconds: float
    map_bytes: int
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"one worker in {self.city}: scene {self.load_seconds:.1f} s, map {self.map_seconds:.2f} s + "
            f"{self.ray_seconds * 1e6:.2f} s a million rays, {PROBE_UES} UEs read in {self.read_seconds:.3f} s, "
            f"{self.memory_bytes / 1e6:.0f} MB"
        )


@dataclass(frozen=True)
class CampaignCost:
    """What a campaign would take.

    Parameters
    ----------
    name : str
        What is computed.
    maps, shards, links : int
        Number of stations over all parts, of shards and of links.
    store_bytes, map_bytes : int
        Of the store, before compression, and of the cache of maps.
    workers : int
        Number of processes.
    seconds : float
        With these, if nothing else shares the machine.
    """

    name: str
    maps: int
    shards: int
    links: int
    store_bytes: int
    map_bytes: int
    workers: int
    seconds: float


def campaign_cost(sizes: Sequence[CampaignSize], engine: EngineParams, probe: Probe) -> list[CampaignCost]:
    """What campaigns would take on workers like the probe's, in cities like the probe's.

    Time grows with rays, maps and UEs read; a scene is loaded once a worker and part, by as many workers as the part
    has stations at most.
    """
    slurm = engine.scheduler == "slurm"
    workers = engine.workers or (engine.slurm_cores if slurm else os.cpu_count() or 1)
    costs = []
    for size in sizes:
        maps, loads = round(size.parts * size.stations), size.parts * min(workers, size.stations)
        links = maps * size.ues
        work = (
            loads * probe.load_seconds
            + maps * (probe.map_seconds + size.samples * probe.ray_seconds)
            + links / PROBE_UES * probe.read_seconds
        )
        costs.append(
            CampaignCost(
                size.name, maps, maps * blocks(size.ues, engine.shard_links), links, links * LINK_BYTES,
                maps * probe.map_bytes, workers, work / min(workers, max(maps, 1)),
            )
        )  # fmt: skip
    return costs


def table(costs: Sequence[CampaignCost]) -> str:
    """Costs as text, a line each."""
    head = ("", "maps", "shards", "links", "store", "maps kept", "workers", "time")
    rows = [head] + [
        (
            cost.name, f"{cost.maps:,}", f"{cost.shards:,}", f"{cost.links:,}", f"{cost.store_bytes / 1e6:,.1f} MB",
            f"{cost.map_bytes / 1e6:,.1f} MB", str(cost.workers), _duration(cost.seconds),
        )
        for cost in costs
    ]  # fmt: skip
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(n) for cell, n in zip(row, wide, strict=True)) for row in rows)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def campaign_sizes(params: Params, b_stations: float) -> list[CampaignSize]:
    """Datasets B and C as `params` asks for them; C only if rays compute it.

    Parameters
    ----------
    b_stations : float
        Stations a city of B.
    """
    synthetic = params.synthetic
    rows, cols = synthetic.c_patches
    patches = synthetic.c_take or rows * cols
    b = CampaignSize("B", len(synthetic.b_cities), b_stations, synthetic.b_ues, params.simulation.samples)
    if synthetic.c_source != "rays":
        return [b]
    heard = np.mean([_stations_heard(params.cities[region], synthetic) for region in synthetic.c_regions])
    parts = len(synthetic.c_regions) * patches * len(deployments(synthetic))
    return [b, CampaignSize("C", parts, float(heard), synthetic.c_ues, synthetic.c_samples)]


def _stations_heard(region: CityParams, params: SyntheticParams) -> float:
    """Stations of a patch and, of those that its neighbours are expected to have, the ones within `c_border` of it."""
    if region.box is None or not params.c_border:
        return float(params.c_stations)
    x_min, y_min, x_max, y_max = box_bounds(LocalFrame(*region.centre), region.box)
    rows, cols = params.c_patches
    reach = 2 * params.c_border  # on both sides, but none past the region's own edge
    tall, wide = reach * (rows - 1) / (y_max - y_min), reach * (cols - 1) / (x_max - x_min)
    return params.c_stations * (1 + tall) * (1 + wide)


def probe_city(
    folder: Path, sim: SimulationParams, radio: RadioParams, samples: int, seed: int, client: Client | None = None
) -> Probe:
    """Measure what a worker needs in a city, by maps of three stations with hardly any rays and with many.

    Parameters
    ----------
    folder : Path
        The city.
    samples : int
        Rays a station, so many that tracing them outweighs the rest of a map.
    seed : int
        Of the stations' and UEs' positions, and of the rays.
    client : distributed.Client, optional
        From :func:`~rfloc.simulation.many.connect`; default: a worker of its own.
    """
    one = check(EngineParams, {"workers": 1})
    with contextlib.nullcontext(client) if client else connect(one) as joined:
        probe: Probe = joined.submit(_measure, folder.resolve(), sim, radio, samples, seed, pure=False).result()
    return probe


def _measure(folder: Path, sim: SimulationParams, radio: RadioParams, samples: int, seed: int) -> Probe:
    from distributed import get_worker

    run_on_one_thread()
    load_scene(open_city(folder), radio.carrier_hz, sim.scattering)  # what is imported is imported once
    start = time.perf_counter()
    city = worker_city(folder, files_digest(folder))
    load_scene(city, radio.carrier_hz, sim.scattering)
    loaded = time.perf_counter() - start

    rng = np.random.default_rng(seed)
    x, y = city.street_points(PROBE_UES, rng)
    k = np.arange(3)
    stations = Stations(x[k], y[k], np.full(3, MAST), np.zeros(3), np.full(3, radio.power_dbm), k.astype(str))
    plane = Plane(city, sim.cell, radio.ue_height)

    def seconds(rays: int) -> float:
        """Time of a map, the best of two; the first one, which compiles, does not count."""
        spent = []
        for k in range(stations.n):
            start = time.perf_counter()
            trace_maps(plane, stations.take([k]), Rays(sim, radio, rays, seed), cache, False)
            spent.append(time.perf_counter() - start)
        return min(spent[1:])

    with tempfile.TemporaryDirectory() as kept:
        cache = Path(kept)
        rest, whole = seconds(sim.map_batches), seconds(samples)
        map_bytes = max(file.stat().st_size for file in cache.iterdir())
        maps = trace_maps(plane, stations.take([0]), Rays(sim, radio, samples, seed), cache, False)
    start = time.perf_counter()
    read_maps(maps, x, y, radio)
    return Probe(
        city=city.key,
        load_seconds=loaded,
        map_seconds=min(rest, whole),
        ray_seconds=max(whole - rest, 0.0) / samples,
        read_seconds=time.perf_counter() - start,
        map_bytes=map_bytes,
        memory_bytes=int(get_worker().monitor.get_process_memory()),
    )
