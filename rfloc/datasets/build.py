"""One builder of links: path gain of stations at UEs becomes what UEs report of them."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.radio import features
from rfloc.errors import SimulationError
from rfloc.frames import LocalFrame
from rfloc.schema import links_dataset
from rfloc.simulation.maps import read_error_db, read_maps
from rfloc.stations import Stations


def links_from_gain(
    city: City,
    path_gain: ArrayLike,
    stations: Stations,
    ue_x: ArrayLike,
    ue_y: ArrayLike,
    radio: RadioParams,
    source: str,
    step: float = 0.0,
    strongest: int | None = None,
    table: Stations | None = None,
    gain_error: ArrayLike | None = None,
) -> xr.Dataset:
    """Turn path gain, (ue, bs), linear, into links as UEs at x, y [m] would report them: censored, rounded.

    All four features are rounded to `step` [dB], if any, and a UE reports the `strongest` so many stations, by default
    all. The links have the stations of `table`, by default `stations`, which transmit, and the standard error of
    `path_gain`, (ue, bs) [dB], NaN where unknown.
    """
    values = features(path_gain, stations.power, radio)
    if strongest is not None:
        order = np.argsort(np.argsort(-values["nrsrp"], axis=1), axis=1)  # NaN comes last
        values = {name: np.where(order < strongest, value, np.nan) for name, value in values.items()}
    if step:
        values = {name: np.round(value / step) * step for name, value in values.items()}
    ue, bs = {"x": np.asarray(ue_x), "y": np.asarray(ue_y)}, vars(table or stations)
    about: dict[str, Any] = {"source": source, "city": city.key, "carrier_hz": radio.carrier_hz}
    return links_dataset(values, ue, bs, city.frame, **about, gain_error=gain_error)


def links_from_maps(
    city: City, maps: xr.Dataset, ue_x: ArrayLike, ue_y: ArrayLike, radio: RadioParams, source: str
) -> xr.Dataset:
    """Links read off radio maps, with the Monte Carlo error of every link's gain where the maps have one."""
    city.frame.require_same(LocalFrame.from_attrs(maps.attrs), "these maps")
    gain = read_maps(maps, ue_x, ue_y, radio)
    error = read_error_db(maps, ue_x, ue_y) if "ray_error" in maps else None
    return links_from_gain(city, gain, Stations.from_dataset(maps), ue_x, ue_y, radio, source, gain_error=error)


def require_heard(links: xr.Dataset, radio: RadioParams) -> xr.Dataset:
    """Links as they are; raises SimulationError where no UE hears any station of a simulation."""
    if links.sizes["ue"] and not links["heard"].values.any():
        raise SimulationError(
            f"nothing is heard in {links.attrs['city']!r}: {links.sizes['bs']} stations, {links.sizes['ue']} UEs",
            f"sensitivity_dbm {radio.sensitivity_dbm:g}, detection_db {radio.detection_db:g}, power_dbm "
            f"{links['bs_power'].values.max():g}, carrier_hz {radio.carrier_hz:g} leave no link",
            "check these, radio.resource_blocks, and that stations and UEs stand in one part of the city",
        )
    return links
