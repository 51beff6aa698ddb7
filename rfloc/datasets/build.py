"""One builder of links: path gain of stations at UEs becomes what UEs report of them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.radio import features
from rfloc.errors import SimulationError
from rfloc.frames import LocalFrame
from rfloc.schema import FEATURES, links_dataset
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

    Parameters
    ----------
    source : str
        Who filled the arrays, in words.
    step, strongest : float, int, optional
        Quantisation of all four features [dB], 0 = none; report at most so many stations a UE.
    table : Stations, optional
        Station table to report; default: `stations`, who transmit.
    gain_error : array_like, shape (ue, bs), optional
        Standard error of `path_gain` [dB], NaN where unknown.
    """
    values = features(path_gain, stations.power, radio)
    heard = np.isfinite(values["nrsrp"])
    if strongest is not None and strongest < stations.n:
        order = np.argsort(np.argsort(-np.where(heard, values["nrsrp"], -np.inf), axis=1), axis=1)
        heard &= order < strongest
    if step:
        values = {name: np.round(values[name] / step) * step for name in FEATURES}
    table = stations if table is None else table
    return links_dataset(
        values,
        {"x": np.asarray(ue_x, float), "y": np.asarray(ue_y, float)},
        {name: getattr(table, name) for name in ("x", "y", "h", "azimuth", "power", "id")},
        city.frame,
        source=source,
        city=city.key,
        carrier_hz=radio.carrier_hz,
        heard=heard,
        gain_error=None if gain_error is None else np.asarray(gain_error, float),
    )


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
