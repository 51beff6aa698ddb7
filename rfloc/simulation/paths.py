"""Path gain path by path: Sionna's path solver with the antennas in the scene.

Slower than maps by orders of magnitude and complete at each UE: the oracle that maps are checked against, and what the
study of the released code traces. Nothing of it is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import stats

from rfloc.arrays import Floats, Ints
from rfloc.backend import prepare
from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.errors import SimulationError
from rfloc.frames import sionna_orientation
from rfloc.simulation.antennas import BEAMWIDTH, directivity
from rfloc.simulation.maps import read_maps
from rfloc.simulation.plane import Rays
from rfloc.simulation.propagation import not_above_sent
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import candidate_generator, interactions
from rfloc.stations import Stations

#: Rays a station of the paths that maps are compared with.
CHECKED = 100_000
#: Candidate paths that the solver's buffers start with in all, and how large a source's may grow.
BUFFER, LARGEST_BUFFER = 1 << 19, 1 << 24
#: Largest part of the solver's table of specular chains that a UE has [entries], memory that a call may take [bytes],
#: and what of it the solver takes for each ray, interaction and UE.
LARGEST_TABLE, MEMORY, BYTES_A_TEST = 1 << 20, 1_200_000_000, 72


@dataclass(frozen=True)
class Ends:
    """The antennas of a link, the powers of whose ports and elements add."""

    station: Any  #: Sionna array of the stations, turned to their azimuth and downtilt
    ue: tuple[str, str] = ("iso", "VH")  #: Sionna's names of the UE's pattern and polarisation
    #: Sionna's angles [rad] of an azimuth and a downtilt [deg].
    orientation: Callable[[float, float], tuple[float, float, float]] = sionna_orientation
    explicit: bool = False  #: every element sends an equal part of a station's rays; else all leave from the middle


def sector(radio: RadioParams, polarization: str = "V", **shape: Any) -> Any:
    """A station's antenna as a Sionna `PlanarArray` (`shape`: one element by default), each port of all the power."""
    prepare()
    import drjit as dr
    import mitsuba as mi
    from sionna.rt import PlanarArray
    from sionna.rt.antenna_pattern import PolarizedAntennaPattern

    number: Any = mi.Complex2f

    def tr38901(theta: Any, phi: Any) -> Any:
        """Sionna's own has 30 dB from front to back and 8 dBi, whatever is asked for."""
        least = radio.front_to_back_db
        off = [dr.minimum(12 * (dr.rad2deg(angle) / BEAMWIDTH) ** 2, least) for angle in (theta - dr.pi / 2, phi)]
        return number(directivity("tr38901", least) ** 0.5 * 10 ** (-dr.minimum(off[0] + off[1], least) / 20), 0)

    named = "hw_dipole" if radio.pattern == "dipole" else "iso"
    array = PlanarArray(**({"num_rows": 1, "num_cols": 1} | shape), pattern=named, polarization=polarization)
    if radio.pattern == "tr38901":
        array.antenna_pattern = PolarizedAntennaPattern(v_pattern=tr38901, polarization=polarization)
    return array


def trace_gain(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, rays: Rays, ends: Ends | None = None,
    ues: int | None = None, cap: int | None = None,
) -> tuple[Floats, Ints]:  # fmt: skip
    """Path gain of links by summing powers over paths, one station and some UEs a solver call.

    A link depends on the scene, the station, the UE and `rays` alone, neither on the other UEs nor on the size of a
    call. The solver drops paths silently when its buffer is full: it is doubled and the call repeated. Raises
    SimulationError if a directive station has no azimuth, if even the largest buffer is full, or if a UE receives more
    than all ports of its station send.

    Stations are traced where they are, within a building too; UEs at x, y [m] stand at `rays.radio.ue_height`. Default
    of `ends`: the sector of the radio parameters and isotropic UEs; of `ues`, how many a call has: what memory allows.
    `cap`: candidate paths that these share, the others being lost.

    Returns the gain, linear, the mean over frequency of |H(f)|^2 in a band so wide that no two paths beat, and the
    number of paths, an explicit array's counted at every port; (ue, bs) each.
    """
    sim, radio = rays.sim, rays.radio
    if radio.pattern == "tr38901" and np.isnan(stations.azimuth).any():
        raise SimulationError("a station has no azimuth", "a directive antenna in a scene looks somewhere", "draw one")
    ends = ends or Ends(sector(radio))
    import mitsuba as mi
    from sionna.rt import PlanarArray, Receiver, Transmitter

    scene = load_scene(city, radio.carrier_hz, sim.scattering)
    scene.tx_array = ends.station
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern=ends.ue[0], polarization=ends.ue[1])
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    at = np.stack([x, y, city.ground_at(x, y) + radio.ue_height], 1)
    base = np.stack([stations.x, stations.y, city.ground_at(stations.x, stations.y) + stations.h], 1)
    sources = ends.station.array_size if ends.explicit else 1
    rays = replace(rays, samples=max(rays.samples // sources, 1))
    entries = min(LARGEST_TABLE, 1 << (16 * rays.samples - 1).bit_length())  # no matter how many UEs there are
    step = ues or max(1, MEMORY // (rays.samples * max(sim.max_depth, 1) * BYTES_A_TEST + 8 * entries))
    gain, count = np.zeros((x.size, stations.n)), np.zeros((x.size, stations.n), np.int64)
    buffer = cap or BUFFER // sources
    for start in range(0, x.size, step):
        batch = slice(start, min(start + step, x.size))
        scene.remove(list(scene.receivers))
        scene.add([Receiver(f"ue{i}", position=mi.Point3f(*at[i].tolist())) for i in range(batch.start, batch.stop)])
        for k in range(stations.n):
            scene.remove("bs")
            turned = mi.Point3f(*ends.orientation(float(np.nan_to_num(stations.azimuth[k])), radio.downtilt))
            scene.add(Transmitter("bs", position=mi.Point3f(*base[k].tolist()), orientation=turned))
            generator = candidate_generator(min(step, x.size), entries)
            paths, buffer = _solve(scene, generator, rays, not ends.explicit, buffer, cap is None)
            real, imag = (np.array(part, np.float64) for part in paths.a)  # (ue, ue port, 1, port, path)
            power = (real**2 + imag**2).reshape(batch.stop - batch.start, -1)
            gain[batch, k] = np.sort(power).sum(axis=1)  # paths come in no fixed order: sorted, sums repeat to the bit
            count[batch, k] = np.array(paths.valid).reshape(batch.stop - batch.start, -1).sum(axis=1)
    ports = ends.station.num_ant * directivity(radio.pattern, radio.front_to_back_db)
    return not_above_sent(gain, ports * directivity("dipole" if "dipole" in ends.ue[0] else "isotropic")), count


def _solve(scene: Any, generator: Any, rays: Rays, synthetic: bool, buffer: int, grows: bool) -> tuple[Any, int]:
    """The solver's paths from the scene's one transmitter, and the size of the buffer that held them."""
    from sionna.rt import PathSolver

    solver = PathSolver(deterministic=True)
    solver._candidate_generator = generator
    while True:
        paths = solver(
            scene, max_depth=rays.sim.max_depth, max_num_paths_per_src=buffer, samples_per_src=rays.samples,
            synthetic_array=synthetic, seed=rays.seed, **interactions(rays.sim),
        )  # fmt: skip
        if not grows or generator.stored < buffer:
            return paths, buffer
        if buffer >= LARGEST_BUFFER:
            raise SimulationError(
                f"more than {buffer} candidate paths between a station and {len(scene.receivers)} UEs",
                "the solver would drop the others without a word",
                "trace fewer samples, or switch off diffuse reflection",
            )
        buffer *= 2


def compare_with_maps(city: City, maps: xr.Dataset, x: ArrayLike, y: ArrayLike, rays: Rays) -> dict[str, float]:
    """How well isotropic maps without the rooftop floor agree with paths to UEs at x, y [m] by :data:`CHECKED` rays.

    `links`: (UE, station) pairs; `paths`, `maps`: shares of them that either reaches; `both`: number that both do, with
    `bias_db`, `rms_db` (bias removed) and `spearman` of maps against paths there (NaN under three); `missed`: share of
    the traced links that maps miss; `spearman_all`: over all pairs, what one does not reach its weakest.
    """
    isotropic = rays.radio.model_copy(update={"pattern": "isotropic", "downtilt": 0.0})
    paths = replace(rays, radio=isotropic, samples=CHECKED)
    traced, _ = trace_gain(city, Stations.from_dataset(maps), x, y, paths)
    mapped = read_maps(maps, x, y)
    both = (traced > 0) & (mapped > 0)
    error = 10 * np.log10(mapped[both] / traced[both])
    pairs = (mapped[both], traced[both]), (mapped.ravel(), traced.ravel())
    ranks = [float(stats.spearmanr(*pair).statistic) for pair in pairs] if error.size > 2 else [np.nan, np.nan]
    bias, rms = (float(error.mean()), float(error.std())) if error.size > 2 else (np.nan, np.nan)
    return {
        "links": int(traced.size), "paths": float((traced > 0).mean()), "maps": float((mapped > 0).mean()),
        "both": int(both.sum()), "missed": float(1 - both.sum() / max((traced > 0).sum(), 1)),
        "bias_db": bias, "rms_db": rms, "spearman": ranks[0], "spearman_all": ranks[1],
    }  # fmt: skip


def beyond_errors(one: xr.Dataset, other: xr.Dataset) -> dict[str, float]:
    """Share of cells where maps of the same stations, by other rays, differ by more than so many standard errors.

    By number of errors: two, and the quantile of Student's t that would hold 95 % of cells with an error of so few
    batches (four: 3.2), were batches normally distributed.
    """
    a, b = (ds["ray_gain"].values.astype(float) for ds in (one, other))
    error = np.hypot(a * one["ray_error"].values, b * other["ray_error"].values)
    off, met = np.abs(a - b), (a > 0) & (b > 0)
    reaches = (2.0, stats.t.ppf(0.975, one.attrs["batches"] - 1))
    return {f"{reach:.1f}": float((off > reach * error)[met].mean()) for reach in reaches}
