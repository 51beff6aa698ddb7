"""What a city costs: time and memory of every step from OSM to scene, raster and crops, and what is gained.

`python -m benchmarks.city` takes the scene of the whole of Rome (a minute, 200,000 buildings), the raster and the crops
of the box of the measurements, and writes results/benchmarks/city.json; `--quick` takes the latter's scene. Three
comparisons run side by side on the same footprints: crops read from the raster against crops drawn by matplotlib; roofs
triangulated by GEOS, by Mapbox's earcut and as a fan from the first vertex; courtyards kept against courtyards lost.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import mapbox_earcut
import numpy as np
import shapely
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rfloc.city import City, box_bounds, build_city, mesh, osm
from rfloc.city.heights import assign_heights
from rfloc.city.raster import CELL
from rfloc.config import CityParams, DataParams, check, data_root, project_root
from rfloc.files import save_json
from rfloc.frames import Grid, LocalFrame
from rfloc.simulation.scene import load_radio_scene

#: Edge of a crop [cells].
CROP = 601

SEED = 7


class Steps:
    """Wall time [s] and peak memory of the whole process [GB] of named steps."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1e6
        self.taken[name] = {"s": round(seconds, 2), "peak_gb": round(peak, 2)}
        print(f"  {name:14s} {seconds:8.2f} s {peak:6.2f} GB", flush=True)


def sky_rays(path: Path, buildings: gpd.GeoDataFrame, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Vertical rays through random points of random footprints' boxes: do they meet roof or ground as they should?"""
    scene = load_radio_scene(path, 0.8e9, 0.4).mi_scene
    import mitsuba as mi

    outlines = buildings.geometry.to_numpy()
    bounds = shapely.bounds(outlines[rng.integers(len(outlines), size=n)])
    x, y = rng.uniform(bounds[:, :2], bounds[:, 2:]).T
    points, want = shapely.points(x, y), np.zeros(n)
    tree = shapely.STRtree(outlines)
    ray, row = tree.query(points, predicate="within")
    np.maximum.at(want, ray, buildings["height"].to_numpy()[row])
    near = np.unique(tree.query(shapely.buffer(points, 0.01), predicate="intersects")[0])
    clear = np.ones(n, bool)  # not within 1 cm of a wall
    touching = shapely.STRtree(shapely.boundary(outlines)).query(points[near], predicate="dwithin", distance=0.01)[0]
    clear[near[touching]] = False
    origin = mi.Point3f(mi.Float(x), mi.Float(y), mi.Float(300.0))
    hit = scene.ray_intersect_preliminary(mi.Ray3f(origin, mi.Vector3f(0.0, 0.0, -1.0)), coherent=True)
    error = np.abs(300.0 - np.array(hit.t, dtype=float) - want)[clear]
    return {
        "rays": int(clear.sum()),
        "on_roofs": int((want[clear] > 0).sum()),
        "wrong": int((error > 0.01).sum()),
        "worst_of_right_mm": round(1e3 * float(error[error <= 0.01].max()), 3),
    }


def earcut(polygons: np.ndarray) -> np.ndarray:
    """Triangles that Mapbox's earcut makes of each polygon."""
    _, xy, (rings, parts) = shapely.to_ragged_array(polygons, include_z=False)
    last = np.zeros(len(xy), bool)
    last[rings[1:] - 1] = True
    ends = rings - np.arange(len(rings))  # of rings without their repeated last point
    xy = np.ascontiguousarray(xy[~last])
    corners = [
        len(mapbox_earcut.triangulate_float64(xy[ends[a] : ends[b]], (ends[a + 1 : b + 1] - ends[a]).astype("u4")))
        for a, b in pairwise(parts)
    ]
    return np.array(corners) // 3


def geos(polygons: np.ndarray) -> np.ndarray:
    """Triangles that GEOS makes of each polygon; none leaves out a vertex."""
    return shapely.get_num_geometries(shapely.constrained_delaunay_triangles(polygons))


def triangulators(polygons: np.ndarray) -> dict[str, Any]:
    """Roofs by GEOS, by earcut and as a fan from the shell's first vertex, as the released code makes them.

    Earcut leaves out vertices in line with their neighbours: T-junctions. None is exactly in line here, but some are
    once coordinates lie on a grid.
    """
    grid = shapely.set_precision(polygons[:: max(len(polygons) // 20_000, 1)], 0.01)
    grid = grid[shapely.get_type_id(grid) == shapely.GeometryType.POLYGON]
    out: dict[str, Any] = {"footprints": len(polygons), "footprints_on_1_cm_grid": len(grid)}
    count: dict[str, list[np.ndarray]] = {}
    for make in (geos, earcut):
        start = time.perf_counter()
        exact = make(polygons)
        out[make.__name__] = {"s": round(time.perf_counter() - start, 2), "triangles": int(exact.sum())}
        count[make.__name__] = [exact, make(grid)]
    for name, one, other in zip(("", "_on_1_cm_grid"), count["geos"], count["earcut"], strict=True):
        out["earcut"]["roofs_with_t_junctions" + name] = int((one != other).sum())

    shells = shapely.polygons(shapely.get_exterior_ring(polygons))
    area, courtyard = shapely.area(polygons).sum(), shapely.area(shells) - shapely.area(polygons)
    concave = np.flatnonzero(shapely.area(shapely.convex_hull(shells)) > (1 + 1e-9) * shapely.area(shells))
    spill = np.zeros(len(shells))
    for k in concave:
        corner = shapely.get_coordinates(shells[k])[:-1]
        fan = shapely.polygons(np.stack([np.broadcast_to(corner[0], corner[2:].shape), corner[1:-1], corner[2:]], 1))
        spill[k] = shapely.union_all(fan[shapely.area(fan) > 1e-6]).area - shells[k].area
    return out | {
        "fan": {
            "roof_m2": round(float(area)),
            "spill_m2": round(float(spill.sum())),
            "spill_percent": round(100 * float(spill.sum() / area), 2),
            "buildings_that_spill": int((spill > 1.0).sum()),
            "courtyards_lost": int(shapely.get_num_interior_rings(polygons).sum()),
            "courtyards_lost_m2": round(float(courtyard.sum())),
            "false_roof_percent": round(100 * float((spill + courtyard).sum() / area), 2),
        }
    }


def draw(buildings: gpd.GeoDataFrame, x: float, y: float) -> np.ndarray:
    """A crop drawn by matplotlib: the footprints near x, y, one pixel a metre."""
    half = CROP / 2
    near = buildings.iloc[buildings.sindex.query(shapely.box(x - half, y - half, x + half, y + half))]
    figure = Figure(figsize=(CROP / 100, CROP / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(x - half, x + half), ylim=(y - half, y + half))
    axes.set_axis_off()
    if len(near):
        near.plot(ax=axes, color="black", aspect=None, antialiased=False, linewidth=0)
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, 0] < 128


def crops(city: City, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Crops at random buildings: windows of the raster against the same drawn by matplotlib, both out of memory."""
    buildings = gpd.read_parquet(city.folder / "buildings.parquet")
    pick = rng.integers(len(buildings), size=n)
    places = np.floor(shapely.get_coordinates(buildings.geometry.iloc[pick].centroid.to_numpy())) + 0.5
    buildings.sindex  # noqa: B018 - built once, before the clock runs
    city.window(0.0, 0.0, CROP)  # so are the layers read
    out: dict[str, Any] = {"crops": n}

    def clock(name: str, places: np.ndarray, read: Any) -> list[np.ndarray]:
        got, taken = [], []
        for x, y in places:
            start = time.perf_counter()
            got.append(read(x, y))
            taken.append(1e3 * (time.perf_counter() - start))
        median, high = np.quantile(taken, [0.5, 0.95])
        out[name] = {"median_ms": round(float(median), 3), "p95_ms": round(float(high), 3)}
        return got

    clock("window", places, lambda x, y: city.window(x, y, CROP))
    some = places[: max(n // 10, 10)]
    drawn = clock("drawn", some, lambda x, y: draw(buildings, x, y))
    differ = [np.mean((city.window(x, y, CROP)[0] == 1) != image) for (x, y), image in zip(some, drawn, strict=True)]
    out["pixels_that_differ_percent"] = round(100 * float(np.mean(differ)), 3)
    out["ratio"] = round(out["drawn"]["median_ms"] / out["window"]["median_ms"], 1)
    return out


def configured(key: str) -> CityParams:
    """A city of conf/city."""
    return check(CityParams, yaml.safe_load((project_root() / "conf" / "city" / f"{key}.yaml").read_text()))


def measure(key: str, folder: Path) -> dict[str, Any]:
    params, data = configured(key), data_root(DataParams(root=None, weights=None), project_root())
    frame, rng, steps = LocalFrame(*params.centre), np.random.default_rng(SEED), Steps()
    print(f"{params.name}, box {params.box}")
    with steps("read"):
        buildings, facts = osm.read_buildings(params, frame, data)
        osm.read_streets(params, frame, data)
    with steps("heights"):
        buildings, _ = assign_heights(buildings, params.height_prior)
        base = buildings["base"].where(buildings["base"] > 0, -mesh.FOUNDATION)
    with steps("mesh"):
        roofs = mesh.prisms(buildings.geometry, buildings["height"], base)
    with steps("scene_write"):
        grid = Grid.covering(*box_bounds(frame, params.box or [], params.margin), CELL)
        scene = mesh.write_city(roofs, grid, folder)
    facts |= {"triangles": len(roofs.faces), "watertight": is_watertight(roofs)}
    a, b, c = (roofs.vertices[roofs.faces[:, k]] for k in range(3))  # volume by the divergence theorem
    volume = float((buildings.area * (buildings["height"] - base)).sum())
    facts["volume_relative_error"] = abs(float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0) / volume - 1)
    facts["scene_mb"] = round(sum(f.stat().st_size for f in folder.rglob("*.ply")) / 1e6, 1)
    del roofs, a, b, c
    with steps("scene_load"):
        load_radio_scene(scene, 0.8e9, 0.4)
    with steps("box_of_measurements"):
        city = build_city("rome", configured("rome"), data, folder / "rome")
    chain = [steps.taken[name] for name in ("read", "heights", "mesh", "scene_write", "scene_load")]
    return {
        "city": key,
        "facts": facts,
        "steps": steps.taken,
        "osm_to_scene": {"s": round(sum(s["s"] for s in chain), 1), "peak_gb": max(s["peak_gb"] for s in chain)},
        "rays": sky_rays(scene, buildings, 200_000, rng),
        "crops": crops(city, 500, rng),
        "triangulators": triangulators(buildings.geometry.to_numpy()),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("shapely", "mapbox-earcut", "sionna-rt", "matplotlib")},
            "geos": shapely.geos_version_string,
        },
    }


def is_watertight(roofs: mesh.Mesh) -> bool:
    """Whether every directed edge is met by as many in the other direction."""
    edges = np.concatenate([roofs.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    there, back = (one * len(roofs.vertices) + other for one, other in (edges.T, edges.T[::-1]))
    return bool(np.array_equal(np.sort(there), np.sort(back)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the box of the measurements, not the whole of Rome")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "city.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure("rome" if args.quick else "rome_whole", Path(folder))
    print(json.dumps({k: v for k, v in result.items() if k not in ("steps", "machine")}, indent=1))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_json(result, args.output)


if __name__ == "__main__":
    main()
