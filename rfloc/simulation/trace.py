"""Paths: every ray between stations and UEs, traced once between isotropic elements and kept.

Slower than maps by orders of magnitude and complete at each UE: what maps are checked against, and what any antenna can
be applied to afterwards (:mod:`rfloc.simulation.paths`) at the true angles of departure and arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from rfloc.backend import prepare
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import Grid
from rfloc.schema import validate, with_units
from rfloc.simulation.maps import joined, place_transmitter, read_error_db, read_maps
from rfloc.simulation.paths import path_gain
from rfloc.simulation.rooftop import rooftop_gain
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import (
    SLANTS,
    candidate_generator,
    interactions,
    slanted_array,
    table_entries,
    ues_a_call,
)
from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

__all__ = ["compare_with_maps", "path_gain", "read_or_trace", "trace_paths"]

#: Candidate paths that the solver's buffer starts with, and how large it may grow.
BUFFER, LARGEST_BUFFER = 1 << 19, 1 << 24

#: Variables of a path cache: dims past (bs, ue, path), type, value past a link's last path.
_VARIABLES: dict[str, tuple[tuple[str, ...], type, complex]] = {
    "transfer": (("bs_polarisation", "ue_polarisation"), np.complex64, 0.0),
    "power": (("slant",), np.float32, 0.0),
    "departure_zenith": ((), np.float32, np.nan),
    "departure_azimuth": ((), np.float32, np.nan),
    "arrival_zenith": ((), np.float32, np.nan),
    "arrival_azimuth": ((), np.float32, np.nan),
    "delay": ((), np.float32, np.nan),
}


def trace_paths(
    city: City,
    stations: Stations,
    x: ArrayLike,
    y: ArrayLike,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    samples: int = 100_000,
) -> xr.Dataset:
    """Trace the paths between stations and UEs, one station and as many UEs a solver call as memory allows.

    A link's paths depend on the scene, the station, the UE, `samples` and `seed` alone: neither on the other UEs and
    their order nor on the size of a call. The solver's buffer drops paths silently when it is full; here it is doubled
    and the call repeated.

    Parameters
    ----------
    x, y : array_like, shape (ue,)
        UE positions [m], at `radio.ue_height` above ground.
    samples : int
        Rays a station.

    Returns
    -------
    Dataset of kind "paths"
        `power` (bs, ue, path, slant): what both polarisations of the UE receive from isotropic elements of slants 0
        (vertical), 45, 90 and 135 deg; `transfer` (bs, ue, path, bs_polarisation, ue_polarisation): field transfer
        between the zenith (V) and azimuth (H) unit vectors at departure and at arrival, without the phase of the
        delay. Diffuse reflections scale the field by a factor that depends on its polarisation; the transfer has the
        vertical element's, `power` every slant's own. `departure_*`, `arrival_*` (bs, ue, path) [deg]: directions
        seen from station and UE, azimuth clockwise from north; `delay` (bs, ue, path) [s]. Past a link's last path
        powers are 0, angles and delays NaN.

    Raises
    ------
    SimulationError
        If there is no UE, or even the largest buffer is full.
    """
    stations = stations.above_roofs(city)
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    if not x.size:
        raise SimulationError("there are no UEs to trace paths to", "x and y are empty", "give one position at least")
    prepare()
    import mitsuba as mi
    from sionna.rt import PlanarArray, Receiver

    z = city.ground_at(x, y) + radio.ue_height
    scene = load_scene(city, radio.carrier_hz, sim.scattering)
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
    found: list[list[dict[str, NDArray[Any]]]] = [[] for _ in range(stations.n)]
    step, buffer = min(ues_a_call(samples, sim.max_depth), x.size), BUFFER
    for start in range(0, x.size, step):
        for name in list(scene.receivers):
            scene.remove(name)
        for i in range(start, min(start + step, x.size)):
            scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(x[i]), float(y[i]), float(z[i]))))
        for k in range(stations.n):
            place_transmitter(scene, city, stations, k)
            scene.tx_array = slanted_array()
            paths, buffer = _solve(scene, sim, samples, seed, step, buffer, str(stations.id[k]))
            found[k].append(_arrays(paths))
    variables = {
        name: (("bs", "ue", "path", *dims), _stack([[part[name] for part in row] for row in found], fill))
        for name, (dims, _, fill) in _VARIABLES.items()
    }
    ds = xr.Dataset(
        variables,
        coords={
            "ue_x": ("ue", x), "ue_y": ("ue", y), **stations.coords(),
            "bs_polarisation": ["V", "H"], "ue_polarisation": ["V", "H"], "slant": list(SLANTS),
        },
        attrs={
            "carrier_hz": float(radio.carrier_hz), "ue_height": radio.ue_height, "city": city.key, "seed": seed,
            "samples": samples, "max_depth": sim.max_depth, "scattering": sim.scattering, **city.frame.to_attrs(),
        },
    )  # fmt: skip
    return validate(with_units(ds, "paths"), "paths")


def _solve(
    scene: Any, sim: SimulationParams, samples: int, seed: int, ues: int, buffer: int, station: str
) -> tuple[Any, int]:
    """The solver's paths from the scene's one transmitter, and the size of the buffer that held them."""
    from sionna.rt import PathSolver

    solver = PathSolver(deterministic=True)
    solver._candidate_generator = generator = candidate_generator(ues, table_entries(samples))
    while True:
        paths = solver(
            scene,
            max_depth=sim.max_depth,
            max_num_paths_per_src=buffer,
            samples_per_src=samples,
            synthetic_array=True,
            seed=seed,
            **interactions(sim),
        )
        if generator.stored < buffer:
            return paths, buffer
        if buffer >= LARGEST_BUFFER:
            raise SimulationError(
                f"more than {buffer} candidate paths between {station} and {len(scene.receivers)} UEs",
                "the solver would drop the others without a word",
                "trace fewer samples, or switch off diffuse reflection",
            )
        buffer *= 2


def _arrays(paths: Any) -> dict[str, NDArray[Any]]:
    """A solver call's arrays for its one transmitter, (ue, path, ...)."""
    real, imag = (np.array(part)[:, :, 0] for part in paths.a)  # (ue, ue port, slant, path)
    transfer = (real + 1j * imag).transpose(0, 3, 2, 1)  # (ue, path, slant, ue port)
    valid = np.array(paths.valid)[:, 0]
    zenith, azimuth, delay = (np.array(part)[:, 0] for part in (paths.theta_t, paths.phi_t, paths.tau))
    from_zenith, from_azimuth = _arrival(paths)
    values = {
        "transfer": _linear(transfer),
        "power": (np.abs(transfer) ** 2).sum(-1),
        "departure_zenith": np.degrees(zenith),
        "departure_azimuth": (90.0 - np.degrees(azimuth)) % 360.0,
        "arrival_zenith": np.degrees(from_zenith),
        "arrival_azimuth": (90.0 - np.degrees(from_azimuth)) % 360.0,
        "delay": delay,
    }
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dims, dtype, fill) in _VARIABLES.items():
        mask = valid.reshape(valid.shape + (1,) * len(dims))
        arrays[name] = np.where(mask, values[name], fill).astype(dtype)
    return arrays


def _arrival(paths: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Zenith and azimuth [rad, Sionna's] from UEs to the last vertices of their paths.

    Those that the solver keeps point from where it starts shadow rays, a little off a wall: some 0.1 deg close to one.
    """
    zenith, azimuth = (np.array(part)[:, 0] for part in (paths.theta_r, paths.phi_r))
    bounces = (np.array(paths.interactions)[:, :, 0] > 0).sum(0)  # (ue, path)
    ue, path = np.nonzero(bounces)
    last = np.array(paths.vertices)[bounces[ue, path] - 1, ue, 0, path]
    x, y, z = (last - np.array(paths.targets).T[ue]).T
    zenith[ue, path], azimuth[ue, path] = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    return zenith, azimuth


def _linear(transfer: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """The linear part of transfers at the four slants, (ue, path, slant, ue port) to (ue, path, 2, ue port).

    A field e arrives as g(e) A e, with a linear A and the factor g > 0 of the diffuse reflections. From slant 45 deg,
    g(45) A (v + h) = sqrt(2) t(45), follow g(45) / g(v) and g(45) / g(h), and from these g(v) A h.
    """
    v, d, h, _ = np.moveaxis(transfer.astype(np.complex128), 2, 0)
    determinant = v[..., 0] * h[..., 1] - v[..., 1] * h[..., 0]
    over_v = d[..., 0] * h[..., 1] - d[..., 1] * h[..., 0]
    over_h = v[..., 0] * d[..., 1] - v[..., 1] * d[..., 0]
    # Without a second dimension of fields at arrival the factors cannot be told apart, and matter little.
    told = (np.abs(determinant) > 1e-6 * np.linalg.norm(v, axis=-1) * np.linalg.norm(h, axis=-1)) & (over_v != 0)
    factor = np.where(told, np.abs(over_h / np.where(told, over_v, 1.0)), 1.0)  # g(v) / g(h)
    return np.stack([v, factor[..., None] * h], axis=2)


def _stack(rows: list[list[NDArray[Any]]], fill: complex) -> NDArray[Any]:
    """Arrays (ue, path, ...) a station and call to one (bs, ue, path, ...), filled up to the longest list of paths."""
    first = rows[0][0]
    shape = (len(rows), sum(len(part) for part in rows[0]), max(part.shape[1] for row in rows for part in row))
    stacked = np.full((*shape, *first.shape[2:]), fill, first.dtype)
    for k, row in enumerate(rows):
        start = 0
        for part in row:
            stacked[k, start : start + len(part), : part.shape[1]] = part
            start += len(part)
    return stacked


def read_or_trace(
    city: City, maps: xr.Dataset, x: ArrayLike, y: ArrayLike, sim: SimulationParams, radio: RadioParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Path gain at UE positions by maps or, with `sim.paths_where_missed`, by paths where no ray reached the cell.

    Paths join what the map has there as rays join the rooftop floor, :func:`~rfloc.simulation.maps.joined`. On
    Munich they are far dearer than the rays that maps would take to reach these UEs
    (:mod:`rfloc.simulation.smoothing`).

    Parameters
    ----------
    maps : Dataset of kind "maps"
        Isotropic maps of `city`; their seed is the paths' too.
    x, y : array_like, shape (ue,)
        Positions [m].

    Returns
    -------
    gain : ndarray, shape (ue, bs)
        As :func:`~rfloc.simulation.maps.read_maps` with the antennas of `radio`.
    error_db : ndarray, shape (ue, bs)
        Monte Carlo standard error [dB]; NaN where there is no ray in the map, and so where paths were traced.
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    gain, error = read_maps(maps, x, y, radio), read_error_db(maps, x, y)
    if sim.paths_where_missed:
        row, col, inside = Grid.from_attrs(maps.attrs).index(x, y)
        stations = Stations.from_dataset(maps)
        for k in range(stations.n):
            missed = np.flatnonzero(inside & (maps["ray_gain"].values[k, row, col] == 0))
            if not missed.size:
                continue
            station, at = stations.take([k]), (x[missed], y[missed])
            paths = path_gain(trace_paths(city, station, *at, sim, radio, maps.attrs["seed"]), radio)[:, 0]
            _, clear = rooftop_gain(city, station, *at, radio.carrier_hz, radio.ue_height)
            gain[missed, k] = joined(paths, gain[missed, k], clear[0])
    return gain, error


def compare_with_maps(paths: xr.Dataset, maps: xr.Dataset, radio: RadioParams | None = None) -> dict[str, float]:
    """How well maps agree with paths at the paths' UEs.

    Parameters
    ----------
    maps : Dataset of kind "maps"
        Traced without the rooftop floor, which no path has.

    Returns
    -------
    dict
        `links`: (UE, station) pairs; `paths`, `maps`: shares of them that path tracing, and the maps, reach; `both`:
        number that both reach, with the `bias_db`, `rms_db` (bias removed) and `spearman` of maps against paths there
        (NaN under three); `missed`: share of the path-traced links that the maps miss; `spearman_all`: over all pairs,
        those that one of them does not reach being its weakest.

    Raises
    ------
    SimulationError
        If the maps have the rooftop floor.
    """
    if maps.attrs.get("rooftop"):
        raise SimulationError(
            "these maps have the rooftop floor", "no traced path has it", "trace them with simulation.rooftop off"
        )
    mapped = read_maps(maps, paths["ue_x"].values, paths["ue_y"].values, radio)
    traced = path_gain(paths, radio)
    both = (traced > 0) & (mapped > 0)
    error = 10 * np.log10(mapped[both] / traced[both])
    enough = error.size > 2
    return {
        "links": int(traced.size),
        "paths": float((traced > 0).mean()),
        "maps": float((mapped > 0).mean()),
        "both": int(both.sum()),
        "missed": float(1 - both.sum() / max((traced > 0).sum(), 1)),
        "bias_db": float(error.mean()) if enough else float("nan"),
        "rms_db": float(error.std()) if enough else float("nan"),
        "spearman": float(spearmanr(mapped[both], traced[both]).statistic) if enough else float("nan"),
        "spearman_all": float(spearmanr(mapped.ravel(), traced.ravel()).statistic) if enough else float("nan"),
    }
