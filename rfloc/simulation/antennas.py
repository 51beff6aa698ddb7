"""Antenna patterns, applied to isotropic maps when they are read.

Angles [deg]: azimuth relative to the boresight (clockwise positive), elevation above the horizon, downtilt below it.

Every pattern radiates the power that it is fed: its mean over all directions is 1, so that the gain at boresight
follows from its shape. The 8 dBi that TR 38.901 writes beside its own 30 dB from front to back would lose a third of
the power; kept with 6 dB they would nearly double it.
"""

import functools
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rfloc.arrays import Floats

Pattern = Literal["isotropic", "dipole", "tr38901"]
#: 3GPP TR 38.901 table 7.3-1: 3 dB beamwidth [deg], side-lobe and front-to-back attenuation [dB].
BEAMWIDTH, REAR_DB = 65.0, 30.0
#: Azimuths [deg], and number of elevations, or sines of elevation, over which a pattern is averaged.
AZIMUTHS, ELEVATIONS = (np.arange(720) + 0.5) / 720 * 360 - 180, 1440


def pattern_gain_db(
    pattern: Pattern, azimuth: ArrayLike, elevation: ArrayLike, downtilt: float = 0.0, attenuation_db: float = REAR_DB
) -> Floats:
    """Gain of a single element, mechanically downtilted, towards a direction [dBi].

    Where the antenna's azimuth is unknown (NaN) it is the mean power over all azimuths: an omnidirectional antenna that
    radiates as much. `attenuation_db` is the greatest off boresight: in streets, scattering fills the rear of a
    sector, and measured front-to-back ratios are below the antenna's own.
    """
    azimuth, elevation = np.broadcast_arrays(np.asarray(azimuth, float), np.asarray(elevation, float))
    unknown = np.isnan(azimuth)
    level = _shape(pattern, np.where(unknown, 0.0, azimuth), elevation, downtilt, attenuation_db)
    if unknown.any():
        level = np.where(unknown, np.interp(elevation, *_over_azimuth(pattern, downtilt, attenuation_db)), level)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(level * directivity(pattern, attenuation_db))


@functools.cache
def directivity(pattern: Pattern, attenuation_db: float = REAR_DB) -> float:
    """Gain at boresight, linear, with which an element radiates what it is fed: 1 over its pattern's spherical mean."""
    elevation = np.degrees(np.arcsin((np.arange(ELEVATIONS) + 0.5) / ELEVATIONS * 2 - 1))
    return float(1 / _shape(pattern, *np.meshgrid(AZIMUTHS, elevation), 0.0, attenuation_db).mean())


@functools.cache
def _over_azimuth(pattern: Pattern, downtilt: float, attenuation_db: float) -> tuple[Floats, Floats]:
    """Elevations [deg] and the mean power over all azimuths there, relative to boresight."""
    elevation = np.linspace(-90.0, 90.0, ELEVATIONS + 1)
    return elevation, _shape(pattern, *np.meshgrid(AZIMUTHS, elevation), downtilt, attenuation_db).mean(axis=1)


def _shape(pattern: Pattern, azimuth: Floats, elevation: Floats, downtilt: float, attenuation_db: float) -> Floats:
    """Power relative to boresight, linear, by the angles in the frame of the downtilted antenna (TR 38.901, 7.1.3)."""
    a, e, t = np.radians(azimuth), np.radians(elevation), np.radians(downtilt)
    x, y, z = np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)
    cosine = np.clip(x * np.sin(t) + z * np.cos(t), -1.0, 1.0)  # of the zenith angle
    if pattern == "tr38901":  # table 7.3-1
        angles = np.degrees(np.arccos(cosine)) - 90.0, np.degrees(np.arctan2(y, x * np.cos(t) - z * np.sin(t)))
        vertical, horizontal = (np.minimum(12 * (angle / BEAMWIDTH) ** 2, attenuation_db) for angle in angles)
        return np.asarray(10 ** (-np.minimum(vertical + horizontal, attenuation_db) / 10))
    if pattern == "dipole":  # a half-wave one, nothing along its axis (Balanis, Antenna Theory, eq. 4-84)
        sine = np.sqrt(1 - cosine**2)
        return np.asarray((np.cos(np.pi / 2 * cosine) / np.where(sine > 1e-9, sine, np.inf)) ** 2)
    return np.ones(azimuth.shape)
