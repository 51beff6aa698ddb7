"""Rays as the released code traces them: antennas of many elements in the scene, capped paths, roofs as fans."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.backend import prepare
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.frames import sionna_orientation
from rfloc.simulation.antennas import BEAMWIDTH, MAX_GAIN_DB
from rfloc.simulation.scene import load_scene
from rfloc.simulation.sionna_patch import candidate_generator, interactions, table_entries
from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

Array = NDArray[np.float64]

#: The station's array: rows and columns of elements, distance between them [wavelengths], slants of its ports [deg].
ROWS, COLUMNS, ROW_SPACING, COLUMN_SPACING, SLANTS = 6, 6, 0.7, 0.5, (0.0, 90.0)

#: UEs of a solver call, and the paths that they share, as a part of the rays: 10^4 of 10^6.
BATCH, PATHS_A_RAY = 256, 0.01

#: Candidate paths that a source's buffer starts with.
BUFFER = 1 << 14


@dataclass(frozen=True)
class Departure:
    """Choices of the released code; what is not named stays as in this project.

    Parameters
    ----------
    label : str
        In words.
    radio, sim : dict
        Parameters of these sections that it sets.
    array : {"element", "explicit", "synthetic"}
        The stations' antenna: a vertical element, or 36 with two ports each, whose powers add without being shared
        out. Rays leave from every element (a 36th of them from each), or from the middle, as if the array had no size.
    dipoles : bool
        Crossed dipoles at the UE instead of isotropic ports.
    roll : bool
        A station's azimuth turns its antenna about the boresight, which stays where it is: in the east.
    capped : bool
        The UEs of a batch share so many paths; the others are lost.
    fans : bool
        Roofs by :func:`fan_city`.
    shift : float
        Stations and UEs stand so far east of where the buildings have them [m].
    one_feature : bool
        NSINR, NRSRP and NRSRQ are RSSI and a constant (:func:`rfloc.studies.released.one_feature`).
    sentinel : bool
        Links that are not heard have a level all the same: -140 dBm.
    """

    label: str
    radio: Mapping[str, Any] = field(default_factory=dict)
    sim: Mapping[str, Any] = field(default_factory=dict)
    array: Literal["element", "explicit", "synthetic"] = "element"
    dipoles: bool = False
    roll: bool = False
    capped: bool = False
    fans: bool = False
    shift: float = 0.0
    one_feature: bool = False
    sentinel: bool = False

    @property
    def traces(self) -> bool:
        """Whether it needs rays of its own; otherwise a path cache can tell what it does."""
        carried = {"carrier_hz", "ue_height"} & set(self.radio)
        moved = self.roll or self.capped or self.fans or self.shift
        return bool(carried or self.sim or self.array == "explicit" or moved)


def roll_orientation(azimuth: float, downtilt: float = 0.0) -> tuple[float, float, float]:
    """Sionna RT's orientation [rad] with the azimuth [deg] in the third slot, the roll.

    :func:`rfloc.frames.sionna_orientation` is the right one. Rolled, an antenna looks east whatever its azimuth.
    """
    return 0.0, float(np.radians(downtilt)), float(np.radians(azimuth))


def sector_array(radio: RadioParams, array: str = "element") -> Any:
    """The stations' antenna as a Sionna array of elements with the pattern that the radio parameters name."""
    prepare()
    import drjit as dr
    import mitsuba as mi
    from sionna.rt import AntennaPattern, PlanarArray

    number: Any = mi.Complex2f
    sector = radio.pattern == "tr38901"

    def port(slant: float) -> Any:
        def pattern(theta: Any, phi: Any) -> tuple[Any, Any]:
            least = radio.front_to_back_db
            off = [dr.minimum(12 * (dr.rad2deg(angle) / BEAMWIDTH) ** 2, least) for angle in (theta - dr.pi / 2, phi)]
            level = 10 ** ((MAX_GAIN_DB - dr.minimum(off[0] + off[1], least)) / 20) if sector else 1.0 + 0.0 * theta
            return number(level * np.cos(slant), 0), number(level * np.sin(slant), 0)

        return pattern

    class Sector(AntennaPattern):
        patterns = [port(np.radians(slant)) for slant in (SLANTS if array != "element" else (0.0,))]  # noqa: RUF012

    rows, columns = (ROWS, COLUMNS) if array != "element" else (1, 1)
    found = PlanarArray(
        num_rows=rows,
        num_cols=columns,
        vertical_spacing=ROW_SPACING,
        horizontal_spacing=COLUMN_SPACING,
        pattern="iso",
        polarization="V",
    )
    found.antenna_pattern = Sector()
    return found


def trace_gain(
    city: City,
    stations: Stations,
    x: ArrayLike,
    y: ArrayLike,
    departure: Departure,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    samples: int,
) -> tuple[Array, NDArray[np.int64]]:
    """Path gain of links, traced with the antennas in the scene, :data:`BATCH` UEs a call.

    Parameters
    ----------
    stations : Stations
        Where they stand is left as it is, within a building too.
    x, y : array_like, shape (ue,)
        UE positions [m].
    departure : Departure
        Choices; its `radio` and `sim` are already in the parameters that follow.
    samples : int
        Rays a station. The elements of an explicit array share them.

    Returns
    -------
    gain : ndarray, shape (ue, bs)
        Linear, powers summed over ports and paths.
    paths : ndarray of int, shape (ue, bs)
        Paths of a link; an explicit array's are counted at every port.

    Raises
    ------
    SimulationError
        If a station has no azimuth.
    """
    if departure.fans:
        with TemporaryDirectory(prefix="rfloc-") as folder:
            shape = dataclasses.replace(departure, fans=False)
            return trace_gain(fan_city(city, Path(folder)), stations, x, y, shape, sim, radio, seed, samples)
    if np.isnan(stations.azimuth).any():
        raise SimulationError("a station has no azimuth", "an antenna in a scene looks somewhere", "draw one")
    prepare()
    import mitsuba as mi
    from sionna.rt import PlanarArray, Receiver, Transmitter

    explicit = departure.array == "explicit"
    scene = load_scene(city, radio.carrier_hz, sim.scattering)
    scene.tx_array = sector_array(radio, departure.array)
    ends = {"pattern": "hw_dipole", "polarization": "cross"} if departure.dipoles else {"polarization": "VH"}
    scene.rx_array = PlanarArray(num_rows=1, num_cols=1, **({"pattern": "iso"} | ends))
    x = np.atleast_1d(np.asarray(x, float)) + departure.shift
    y = np.atleast_1d(np.asarray(y, float))
    z = city.ground_at(x, y) + radio.ue_height
    base = city.ground_at(stations.x + departure.shift, stations.y) + stations.h
    turn = roll_orientation if departure.roll else sionna_orientation
    rays = max(samples // (ROWS * COLUMNS), 1) if explicit else samples
    gain, count = np.zeros((x.size, stations.n)), np.zeros((x.size, stations.n), np.int64)
    for start in range(0, x.size, BATCH):
        batch = slice(start, min(start + BATCH, x.size))
        for name in list(scene.receivers):
            scene.remove(name)
        for i in range(batch.start, batch.stop):
            scene.add(Receiver(f"ue{i}", position=mi.Point3f(float(x[i]), float(y[i]), float(z[i]))))
        for k in range(stations.n):
            for name in list(scene.transmitters):
                scene.remove(name)
            at = mi.Point3f(float(stations.x[k] + departure.shift), float(stations.y[k]), float(base[k]))
            orientation = mi.Point3f(*turn(float(stations.azimuth[k]), radio.downtilt))
            scene.add(Transmitter("bs", position=at, orientation=orientation))
            cap = max(round(PATHS_A_RAY * rays), 1) if departure.capped else None
            paths = _solve(scene, sim, rays, seed, not explicit, cap)
            real, imag = (np.array(part, np.float64) for part in paths.a)  # (ue, port, 1, port, path)
            valid = np.array(paths.valid).reshape(batch.stop - batch.start, -1)
            gain[batch, k] = (real**2 + imag**2).sum(axis=(1, 2, 3, 4))
            count[batch, k] = valid.sum(axis=1)
    return gain, count


def _solve(scene: Any, sim: SimulationParams, rays: int, seed: int, synthetic: bool, cap: int | None) -> Any:
    """The solver's paths from the scene's transmitter, at most `cap` from each source, or all where that is None."""
    from sionna.rt import PathSolver

    solver, buffer = PathSolver(deterministic=True), cap or BUFFER
    solver._candidate_generator = generator = candidate_generator(len(scene.receivers), table_entries(rays))
    while True:
        paths = solver(
            scene,
            max_depth=sim.max_depth,
            max_num_paths_per_src=buffer,
            samples_per_src=rays,
            synthetic_array=synthetic,
            seed=seed,
            **interactions(sim),
        )
        if cap or generator.stored < buffer:
            return paths
        buffer *= 2


def fan_city(city: City, folder: Path) -> City:
    """The city with a scene, written to `folder`, whose courtyards are filled and whose roofs are fans of triangles.

    A fan joins every edge of an outline with its first vertex. Where the outline is bent, triangles overlap and spill.

    Raises
    ------
    SimulationError
        If the city has no footprints: it is one of Sionna's scenes.
    """
    if not (city.folder / "buildings.parquet").exists():
        raise SimulationError(f"{city.key!r} has no footprints", "its scene came ready made", "take a city from a map")
    import geopandas as gpd
    import shapely

    from rfloc.city.mesh import FOUNDATION, Mesh, write_ply

    footprints = gpd.read_parquet(city.folder / "buildings.parquet")
    vertices: list[Array] = []
    faces: list[NDArray[np.int64]] = []
    start = 0
    for outline, height in zip(footprints.geometry, footprints["height"], strict=True):
        ring = shapely.get_coordinates(shapely.orient_polygons(outline).exterior)[:-1]
        n = len(ring)
        floor, fan = start + np.arange(n), np.arange(1, n - 1)
        following, roof = np.roll(floor, -1), start + n + np.stack([0 * fan, fan, fan + 1], 1)
        walls = [np.stack([floor, following, following + n], 1), np.stack([floor, following + n, floor + n], 1)]
        vertices += [np.column_stack([ring, np.full(n, z)]) for z in (-FOUNDATION, height)]
        faces += [*walls, roof, roof[:, ::-1] - n]
        start += 2 * n
    shutil.copytree(city.folder / "meshes", folder / "meshes")
    shutil.copy(city.folder / "scene.xml", folder)
    write_ply(Mesh(np.concatenate(vertices), np.concatenate(faces)), folder / "meshes" / "buildings.ply")
    return dataclasses.replace(city, folder=folder)
