"""How the cost of tracing grows: with UEs and with stations."""

from __future__ import annotations

from typing import Any

from benchmarks.tracing.scene import RADIO, SEED, SIM, Bench
from benchmarks.tracing.side_by_side import in_turns
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.paths import trace_gain
from rfloc.simulation.plane import Rays

#: Rays a station: of paths; of maps.
SAMPLES, MAP_SAMPLES = 30_000, 300_000


def growth(bench: Bench) -> dict[str, Any]:
    """Links a second by paths and by maps, by size."""
    s = bench.sizes

    def by_paths(stations: int, ues: int) -> None:
        trace_gain(bench.city, bench.stations.take(range(stations)), *bench.ues(ues), Rays(SIM, RADIO, SAMPLES, SEED))

    def by_maps(stations: int, ues: int) -> None:
        some = bench.stations.take(range(stations))
        traced = trace_maps(bench.plane, some, Rays(SIM, RADIO, MAP_SAMPLES, SEED), progress=False)
        read_maps(traced, *bench.ues(ues), RADIO)

    few = s.growth_ues[0]
    rows = {
        "ues_by_paths": (by_paths, [(1, n) for n in s.growth_ues]),
        "ues_by_maps": (by_maps, [(1, n) for n in s.growth_map_ues]),
        "stations_by_paths": (by_paths, [(k, few) for k in s.growth_stations]),
        "stations_by_maps": (by_maps, [(k, few) for k in s.growth_stations]),
    }
    jobs = {
        f"{row} {k} {n}": lambda _, work=work, k=k, n=n: work(k, n) for row, (work, at) in rows.items() for k, n in at
    }
    _, times = in_turns(jobs, max(s.repeats - 1, 1))
    return {
        row: {f"{n if row[0] == 'u' else k}": k * n / times[f"{row} {k} {n}"] for k, n in at}
        for row, (_, at) in rows.items()
    }
