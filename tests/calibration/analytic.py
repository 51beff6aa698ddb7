"""A flat city, a station and its reports, where every answer is known: free space, a sector, noise."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.config import CalibrationParams, RadioParams
from rfloc.datasets.build import links_from_gain
from rfloc.schema import links_dataset
from rfloc.simulation.maps import sector_gain_db
from rfloc.simulation.propagation import free_space_gain
from rfloc.stations import Stations
from tests.simulation.scenes import FRAME, raster_city

RADIO = RadioParams(load=0.0, sensitivity_dbm=-200.0, detection_db=-300.0, front_to_back_db=30.0)  # everything is heard
PARAMS = CalibrationParams(radius=40.0, height=[20.0, 50.0], candidates=64, traces=14)
CITY = raster_city(np.zeros((600, 600)))


def table(azimuth: float = 300.0, n: int = 1, h: float = 35.0) -> Stations:
    """`n` sectors on one mast at the origin."""
    return Stations(
        np.zeros(n), np.zeros(n), np.full(n, h), np.full(n, azimuth), np.full(n, 43.0),
        np.array([f"s{k}" for k in range(n)]),
    )  # fmt: skip


def free_space_db(pose: Stations, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Isotropic path gain of a pose [dB], shape (ue,): the tracer of this city."""
    d = np.sqrt((x - pose.x[0]) ** 2 + (y - pose.y[0]) ** 2 + (pose.h[0] - RADIO.ue_height) ** 2)
    return 10 * np.log10(free_space_gain(d, RADIO.carrier_hz))


def measured(truth: Stations, nominal: Stations, n: int = 200, sd: float = 2.0, seed: int = 0) -> xr.Dataset:
    """Links that UEs of the city report of true poses, under the nominal table."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-250.0, 250.0, (2, n))
    gain = np.stack([free_space_db(truth.take([b]), x, y) for b in range(truth.n)], axis=1)
    gain += sector_gain_db(truth, x, y, RADIO).T + sd * rng.standard_normal(gain.shape)
    return links_from_gain(CITY, 10 ** (gain / 10), truth, x, y, RADIO, "analytic", table=nominal)


def links_of(features: dict[str, NDArray[np.float64]], x: NDArray[np.float64], y: NDArray[np.float64]) -> xr.Dataset:
    """Links with these features."""
    stations = table(n=features["nrsrp"].shape[1])
    bs = {name: getattr(stations, name) for name in ("x", "y", "h", "azimuth", "power", "id")}
    return links_dataset(features, {"x": x, "y": y}, bs, FRAME, source="test", city="flat", carrier_hz=0.8e9)
