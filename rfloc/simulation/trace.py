"""Paths: every ray between stations and UEs kept with its angle of departure, traced between isotropic elements.

Slower than maps by orders of magnitude and complete at each UE: what maps are checked against, and where a pattern can
be applied to the true angle of departure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import wrap_degrees
from rfloc.simulation.antennas import pattern_gain_db
from rfloc.simulation.backend import prepare
from rfloc.simulation.maps import place_transmitter, read_maps
from rfloc.simulation.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

#: UEs of one solver call, candidate paths its buffer starts with, and how large it may grow.
CHUNK, BUFFER, LARGEST_BUFFER = 64, 1 << 19, 1 << 24


def trace_paths(
    city: City,
    stations: Stations,
    x: ArrayLike,
    y: ArrayLike,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    samples: int = 100_000,
) -> xr.Dataset:
    """Trace the paths between stations and UEs, one station and a chunk of UEs a solver call.

    The solver's buffer drops paths silently when it is full; here it is doubled and the call repeated.

    Parameters
    ----------
    x, y : array_like, shape (ue,)
        UE positions [m], at `radio.ue_height` above ground.
    samples : int
        Rays a station and chunk.

    Returns
    -------
    Dataset
        `transfer` (bs, ue, path, polarisation) complex64, from the station's vertical element to the UE's vertical and
        horizontal one, 0 past a link's last path; `departure_zenith`, `departure_azimuth` (bs, ue, path) [deg],
        azimuth clockwise from north; `delay` (bs, ue, path) [s], NaN past the last path.

    Raises
    ------
    SimulationError
        If even the largest buffer is full.
    """
    prepare()
    import mitsuba as mi
    from sionna.rt import PathSolver, PlanarArray, Receiver

    stations = stations.above_roofs(city)
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    z = city.ground_at(x, y) + radio.ue_height
    scene = city.load_scene(radio.carrier_hz, sim.scattering)
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
    found: list[list[dict[str, NDArray[Any]]]] = [[] for _ in range(stations.n)]
    buffer = BUFFER
    for start in range(0, x.size, CHUNK):
        for name in list(scene.receivers):
            scene.remove(name)
        for i in range(start, min(start + CHUNK, x.size)):
            scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(x[i]), float(y[i]), float(z[i]))))
        for k in range(stations.n):
            place_transmitter(scene, city, stations, k)
            while True:
                solver = PathSolver()
                watch = _Watch(solver._candidate_generator)
                solver._candidate_generator = watch
                paths = solver(
                    scene,
                    max_depth=sim.max_depth,
                    max_num_paths_per_src=buffer,
                    samples_per_src=samples,
                    synthetic_array=True,
                    specular_reflection=sim.specular,
                    diffuse_reflection=sim.diffuse,
                    refraction=sim.refraction,
                    diffraction=sim.diffraction,
                    seed=seed,
                )
                if watch.candidates < buffer:
                    break
                if buffer >= LARGEST_BUFFER:
                    raise SimulationError(
                        f"more than {buffer} candidate paths between {stations.id[k]} and {CHUNK} UEs",
                        "the solver would drop the others without a word",
                        "trace fewer samples, or switch off diffuse reflection",
                    )
                buffer *= 2
            found[k].append(_arrays(paths))
    return _assemble(found, stations, x, y, city, radio, samples, seed)


class _Watch:
    """Stands before the solver's candidate generator and counts the candidates that it stored."""

    def __init__(self, generator: Any) -> None:
        self._generator, self._counter = generator, None

    def __call__(self, **arguments: Any) -> Any:
        buffer = self._generator(**arguments)
        self._counter = buffer.paths_counter
        return buffer

    @property
    def candidates(self) -> int:
        return int(np.array(self._counter)[0])


def _arrays(paths: Any) -> dict[str, NDArray[Any]]:
    """A solver call's arrays for its one transmitter, (ue, path[, polarisation])."""
    real, imag = (np.array(part) for part in paths.a)  # (rx, rx_ant, tx, tx_ant, path)
    tau, theta, phi = (np.array(part)[:, 0] for part in (paths.tau, paths.theta_t, paths.phi_t))
    real, imag = (np.moveaxis(part[:, :, 0, 0], 1, -1) for part in (real, imag))
    valid = np.array(paths.valid)
    valid = valid[:, 0] if valid.ndim == 3 else valid[:, 0, 0, 0]
    nan = np.where(valid, 0.0, np.nan)
    return {
        "transfer": np.where(valid[..., None], real + 1j * imag, 0.0).astype(np.complex64),
        "departure_zenith": (np.degrees(theta) + nan).astype(np.float32),
        "departure_azimuth": ((90.0 - np.degrees(phi)) % 360.0 + nan).astype(np.float32),
        "delay": tau + nan,
    }


def _assemble(
    found: list[list[dict[str, NDArray[Any]]]], stations: Stations, x: Any, y: Any, city: City, radio: RadioParams,
    samples: int, seed: int,
) -> xr.Dataset:  # fmt: skip
    width = max(part["delay"].shape[1] for row in found for part in row)
    fills = {"transfer": 0.0, "departure_zenith": np.nan, "departure_azimuth": np.nan, "delay": np.nan}
    units = {"transfer": "", "departure_zenith": "deg", "departure_azimuth": "deg", "delay": "s"}
    variables = {}
    for name, fill in fills.items():
        rows = []
        for row in found:
            padded = []
            for part in row:
                values = part[name]
                pad = [(0, 0), (0, width - values.shape[1])] + [(0, 0)] * (values.ndim - 2)
                padded.append(np.pad(values, pad, constant_values=fill))
            rows.append(np.concatenate(padded))
        dims = ("bs", "ue", "path", "polarisation")[: 3 + (name == "transfer")]
        variables[name] = (dims, np.stack(rows), {"units": units[name]})
    return xr.Dataset(
        variables,
        coords={"ue_x": ("ue", x), "ue_y": ("ue", y), **stations.coords()},
        attrs={"carrier_hz": float(radio.carrier_hz), "samples": samples, "seed": seed, **city.frame.to_attrs()},
    )


def path_gain(paths: xr.Dataset, radio: RadioParams | None = None) -> NDArray[np.float64]:
    """Path gain by summing powers over paths and the UE's polarisations, shape (ue, bs), linear.

    Parameters
    ----------
    radio : RadioParams, optional
        Pattern and downtilt, applied at every path's own angle of departure; None: isotropic.
    """
    power = (np.abs(paths["transfer"].values.astype(np.complex128)) ** 2).sum(-1)
    if radio is not None:
        off = wrap_degrees(paths["departure_azimuth"].values - paths["bs_azimuth"].values[:, None, None])
        gain = pattern_gain_db(
            radio.pattern, off, 90.0 - paths["departure_zenith"].values, radio.downtilt, radio.front_to_back_db
        )
        power = np.where(power > 0, power * 10 ** (gain / 10), 0.0)
    return power.sum(-1).T


def compare_with_maps(paths: xr.Dataset, maps: xr.Dataset, radio: RadioParams | None = None) -> dict[str, float]:
    """How well the rays of maps agree with paths at the paths' UEs; the rooftop floor is left out.

    Returns
    -------
    dict
        `links`: (UE, station) pairs; `paths`, `rays`: shares of them that path tracing, and the maps' rays, reach;
        `both`: number that both reach, with the `bias_db`, `rms_db` (bias removed) and `spearman` of maps against
        paths there (NaN under three); `missed`: share of the path-traced links that the maps' rays miss.
    """
    mapped = read_maps(maps.assign(path_gain=maps["ray_gain"]), paths["ue_x"].values, paths["ue_y"].values, radio)
    traced = path_gain(paths, radio)
    both = (traced > 0) & (mapped > 0)
    error = 10 * np.log10(mapped[both] / traced[both])
    enough = error.size > 2
    return {
        "links": int(traced.size),
        "paths": float((traced > 0).mean()),
        "rays": float((mapped > 0).mean()),
        "both": int(both.sum()),
        "missed": float(1 - both.sum() / max((traced > 0).sum(), 1)),
        "bias_db": float(error.mean()) if enough else float("nan"),
        "rms_db": float(error.std()) if enough else float("nan"),
        "spearman": float(spearmanr(mapped[both], traced[both]).statistic) if enough else float("nan"),
    }
