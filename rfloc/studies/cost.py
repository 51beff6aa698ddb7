"""What datasets B and C would cost: maps, links, disk, and the time that a measured probe predicts."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rfloc.city import box_bounds, open_city
from rfloc.config import CityParams, EngineParams, Params, RadioParams, SimulationParams, SyntheticParams
from rfloc.datasets.deployments import deployments
from rfloc.frames import LocalFrame
from rfloc.simulation.many import connect
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.scene import load_radio_scene
from rfloc.stations import Stations

#: UEs that a probe reads a map at, height of its stations [m], and bytes a link has on disk, before compression.
PROBE_UES, MAST, LINK_BYTES = 1000, 30.0, 8


@dataclass(frozen=True)
class Probe:
    """What one process, one thread of this machine, needs in a city."""

    city: str
    load_s: float  #: to read the city and load its scene [s]
    map_s: float  #: a map takes this [s] ...
    ray_s: float  #: ... and this for every ray
    read_s: float  #: to read a map at 1000 UEs [s]
    map_bytes: int  #: a kept map
    memory_bytes: int  #: the process, at its peak

    def __str__(self) -> str:
        return (
            f"one worker in {self.city}: city and scene {self.load_s:.1f} s, map {self.map_s:.2f} s + "
            f"{self.ray_s * 1e6:.2f} s a million rays, {PROBE_UES} UEs read in {self.read_s:.3f} s, "
            f"{self.memory_bytes / 1e6:.0f} MB"
        )


def sizes(params: Params, b_stations: float) -> pd.DataFrame:
    """Rows of what datasets B (`b_stations` stations a city) and C ask for, where they are traced.

    Columns: `parts`, and in each of them `stations` on average, `ues`, and `samples`, rays a station.
    """
    s = params.synthetic
    rows = {"B": (len(s.b_cities), b_stations, s.b_ues, params.simulation.samples)}
    heard = np.mean([_stations_heard(params.cities[region], s) for region in s.c_regions])
    parts = len(s.c_regions) * (s.c_take or int(np.prod(s.c_patches))) * len(deployments(s))
    if s.c_source == "rays":
        rows["C"] = (parts, float(heard), s.c_ues, s.c_samples)
    return pd.DataFrame(rows, index=["parts", "stations", "ues", "samples"]).T


def _stations_heard(region: CityParams, params: SyntheticParams) -> float:
    """Stations of a patch and, of those that its neighbours are expected to have, the ones within `c_border` of it."""
    if region.box is None or not params.c_border:
        return float(params.c_stations)
    x_min, y_min, x_max, y_max = box_bounds(LocalFrame(*region.centre), region.box)
    rows, cols = params.c_patches
    reach = 2 * params.c_border  # on both sides, but none past the region's own edge
    return params.c_stations * (1 + reach * (rows - 1) / (y_max - y_min)) * (1 + reach * (cols - 1) / (x_max - x_min))


def estimate(asked: pd.DataFrame, engine: EngineParams, probe: Probe) -> pd.DataFrame:
    """What datasets of such :func:`sizes` would take on workers like the probe's, in cities like the probe's.

    Time grows with rays, maps and UEs read; a scene is loaded once a worker and part, by as many workers as the part
    has stations at most.
    """
    workers = engine.workers or os.cpu_count() or 1
    maps, loads = (asked.parts * asked.stations).round(), asked.parts * asked.stations.clip(upper=workers)
    links = maps * asked.ues
    a_map = probe.map_s + asked.samples * probe.ray_s + asked.ues / PROBE_UES * probe.read_s
    seconds = (loads * probe.load_s + maps * a_map) / maps.clip(1, workers)
    return pd.DataFrame(
        {
            "maps": maps.astype(int), "links": links.astype(int), "links [MB]": links * LINK_BYTES / 1e6,
            "kept maps [MB]": maps * probe.map_bytes / 1e6, "time [min]": seconds / 60, "links/s": links / seconds,
        }
    )  # fmt: skip


def probe_city(folder: Path, sim: SimulationParams, radio: RadioParams, samples: int, seed: int) -> Probe:
    """Measure what a worker needs in the city of a folder, by maps with hardly any rays and with many (`samples`)."""
    with connect(EngineParams(scheduler="local", workers=1)) as client:
        probe: Probe = client.submit(_measure, folder.resolve(), sim, radio, samples, seed, pure=False).result()
    return probe


def _measure(folder: Path, sim: SimulationParams, radio: RadioParams, samples: int, seed: int) -> Probe:
    scene = open_city(folder).scene_path
    load_radio_scene(scene, radio.carrier_hz, sim.scattering)  # what is imported is imported once
    start = time.perf_counter()
    plane = Plane(open_city(folder), sim.cell, radio.ue_height)
    load_radio_scene(scene, radio.carrier_hz, sim.scattering)
    loaded = time.perf_counter() - start
    x, y = plane.city.street_points(PROBE_UES, np.random.default_rng(seed))
    k = np.arange(3)
    stations = Stations(x[k], y[k], np.full(3, MAST), np.zeros(3), np.full(3, radio.power_dbm), k.astype(str))
    with tempfile.TemporaryDirectory() as kept:

        def seconds(rays: int) -> float:
            """Time of a map, the best of two; the first one, which compiles, does not count."""
            spent = []
            for k in range(stations.n):
                start = time.perf_counter()
                trace_maps(plane, stations.take([k]), Rays(sim, radio, rays, seed), Path(kept), progress=False)
                spent.append(time.perf_counter() - start)
            return min(spent[1:])

        rest, whole = seconds(sim.map_batches), seconds(samples)
        map_bytes = max(file.stat().st_size for file in Path(kept).iterdir())
        maps = trace_maps(plane, stations.take([0]), Rays(sim, radio, samples, seed), Path(kept), progress=False)
    start = time.perf_counter()
    read_maps(maps, x, y, radio)
    read = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kilobytes
    return Probe(plane.city.key, loaded, min(rest, whole), max(whole - rest, 0.0) / samples, read, map_bytes, memory)
