"""Maps of the toy city, traced by two workers: `python -m tests.simulation.toy_campaign <city folder> <cache>`."""

import sys
from pathlib import Path

import numpy as np

import tests.conftest  # noqa: F401 - what parameters leave out is in conf/
from rfloc.city import open_city
from rfloc.config import EngineParams, RadioParams, SimulationParams
from rfloc.simulation.maps import trace_ahead
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations

ENGINE = EngineParams(workers=2)
RADIO = RadioParams()
SIM = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)
STATIONS = 8


def asked(folder: Path, samples: int = SIM.samples) -> tuple[Plane, Stations, Rays]:
    """Stations in the city of a folder."""
    x, y = np.random.default_rng(0).uniform(-150.0, 150.0, (2, STATIONS))
    high, names = np.full(STATIONS, 30.0), [f"s{k}" for k in range(STATIONS)]
    stations = Stations(x, y, high, 0 * high, high, names)  # type: ignore[arg-type]
    return Plane(open_city(folder), SIM.cell, RADIO.ue_height), stations, Rays(SIM, RADIO, samples, 3)


if __name__ == "__main__":
    trace_ahead([asked(Path(sys.argv[1]), int(sys.argv[3]))], Path(sys.argv[2]), ENGINE, progress=False)
