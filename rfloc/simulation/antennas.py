"""Antenna patterns, applied to isotropic maps when they are read.

Angles [deg]: azimuth relative to the boresight (clockwise positive), elevation above the horizon, downtilt below it.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pattern = Literal["isotropic", "dipole", "tr38901"]
Array = NDArray[np.float64]

#: 3GPP TR 38.901 table 7.3-1: maximum gain [dBi], 3 dB beamwidth [deg], side-lobe and front-to-back attenuation [dB].
MAX_GAIN_DB, BEAMWIDTH, ATTENUATION_DB = 8.0, 65.0, 30.0

#: Directivity of a half-wave dipole (Balanis, Antenna Theory, section 4.6).
DIPOLE_GAIN = 1.643


def tr38901_gain_db(
    delta_azimuth_deg: ArrayLike, zenith_deg: ArrayLike, attenuation_db: float = ATTENUATION_DB
) -> Array:
    """Gain of the TR 38.901 element (table 7.3-1) [dBi], by azimuth off boresight in [-180, 180] and zenith [deg]."""
    vertical = np.minimum(12 * ((np.asarray(zenith_deg, float) - 90.0) / BEAMWIDTH) ** 2, attenuation_db)
    horizontal = np.minimum(12 * (np.asarray(delta_azimuth_deg, float) / BEAMWIDTH) ** 2, attenuation_db)
    return MAX_GAIN_DB - np.minimum(vertical + horizontal, attenuation_db)


def dipole_gain_db(zenith_deg: ArrayLike) -> Array:
    """Gain of a vertical half-wave dipole [dBi]; -inf along its axis (Balanis, eq. 4-84)."""
    zenith = np.radians(np.asarray(zenith_deg, float))
    sine = np.sin(zenith)
    level = np.cos(np.pi / 2 * np.cos(zenith)) / np.where(sine > 1e-9, sine, np.inf)
    with np.errstate(divide="ignore"):
        return 20 * np.log10(np.abs(level)) + 10 * np.log10(DIPOLE_GAIN)


def pattern_gain_db(
    pattern: Pattern,
    d_azimuth: ArrayLike,
    elevation_deg: ArrayLike,
    downtilt: float = 0.0,
    attenuation_db: float = ATTENUATION_DB,
) -> Array:
    """Gain of a single element, mechanically downtilted, towards a direction [dBi].

    Where the antenna's azimuth is unknown (NaN) the horizontal cut is replaced by its mean power over azimuth, so that
    it is omnidirectional with the power that it has. `attenuation_db` is the greatest off boresight: in
    streets, scattering fills the rear of a sector, and measured front-to-back ratios are below the antenna's own.
    """
    azimuth, elevation = np.broadcast_arrays(np.asarray(d_azimuth, float), np.asarray(elevation_deg, float))
    unknown = np.isnan(azimuth)
    level = _amplitude(pattern, np.where(unknown, 0.0, azimuth), elevation, downtilt, attenuation_db)
    if unknown.any():
        level = np.where(unknown, level * np.sqrt(_mean_horizontal(pattern, attenuation_db)), level)
    with np.errstate(divide="ignore"):
        return 20 * np.log10(level)


def _amplitude(pattern: Pattern, azimuth: Array, elevation: Array, downtilt: float, attenuation_db: float) -> Array:
    """Square root of the gain, linear, by the angles in the frame of the downtilted antenna (TR 38.901, 7.1.3)."""
    a, e, t = np.radians(azimuth), np.radians(elevation), np.radians(downtilt)
    x, y, z = np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)
    zenith = np.degrees(np.arccos(np.clip(x * np.sin(t) + z * np.cos(t), -1.0, 1.0)))
    azimuth = np.degrees(np.arctan2(y, x * np.cos(t) - z * np.sin(t)))
    if pattern == "tr38901":
        return np.asarray(10 ** (tr38901_gain_db(azimuth, zenith, attenuation_db) / 20))
    if pattern == "dipole":
        return np.asarray(10 ** (dipole_gain_db(zenith) / 20))
    return np.ones(azimuth.shape)


@functools.cache
def _mean_horizontal(pattern: Pattern, attenuation_db: float) -> float:
    """Mean over azimuth of an untilted antenna's horizontal cut relative to boresight, averaged in linear power."""
    azimuth = np.linspace(-180.0, 180.0, 3600, endpoint=False)
    power = _amplitude(pattern, azimuth, np.zeros(3600), 0.0, attenuation_db) ** 2
    return float(power.mean() / power[1800])
