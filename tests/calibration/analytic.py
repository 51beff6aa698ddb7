"""A flat city whose stations, sectors and shadowing are known, and whose rays are free space."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from rfloc.config import RadioParams
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.statistical import StationEffects, StatisticalModel
from rfloc.simulation.propagation import free_space_gain
from rfloc.stations import Stations
from tests.simulation.scenes import raster_city, row_of_stations

#: Everything is heard.
RADIO = RadioParams(load=0.0, sensitivity_dbm=-200.0, detection_db=-300.0, front_to_back_db=20.0)
CITY = raster_city(np.zeros((900, 900)))
SHADOWING_DB, SHADOWING_M = 6.0, 40.0


def table(n: int, seed: int = 0) -> Stations:
    """`n` sectors, each on a mast of its own."""
    rng = np.random.default_rng(seed)
    stations = row_of_stations(*rng.uniform(-300.0, 300.0, (2, n)))
    return stations.replace(azimuth=rng.uniform(0.0, 360.0, n))


def measured(
    truth: Stations, nominal: Stations, radio: RadioParams = RADIO, n: int = 250, omni: bool = False, seed: int = 0
) -> xr.Dataset:
    """Links that UEs report of true sectors by the statistical simulator, under the nominal table."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-440.0, 440.0, (2, n))
    level = rng.normal(0.0, 3.0, truth.n)
    azimuth = np.full(truth.n, np.nan) if omni else truth.azimuth
    effects = StationEffects(level, np.zeros(truth.n), azimuth)
    model = StatisticalModel(-5.0, 3.0, 0.0, SHADOWING_DB, SHADOWING_M, 1.5, effects=effects)
    gain = model.path_gain(CITY, truth, x, y, radio, seed)
    return links_from_gain(CITY, gain, truth, x, y, radio, "statistical", table=nominal)


def free_space(_plane: Any, stations: Stations, _rays: Any, x: Any, y: Any, _cache: Any = None) -> Any:
    """What rays of the flat city bring, in the place of :func:`rfloc.simulation.maps.gain_at`."""
    away = np.hypot(np.asarray(x)[:, None] - stations.x, np.asarray(y)[:, None] - stations.y)
    d: NDArray[np.float64] = np.hypot(away, stations.h - RADIO.ue_height)
    return free_space_gain(d, RADIO.carrier_hz), None


def without_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calibration ask free space instead of a tracer."""
    for module in ("levels", "moving"):
        monkeypatch.setattr(f"rfloc.calibration.{module}.gain_at", free_space)
