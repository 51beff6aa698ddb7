"""Where radio maps lie and how their rays are traced, as two values; and a city's scene, at any carrier.

Radio materials are by ITU-R P.2040: eps_r = a f^b and sigma = c f^d [S/m] with f in GHz (Recommendation ITU-R P.2040-3,
Table 3). The table's fits start at 1 GHz for most materials, and Sionna RT refuses a carrier below that. Here they are
extrapolated: to 0.8 GHz, NB-IoT's in LTE band 20, permittivity stays where b = 0 and conductivity falls by 0.8^d.

Sionna RT takes every surface for a slab in air, in all its scenes 10 cm thick. That suits walls. The ground has nothing
under it: it becomes so thick that no wave comes back from its other side, which is the half space of Fresnel's
formulas (P.2040-3, eq. 31). A slab of 10 cm reflects up to 7 dB less at 0.8 GHz.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from rfloc.arrays import Bools, Floats
from rfloc.backend import prepare
from rfloc.city import City, open_city
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import DataError, SimulationError
from rfloc.files import content_hash, digest
from rfloc.frames import Grid


@dataclass(frozen=True)
class Rays:
    """How rays are traced: all that a trace depends on beside the plane and the station."""

    sim: SimulationParams
    radio: RadioParams
    samples: int  #: rays a station
    seed: int  #: common to all stations, so that candidates are compared under the same rays

    def without_rooftop(self) -> Self:
        """The same without the path over the rooftops."""
        return replace(self, sim=self.sim.model_copy(update={"rooftop": False}))


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of cells at the height of UEs, for a city's radio maps; it travels to a process as the city's folder."""

    city: City  #: its raster's area is the map's
    cell: float  #: edge of a cell [m]
    ue_height: float  #: above ground [m]

    @cached_property
    def grid(self) -> Grid:
        """The cells."""
        return Grid.covering(*self.city.grid.bounds, self.cell)

    @cached_property
    def z(self) -> float:
        """Height in the scene [m], over the median of the streets."""
        return float(np.percentile(self.city.raster["ground"].values[self.city.road], 50)) + self.ue_height

    @cached_property
    def outdoors(self) -> tuple[Floats, Floats, Floats]:
        """Share of each cell that no building covers, and x, y [m] of its outdoor point next to the centre, or that."""
        grid, city = self.grid, self.city
        steps = max(int(np.ceil(grid.cell / city.grid.cell)), 1)
        offsets = (np.arange(steps) + 0.5) / steps * grid.cell - grid.cell / 2
        pairs = sorted(((dx, dy) for dx in offsets for dy in offsets), key=lambda pair: pair[0] ** 2 + pair[1] ** 2)
        centre_x, centre_y = np.meshgrid(grid.x, grid.y)
        x, y, count, outdoor = centre_x.copy(), centre_y.copy(), np.zeros(grid.shape), city.outdoor
        for dx, dy in pairs:
            row, col, _ = city.grid.index(centre_x + dx, centre_y + dy)
            free = outdoor[row, col]
            first = free & (count == 0)
            x[first], y[first] = centre_x[first] + dx, centre_y[first] + dy
            count += free
        return count / len(pairs), x, y

    def in_the_open(self, x: ArrayLike, y: ArrayLike) -> Bools:
        """Whether UEs at x, y [m], shape (ue,), stand in a cell that buildings do not cover altogether."""
        row, column, inside = self.grid.index(np.asarray(x, float), np.asarray(y, float))
        return inside & (self.outdoors[0][row, column] > 0)

    @cached_property
    def scene_digest(self) -> str:
        """Hash of the files of the scene that rays are traced in."""
        return digest(self.city.scene_path, self.city.scene_path.parent / "meshes")

    def __reduce__(self) -> tuple[Callable[..., "Plane"], tuple[Any, ...]]:
        folder = self.city.folder.resolve()
        return open_plane, (folder, self.cell, self.ue_height, content_hash(folder))


def open_plane(folder: Path, cell: float, ue_height: float, content: str | None = None) -> Plane:
    """The plane of a city's folder of a hash (else raises SimulationError); a process holds the last one."""
    found = content_hash(folder)
    if content not in (None, found):
        why = "it was built anew meanwhile, or this machine has another"
        raise SimulationError(f"the city in {folder} is not the one that was asked for", why, "start again")
    return _held(folder, cell, ue_height, found)


@lru_cache(maxsize=1)
def _held(folder: Path, cell: float, ue_height: float, _content: str) -> Plane:
    return Plane(open_city(folder), cell, ue_height)


#: Ids of shapes that are ground, in our scenes and Sionna's, and how thick it is [m]: very dry ground at 0.8 GHz damps
#: a wave by 160 dB on the way down and back; of ten times as much metal Dr.Jit makes NaN.
GROUND, HALF_SPACE = r"^mesh-(ground|[Pp]lane|[Tt]errain|[Ff]loor)$", 1e3


def itu_parameters(name: str, carrier_hz: float) -> tuple[float, float]:
    """Relative permittivity and conductivity [S/m] of a material at a carrier [Hz], by the table's lowest range."""
    prepare()
    from sionna.rt.radio_materials.itu import ITU_MATERIALS_PROPERTIES as TABLE

    a, b, c, d = TABLE[name][min(TABLE[name])]
    f = carrier_hz / 1e9
    return a * f**b, c * f**d


def load_radio_scene(path: str | Path, carrier_hz: float, scattering: float) -> Any:
    """Load a Mitsuba scene file (or raise DataError) and set its ITU materials for a carrier [Hz], also below 1 GHz.

    Shapes of one material are merged; all get the scattering coefficient S, 0 to 1 (Lambertian); ground: a half space.
    """
    if not Path(path).is_file():
        raise DataError(f"there is no scene at {path}", "the city was not built here", "run `dvc repro`")
    prepare()
    import mitsuba as mi
    import sionna.rt as rt

    scene = rt.load_scene(str(path), merge_shapes=True, merge_shapes_exclude_regex=GROUND)
    for shape in scene.objects.values():
        if re.search(GROUND, shape.mi_mesh.id()):
            made_of = shape.radio_material.itu_type
            shape.radio_material = rt.ITURadioMaterial(f"half space of {made_of}", made_of, HALF_SPACE)
    for material in scene.radio_materials.values():
        at_carrier = itu_parameters(material.itu_type, carrier_hz)
        material.frequency_update_callback = lambda _f, p=at_carrier: (mi.Float(p[0]), mi.Float(p[1]))
        material.scattering_coefficient = scattering
    scene.frequency = carrier_hz
    return scene


#: The scene that was loaded last in this process, and for what.
_last: tuple[object, Any] = (None, None)


def load_scene(city: City, carrier_hz: float, scattering: float) -> Any:
    """A city's scene, ready to trace at a carrier [Hz]; x, y, z [m] in the city's frame, ground at `City.ground_at`.

    The last one is held, since loading costs as much as a small trace; it comes without stations and UEs in it.
    """
    global _last
    path = city.scene_path
    asked = path, path.is_file() and path.stat().st_mtime_ns, carrier_hz, scattering
    if _last[0] != asked:
        _last = None, None  # before the next one is loaded: two may not fit
        _last = asked, load_radio_scene(path, carrier_hz, scattering)
    scene = _last[1]
    scene.remove([*scene.transmitters, *scene.receivers])
    return scene
