"""Path gain of stations at UEs becomes what UEs report of them: links with the features of 3GPP TS 36.214, 5.1."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.constants import Boltzmann

from rfloc.arrays import Floats
from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.errors import SimulationError
from rfloc.schema import links_dataset
from rfloc.stations import Stations

#: Subcarriers of a resource block, their spacing [Hz], and a noise figure's reference temperature [K]: -174 dBm/Hz.
SUBCARRIERS, SPACING_HZ, TEMPERATURE = 12, 15e3, 290.0


def features(path_gain: ArrayLike, power_dbm: ArrayLike, radio: RadioParams) -> dict[str, Floats]:
    """The four features of every link, each station in turn being the serving one.

    NRSRP = P / N_RE * gain; RSSI = serving + load * (every other station) + noise, over the N_RE subcarriers;
    NSINR = NRSRP over (load * other stations + noise) in one resource element; NRSRQ = N_RB * NRSRP / RSSI.
    All stations share the carrier. In decibels NRSRQ = 10 log10 N_RB + NRSRP - RSSI, so three of the four are free.

    `path_gain`, (ue, bs), is linear, antenna patterns applied, 0 where nothing arrives (SimulationError if negative or
    not finite), `power_dbm`, (bs,), is over all resource elements. Features [dBm, dB], (ue, bs), are NaN where NRSRP is
    under the sensitivity or NSINR under the level of detection; such stations interfere all the same.
    """
    gain = np.asarray(path_gain, float)
    if not (np.isfinite(gain).all() and (gain >= 0).all()):
        raise SimulationError("path gain holds a negative number or NaN", "it is a ratio of powers; 0 means no path")
    elements = SUBCARRIERS * radio.resource_blocks
    received = gain * 10 ** (np.asarray(power_dbm, float) / 10)  # [mW], (ue, bs)
    others = radio.load * np.maximum(received.sum(1, keepdims=True) - received, 0.0)
    thermal_dbm = float(10 * np.log10(Boltzmann * TEMPERATURE * (elements * SPACING_HZ) * 1e3))
    noise = 10 ** ((thermal_dbm + radio.noise_figure_db) / 10)
    nrsrp = 10 * np.log10(np.where(received > 0, received, np.nan) / elements)
    nsinr = nrsrp - 10 * np.log10((others + noise) / elements)
    rssi = 10 * np.log10(received + others + noise)
    nrsrq = 10 * np.log10(radio.resource_blocks) + nrsrp - rssi
    heard = (nrsrp >= radio.sensitivity_dbm) & (nsinr >= radio.detection_db)
    values = {"rssi": rssi, "nsinr": nsinr, "nrsrp": nrsrp, "nrsrq": nrsrq}
    return {name: np.where(heard, value, np.nan) for name, value in values.items()}


def reportable_dbm(nrsrp: ArrayLike, nsinr: ArrayLike, radio: RadioParams) -> Floats:
    """Weakest NRSRP that a UE could have reported [dBm], (ue,), given its reports, (ue, bs), NaN where not heard.

    A station that is not heard lies under the sensitivity or, by the level of detection, too far under the others.
    Each report tells what all stations and the noise amount to in a resource element: load * NRSRP + NRSRP / NSINR.
    """
    nrsrp, nsinr = np.asarray(nrsrp, float), np.asarray(nsinr, float)
    total = 10 ** (nrsrp / 10) * (radio.load + 10 ** (-nsinr / 10))
    level = np.full(len(nrsrp), -np.inf)
    any_heard = np.isfinite(total).any(axis=1)
    level[any_heard] = 10 * np.log10(np.nanmedian(total[any_heard], axis=1))
    return np.maximum(level + radio.detection_db, radio.sensitivity_dbm)


def links_from_gain(
    city: City, path_gain: ArrayLike, stations: Stations, ue_x: ArrayLike, ue_y: ArrayLike, radio: RadioParams,
    source: str, step: float = 0.0, strongest: int | None = None, table: Stations | None = None,
    gain_error: ArrayLike | None = None,
) -> xr.Dataset:  # fmt: skip
    """Turn path gain, (ue, bs), linear, into links as UEs at x, y [m] would report them: censored, rounded.

    Features are rounded to `step` [dB], if any, and a UE reports the `strongest` so many stations, or all. Links have
    the stations of `table`, by default `stations`, which transmit, and `gain_error`, (ue, bs) [dB], NaN where unknown.
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
