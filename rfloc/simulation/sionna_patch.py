"""Two of Sionna RT's private loops, re-bound: paths that ignore other UEs, and map rays aimed at the map.

The path solver keeps every chain of specular reflections once, by its hash in a table that all UEs of a call share. Two
chains with one entry lose one of them, so that a path of one UE depends on who else is in the call, by up to several
dB of a link. Here every UE has a part of the table to itself: a collision is then the same in every call.
"""

from importlib.metadata import version
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from rfloc.backend import prepare
from rfloc.config import SimulationParams
from rfloc.errors import BackendError
from rfloc.frames import Grid

#: Releases of sionna-rt whose loops are known.
TESTED = "2.2."
#: Share of a map's rays that go up (from 0.1 to 0.25 a map gets worse by a quarter), limits of :func:`flatness`.
ABOVE, FLATNESS = 0.1, (0.01, 0.5)


def interactions(sim: SimulationParams) -> dict[str, bool]:
    """The arguments by which either solver is told what rays may do."""
    names = {"specular": "specular_reflection", "diffuse": "diffuse_reflection"}
    return {names.get(k, k): getattr(sim, k) for k in ("specular", "diffuse", "refraction", "diffraction")}


def _names(code: CodeType) -> set[str]:
    """Global and attribute names that a function uses, its inner functions' too."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def rebound(loop: Any, **names: Any) -> FunctionType:
    """A copy of a Sionna function with other global names (raises BackendError if it has none, or is untested)."""
    installed, missing = version("sionna-rt"), set(names) - _names(loop.__code__)
    if missing or not installed.startswith(TESTED):
        raise BackendError(
            f"sionna-rt {installed} is not {TESTED}x" + "".join(f", {loop.__name__} has no {name}" for name in missing),
            "its private loops are re-bound by name, and another release might trace wrongly without a word",
            f"pip install 'sionna-rt=={TESTED}*'",
        )
    return FunctionType(loop.__code__, loop.__globals__ | names, loop.__name__, loop.__defaults__, loop.__closure__)


def candidate_generator(ues: int, entries: int) -> Any:
    """Sionna's deterministic candidate generator with a table of `entries` for each of up to `ues` UEs.

    Its attribute `stored` is the number of candidates of the last call; the solver drops those beyond its buffer.
    """
    prepare()
    import mitsuba as mi
    from sionna.rt.path_solvers import sb_deterministic as library

    def entry(ue: Any, chain: Any, size: Any, source: Any) -> Any:
        return mi.UInt(chain % entries) + entries * ue + size * source

    stock, table = library.SBDeterministicCandidateGenerator, SimpleNamespace(MIN_SPEC_COUNT_SIZE=ues * entries)
    loop = rebound(stock._shoot_and_bounce_loop, hash_for_target=entry, SBCandidateGenerator=table)

    class Generator(stock):  # type: ignore[misc, valid-type]
        _shoot_and_bounce_loop = loop

        def __call__(self, **arguments: Any) -> Any:
            paths = super().__call__(**arguments)
            self._counter = paths.paths_counter
            return paths

        @property
        def stored(self) -> int:
            return int(np.array(self._counter)[0])

    return Generator()


def flatness(height: float, grid: Grid) -> float:
    """Sine of the elevation within which most of a map's rays leave an antenna `height` metres above it.

    Height over half the map's edge. A cell at distance d on a street spans a solid angle ~ 1 / d^3, so that rays spread
    evenly over directions crowd under the mast; with a density ~ 1 / (z^2 + flatness^2) over z, the sine of elevation,
    ~ 1 / d of them meet a cell. On Munich (5 m, 10^6 rays, depth 3) the median error falls from 47 % to 13 % with 0.05.
    """
    return float(np.clip(2 * height / np.sqrt(grid.nx * grid.ny * grid.cell**2), *FLATNESS))


def map_solver(batches: int, seed: int, flat: float) -> Any:
    """Sionna's radio map solver, with rays that crowd towards the horizon, in batches that tell how sure a map is.

    The scene's transmitters are `batches` copies of one, and each shoots a Fibonacci lattice: Sionna's own is the same
    for every transmitter and seed; here each is turned about the vertical and shifted along it, at random by `seed`
    (randomised quasi-Monte Carlo), so that batches are independent and unbiased maps. A ray's power makes up for the
    density of rays in its direction (:func:`flatness`). One lattice for all batches together would be more even (10 %
    for the 13 % there), but the scatter of its parts overstates the error of their mean by up to 2.4.
    """
    prepare()
    import drjit as dr
    import mitsuba as mi
    from sionna.rt.radio_map_solvers import radio_map_solver as library

    turns, shifts = np.random.default_rng(seed).random((2, batches))
    edge, half = dr.opaque(mi.Float64, flat), dr.opaque(mi.Float64, np.arctan(1 / flat))  # or each is a kernel

    def spawn(_lattice: Any, samples: int, sources: Any) -> Any:
        ray = dr.arange(mi.UInt, batches * samples)
        n, batch = mi.Float64(ray % samples), ray // samples
        along = (n + dr.gather(mi.Float64, mi.Float64(shifts), batch)) / samples  # 0 = straight down
        about = n * ((np.sqrt(5.0) - 1) / 2) + dr.gather(mi.Float64, mi.Float64(turns), batch)
        down, up = 1 - along / (1 - ABOVE), 1 - (1 - along) / ABOVE
        z = dr.clip(mi.Float(edge * dr.tan(half * dr.select(down > 0, -down, up))), -1.0, 1.0)
        radius, (sine, cosine) = dr.safe_sqrt(1 - z * z), dr.sincos(mi.Float(2 * np.pi * (about - dr.floor(about))))
        rays: Any = mi.Ray3f(o=dr.repeat(sources, samples), d=mi.Vector3f(radius * cosine, radius * sine, z))
        rays.time = 0.0 * z  # as wide as the rest, or the loop is compiled twice
        return rays

    def field(pattern: Any, to_world: Any, direction_of: Any, direction: str) -> Any:
        z = direction_of.z
        share = dr.select(z > 0, ABOVE, 1 - ABOVE)
        weight = (z * z + mi.Float(edge * edge)) * mi.Float(half / (2 * edge)) / share
        isotropic = library.antenna_pattern_to_world_implicit(pattern, to_world, direction_of, direction=direction)
        return isotropic * dr.sqrt(weight)

    stock = library.RadioMapSolver
    loop = rebound(stock._shoot_and_bounce, spawn_ray_from_sources=spawn, antenna_pattern_to_world_implicit=field)

    class Solver(stock):  # type: ignore[misc, valid-type]
        _shoot_and_bounce = loop

    return Solver()
