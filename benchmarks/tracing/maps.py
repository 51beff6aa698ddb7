"""Radio maps: accuracy against time, and how much of the backend's speed is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.tracing import released
from benchmarks.tracing.scene import OTHER_SEED, RADIO, SEED, SIM, Array, Bench
from benchmarks.tracing.side_by_side import distance, in_turns, time_at
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.paths import path_gain
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import ABOVE, flatness
from rfloc.simulation.trace import trace_paths

#: UEs a station that are asked for, edge of a map's cell [m].
MAP_UES, CELL = 64_000, 5.0


def maps(bench: Bench, diffuse: bool) -> dict[str, Any]:
    """Accuracy against time of maps, of paths, and of maps with paths where they miss, for 64,000 UEs a station.

    A map is traced and read at all of them. Paths are traced to one and to some, the more the fewer their rays: what
    the first UE takes counts once, what each other takes for all.
    """
    s = bench.sizes
    sim, plane = SIM.model_copy(update={"diffuse": diffuse}), Plane(bench.city, CELL, RADIO.ue_height)
    stations, everyone = bench.stations.take(range(s.curve_stations)), bench.ues(MAP_UES)
    many = {m: s.curve_ues * min(max(s.map_at // 10 // m, 1), 4) for m in s.path_samples}

    def paths(samples: int, n: int) -> Array:
        return path_gain(trace_paths(bench.city, stations, *bench.ues(n), sim, RADIO, SEED, samples), RADIO)

    def ours(samples: int) -> Array:
        traced = trace_maps(plane, stations, Rays(sim, RADIO, samples, SEED), progress=False)
        return read_maps(traced, *everyone, RADIO)[: s.curve_ues]

    def stock(samples: int) -> Array:
        return released.map_gain(plane, stations, *everyone, sim, RADIO, samples)[: s.curve_ues]

    def converged(n: int, seed: int) -> Array:
        x, y = bench.ues(n)
        parts = [slice(start, start + 25) for start in range(0, n, 25)]  # all paths of all UEs take gigabytes
        return np.concatenate([
            path_gain(trace_paths(bench.city, stations, x[p], y[p], sim, RADIO, seed, s.truth_samples), RADIO)
            for p in parts
        ])  # fmt: skip

    few = min(s.curve_ues, s.truth_ues)
    truth = converged(s.curve_ues, OTHER_SEED)
    noise = distance(converged(few, OTHER_SEED + 1), truth[:few])
    jobs: dict[str, Any] = {f"maps {m}": lambda _, m=m: ours(m) for m in s.map_samples}
    jobs |= {f"stock {s.map_at}": lambda _: stock(s.map_at)}
    for m in s.path_samples:
        jobs |= {f"one {m}": lambda _, m=m: paths(m, 1), f"paths {m}": lambda _, m=m: paths(m, many[m])}
    found, times = in_turns(jobs, s.curve_repeats, lambda: (ours(1_000), stock(1_000)))

    def points(way: str, seconds: dict[int, float], gains: dict[int, Array]) -> list[dict[str, Any]]:
        rows = [{"way": way, "samples": m, "s": t, **distance(gains[m], truth)} for m, t in seconds.items()]
        for row in rows if way != "paths" else ():
            row["paths_s_at_equal_spearman"], row["within_curve"] = time_at(row["spearman"], by_paths)
            row["ratio"] = row["paths_s_at_equal_spearman"] / row["s"]
        return rows

    sizes = {"maps": s.map_samples, "stock": (s.map_at,)}
    gains = {way: {m: found[f"{way} {m}"][0] for m in sizes[way]} for way in sizes}
    map_s = {way: {m: times[f"{way} {m}"]["s"] / stations.n for m in sizes[way]} for way in sizes}
    gains["paths"] = {m: found[f"paths {m}"][0][: s.curve_ues] for m in s.path_samples}
    first = {m: times[f"one {m}"]["low_s"] / stations.n for m in s.path_samples}
    ue = {m: times[f"paths {m}"]["low_s"] / stations.n - first[m] for m in s.path_samples}
    ue = {m: max(more, 0.0) / max(many[m] - 1, 1) for m, more in ue.items()}
    by_paths = points("paths", {m: first[m] + ue[m] * MAP_UES for m in s.path_samples}, gains["paths"])
    mapped, silent = gains["maps"][s.map_at], float((gains["maps"][s.map_at] == 0).mean())
    by_maps = points("maps", map_s["maps"], gains["maps"])
    at = next(row for row in by_maps if row["samples"] == s.map_at)
    return {
        "ratio": at["ratio"],
        "spearman": at["spearman"],
        "lost": at["lost"],
        "ratio_is": f"paths over a map of {s.map_at} rays at the map's Spearman over all UEs",
        "maps": by_maps,
        "stock_maps": points("stock", map_s["stock"], gains["stock"]),
        "paths": by_paths,
        "maps_then_paths": points(
            f"a map of {s.map_at} rays, paths where none arrived",
            {m: map_s["maps"][s.map_at] + first[m] + ue[m] * MAP_UES * silent for m in s.path_samples},
            {m: np.where(mapped > 0, mapped, gain) for m, gain in gains["paths"].items()},
        ),
        "ues_without_a_ray": silent,
        "ues_a_station": MAP_UES,
        "extrapolated_from_ues": many,
        "compared_ues": s.curve_ues,
        "stations": stations.n,
        "cell_m": CELL,
        "converged": {"samples": s.truth_samples, "against_another_seed": noise},
        "times": times,
    }


def rays(bench: Bench) -> dict[str, Any]:
    """Ray segments a second of the radio map solver, and of nothing but Mitsuba's intersections on the same segments.

    Launch directions are distributed as the solver's; at a hit a ray goes on as a mirror or, with the probability
    of diffuse reflection, anywhere on its side of the wall. What the solver intersects beyond the segments (it starts
    a ray anew where it crosses the plane of UEs) is not counted.
    """
    import drjit as dr
    import mitsuba as mi

    s, station = bench.sizes, bench.stations.take([0])
    plane, rng = Plane(bench.city, CELL, RADIO.ue_height), np.random.default_rng(SEED)
    grid = plane.grid
    scene = load_scene(bench.city, RADIO.carrier_hz, SIM.scattering).mi_scene
    along, flat = (np.arange(s.rays) + 0.5) / s.rays, flatness(float(station.h[0]) - RADIO.ue_height, grid)
    down, up = 1 - along / (1 - ABOVE), 1 - (1 - along) / ABOVE
    z = flat * np.tan(np.arctan(1 / flat) * np.where(down > 0, -down, up))
    z, turn = np.clip(z, -1, 1), 2 * np.pi * (np.arange(s.rays) * (np.sqrt(5) - 1) / 2 % 1)
    direction = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z])
    origin = np.array([[station.x[0]], [station.y[0]], bench.city.ground_at(station.x, station.y) + station.h])
    origin = np.broadcast_to(origin, direction.shape)
    waves = []
    for _ in range(SIM.max_depth + 1):
        waves.append(mi.Ray3f(mi.Point3f(origin.astype("f4")), mi.Vector3f(direction.astype("f4"))))
        hit = scene.ray_intersect(waves[-1])
        valid = np.asarray(hit.is_valid())
        normal = np.asarray(hit.n)[:, valid]
        direction, origin = direction[:, valid], np.asarray(hit.p)[:, valid]
        normal *= -np.sign((normal * direction).sum(0))
        mirrored = direction - 2 * (normal * direction).sum(0) * normal
        anywhere = normal + (ball := rng.normal(size=normal.shape)) / np.linalg.norm(ball, axis=0)
        diffuse = rng.random(normal.shape[1]) < SIM.scattering**2
        direction = np.where(diffuse, anywhere / np.linalg.norm(anywhere, axis=0), mirrored)
        origin = origin + 1e-3 * normal

    def bare() -> None:
        for wave in waves:
            hit = scene.ray_intersect(wave)
            dr.eval(hit.t, hit.p, hit.n)
            dr.sync_thread()

    def solver() -> None:
        trace_maps(plane, station, Rays(SIM.model_copy(update={"diffuse": True}), RADIO, s.rays, SEED), progress=False)

    segments = sum(dr.width(wave) for wave in waves)
    _, times = in_turns({"solver": lambda _: solver(), "bare": lambda _: bare()}, max(s.repeats, 2), bare)
    return {
        "percent": 100 * times["bare"]["s"] / times["solver"]["s"],
        "rays": s.rays,
        "segments_a_ray": segments / s.rays,
        "segments_per_s": {way: segments / taken["s"] for way, taken in times.items()},
        "solver_has": f"loading of the scene, and a map of {grid.nx} x {grid.ny} cells",
        "times": times,
    }
