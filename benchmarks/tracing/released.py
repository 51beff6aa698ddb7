"""Sionna's solvers as they come, and the released code's way to a link: its antennas in the scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rfloc.backend import prepare
from rfloc.city import City
from rfloc.config import RadioParams, SimulationParams
from rfloc.frames import sionna_orientation
from rfloc.simulation.maps import place_transmitter, sector_gain_db
from rfloc.simulation.paths import sector
from rfloc.simulation.plane import Plane
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import interactions
from rfloc.stations import Stations
from rfloc.studies.released import ARRAY, BATCH, DIPOLES

prepare()
import mitsuba as mi  # noqa: E402 - the backend is chosen first
from sionna.rt import PathSolver, PlanarArray, RadioMapSolver, Receiver, Transmitter  # noqa: E402

Array = NDArray[np.float64]

#: Paths that a source (one element) keeps for all UEs of a call.
MAX_PATHS = 10_000


def trace_gain(
    city: City, stations: Stations, x: Array, y: Array, sim: SimulationParams, radio: RadioParams, samples: int,
    seed: int = 42, array: bool = True, max_paths: int = MAX_PATHS, batch: int = BATCH,
) -> Array:  # fmt: skip
    """Path gain (ue, bs): the one feature, sum of |a|^2 over paths, ports and elements, here shared out to the ports.

    Every solver call has all stations and a batch of UEs. Each element of the array sends its own `samples` rays;
    without `array` there is one element.
    """
    scene = load_scene(city, radio.carrier_hz, sim.scattering)
    scene.tx_array = sector(radio, "VH", **(ARRAY if array else {}))
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, pattern=DIPOLES[0], polarization=DIPOLES[1])
    height = city.ground_at(stations.x, stations.y) + stations.h
    for k in range(stations.n):
        position = mi.Point3f(float(stations.x[k]), float(stations.y[k]), float(height[k]))
        towards = mi.Point3f(*sionna_orientation(float(stations.azimuth[k])))
        scene.add(Transmitter(f"bs{k}", position=position, orientation=towards))
    z = city.ground_at(x, y) + radio.ue_height
    gain = np.empty((len(x), stations.n))
    for start in range(0, len(x), batch):
        scene.remove(list(scene.receivers))
        for i in range(start, min(start + batch, len(x))):
            scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(x[i]), float(y[i]), float(z[i]))))
        paths = PathSolver()(
            scene, max_depth=sim.max_depth, max_num_paths_per_src=max_paths, samples_per_src=samples,
            synthetic_array=not array, seed=seed, **interactions(sim),
        )  # fmt: skip
        power = sum(np.asarray(part) ** 2 for part in paths.a)  # (ue, ue port, bs, bs port, path)
        gain[start : start + batch] = power.sum((1, 3, 4)) / power.shape[3]
    return gain


def map_gain(
    plane: Plane, stations: Stations, x: Array, y: Array, sim: SimulationParams, radio: RadioParams, samples: int,
    seed: int = 42,
) -> Array:  # fmt: skip
    """Path gain (ue, bs) off radio maps of rays that leave evenly to all sides, sectors applied to what is read."""
    city, grid = plane.city, plane.grid
    scene, (x_min, y_min, x_max, y_max) = load_scene(city, radio.carrier_hz, sim.scattering), grid.bounds
    row, col, _ = grid.index(x, y)
    share = plane.outdoors[0][row, col]
    gain = 10 ** (sector_gain_db(stations, x, y, radio).T / 10)
    height = city.ground_at(stations.x, stations.y) + stations.h
    for k, at in enumerate(np.stack([stations.x, stations.y, height], 1).tolist()):
        place_transmitter(scene, at)
        found = RadioMapSolver()(
            scene, center=mi.Point3f((x_min + x_max) / 2, (y_min + y_max) / 2, plane.z),
            size=mi.Point2f(x_max - x_min, y_max - y_min), orientation=mi.Point3f(0.0), cell_size=mi.Point2f(grid.cell),
            samples_per_tx=samples, max_depth=sim.max_depth, seed=seed, **interactions(sim),
        )  # fmt: skip
        gain[:, k] *= np.asarray(found.path_gain)[0][row, col] / np.maximum(share, 1e-3)
    return gain
