"""How the cost of tracing grows: with UEs, stations, buildings and workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import xarray as xr
import yaml

from benchmarks.tracing.scene import RADIO, SEED, SIM, Bench
from benchmarks.tracing.side_by_side import in_turns
from rfloc.city import City, mesh, osm
from rfloc.city.city import BUILDING_MATERIAL, CELL, GROUND_MATERIAL
from rfloc.city.heights import assign_heights
from rfloc.city.raster import city_layers
from rfloc.config import (
    CityParams,
    DataParams,
    EngineParams,
    check,
    data_root,
    project_root,
)
from rfloc.datasets.hidden import place_stations
from rfloc.errors import DataError
from rfloc.frames import Grid, LocalFrame
from rfloc.simulation.engine import Part, run_campaign
from rfloc.simulation.many import connect
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.scene import load_scene
from rfloc.simulation.trace import trace_paths

#: Half the edge of the square that UEs and maps of the growing city have [m].
HALF = 500.0

#: Rays a station: of paths; of maps.
SAMPLES, MAP_SAMPLES = 30_000, 300_000
RAYS = Rays(SIM, RADIO, MAP_SAMPLES, SEED)

#: Loading may take this share of the time at most, or what is left without it is noise.
LOAD_SHARE = 0.8


def measure(bench: Bench, folder: Path) -> dict[str, Any]:
    """Links a second by paths and by maps."""
    s, plane = bench.sizes, Plane(bench.city, 5.0, RADIO.ue_height)
    repeats = max(s.repeats - 1, 1)

    def paths(stations: int, ues: int) -> None:
        trace_paths(bench.city, bench.stations.take(range(stations)), *bench.ues(ues), SIM, RADIO, SEED, SAMPLES)

    def maps(stations: int, ues: int) -> None:
        traced = trace_maps(plane, bench.stations.take(range(stations)), RAYS, progress=False)
        read_maps(traced, *bench.ues(ues), RADIO)

    few = s.growth_ues[0]
    return {
        "samples_a_station": {"paths": SAMPLES, "maps": MAP_SAMPLES},
        "ues_by_paths": _rates({n: (n, lambda n=n: paths(1, n)) for n in s.growth_ues}, repeats),
        "ues_by_maps": _rates({n: (n, lambda n=n: maps(1, n)) for n in s.growth_map_ues}, repeats),
        "stations_by_paths": _rates({k: (k * few, lambda k=k: paths(k, few)) for k in s.growth_stations}, repeats),
        "stations_by_maps": _rates({k: (k * few, lambda k=k: maps(k, few)) for k in s.growth_stations}, repeats),
        "buildings": buildings(s.growth_buildings, few, repeats, folder),
        "workers": workers(bench, folder) if s.growth_workers else None,
    }


def _rates(jobs: dict[int, tuple[int, Any]], repeats: int) -> dict[str, Any]:
    """Size -> links a second and times, of size -> (links, job)."""
    _, times = in_turns({str(n): lambda _, job=job: job() for n, (_, job) in jobs.items()}, repeats)
    return {str(n): {"links_per_s": links / times[str(n)]["s"], **times[str(n)]} for n, (links, _) in jobs.items()}


def buildings(counts: tuple[int, ...], ues: int, repeats: int, folder: Path) -> dict[str, Any] | None:
    """The buildings of Rome nearest to its middle, so many: one station's paths, and its map of the middle."""
    if not counts:
        return None
    root = project_root()
    params = check(CityParams, yaml.safe_load((root / "conf" / "city" / "rome_whole.yaml").read_text()))
    if max(counts) <= 10_000:  # the box of the measurements holds as many as these with 2 km around it
        small = check(CityParams, yaml.safe_load((root / "conf" / "city" / "rome.yaml").read_text()))
        params = params.model_copy(update={"box": small.box, "margin": 2_500.0})
    frame = LocalFrame(*params.centre)
    try:
        footprints, _ = osm.read_buildings(params, frame, data_root(DataParams(), root))
        streets, _ = osm.read_streets(params, frame, data_root(DataParams(), root))
    except DataError as error:
        return {"absent": str(error).partition("\n")[0]}
    footprints = assign_heights(footprints, params.height_prior)[["geometry", "height"]]
    middle = shapely.get_coordinates(footprints.geometry.centroid.to_numpy())
    nearest = np.argsort(np.hypot(*middle.T))
    grid = Grid.covering(-HALF, -HALF, HALF, HALF, CELL)
    place = folder / "buildings"
    inner = footprints.iloc[nearest[: max(counts)]].clip(shapely.box(-HALF, -HALF, HALF, HALF).buffer(50.0))
    layers = city_layers(inner[inner.geom_type == "Polygon"], streets, grid)
    attrs = {"city": "buildings", **grid.to_attrs(), **frame.to_attrs()}
    raster = xr.Dataset({name: (("y", "x"), values) for name, values in layers.items()}, attrs=attrs)
    cities, triangles = {}, {}
    for n in counts:
        if n > len(nearest):
            continue
        roofs = mesh.extrude(footprints.iloc[nearest[:n]])
        parts = {"buildings": (roofs, BUILDING_MATERIAL), "ground": (mesh.ground(roofs, grid), GROUND_MATERIAL)}
        mesh.write_scene(parts, place / str(n))
        cities[n] = City(f"rome {n}", params.model_copy(update={"box": None}), frame, grid, raster, place / str(n))
        triangles[n] = len(roofs.faces)
    one = place_stations(next(iter(cities.values())), 1, [20.0, 60.0], 43.0, None, np.random.default_rng(SEED))
    x, y = next(iter(cities.values())).street_points(ues, np.random.default_rng(SEED))
    jobs: dict[int, dict[str, Any]] = {}
    for n, city in cities.items():
        plane = Plane(city, 5.0, RADIO.ue_height)
        jobs[n] = {
            "load": lambda city=city: load_scene(city, RADIO.carrier_hz, SIM.scattering),
            "paths": lambda city=city: trace_paths(city, one, x, y, SIM, RADIO, SEED, SAMPLES),
            "maps": lambda plane=plane: trace_maps(plane, one, RAYS, progress=False),
        }
    flat = {f"{n} {way}": lambda _, job=job: job() for n, row in jobs.items() for way, job in row.items()}
    _, times = in_turns(flat, repeats)
    out = {}
    for n in cities:
        load_s, paths_s, maps_s = (times[f"{n} {way}"]["s"] for way in ("load", "paths", "maps"))
        out[str(n)] = {
            "triangles": triangles[n], "load_s": load_s, "paths_s": paths_s, "map_s": maps_s, "links": ues,
            "links_per_s": ues / paths_s, "links_per_s_without_load": without_load(ues, paths_s, load_s),
        }  # fmt: skip
    return out


def without_load(links: int, seconds: float, load_s: float) -> float | None:
    """Links a second once the scene is loaded; None where loading is nearly all of the time."""
    return links / (seconds - load_s) if load_s <= LOAD_SHARE * seconds else None


def workers(bench: Bench, folder: Path) -> dict[str, Any]:
    """A campaign of all stations by so many worker processes of one thread each, once they have started."""
    out: dict[str, Any] = {"cores": os.cpu_count()}
    x, y = bench.ues(max(bench.sizes.growth_map_ues))

    def part(name: str, samples: int) -> Part:
        return Part(name, bench.city.folder, bench.stations, x, y, SIM, RADIO, SEED, samples)

    for n in bench.sizes.growth_workers:
        engine = EngineParams(workers=n)
        with connect(engine) as client:
            run_campaign([part("warm", MAP_SAMPLES)], folder / f"warm{n}", engine, client=client, progress=False)
            done = run_campaign([part("timed", MAP_SAMPLES)], folder / f"of{n}", engine, client=client, progress=False)
        rate = done.computed_links / done.seconds
        out[str(n)] = {"links": done.computed_links, "s": done.seconds, "links_per_s": rate}
    return out
