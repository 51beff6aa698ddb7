"""Antennas, applied to isotropic results after tracing: elements, planar arrays, tilt and polarisation.

Angles [deg]: azimuth relative to the boresight (clockwise positive), elevation above the horizon, downtilt below it,
slant of the polarisation from the vertical, towards the increasing azimuth of TR 38.901 (counter-clockwise from above).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import diric

from rfloc.config import RadioParams
from rfloc.errors import SimulationError

Pattern = Literal["isotropic", "dipole", "tr38901"]
Array = NDArray[np.float64]

#: 3GPP TR 38.901 table 7.3-1: maximum gain [dBi], 3 dB beamwidth [deg], side-lobe and front-to-back attenuation [dB].
MAX_GAIN_DB, BEAMWIDTH, ATTENUATION_DB = 8.0, 65.0, 30.0

#: Directivity of a half-wave dipole (Balanis, Antenna Theory, section 4.6).
DIPOLE_GAIN = 1.643


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


def dipole_gain_db(zenith_deg: ArrayLike) -> Array:
    """Gain of a vertical half-wave dipole [dBi]; -inf along its axis (Balanis, eq. 4-84)."""
    zenith = np.radians(np.asarray(zenith_deg, float))
    sine = np.sin(zenith)
    level = np.cos(np.pi / 2 * np.cos(zenith)) / np.where(sine > 1e-9, sine, np.inf)
    with np.errstate(divide="ignore"):
        return 20 * np.log10(np.abs(level)) + 10 * np.log10(DIPOLE_GAIN)


@dataclass(frozen=True)
class Antenna:
    """An antenna of one or more equal elements, each port of which radiates the same total power.

    Parameters
    ----------
    pattern : {"isotropic", "dipole", "tr38901"}
        Element pattern; the dipole is half a wave long and upright.
    downtilt : float
        Mechanical downtilt [deg].
    slants : tuple of float
        Polarisation slants [deg], one a port; 0 = vertical, (45, -45) = a cross-polarised pair. Ports share the power.
    rows, columns : int
        Elements of a planar array, fed in phase with equal amplitudes.
    row_spacing, column_spacing : float
        Distance between elements [wavelengths].
    attenuation_db : float
        Greatest attenuation off boresight of the TR 38.901 element [dB]. In streets, scattering fills the rear of a
        sector, so that measured front-to-back ratios are lower than the antenna's own.

    Raises
    ------
    SimulationError
        If there is no port or no element.
    """

    pattern: Pattern = "isotropic"
    downtilt: float = 0.0
    slants: tuple[float, ...] = (0.0,)
    rows: int = 1
    columns: int = 1
    row_spacing: float = 0.5
    column_spacing: float = 0.5
    attenuation_db: float = ATTENUATION_DB

    def __post_init__(self) -> None:
        if not self.slants or self.rows < 1 or self.columns < 1:
            raise SimulationError(
                f"an antenna of {self.rows} x {self.columns} elements and {len(self.slants)} ports radiates nothing",
                "it needs one element and one polarisation at least",
                "give rows, columns >= 1 and a slant",
            )

    @classmethod
    def of_station(cls, radio: RadioParams) -> Antenna:
        """The vertically polarised element that the radio parameters name."""
        return cls(radio.pattern, radio.downtilt, attenuation_db=radio.front_to_back_db)

    def amplitude(self, d_azimuth: ArrayLike, elevation: ArrayLike) -> Array:
        """Signed square root of the gain towards a direction, linear; the array's phase centre is its middle.

        Where the azimuth is unknown (NaN) the horizontal cut is replaced by its mean power over azimuth, so that the
        antenna radiates alike to all sides with the power that it has.

        Parameters
        ----------
        d_azimuth : array_like
            Direction's azimuth minus the antenna's [deg]; NaN = the antenna's azimuth is unknown.
        elevation : array_like
            Direction's elevation above the horizon [deg].
        """
        azimuth, elevation = np.broadcast_arrays(np.asarray(d_azimuth, float), np.asarray(elevation, float))
        unknown = np.isnan(azimuth)
        found = self._boresight_amplitude(*_local_angles(np.where(unknown, 0.0, azimuth), elevation, self.downtilt))
        if unknown.any():
            found = np.where(unknown, found * np.sqrt(_mean_horizontal(replace(self, downtilt=0.0))), found)
        return found

    def gain_db(self, d_azimuth: ArrayLike, elevation: ArrayLike) -> Array:
        """Gain towards a direction [dBi]; parameters as of :meth:`amplitude`."""
        with np.errstate(divide="ignore"):
            return 20 * np.log10(np.abs(self.amplitude(d_azimuth, elevation)))

    def polarisation(self, d_azimuth: ArrayLike, elevation: ArrayLike) -> Array:
        """Angle by which the tilt turns the field out of the vertical plane [rad] (TR 38.901, eq. 7.1-11 to 7.1-15).

        A port of slant s radiates its field at s plus this angle from the zenith unit vector towards the azimuth unit
        vector. 0 where the azimuth is unknown.
        """
        a, e, t = np.radians(d_azimuth), np.radians(elevation), np.radians(self.downtilt)
        angle = np.arctan2(-np.sin(t) * np.sin(a), np.cos(t) * np.cos(e) - np.sin(t) * np.sin(e) * np.cos(a))
        return np.nan_to_num(angle)

    def _boresight_amplitude(self, azimuth: Array, zenith: Array) -> Array:
        """Signed amplitude towards angles [deg] in the antenna's own frame."""
        if self.pattern == "tr38901":
            level = 10 ** (tr38901_gain_db(azimuth, zenith, self.attenuation_db) / 20)
        elif self.pattern == "dipole":
            level = 10 ** (dipole_gain_db(zenith) / 20)
        else:
            level = np.ones(azimuth.shape)
        if self.rows * self.columns == 1:
            return level
        z, a = np.radians(zenith), np.radians(azimuth)
        vertical = diric(2 * np.pi * self.row_spacing * np.cos(z), self.rows)
        horizontal = diric(2 * np.pi * self.column_spacing * np.sin(z) * np.sin(a), self.columns)
        return level * vertical * horizontal * np.sqrt(self.rows * self.columns)


def _local_angles(azimuth: Array, elevation: Array, downtilt: float) -> tuple[Array, Array]:
    """Azimuth and zenith [deg] in the frame of an antenna tilted down (TR 38.901, section 7.1.3)."""
    a, e, t = np.radians(azimuth), np.radians(elevation), np.radians(downtilt)
    x, y, z = np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)
    zenith = np.degrees(np.arccos(np.clip(x * np.sin(t) + z * np.cos(t), -1.0, 1.0)))
    return np.degrees(np.arctan2(y, x * np.cos(t) - z * np.sin(t))), zenith


@functools.cache
def _mean_horizontal(antenna: Antenna) -> float:
    """Mean over azimuth of an untilted antenna's horizontal cut relative to boresight, averaged in linear power."""
    azimuth = np.linspace(-180.0, 180.0, 3600, endpoint=False)
    power = antenna.amplitude(azimuth, 0.0) ** 2
    return float(power.mean() / antenna.amplitude(0.0, 0.0) ** 2)


def pattern_gain_db(
    pattern: Pattern,
    d_azimuth: ArrayLike,
    elevation_deg: ArrayLike,
    downtilt: float = 0.0,
    attenuation_db: float = ATTENUATION_DB,
) -> Array:
    """Gain of a single element towards a direction [dBi]: :meth:`Antenna.gain_db` of one."""
    return Antenna(pattern, downtilt, attenuation_db=attenuation_db).gain_db(d_azimuth, elevation_deg)
