"""A small campaign in the toy city: `python -m tests.simulation.toy_campaign <city folder> <store>` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rfloc.city import open_city
from rfloc.config import EngineParams, RadioParams, SimulationParams
from rfloc.simulation.engine import Part, run_campaign
from rfloc.stations import Stations

ENGINE = EngineParams(workers=2, shard_links=20)
SIM = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)

#: Six stations and 50 UEs a part: three shards a station.
STATIONS, UES, SHARDS = 6, 50, 18


def part(name: str, folder: Path, seed: int = 0) -> Part:
    """A part of the campaign; its seed draws stations and UEs."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-150.0, 150.0, (2, STATIONS))
    stations = Stations(
        x=x, y=y, h=np.full(STATIONS, 30.0), azimuth=rng.uniform(0.0, 360.0, STATIONS), power=np.full(STATIONS, 43.0),
        id=np.array([f"s{k}" for k in range(STATIONS)]),
    )  # fmt: skip
    return Part(name, folder, stations, *open_city(folder).street_points(UES, rng), SIM, RadioParams(), 3, SIM.samples)


def parts(folder: Path) -> list[Part]:
    """Both parts of the campaign."""
    return [part("a", folder, 0), part("b", folder, 1)]


if __name__ == "__main__":
    run_campaign(parts(Path(sys.argv[1])), sys.argv[2], ENGINE.model_copy(update={"workers": 1}))
