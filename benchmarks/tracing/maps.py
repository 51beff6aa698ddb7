"""Radio maps: accuracy against time, and how much of the backend's speed is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.tracing import released
from benchmarks.tracing.scene import OTHER_SEED, RADIO, SEED, SIM, Array, Bench
from benchmarks.tracing.side_by_side import distance, in_turns, time_at
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.paths import trace_gain
from rfloc.simulation.plane import Rays
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import ABOVE, flatness

#: UEs a station that are asked for.
MAP_UES = 64_000


def maps(bench: Bench, diffuse: bool) -> dict[str, Any]:
    """Accuracy against time of maps and of paths, for 64,000 UEs a station.

    A map is traced and read at all of them. Paths are traced to one and to some, the more the fewer their rays: what
    the first UE takes counts once, what each other takes for all.
    """
    s = bench.sizes
    sim = SIM.model_copy(update={"diffuse": diffuse})
    stations, everyone = bench.stations.take(range(s.curve_stations)), bench.ues(MAP_UES)
    many = {m: s.curve_ues * min(max(s.map_at // 10 // m, 1), 4) for m in s.path_samples}

    def paths(samples: int, n: int, seed: int = SEED) -> Array:
        return trace_gain(bench.city, stations, *bench.ues(n), Rays(sim, RADIO, samples, seed))[0]

    def ours(samples: int) -> Array:
        traced = trace_maps(bench.plane, stations, Rays(sim, RADIO, samples, SEED), progress=False)
        return read_maps(traced, *everyone, RADIO)[: s.curve_ues]

    def stock(samples: int) -> Array:
        return released.map_gain(bench.plane, stations, *everyone, sim, RADIO, samples)[: s.curve_ues]

    truth = paths(s.truth_samples, s.curve_ues, OTHER_SEED)
    jobs: dict[str, Any] = {"map": lambda _: ours(s.map_at), "stock": lambda _: stock(s.map_at)}
    for m in s.path_samples:
        jobs |= {f"one {m}": lambda _, m=m: paths(m, 1), f"paths {m}": lambda _, m=m: paths(m, many[m])}
    found, times = in_turns(jobs, s.curve_repeats, lambda: (ours(1_000), stock(1_000)))
    curve = []
    for m in s.path_samples:
        first, more = times[f"one {m}"] / stations.n, times[f"paths {m}"] / stations.n
        a_ue = max(more - first, 0.0) / max(many[m] - 1, 1)
        curve.append({"s": first + a_ue * MAP_UES, **distance(found[f"paths {m}"][0][: s.curve_ues], truth)})
    ours_s, off = times["map"] / stations.n, distance(found["map"][0], truth)
    by_paths, within = time_at(off["spearman"], curve)
    return {
        "ratio": by_paths / ours_s,
        "within_curve": within,
        "s": ours_s,
        **off,
        "stock_lost": distance(found["stock"][0], truth)["lost"],
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
    grid, rng = bench.plane.grid, np.random.default_rng(SEED)
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
        sim = SIM.model_copy(update={"diffuse": True})
        trace_maps(bench.plane, station, Rays(sim, RADIO, s.rays, SEED), progress=False)

    segments = sum(dr.width(wave) for wave in waves)
    _, times = in_turns({"solver": lambda _: solver(), "bare": lambda _: bare()}, max(s.repeats, 2), bare)
    return {"percent": 100 * times["bare"] / times["solver"], "segments_per_s": segments / times["solver"]}
