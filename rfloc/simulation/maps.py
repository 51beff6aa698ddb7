"""Radio maps: isotropic path gain of every station at every cell, traced once and asked often.

Azimuth, tilt, pattern and power are applied when a map is read, by the bearing and elevation of the straight line from
station to cell. That is exact for the direct ray and an approximation for the others, which leave elsewhere.

What a station's rays bring is kept by content: a file is named by the hash of all that it depends on, which is neither
the station's name nor its azimuth nor its power.
"""

import functools
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from rfloc.arrays import Bools, Floats, Singles
from rfloc.backend import one_thread
from rfloc.city import City
from rfloc.config import EngineParams, RadioParams
from rfloc.files import Arrays, digest, kept, say
from rfloc.frames import Grid, bearing, wrap_degrees
from rfloc.schema import validate, with_units
from rfloc.simulation.antennas import pattern_gain_db
from rfloc.simulation.many import each
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.propagation import not_above_sent, rooftop_gain
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import flatness, interactions, map_solver
from rfloc.simulation.smoothing import pooled
from rfloc.stations import Stations

#: Versions of what computes kept maps: raise the first by hand when their numbers change.
_TRACER: dict[str, str | int] = {"tracer": 3} | {name: version(name) for name in ("sionna-rt", "mitsuba", "drjit")}
#: Kept maps are whole numbers of 0.01 dB and of errors of 0.0001, so that processors whose sums end otherwise agree.
NOTHING = np.iinfo(np.int16).min
#: What a kept map depends on, of the solver's parameters.
_SOLVER = {"max_depth", "specular", "diffuse", "refraction", "diffraction", "scattering", "map_batches"}


def trace_maps(
    plane: Plane, stations: Stations, rays: Rays, cache: Path | None = None, engine: EngineParams | None = None,
    progress: bool = True,
) -> xr.Dataset:  # fmt: skip
    """Trace isotropic radio maps, a station at a time, over the rooftop floor.

    Antennas inside a building are lifted clear of its roof (:meth:`Stations.above_roofs`); the dataset's `bs_h` is the
    height that was traced. What rays brought is read from `cache`, a folder of kept maps, or traced, by an `engine` in
    parallel with the same numbers, and put there.

    The dataset, of kind "maps", has `ray_gain` (bs, y, x), linear, what rays brought to the open part of each cell,
    the mean over `sim.map_batches` batches; `ray_error`, its relative standard error by their scatter, NaN where no ray
    came (of four batches, 8 to 29 % of cells lie beyond twice that, see `paths.beyond_errors`); `path_gain`, what is
    read: rays, pooled with diffuse reflection (:mod:`rfloc.simulation.smoothing`), and the rooftop floor.
    """
    start = time.perf_counter()
    city, grid, sim, radio = plane.city, plane.grid, rays.sim, rays.radio
    stations = stations.above_roofs(city)
    if cache is not None:
        trace_ahead([(plane, stations, rays)], cache, engine, False)
    gain, bare, error = _ray_maps(plane, stations, rays, cache)
    middle = time.perf_counter()
    outdoors = plane.outdoors[0] > 0
    if sim.rooftop:
        for k, (x, y, h) in enumerate(zip(stations.x, stations.y, stations.h, strict=True)):
            gain[k, outdoors] = joined(gain[k, outdoors], *_rooftop(plane, x, y, h, radio.carrier_hz))
    gain = not_above_sent(gain)
    if progress:
        say(
            f"maps of {stations.n} stations in {city.key}: {middle - start:.1f} s of rays "
            f"({rays.samples:.2g} a station), {time.perf_counter() - middle:.1f} s over the rooftops"
        )
    dims = ("bs", "y", "x")
    ds = xr.Dataset(
        {"path_gain": (dims, gain), "ray_gain": (dims, bare), "ray_error": (dims, error)},
        coords={"x": grid.x, "y": grid.y, **stations.coords()},
        attrs={
            "carrier_hz": float(radio.carrier_hz), "ue_height": plane.ue_height, "city": city.key, "seed": rays.seed,
            "samples": rays.samples, "batches": sim.map_batches, "max_depth": sim.max_depth,
            "scattering": sim.scattering, "rooftop": int(sim.rooftop), **city.frame.to_attrs(), **grid.to_attrs(),
        },
    )  # fmt: skip
    return validate(with_units(ds, "maps"), "maps")


def gain_at(
    plane: Plane, stations: Stations, rays: Rays, x: ArrayLike, y: ArrayLike, cache: Path | None = None
) -> tuple[Floats, Floats]:
    """Isotropic path gain at UEs x, y [m], and its error [dB], (ue, bs), as :func:`trace_maps` and reading them say."""
    stations = stations.above_roofs(plane.city)
    row, column, inside = plane.grid.index(np.atleast_1d(x), np.atleast_1d(y))
    (row, column), which = np.unique(np.stack([row, column]), axis=1, return_inverse=True)
    gain, bare, error = (part[:, row, column].astype(float) for part in _ray_maps(plane, stations, rays, cache))
    if rays.sim.rooftop:
        share, east, north = (part[row, column] for part in plane.outdoors)
        free, carrier_hz = share > 0, rays.radio.carrier_hz
        floor, clear = rooftop_gain(plane.city, stations, east[free], north[free], carrier_hz, plane.ue_height)
        gain[:, free] = joined(gain[:, free], floor, clear)
    gain = not_above_sent(gain)
    found = np.where(inside, gain[:, which.ravel()], 0.0).T
    return found, _error_db(found, bare[:, which.ravel()].T, error[:, which.ravel()].T)


@functools.lru_cache(maxsize=128)
def _rooftop(plane: Plane, x: float, y: float, h: float, carrier_hz: float) -> tuple[Singles, Bools]:
    """Path over the rooftops from a mast to the plane's outdoor cells, and which it sees; poses share many masts."""
    share, east, north = plane.outdoors
    mast = Stations(*(np.array([value]) for value in (x, y, h, np.nan, 0.0, "")))
    gain, clear = rooftop_gain(plane.city, mast, east[share > 0], north[share > 0], carrier_hz, plane.ue_height)
    return gain[0], clear[0]


def joined(gain: NDArray[Any], floor: NDArray[Any], clear: Bools) -> NDArray[Any]:
    """Rays over the rooftop floor; in sight of a mast it counts only if they brought less than half of it."""
    return np.where(clear & (gain >= floor / 2), gain, gain + floor)


def _ray_maps(plane: Plane, stations: Stations, rays: Rays, cache: Path | None) -> tuple[Singles, Singles, Singles]:
    """What rays bring to the open part of each cell, pooled; unpooled; its relative error, NaN for none; (bs, y, x).

    The solver averages |a|^2 over a whole cell, of which buildings may cover a part.
    """
    share = plane.outdoors[0]
    gain, bare, error = np.empty((3, stations.n, *plane.grid.shape), np.float32)
    for k in range(stations.n):
        found = _ray_map(plane, stations.take([k]), rays, cache)
        there = (share > 0) & (found["level"] != NOTHING)
        bare[k] = np.where(there, 10 ** (found["level"] / 1000) / np.maximum(share, 1e-3), 0.0)
        gain[k], error[k] = bare[k], np.where(there, found["error"] / 1e4, np.nan)
        if rays.sim.diffuse:
            gain[k] = pooled(bare[k].astype(float), error[k].astype(float), share)
    return gain, bare, error


def trace_ahead(
    asked: Iterable[tuple[Plane, Stations, Rays]], cache: Path, engine: EngineParams | None, progress: bool = True
) -> None:
    """Trace the maps that are not kept yet, station by station, in parallel where there is an engine.

    A run that is killed, at any moment, leaves whole maps: the next one traces the others. Raises SimulationError
    naming the station whose map could not be traced.
    """
    every = ((plane, stations.above_roofs(plane.city).take([k]), rays, Path(cache).resolve())
             for plane, stations, rays in asked for k in range(stations.n))  # fmt: skip
    jobs = [job for file, job in {_file(*job): job for job in every}.items() if not file.exists()]
    names = [f"the map of {station.id[0]} in {plane.city.key}" for plane, station, *_ in jobs]
    pause = 0.5 if sys.stderr.isatty() else 60.0  # a log, or a notebook, keeps every state of the bar
    bar = {"unit": " maps", "leave": False, "mininterval": pause, "delay": pause}
    for _ in tqdm(each(_ray_map, jobs, names, engine), "traced", len(jobs), disable=not progress, **bar):
        pass


def _ray_map(plane: Plane, station: Stations, rays: Rays, cache: Path | None) -> Arrays:
    """What one station's rays bring to whole cells, `level` [0.01 dB], and its relative `error` [0.0001]; (y, x)."""

    def trace() -> Arrays:
        with one_thread():
            scene = load_scene(plane.city, float(rays.radio.carrier_hz), rays.sim.scattering)
            at = _antenna(plane.city, station)
            place_transmitter(scene, at, copies=rays.sim.map_batches)
            return _solve(scene, plane, rays, flatness(at[2] - plane.z, plane.grid))

    return kept(None if cache is None else _file(plane, station, rays, cache), trace)


def _file(plane: Plane, station: Stations, rays: Rays, cache: Path) -> Path:
    """Where a station's map is kept."""
    key = digest(
        _TRACER, plane.scene_digest, plane.grid, plane.z, _antenna(plane.city, station),
        rays.sim.model_dump(include=_SOLVER), float(rays.radio.carrier_hz), rays.samples, rays.seed,
    )  # fmt: skip
    return cache / f"{key}.npz"


def _solve(scene: Any, plane: Plane, rays: Rays, flat: float) -> Arrays:
    """Path gain of the scene's transmitters, one a batch, by shooting and bouncing rays: mean and relative error."""
    import mitsuba as mi

    grid, sim = plane.grid, rays.sim
    x_min, y_min, x_max, y_max = grid.bounds
    found = map_solver(sim.map_batches, rays.seed, flat)(
        scene, center=mi.Point3f((x_min + x_max) / 2, (y_min + y_max) / 2, plane.z), cell_size=mi.Point2f(grid.cell),
        size=mi.Point2f(x_max - x_min, y_max - y_min), orientation=mi.Point3f(0.0), max_depth=sim.max_depth,
        samples_per_tx=-(-rays.samples // sim.map_batches), seed=rays.seed, **interactions(sim),
    )  # fmt: skip
    batches = np.array(found.path_gain, dtype=float)[:, : grid.ny, : grid.nx]  # size / cell is rounded up in float32
    mean = batches.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = batches.std(0, ddof=1) / np.sqrt(len(batches)) / mean
        level = np.where(mean > 0, np.maximum(np.round(1000 * np.log10(mean)), NOTHING + 1), NOTHING)
    return {"level": level.astype(np.int16), "error": np.round(1e4 * np.nan_to_num(error)).astype(np.int16)}


def _antenna(city: City, station: Stations) -> tuple[float, float, float]:
    """x, y, z of one station's antenna in the scene [m]."""
    x, y = float(station.x[0]), float(station.y[0])
    return x, y, float(city.ground_at(x, y)) + float(station.h[0])


def place_transmitter(scene: Any, at: tuple[float, float, float], copies: int = 1) -> None:
    """Make a vertically polarised isotropic element of gain 1 at x, y, z, or copies, all that the scene transmits."""
    import mitsuba as mi
    from sionna.rt import PlanarArray, Transmitter

    scene.remove(list(scene.transmitters))
    scene.tx_array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    scene.add([Transmitter(f"bs{copy}", position=mi.Point3f(*at)) for copy in range(copies)])


def sector_gain_db(stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams) -> Floats:
    """Gain of every station's sector towards UEs at x, y [dBi], shape (bs, *x.shape), over flat ground."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    shape = (-1,) + (1,) * x.ndim
    dx, dy = x[None] - stations.x.reshape(shape), y[None] - stations.y.reshape(shape)
    elevation = np.degrees(np.arctan2(radio.ue_height - stations.h.reshape(shape), np.hypot(dx, dy)))
    off = wrap_degrees(bearing(dx, dy) - stations.azimuth.reshape(shape))
    return pattern_gain_db(radio.pattern, off, elevation, radio.downtilt, radio.front_to_back_db)


def nrsrp_map(maps: xr.Dataset, radio: RadioParams) -> Floats:
    """NRSRP at every cell [dBm], shape (bs, y, x); NaN where nothing arrives."""
    gain, grid = maps["path_gain"].values.astype(float), Grid.from_attrs(maps.attrs)
    sectors = sector_gain_db(Stations.from_dataset(maps), *np.meshgrid(grid.x, grid.y), radio)
    level = 10 * np.log10(np.where(gain > 0, gain, np.nan)) + sectors
    return level + maps["bs_power"].values[:, None, None] - 10 * np.log10(12 * radio.resource_blocks)


def read_maps(maps: xr.Dataset, x: ArrayLike, y: ArrayLike, radio: RadioParams | None = None) -> Floats:
    """Path gain at UEs x, y [m], (ue, bs): that of the cell they stand in, times the sector's gain at the very place.

    Linear; 0 where nothing arrives and outside the maps. Without `radio`, the gain of isotropic antennas.
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    row, col, inside = Grid.from_attrs(maps.attrs).index(x, y)
    gain = np.where(inside, maps["path_gain"].values[:, row, col].astype(float), 0.0)
    if radio is not None:
        gain = gain * 10 ** (sector_gain_db(Stations.from_dataset(maps), x, y, radio) / 10)
    return gain.T


def read_error_db(maps: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Floats:
    """Standard error of :func:`read_maps` by the scatter of rays [dB], (ue, bs), NaN where none came to the cell."""
    row, col, inside = Grid.from_attrs(maps.attrs).index(np.atleast_1d(x), np.atleast_1d(y))
    names = ("path_gain", "ray_gain", "ray_error")
    gain, rays, error = (maps[name].values[:, row, col].astype(float) for name in names)
    return _error_db(np.where(inside, gain, 0.0), rays, error).T


def _error_db(gain: Floats, rays: Floats, error: Floats) -> Floats:
    """To first order, the relative `error` of rays, in dB, times their share in what is read; pooling is left out."""
    return 10 / np.log(10) * error * np.minimum(rays / np.where(gain > 0, gain, np.nan), 1.0)


def coverage(maps: xr.Dataset, plane: Plane) -> dict[str, float]:
    """Share of (station, outdoor cell) pairs above -140 dB: in all, and by rays without pooling and rooftop floor."""
    outdoors, names = plane.outdoors[0] > 0, {"covered": "path_gain", "by_rays": "ray_gain"}
    return {key: float((maps[name].values > 1e-14)[:, outdoors].mean()) for key, name in names.items()}
