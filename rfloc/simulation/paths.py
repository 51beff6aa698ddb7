"""What is asked of a path cache: gains through any antenna, responses over frequency.

The power that a path brings from an element slanted by s is a trigonometric polynomial of s. Four slants are traced
(0, 45, 90, 135 deg), so that power is exact there and interpolated between: a0 + a1 cos 2s + a2 sin 2s + a3 cos 4s.
Without diffuse reflection the polynomial is of second order and the interpolation exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.config import RadioParams
from rfloc.errors import SimulationError
from rfloc.frames import wrap_degrees
from rfloc.simulation.antennas import Antenna

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

#: What receives where nothing else is said: two isotropic ports, whose powers add.
ISOTROPIC_UE = Antenna("isotropic", slants=(0.0, 90.0))


@dataclass(frozen=True)
class Rays:
    """The paths of some links in a row, without padding; n = number of paths."""

    link: NDArray[np.int64]  #: (n,) bs * number of UEs + ue
    power: Array  #: (4, n) coefficients a0 to a3 of the power over slant, linear
    off: Array  #: (n,) azimuth of departure minus the station's [deg], NaN = unknown
    elevation: Array  #: (n,) elevation of departure [deg]


def resource_elements(radio: RadioParams) -> NDArray[np.float64]:
    """Frequencies of all resource elements [Hz], evenly about the carrier, shape (12 N_RB,)."""
    count = 12 * radio.resource_blocks
    return np.asarray(radio.carrier_hz + 15e3 * (np.arange(count) - (count - 1) / 2), dtype=np.float64)


def antenna_of(radio: RadioParams | Antenna | None) -> Antenna:
    """The antenna that is meant; None: isotropic and vertically polarised."""
    if isinstance(radio, RadioParams):
        return Antenna.of_station(radio)
    return radio or Antenna()


def _existing(paths: xr.Dataset) -> NDArray[np.bool_]:
    return np.isfinite(paths["delay"].values)


def rays_of(paths: xr.Dataset) -> Rays:
    """The paths of a cache, station by station and UE by UE."""
    exists = _existing(paths)
    bs, ue, _ = np.nonzero(exists)
    v, up, h, down = paths["power"].values[exists].astype(float).T
    return Rays(
        link=bs * paths.sizes["ue"] + ue,
        power=np.stack([(v + h + up + down) / 4, (v - h) / 2, (up - down) / 2, (v + h - up - down) / 4]),
        off=wrap_degrees(paths["departure_azimuth"].values[exists] - paths["bs_azimuth"].values[bs]),
        elevation=90.0 - paths["departure_zenith"].values[exists].astype(float),
    )


def _over_slant(angle: Array) -> Array:
    """The four trigonometric functions of slant [rad], stacked before the axes of `angle`."""
    return np.stack([np.ones_like(angle), np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle)])


def slant_weights(antenna: Antenna, off: Array, elevation: Array) -> Array:
    """Weights of the coefficients a0 to a3 in the gain towards directions, mean over ports, (4, *off.shape)."""
    turned = antenna.polarisation(off, elevation)
    over_slant = np.mean([_over_slant(turned + np.radians(slant)) for slant in antenna.slants], axis=0)
    return np.asarray(antenna.amplitude(off, elevation) ** 2 * over_slant, dtype=np.float64)


def path_gain(
    paths: xr.Dataset, radio: RadioParams | Antenna | None = None, ue: Antenna | None = None
) -> NDArray[np.float64]:
    """Path gain by summing powers over paths, shape (ue, bs), linear.

    The mean over frequency of |H(f)|^2 in a band so wide that no two paths beat.

    Parameters
    ----------
    paths : Dataset of kind "paths"
        The cache.
    radio : RadioParams or Antenna, optional
        Antenna of the stations, each turned to its `bs_azimuth`; None: isotropic and vertically polarised.
    ue : Antenna, optional
        Antenna of the UEs, facing north; the powers of its ports add. None: isotropic, both polarisations.
    """
    antenna = antenna_of(radio)
    if ue is None:
        rays = rays_of(paths)
        link, power = rays.link, (slant_weights(antenna, rays.off, rays.elevation) * rays.power).sum(0)
    else:
        link, coefficient = _coefficients(paths, antenna, ue)
        power = (np.abs(coefficient) ** 2).sum(-1)
    shape = (paths.sizes["bs"], paths.sizes["ue"])
    return np.bincount(link, np.maximum(power, 0.0), shape[0] * shape[1]).astype(np.float64).reshape(shape).T


def _coefficients(paths: xr.Dataset, antenna: Antenna, ue: Antenna) -> tuple[NDArray[np.int64], Complex]:
    """Link (n,) and coefficient (n, port) of every path, ports being pairs of a UE's and a station's.

    The linear transfer gives a field's direction and phase, the power over slant its magnitude.
    """
    exists, rays = _existing(paths), rays_of(paths)
    transfer = paths["transfer"].values[exists].astype(np.complex128)  # (n, bs polarisation, ue polarisation)
    amplitude = antenna.amplitude(rays.off, rays.elevation) / np.sqrt(len(antenna.slants))
    turned = antenna.polarisation(rays.off, rays.elevation)
    azimuth = paths["arrival_azimuth"].values[exists].astype(float)
    elevation = 90.0 - paths["arrival_zenith"].values[exists].astype(float)
    received, facing = ue.amplitude(azimuth, elevation), ue.polarisation(azimuth, elevation)
    ports = []
    for slant in np.radians(antenna.slants):
        angle = turned + slant
        field = np.cos(angle)[:, None] * transfer[:, 0] + np.sin(angle)[:, None] * transfer[:, 1]
        level = (np.abs(field) ** 2).sum(-1)
        power = np.maximum((_over_slant(angle) * rays.power).sum(0), 0.0)
        field *= (amplitude * np.sqrt(power / np.where(level > 0, level, np.inf)))[:, None]
        for other in np.radians(ue.slants):
            ports.append(received * (np.cos(facing + other) * field[:, 0] + np.sin(facing + other) * field[:, 1]))
    return rays.link, np.stack(ports, -1)


def frequency_response(
    paths: xr.Dataset,
    frequencies: ArrayLike,
    radio: RadioParams | Antenna | None = None,
    ue: Antenna | None = None,
) -> Complex:
    """Channel H(f) = sum over paths of a exp(-j 2 pi f tau), shape (bs, ue, port, f).

    Parameters
    ----------
    frequencies : array_like, shape (f,)
        Evenly spaced frequencies [Hz], absolute, not relative to the carrier. Coefficients a are the carrier's.
    radio, ue
        As of :func:`path_gain`. Ports are pairs of a station's and a UE's; a station's share its power, so that the
        sum of |H|^2 over ports is a path gain.

    Raises
    ------
    SimulationError
        If the frequencies are not evenly spaced.
    """
    f = np.atleast_1d(np.asarray(frequencies, float))
    step = (f[-1] - f[0]) / max(f.size - 1, 1)
    if not np.allclose(f, f[0] + step * np.arange(f.size), rtol=0, atol=1e-3 * abs(step) + 1e-6):
        raise SimulationError("the frequencies are not evenly spaced", f"the mean step is {step:g} Hz", "use linspace")
    link, coefficient = _coefficients(paths, antenna_of(radio), ue or ISOTROPIC_UE)
    delay = paths["delay"].values[_existing(paths)].astype(float)
    n_bs, n_ue, ports = paths.sizes["bs"], paths.sizes["ue"], coefficient.shape[1]
    response = np.zeros((n_bs * n_ue, ports, f.size), np.complex128)
    edges = np.searchsorted(link, np.arange(n_bs * n_ue + 1))
    fine = int(np.ceil(np.sqrt(f.size)))
    coarse = -(-f.size // fine)  # f = f[0] + (i * fine + j) * step: far fewer exponentials than paths x frequencies
    for k in np.flatnonzero(np.diff(edges)):
        part = slice(edges[k], edges[k + 1])
        tau = -2j * np.pi * delay[part, None]
        rough = np.exp(tau * (f[0] + step * fine * np.arange(coarse)))
        near = np.exp(tau * (step * np.arange(fine)))
        left = coefficient[part].T[:, :, None] * rough  # (port, path, coarse)
        response[k] = (left.transpose(0, 2, 1) @ near).reshape(ports, -1)[:, : f.size]
    return response.reshape(n_bs, n_ue, ports, f.size)


def resource_element_gain(paths: xr.Dataset, radio: RadioParams, ue: Antenna | None = None) -> Array:
    """Mean over all resource elements of the sum over ports of |H(f)|^2, shape (ue, bs), linear.

    What a UE measures as NRSRP is this gain, with the fading of the band, times the power of a resource element;
    :func:`rfloc.datasets.radio.features` takes it as path gain. Its mean over random phases is :func:`path_gain`.
    """
    f = resource_elements(radio)
    gain = np.empty((paths.sizes["ue"], paths.sizes["bs"]))
    for start in range(0, len(gain), 64):
        part = slice(start, start + 64)
        response = frequency_response(paths.isel(ue=part), f, radio, ue)
        gain[part] = (np.abs(response) ** 2).sum(2).mean(-1).T
    return gain
