"""Every azimuth of a station at once, off its path cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.config import RadioParams
from rfloc.errors import SimulationError
from rfloc.frames import wrap_degrees
from rfloc.simulation.antennas import Antenna
from rfloc.simulation.paths import antenna_of, rays_of, slant_weights


@dataclass(frozen=True)
class DepartureSpectrum:
    """Power over direction of departure from one station, on the points of a grid that some UE has power at.

    Parameters
    ----------
    power : ndarray, shape (4, ue, point)
        Coefficients of the power over slant (:mod:`rfloc.simulation.paths`), linear.
    zenith : ndarray, shape (zenith,)
        Zeniths of the grid [deg]; its azimuths are the multiples of `cell`.
    row, column : ndarray, shape (point,)
        Where on the grid a point lies.
    cell : float
        Spacing of the grid [deg].
    """

    power: NDArray[np.float32]
    zenith: NDArray[np.float64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    cell: float


def departure_spectrum(paths: xr.Dataset, cell: float = 2.0) -> DepartureSpectrum:
    """Share the powers of one station's paths out to a grid of directions, linearly between neighbouring points.

    Parameters
    ----------
    paths : Dataset of kind "paths"
        The cache of one station; its `bs_azimuth` is not used.
    cell : float
        Spacing of the grid [deg], a divisor of 180.

    Raises
    ------
    SimulationError
        If there are several stations, or the spacing does not divide 180 deg.
    """
    if paths.sizes["bs"] != 1 or cell <= 0 or not np.isclose(180 / cell, round(180 / cell)):
        raise SimulationError(
            f"the directions of departure from {paths.sizes['bs']} stations on a grid of {cell:g} deg",
            "it takes the paths of one station, and a spacing that divides 180 deg",
            "select one station with paths.isel(bs=[k])",
        )
    rays = rays_of(paths.assign_coords(bs_azimuth=("bs", [0.0])))
    row, lower = np.divmod((90.0 - rays.elevation) / cell, 1.0)
    column, right = np.divmod(rays.off / cell, 1.0)
    first, last, columns = int(row.min(initial=180 / cell)), int(row.max(initial=0)) + 1, round(360 / cell)
    start = (row.astype(np.int64) - first) * columns
    here = column.astype(np.int64) % columns
    points = np.stack([start + at + down for down in (0, columns) for at in (here, (here + 1) % columns)])
    shares = np.stack([vertical * across for vertical in (1 - lower, lower) for across in (1 - right, right)])
    seen = np.bincount(points.ravel(), minlength=1) > 0
    points = ((np.cumsum(seen) - 1)[points] + rays.link * seen.sum()).ravel()
    shape = (paths.sizes["ue"], int(seen.sum()))
    spectra = [np.bincount(points, (power * shares).ravel(), shape[0] * shape[1]) for power in rays.power]
    return DepartureSpectrum(
        np.stack(spectra).astype(np.float32).reshape(4, *shape),
        cell * np.arange(first, last + 1, dtype=np.float64),
        *np.divmod(np.flatnonzero(seen), columns),
        cell,
    )


def azimuth_scan(
    paths: xr.Dataset | DepartureSpectrum, azimuths: ArrayLike, radio: RadioParams | Antenna
) -> NDArray[np.float32]:
    """Path gain of one station at many azimuths, shape (azimuth, ue), linear.

    The powers on the grid of directions meet the turned pattern in a matrix product. A pattern bends between grid
    points; its second differences are taken off beforehand, so that the error of the grid has no mean. Beams narrower
    than the TR 38.901 element's want a finer grid than :func:`departure_spectrum` makes by default.

    Parameters
    ----------
    paths : Dataset of kind "paths", or DepartureSpectrum
        The cache of one station, or its spectrum, which serves many scans.
    azimuths : array_like, shape (azimuth,)
        Azimuths [deg]; multiples of the grid's spacing are the fastest.
    radio : RadioParams or Antenna
        Antenna of the station.
    """
    spectrum = paths if isinstance(paths, DepartureSpectrum) else departure_spectrum(paths)
    azimuths, cell = np.atleast_1d(np.asarray(azimuths, float)), spectrum.cell
    gain = np.zeros((spectrum.power.shape[1], azimuths.size), np.float32)
    if not spectrum.row.size:
        return gain.T
    direction = np.arange(round(360 / cell))[:, None] * cell
    offsets, at = np.unique(np.round((direction - azimuths) % 360.0, 6), return_inverse=True)
    at = at.reshape(len(direction), -1)[spectrum.column] + spectrum.row[:, None] * offsets.size  # (point, azimuth)
    mixes, tables = _tables(antenna_of(radio), spectrum.zenith, offsets, cell)
    mixed = spectrum.power if len(mixes) == 4 else np.tensordot(mixes, spectrum.power, 1)
    for power, table in zip(mixed, tables, strict=True):
        gain += power @ np.take(table, at)
    return np.maximum(gain, 0.0).T


def _tables(
    antenna: Antenna, zenith: NDArray[np.float64], offsets: NDArray[np.float64], cell: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain over directions as mixtures of the four functions of slant: (mixture, 4) and (mixture, zenith * offset).

    An antenna that is not tilted needs one mixture, a pair of opposite slants two; where it takes four, they are the
    functions themselves.
    """

    def weights(up: float, right: float) -> NDArray[np.float64]:
        return slant_weights(antenna, *np.broadcast_arrays(wrap_degrees(offsets + right), 90.0 - zenith[:, None] + up))

    here = weights(0, 0)
    bend = weights(-cell, 0) + weights(cell, 0) + weights(0, -cell) + weights(0, cell) - 4 * here
    table = (here - bend / 12).reshape(4, -1)
    mixes, size, parts = np.linalg.svd(table, full_matrices=False)
    kept = size > 1e-6 * size[0]
    if kept.all():
        return np.eye(4, dtype=np.float32), table.astype(np.float32)
    return mixes.T[kept].astype(np.float32), (size[:, None] * parts)[kept].astype(np.float32)
