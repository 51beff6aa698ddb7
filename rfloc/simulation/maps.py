"""Radio maps: isotropic path gain of every station at every cell, traced once and asked often.

Azimuth, tilt, pattern and power are applied when a map is read, by the bearing and elevation of the straight line from
station to cell. That is exact for the direct ray and an approximation for the others, which leave elsewhere.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import Grid, bearing, wrap_degrees
from rfloc.schema import validate, with_units
from rfloc.simulation import mapcache
from rfloc.simulation.antennas import pattern_gain_db
from rfloc.simulation.rooftop import rooftop_maps
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import flatness, interactions, map_solver
from rfloc.simulation.smoothing import pooled
from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

Array = NDArray[np.float64]

#: A flat map cannot follow ground that rises and falls by more than this [m].
MAX_GROUND_SPREAD = 10.0


def map_grid(city: City, cell: float) -> Grid:
    """The grid of a city's radio maps: its raster's area in cells of `cell` metres."""
    return Grid.covering(*city.grid.bounds, cell)


def ground_level(city: City) -> float:
    """z of the streets [m], for a flat map.

    Raises
    ------
    SimulationError
        If the ground under the streets is too steep for one.
    """
    low, middle, high = np.percentile(city.raster["ground"].values[city.road], [2, 50, 98])
    if high - low > MAX_GROUND_SPREAD:
        raise SimulationError(
            f"the streets of {city.key!r} lie between z = {low:.0f} m and {high:.0f} m",
            "radio maps are computed on a horizontal plane at the height of a UE",
            "choose a flatter city",
        )
    return float(middle)


def in_the_open(city: City, grid: Grid, x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
    """Whether UEs at x, y [m], shape (ue,), stand in a cell of a map that buildings do not cover altogether."""
    row, column, inside = grid.index(np.asarray(x, float), np.asarray(y, float))
    return inside & (outdoor_share(city, grid)[0][row, column] > 0)


def outdoor_share(city: City, grid: Grid) -> tuple[Array, Array, Array]:
    """Share of each cell that no building covers, and its outdoor point nearest to the centre.

    Returns
    -------
    share, x, y : ndarray, shape (ny, nx)
        Share in [0, 1]; positions [m], the cell's centre where the whole cell is built.
    """
    steps = max(int(np.ceil(grid.cell / city.grid.cell)), 1)
    offsets = (np.arange(steps) + 0.5) / steps * grid.cell - grid.cell / 2
    pairs = sorted(((dx, dy) for dx in offsets for dy in offsets), key=lambda pair: pair[0] ** 2 + pair[1] ** 2)
    centre_x, centre_y = np.meshgrid(grid.x, grid.y)
    x, y = centre_x.copy(), centre_y.copy()
    count = np.zeros(grid.shape)
    outdoor = city.outdoor
    for dx, dy in pairs:
        row, col, _ = city.grid.index(centre_x + dx, centre_y + dy)
        free = outdoor[row, col]
        first = free & (count == 0)
        x[first], y[first] = centre_x[first] + dx, centre_y[first] + dy
        count += free
    return count / len(pairs), x, y


def trace_maps(
    city: City,
    stations: Stations,
    grid: Grid,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    samples: int | None = None,
    progress: bool = True,
    cache: str | Path | None = None,
) -> xr.Dataset:
    """Trace isotropic radio maps, one station a solver call, over the rooftop floor.

    The solver averages |a|^2 over a whole cell; cells that a building covers in part are divided by their outdoor
    share. Antennas inside a building are lifted clear of its roof (:meth:`Stations.above_roofs`); the dataset's `bs_h`
    is the height that was traced. All stations share `seed`, so that candidates are compared under the same rays.

    Parameters
    ----------
    samples : int, optional
        Rays a station; default `sim.samples`.
    progress : bool
        Print a line when done.
    cache : path, optional
        Folder of maps kept by content (:mod:`rfloc.simulation.mapcache`): what rays brought is read from there, or
        traced and put there. The rooftop floor is computed anew.

    Returns
    -------
    Dataset of kind "maps"
        `ray_gain` (bs, y, x) linear, what rays brought to each cell, the mean over `sim.map_batches` batches;
        `ray_error`, its relative standard error by the scatter of the batches, which are independent, NaN where no ray
        came (few batches: with four, one cell in seven lies beyond twice that); `path_gain`, what is read: rays and,
        with diffuse reflection, the mean over neighbours where they are few (:mod:`rfloc.simulation.smoothing`), and
        the rooftop floor.
    """
    stations = stations.above_roofs(city)
    samples = sim.samples if samples is None else samples
    start = time.perf_counter()
    gain, error, traced = _ray_maps(
        city, stations, grid, sim, radio, seed, samples, None if cache is None else Path(cache)
    )
    share, x, y = outdoor_share(city, grid)
    rays = np.where(share > 0, gain / np.maximum(share, 1e-3), 0.0).astype(np.float32)
    gain = rays.copy()
    if sim.diffuse:
        for k in range(stations.n):
            gain[k] = pooled(rays[k].astype(float), error[k].astype(float), share)
    middle = time.perf_counter()
    if sim.rooftop:
        direct, clear = rooftop_maps(city, stations, x, y, share > 0, radio.carrier_hz, radio.ue_height)
        gain = over_rooftops(gain, direct, clear).astype(np.float32)
    if progress:
        kept = f", {stations.n - traced} from the cache" if cache is not None else ""
        print(
            f"maps of {stations.n} stations in {city.key}{kept}: {middle - start:.1f} s of rays "
            f"({samples:.2g} a station), {time.perf_counter() - middle:.1f} s over the rooftops",
            flush=True,
        )
    dims = ("bs", "y", "x")
    ds = xr.Dataset(
        {
            "path_gain": (dims, gain),
            "ray_gain": (dims, rays),
            "ray_error": (dims, np.where(rays > 0, error, np.float32(np.nan))),
        },
        coords={"x": grid.x, "y": grid.y, **stations.coords()},
        attrs={
            "carrier_hz": float(radio.carrier_hz), "ue_height": radio.ue_height, "city": city.key, "seed": seed,
            "samples": samples, "batches": sim.map_batches, "max_depth": sim.max_depth, "scattering": sim.scattering,
            "rooftop": int(sim.rooftop), **city.frame.to_attrs(), **grid.to_attrs(),
        },
    )  # fmt: skip
    return validate(with_units(ds, "maps"), "maps")


def over_rooftops(
    gain: NDArray[np.floating], floor: NDArray[np.floating], clear: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Path gain of rays joined by the rooftop floor: where the mast is in sight, only if rays missed the direct path.

    They did where they brought less than half of it.
    """
    return np.where(clear & (gain >= floor / 2), gain, gain + floor)


def _ray_maps(
    city: City,
    stations: Stations,
    grid: Grid,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    samples: int,
    cache: Path | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """What rays bring and its relative error, (bs, y, x), averaged over whole cells, and how many were traced."""
    scene = functools.cache(lambda: load_scene(city, radio.carrier_hz, sim.scattering))
    plane = ground_level(city) + radio.ue_height
    gain, error = np.empty((2, stations.n, *grid.shape), np.float32)
    traced = 0

    def trace(k: int) -> mapcache.RayMap:
        nonlocal traced
        traced += 1
        place_transmitter(scene(), city, stations, k, copies=sim.map_batches)
        flat = flatness(_antenna(city, stations, k)[2] - plane, grid)
        return _solver_map(scene(), grid, plane, flat, sim, seed, samples)

    for k in range(stations.n):
        if cache is None:
            gain[k], error[k] = trace(k)
            continue
        key = mapcache.content_key(
            city.scene_path, antenna=_antenna(city, stations, k), grid=grid.to_attrs(), plane=plane, seed=seed,
            max_depth=sim.max_depth, scattering=sim.scattering, permittivity_scale=city.params.permittivity_scale,
            batches=sim.map_batches, samples=samples,
            carrier_hz=float(radio.carrier_hz), **interactions(sim),
        )  # fmt: skip
        gain[k], error[k] = mapcache.recall(cache / f"{key}.npz", grid.shape, functools.partial(trace, k))
    return gain, error, traced


def _solver_map(
    scene: Any, grid: Grid, plane: float, flat: float, sim: SimulationParams, seed: int, samples: int
) -> mapcache.RayMap:
    """Path gain of the scene's transmitters, one a batch, by shooting and bouncing rays: mean and relative error."""
    import mitsuba as mi

    x_min, y_min, x_max, y_max = grid.bounds
    found = map_solver(sim.map_batches, seed, flat)(
        scene,
        center=mi.Point3f((x_min + x_max) / 2, (y_min + y_max) / 2, plane),
        size=mi.Point2f(x_max - x_min, y_max - y_min),
        orientation=mi.Point3f(0.0),
        cell_size=mi.Point2f(grid.cell),
        samples_per_tx=-(-samples // sim.map_batches),
        max_depth=sim.max_depth,
        seed=seed,
        **interactions(sim),
    )
    batches = np.array(found.path_gain, dtype=float)[:, : grid.ny, : grid.nx]  # size / cell is rounded up in float32
    mean = batches.mean(0)
    with np.errstate(invalid="ignore"):
        error = batches.std(0, ddof=1) / np.sqrt(len(batches)) / mean
    return mean.astype(np.float32), error.astype(np.float32)


def _antenna(city: City, stations: Stations, k: int) -> tuple[float, float, float]:
    """x, y, z of a station's antenna in the scene [m]."""
    x, y = float(stations.x[k]), float(stations.y[k])
    return x, y, float(city.ground_at(x, y)) + float(stations.h[k])


def place_transmitter(scene: Any, city: City, stations: Stations, k: int, copies: int = 1) -> None:
    """Make station `k` the scene's only transmitter: a vertically polarised isotropic element of gain 1, or copies."""
    import mitsuba as mi
    from sionna.rt import PlanarArray, Transmitter

    for name in list(scene.transmitters):
        scene.remove(name)
    scene.tx_array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    for copy in range(copies):
        scene.add(Transmitter(f"bs{copy}", position=mi.Point3f(*_antenna(city, stations, k))))


def sector_gain_db(stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams) -> Array:
    """Gain of every station's sector towards UEs at x, y [dBi], shape (bs, *x.shape), over flat ground."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    shape = (-1,) + (1,) * x.ndim
    dx, dy = x[None] - stations.x.reshape(shape), y[None] - stations.y.reshape(shape)
    elevation = np.degrees(np.arctan2(radio.ue_height - stations.h.reshape(shape), np.hypot(dx, dy)))
    off = wrap_degrees(bearing(dx, dy) - stations.azimuth.reshape(shape))
    return pattern_gain_db(radio.pattern, off, elevation, radio.downtilt, radio.front_to_back_db)


def station_gain_db(maps: xr.Dataset, radio: RadioParams) -> Array:
    """Sector gain of the stations of `maps` at every cell [dBi], shape (bs, y, x)."""
    grid = Grid.from_attrs(maps.attrs)
    return sector_gain_db(Stations.from_dataset(maps), *np.meshgrid(grid.x, grid.y), radio)


def nrsrp_map(maps: xr.Dataset, radio: RadioParams) -> Array:
    """NRSRP at every cell [dBm], shape (bs, y, x); NaN where nothing arrives."""
    gain = maps["path_gain"].values.astype(float)
    level = 10 * np.log10(np.where(gain > 0, gain, np.nan)) + station_gain_db(maps, radio)
    return level + maps["bs_power"].values[:, None, None] - 10 * np.log10(12 * radio.resource_blocks)


def read_maps(maps: xr.Dataset, x: ArrayLike, y: ArrayLike, radio: RadioParams | None = None) -> Array:
    """Path gain at UE positions: that of the cell they stand in, times the sector's gain at the very position.

    Parameters
    ----------
    maps : Dataset of kind "maps"
        Isotropic maps.
    x, y : array_like, shape (ue,)
        Positions [m].
    radio : RadioParams, optional
        Pattern and downtilt; None leaves the gain isotropic.

    Returns
    -------
    ndarray, shape (ue, bs)
        Linear; 0 where nothing arrives and outside the maps.
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    row, col, inside = Grid.from_attrs(maps.attrs).index(x, y)
    gain = np.where(inside, maps["path_gain"].values[:, row, col].astype(float), 0.0)
    if radio is not None:
        gain = gain * 10 ** (sector_gain_db(Stations.from_dataset(maps), x, y, radio) / 10)
    return gain.T


def read_error_db(maps: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Array:
    """Standard error of :func:`read_maps` at UE positions by the scatter of the rays [dB], shape (ue, bs).

    To first order, 10 / ln 10 times the relative error of what rays brought to the cell, times their share in what is
    read; pooling lessens it by what it does not say. NaN where no ray came to the cell itself.
    """
    row, col, inside = Grid.from_attrs(maps.attrs).index(np.atleast_1d(x), np.atleast_1d(y))
    gain, rays, error = (
        maps[name].values[:, row, col].astype(float) for name in ("path_gain", "ray_gain", "ray_error")
    )
    share = np.minimum(rays / np.where(inside & (gain > 0), gain, np.nan), 1.0)
    return (10 / np.log(10) * error * share).T


def coverage(maps: xr.Dataset, city: City, threshold_db: float = -140.0) -> dict[str, float]:
    """Share of (station, outdoor cell) pairs above a path gain: in all, and by rays to the cell itself alone.

    The difference is what pooling and the rooftop floor lift above it.
    """
    share, _, _ = outdoor_share(city, Grid.from_attrs(maps.attrs))
    above = (maps["path_gain"].values > 10 ** (threshold_db / 10))[:, share > 0]
    rays = (maps["ray_gain"].values > 10 ** (threshold_db / 10))[:, share > 0]
    return {"covered": float(above.mean()), "by_rays": float(rays.mean())}
