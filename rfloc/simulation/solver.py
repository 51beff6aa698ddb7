"""What path tracing adds to Sionna RT's solver: one element at four slants, and results that ignore other UEs.

The solver keeps every chain of specular reflections once, by its hash in a table that all UEs of a call share. Two
chains with one entry lose one of them, so that a path of one UE depends on who else is in the call, by up to several
dB of a link. Here every UE has a part of the table to itself: a collision is then the same in every call.
"""

from __future__ import annotations

from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from rfloc.simulation.backend import prepare

#: Slants at which the transmitting element is traced [deg]. The power received over slant is a trigonometric
#: polynomial, of second order for specular paths and of fourth for one or two diffuse reflections: four samples.
SLANTS = (0.0, 45.0, 90.0, 135.0)

#: Largest part of the table that a UE has, in entries.
LARGEST_TABLE = 1 << 20

#: Memory that a call may take [bytes], and what the solver takes for each ray, interaction and UE.
MEMORY, BYTES_A_TEST = 1_200_000_000, 72


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
