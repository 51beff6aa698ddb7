"""Element patterns, applied to isotropic results after tracing.

Angles [deg]: azimuth relative to the boresight (clockwise positive), elevation above the horizon, downtilt below it.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pattern = Literal["isotropic", "tr38901"]
Array = NDArray[np.float64]

#: 3GPP TR 38.901 table 7.3-1: maximum gain [dBi], 3 dB beamwidth [deg], side-lobe and front-to-back attenuation [dB].
MAX_GAIN_DB, BEAMWIDTH, ATTENUATION_DB = 8.0, 65.0, 30.0


def tr38901_gain_db(
    delta_azimuth_deg: ArrayLike, zenith_deg: ArrayLike, attenuation_db: float = ATTENUATION_DB
) -> Array:
    """Gain of the TR 38.901 element (table 7.3-1) [dBi].

    Parameters
    ----------
    delta_azimuth_deg : array_like
        Azimuth off boresight in [-180, 180] [deg].
    zenith_deg : array_like
        Zenith angle [deg], 90 at boresight.
    attenuation_db : float
        Greatest attenuation off boresight; 30 dB in the table.
    """
    vertical = np.minimum(12 * ((np.asarray(zenith_deg, float) - 90.0) / BEAMWIDTH) ** 2, attenuation_db)
    horizontal = np.minimum(12 * (np.asarray(delta_azimuth_deg, float) / BEAMWIDTH) ** 2, attenuation_db)
    return MAX_GAIN_DB - np.minimum(vertical + horizontal, attenuation_db)


@functools.cache
def mean_horizontal_gain_db(attenuation_db: float = ATTENUATION_DB) -> float:
    """Mean over azimuth of the TR 38.901 horizontal cut relative to boresight [dB], averaged in linear power."""
    azimuth = np.linspace(-180.0, 180.0, 3600, endpoint=False)
    return float(10 * np.log10(np.mean(10 ** ((tr38901_gain_db(azimuth, 90.0, attenuation_db) - MAX_GAIN_DB) / 10))))


def pattern_gain_db(
    pattern: Pattern,
    d_azimuth: ArrayLike,
    elevation_deg: ArrayLike,
    downtilt: float = 0.0,
    attenuation_db: float = ATTENUATION_DB,
) -> Array:
    """Gain of a station's element towards a direction [dBi].

    The tilt is mechanical: the direction is rotated into the element's own frame (TR 38.901 section 7.1.3). Where the
    azimuth is unknown (NaN) the horizontal cut is replaced by its mean over azimuth, so that the station radiates
    alike to all sides with the power that it has.

    Parameters
    ----------
    pattern : {"isotropic", "tr38901"}
        Element pattern.
    d_azimuth : array_like
        Direction's azimuth minus the station's [deg]; NaN = the station's azimuth is unknown.
    elevation_deg : array_like
        Direction's elevation above the horizon [deg].
    downtilt : float
        Downtilt of the station [deg].
    attenuation_db : float
        Greatest attenuation off boresight. In streets, scattering fills the rear of a sector, so that measured
        front-to-back ratios are lower than the antenna's own.
    """
    azimuth, elevation = np.broadcast_arrays(np.asarray(d_azimuth, float), np.asarray(elevation_deg, float))
    if pattern == "isotropic":
        return np.zeros(azimuth.shape)
    a, e, t = np.radians(azimuth), np.radians(elevation), np.radians(downtilt)
    x, y, z = np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)
    zenith = np.degrees(np.arccos(np.clip(x * np.sin(t) + z * np.cos(t), -1.0, 1.0)))
    gain = tr38901_gain_db(np.degrees(np.arctan2(y, x * np.cos(t) - z * np.sin(t))), zenith, attenuation_db)
    unknown = tr38901_gain_db(0.0, 90.0 - elevation - downtilt, attenuation_db) + mean_horizontal_gain_db(
        attenuation_db
    )
    return np.where(np.isnan(azimuth), unknown, gain)
