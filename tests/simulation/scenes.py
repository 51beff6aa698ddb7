"""Tiny cities for closed-form checks: open ground or none, and boxes."""

from pathlib import Path

import numpy as np
import shapely
import xarray as xr

from rfloc.city import City
from rfloc.city.mesh import plane, prisms, write_scene
from rfloc.config import CityParams, RadioParams, SimulationParams
from rfloc.frames import Grid, LocalFrame
from rfloc.schema import with_units
from rfloc.simulation.maps import trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations

FRAME = LocalFrame(45.0, 10.0)

Box = tuple[float, float, float, float, float]  #: x_min, y_min, x_max, y_max, height [m]


def small_city(
    folder: Path, half: tuple[int, int] = (100, 60), boxes: tuple[Box, ...] = (), ground: str | None = None
) -> City:
    """A city of [-half_x, half_x] x [-half_y, half_y] metres with boxes of concrete, on ground or floating in space.

    Without ground and boxes there is only a pebble 400 m below, because a scene must hold something.
    """
    grid = Grid(-float(half[0]), -float(half[1]), 1.0, 2 * half[0], 2 * half[1])
    height = np.zeros(grid.shape, np.float32)
    meshes = {"pebble": (prisms(shapely.box(0, 0, 0.1, 0.1), -399.9, -400.0), "concrete")}
    for k, (x0, y0, x1, y1, h) in enumerate(boxes):
        meshes[f"box{k}"] = (prisms(shapely.box(x0, y0, x1, y1), h, 0.0), "concrete")
        x, y = np.meshgrid(grid.x, grid.y)
        height[(x > x0) & (x < x1) & (y > y0) & (y < y1)] = h
    if ground:
        meshes["ground"] = (plane(-2000, -2000, 2000, 2000), ground)
    write_scene(meshes, folder)
    return raster_city(height, folder)


def raster_city(height: np.ndarray, folder: Path = Path()) -> City:
    """A city of roofs `height` [m] on 1 m cells round the origin, 0 = open ground, without a mesh to trace."""
    ny, nx = height.shape
    grid = Grid(-nx / 2, -ny / 2, 1.0, nx, ny)
    building = (height > 0).astype(np.uint8)
    layers = {"building": building, "road": 1 - building, "height": height.astype(np.float32)}
    layers["ground"] = np.zeros(grid.shape, np.float32)
    raster = xr.Dataset({name: (("y", "x"), layer) for name, layer in layers.items()})
    raster.attrs = {**FRAME.to_attrs(), **grid.to_attrs()}
    x_min, y_min, x_max, y_max = grid.bounds
    lat, lon = FRAME.to_geographic([x_min, x_max], [y_min, y_max])
    box = [*lat.tolist(), *lon.tolist()]
    params = CityParams(name="Small", source="file", buildings="-", streets="-", origin=[45.0, 10.0], box=box)
    return City("small", params, FRAME, grid, with_units(raster, "raster"), folder, {})


def one_station(x: float = 0.0, y: float = 0.0, h: float = 30.0, azimuth: float = np.nan) -> Stations:
    """A table of one station of 43 dBm."""
    return Stations(x=[x], y=[y], h=[h], azimuth=[azimuth], power=[43.0], id=["s"])  # type: ignore[arg-type]


def row_of_stations(x: np.ndarray, y: np.ndarray, h: float = 35.0) -> Stations:
    """Stations s0, s1, … of 43 dBm whose azimuths nobody knows."""
    n = len(x)
    return Stations(x, y, np.full(n, h), np.full(n, np.nan), np.full(n, 43.0), np.array([f"s{k}" for k in range(n)]))


def traced(
    city: City, stations: Stations, sim: SimulationParams, seed: int, samples: int | None = None,
    cache: Path | None = None, radio: RadioParams = RadioParams(),  # noqa: B008
) -> xr.Dataset:  # fmt: skip
    """Maps of stations in cells of `sim.cell`."""
    rays = Rays(sim, radio, samples or sim.samples, seed)
    return trace_maps(Plane(city, sim.cell, radio.ue_height), stations, rays, cache, progress=False)


def blocks_city() -> City:
    """Square blocks of 40 m, 15 to 30 m tall, every 70 m."""
    block = np.zeros((70, 70))
    block[15:55, 15:55] = 1.0
    heights = np.random.default_rng(0).uniform(15.0, 30.0, (18, 18))
    return raster_city(np.kron(heights, np.ones((70, 70))) * np.tile(block, (18, 18)))
