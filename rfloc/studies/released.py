"""What the released code chose otherwise than this project, each choice on its own.

Nothing else uses these: they exist so that the effect of each can be measured. Choices that parameters can express are
parameters here too (`conf/variant/released_code.yaml` has them together). Paths are traced, antennas in the scene.
"""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from rfloc.arrays import Floats
from rfloc.city import City
from rfloc.datasets.build import links_from_gain
from rfloc.errors import SimulationError
from rfloc.frames import sionna_orientation
from rfloc.schema import FEATURES, validate
from rfloc.simulation.paths import Ends, sector, trace_gain
from rfloc.simulation.plane import Rays
from rfloc.stations import Stations

#: The station's array: rows and columns of elements, distances between them [wavelengths]; with ports V and H, 72.
ARRAY = {"num_rows": 6, "num_cols": 6, "vertical_spacing": 0.7, "horizontal_spacing": 0.5}
#: The UE's antenna by Sionna's names: half-wave dipoles, crossed.
DIPOLES = ("hw_dipole", "cross")
#: UEs of a solver call, and the paths that they share, as a part of the rays: 10^4 of 10^6.
BATCH, PATHS_A_RAY = 256, 0.01
#: RSSI that stands for "no path", noise and interference [dBm], resource blocks and elements: constants of the metrics.
SENTINEL_DBM, NOISE_DBM, INTERFERENCE_DBM, BLOCKS, ELEMENTS = -140.0, -100.0, -110.0, 84, 1008


@dataclass(frozen=True)
class Departure:
    """Choices of the released code; what is not named stays as in this project."""

    label: str
    radio: Mapping[str, Any] = field(default_factory=dict)  #: parameters of this section that it sets
    sim: Mapping[str, Any] = field(default_factory=dict)
    #: The stations' antenna: a vertical element, or :data:`ARRAY`, the powers of whose ports add without being shared
    #: out; rays leave from every element (an equal part of them), or from the middle, as if the array had no size.
    array: Literal["element", "explicit", "synthetic"] = "element"
    dipoles: bool = False  #: crossed dipoles at the UE instead of isotropic ports
    roll: bool = False  #: the azimuth turns an antenna about its boresight, which stays where it is: in the east
    capped: bool = False  #: the UEs of a batch share so many paths; the others are lost
    fans: bool = False  #: roofs by :func:`fan_city`
    shift: float = 0.0  #: stations and UEs stand so far east of where the buildings have them [m]
    one_feature: bool = False  #: NSINR, NRSRP and NRSRQ are RSSI and a constant (:func:`one_feature`)
    sentinel: bool = False  #: links that are not heard have a level all the same: -140 dBm


#: The choices that bear on what a simulated UE hears, by key.
DEPARTURES: dict[str, Departure] = {
    "array": Departure("6 × 6 elements, 72 ports summed", array="explicit"),
    "synthetic": Departure("the same, without size", array="synthetic"),
    "elements": Departure(
        "no tilt, 30 dB front to back, UE dipoles", radio={"downtilt": 0.0, "front_to_back_db": 30.0}, dipoles=True
    ),
    "roll": Departure("azimuth in the roll slot", roll=True),
    "reflection": Departure(
        "no reflected energy",
        sim={"specular": False, "diffuse": True, "scattering": 0.0, "refraction": True, "max_depth": 3},
    ),
    "carrier": Departure("carrier 3.5 GHz", radio={"carrier_hz": 3.5e9}),
    "height": Departure("UE 1.0 m above ground", radio={"ue_height": 1.0}),
    "fans": Departure("roofs as fans, courtyards filled", fans=True),
    "frames": Departure("1.1 km off the buildings", shift=1100.0),
    "cap": Departure("shared cap on paths", capped=True),
    "one_feature": Departure("one feature, four times", one_feature=True),
    "sentinel": Departure("−140 dBm where not heard", sentinel=True),
}


def together(departures: Iterable[Departure], label: str) -> Departure:
    """All of these choices at once; where two want different things of one, the first."""
    changes: dict[str, Any] = {"radio": {}, "sim": {}}
    for departure in departures:
        for name, value in vars(departure).items():
            if name in ("radio", "sim"):
                changes[name] = {**value, **changes[name]}
            elif name != "label" and value != getattr(Departure, name):
                changes.setdefault(name, value)
    return Departure(label, **changes)


def one_feature(path_gain: ArrayLike, power_dbm: ArrayLike) -> dict[str, Floats]:
    """The metrics of the released code: RSSI is one station's level, the others are constants away from it.

    `path_gain` is linear, (ue, bs), `power_dbm` (bs,); each feature is (ue, bs), RSSI nowhere under the sentinel.
    """
    level = np.asarray(power_dbm, float) + 10 * np.log10(np.maximum(np.asarray(path_gain, float), 1e-30))
    rssi = np.maximum(level, SENTINEL_DBM)
    disturbance = 10 * np.log10(10 ** (NOISE_DBM / 10) + 10 ** (INTERFERENCE_DBM / 10))
    nrsrp, nrsrq = rssi - 10 * np.log10(ELEMENTS) + 30.0, np.full_like(rssi, 10 * np.log10(BLOCKS / ELEMENTS))
    return {"rssi": rssi, "nsinr": rssi - disturbance, "nrsrp": nrsrp, "nrsrq": nrsrq}


def roll_orientation(azimuth: float, downtilt: float = 0.0) -> tuple[float, float, float]:
    """Sionna RT's orientation [rad] with the azimuth [deg] in the third slot, the roll: an antenna looks east."""
    return 0.0, float(np.radians(downtilt)), float(np.radians(azimuth))


def fan_city(city: City, folder: Path) -> City:
    """The city with a scene, written to `folder`, whose courtyards are filled and whose roofs are fans of triangles.

    A fan joins every edge of an outline with its first vertex. Where the outline is bent, triangles overlap and spill.
    Raises SimulationError if the city has no footprints: it is one of Sionna's scenes.
    """
    if not (city.folder / "buildings.parquet").exists():
        raise SimulationError(f"{city.key!r} has no footprints", "its scene came ready made", "take a city from a map")
    import geopandas as gpd
    import shapely

    from rfloc.city.mesh import FOUNDATION, Mesh, write_ply

    footprints = gpd.read_parquet(city.folder / "buildings.parquet")
    vertices, faces, start = [], [], 0
    for outline, height, base in zip(*(footprints[name] for name in ("geometry", "height", "base")), strict=True):
        ring = shapely.get_coordinates(shapely.orient_polygons(outline).exterior)[:-1]
        n = len(ring)
        floor, fan = start + np.arange(n), np.arange(1, n - 1)
        following, roof = np.roll(floor, -1), start + n + np.stack([0 * fan, fan, fan + 1], 1)
        walls = [np.stack([floor, following, following + n], 1), np.stack([floor, following + n, floor + n], 1)]
        vertices += [np.column_stack([ring, np.full(n, z)]) for z in (base or -FOUNDATION, height)]
        faces += [*walls, roof, roof[:, ::-1] - n]
        start += 2 * n
    shutil.copytree(city.folder / "meshes", folder / "meshes")
    shutil.copy(city.folder / "scene.xml", folder)
    write_ply(Mesh(np.concatenate(vertices), np.concatenate(faces)), folder / "meshes" / "buildings.ply")
    return dataclasses.replace(city, folder=folder)


def simulate(
    city: City, stations: Stations, x: ArrayLike, y: ArrayLike, departure: Departure, rays: Rays
) -> xr.Dataset:
    """Links of UEs at x, y [m] with some of the released code's choices.

    Positions in the links are those that stations and UEs are said to have; the attribute `paths` counts what was
    found. With `one_feature` and `sentinel` no level is censored; with one, what is not heard is NaN, or -140 dBm.
    """
    radio, sim = rays.radio.model_copy(update=dict(departure.radio)), rays.sim.model_copy(update=dict(departure.sim))
    explicit, elements = departure.array == "explicit", int(ARRAY["num_rows"] * ARRAY["num_cols"])
    station = sector(radio) if departure.array == "element" else sector(radio, "VH", **(ARRAY if explicit else {}))
    orientation = roll_orientation if departure.roll else sionna_orientation
    ends = Ends(station, DIPOLES if departure.dipoles else ("iso", "VH"), orientation, explicit)
    shared = round(PATHS_A_RAY * (rays.samples // elements if explicit else rays.samples))
    cap = max(shared, 1) if departure.capped else None
    rays = dataclasses.replace(rays, sim=sim, radio=radio)
    traced, traced_x = stations.moved(departure.shift), np.asarray(x, float) + departure.shift
    with TemporaryDirectory(prefix="rfloc-") as folder:
        built = fan_city(city, Path(folder)) if departure.fans else city
        gain, count = trace_gain(built, traced, traced_x, y, rays, ends, BATCH, cap)
    if departure.array == "synthetic":
        gain = gain * elements
    links = links_from_gain(city, gain, stations, x, y, radio, source=f"released code: {departure.label}")
    links.attrs["paths"] = int(count.sum())
    heard = links["heard"].values
    one, silent = one_feature(gain, stations.power), one_feature(np.zeros_like(gain), stations.power)
    for name in FEATURES:
        value = one[name] if departure.one_feature else np.where(heard, links[name].values, silent[name])
        value = value if departure.sentinel else np.where(heard, value, np.nan)
        links[name] = links[name].copy(data=value.astype(np.float32))
    return validate(links.assign(heard=np.isfinite(links["nrsrp"])), "links")


def compare(links: xr.Dataset, right: xr.Dataset) -> dict[str, float | int | None]:
    """How links differ from the right simulation of the same stations and UEs.

    `bias_db`, `rms_db` (bias removed) and `spearman` of NRSRP over the links that both hear, None under three; `lost`:
    share of the links heard in the right simulation that are not heard; `invented`: share of the links heard that are
    not heard there; `rank`: how many features are free, directions in which heard links spread by more than 0.01 dB.
    """
    here, there = links["heard"].values, right["heard"].values
    level, other = (ds["nrsrp"].values[here & there] for ds in (links, right))
    error, enough = level.astype(float) - other, level.size > 2
    values = np.stack([links[name].values[here] for name in FEATURES], 1).astype(float)
    spread = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) / np.sqrt(len(values)) if here.any() else []
    return {
        "bias_db": float(error.mean()) if enough else None,
        "rms_db": float(error.std()) if enough else None,
        "spearman": float(spearmanr(level, other).statistic) if enough else None,
        "lost": float((there & ~here).sum() / max(there.sum(), 1)),
        "invented": float((here & ~there).sum() / max(here.sum(), 1)),
        "rank": int(np.sum(np.greater(spread, 0.01))),
    }
