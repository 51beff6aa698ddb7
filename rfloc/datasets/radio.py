"""Path gain to the four radio features, as 3GPP TS 36.214 section 5.1 defines them."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.constants import Boltzmann

from rfloc.arrays import Floats
from rfloc.config import RadioParams
from rfloc.errors import SimulationError

#: Subcarriers of a resource block, their spacing [Hz], and a noise figure's reference temperature [K]: -174 dBm/Hz.
SUBCARRIERS, SPACING_HZ, TEMPERATURE = 12, 15e3, 290.0


def noise_dbm(bandwidth_hz: float, noise_figure_db: float = 0.0) -> float:
    """Thermal noise kTB with a noise figure [dBm]."""
    return float(10 * np.log10(Boltzmann * TEMPERATURE * bandwidth_hz * 1e3) + noise_figure_db)


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
    noise = 10 ** (noise_dbm(elements * SPACING_HZ, radio.noise_figure_db) / 10)
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
