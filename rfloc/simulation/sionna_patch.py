"""What is added to Sionna RT's solvers: paths of one element at four slants that ignore other UEs, rays aimed at maps.

The path solver keeps every chain of specular reflections once, by its hash in a table that all UEs of a call share. Two
chains with one entry lose one of them, so that a path of one UE depends on who else is in the call, by up to several
dB of a link. Here every UE has a part of the table to itself: a collision is then the same in every call.
"""

from __future__ import annotations

from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from rfloc.backend import prepare
from rfloc.config import SimulationParams
from rfloc.frames import Grid

#: Slants at which the transmitting element is traced [deg]. The power received over slant is a trigonometric
#: polynomial, of second order for specular paths and of fourth for one or two diffuse reflections: four samples.
SLANTS = (0.0, 45.0, 90.0, 135.0)

#: Largest part of the table that a UE has, in entries.
LARGEST_TABLE = 1 << 20

#: Memory that a call may take [bytes], and what the solver takes for each ray, interaction and UE.
MEMORY, BYTES_A_TEST = 1_200_000_000, 72

#: Share of a map's rays that go up. From 0.1 to 0.25 a map gets worse by a quarter.
ABOVE = 0.1

#: Least and greatest :func:`flatness`.
FLATNESS = (0.01, 0.5)


def interactions(sim: SimulationParams) -> dict[str, bool]:
    """The arguments by which either solver is told what rays may do."""
    return {
        "specular_reflection": sim.specular,
        "diffuse_reflection": sim.diffuse,
        "refraction": sim.refraction,
        "diffraction": sim.diffraction,
    }


def table_entries(samples: int) -> int:
    """Entries of one UE's part of the table of specular chains; a function of nothing but the rays of a station."""
    return min(LARGEST_TABLE, 1 << (16 * samples - 1).bit_length())


def ues_a_call(samples: int, max_depth: int) -> int:
    """Number of UEs that one solver call has memory for, one at least."""
    return max(1, MEMORY // (samples * max(max_depth, 1) * BYTES_A_TEST + 8 * table_entries(samples)))


def slanted_array() -> Any:
    """Sionna array of a single isotropic element with one port a slant of :data:`SLANTS`."""
    prepare()
    import mitsuba as mi
    from sionna.rt import AntennaPattern, PlanarArray

    number: Any = mi.Complex2f

    def port(slant: float) -> Any:
        theta_part, phi_part = float(np.cos(np.radians(slant))), float(np.sin(np.radians(slant)))

        def pattern(theta: Any, phi: Any) -> tuple[Any, Any]:
            everywhere = 0.0 * theta
            return number(theta_part + everywhere, 0), number(phi_part + everywhere, 0)

        return pattern

    class Slanted(AntennaPattern):
        patterns = [port(slant) for slant in SLANTS]  # noqa: RUF012

    array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    array.antenna_pattern = Slanted()
    return array


def candidate_generator(ues: int, entries: int) -> Any:
    """Sionna's deterministic candidate generator with a table of `entries` for each of up to `ues` UEs.

    Its attribute `stored` is the number of candidates of the last call; the solver drops those beyond its buffer.
    """
    prepare()
    import mitsuba as mi
    from sionna.rt.path_solvers import sb_deterministic as library

    def entry(ue: Any, chain: Any, size: Any, source: Any) -> Any:
        return mi.UInt(chain % entries) + entries * ue + size * source

    stock = library.SBDeterministicCandidateGenerator
    loop = stock._shoot_and_bounce_loop
    names = vars(library) | {
        "hash_for_target": entry,
        "SBCandidateGenerator": SimpleNamespace(MIN_SPEC_COUNT_SIZE=ues * entries),
    }

    class Generator(stock):  # type: ignore[misc, valid-type]
        _shoot_and_bounce_loop = FunctionType(loop.__code__, names, loop.__name__, loop.__defaults__, loop.__closure__)

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
    evenly over directions crowd under the mast. With a density ~ 1 / (z^2 + flatness^2) over z, the sine of elevation,
    there are ~ 1 / d of them on a cell as far as the edge. On Munich (5 m, 10^6 rays, depth 3, specular) the median
    error of a cell falls from 47 % to 13 % with 0.05, cells without a ray from 29 % to 6 %, and 0.03 and 0.1 are nearly
    as good; on a city of 360 m, antennas at 26 m, 0.2 is best and 0.05 no better than even.
    """
    return float(np.clip(2 * height / np.sqrt(grid.nx * grid.ny * grid.cell**2), *FLATNESS))


def map_solver(batches: int, seed: int, flat: float) -> Any:
    """Sionna's radio map solver, with rays that crowd towards the horizon, in batches that tell how sure a map is.

    The scene's transmitters are `batches` copies of one, and each shoots a Fibonacci lattice. Sionna's own lattice is
    the same for every transmitter, whatever the seed; here each is turned about the vertical and shifted along it by a
    part of a point, at random by `seed` (randomised quasi-Monte Carlo), so that batches are independent and unbiased
    maps. A ray's power makes up for the density of rays in its direction, for which see :func:`flatness`. One lattice
    for all batches together would be more even (10 % for the 13 % there), but the scatter of its parts overstates the
    error of their mean by up to 2.4.
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
        down = 1 - along / (1 - ABOVE)
        up = 1 - (1 - along) / ABOVE
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
    loop = stock._shoot_and_bounce
    names = vars(library) | {"spawn_ray_from_sources": spawn, "antenna_pattern_to_world_implicit": field}

    class Solver(stock):  # type: ignore[misc, valid-type]
        _shoot_and_bounce = FunctionType(loop.__code__, names, loop.__name__, loop.__defaults__, loop.__closure__)

    return Solver()
