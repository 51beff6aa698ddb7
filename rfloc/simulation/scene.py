"""A city's scene with radio materials by ITU-R P.2040, at any carrier.

eps_r = a f^b and sigma = c f^d [S/m] with f in GHz (Recommendation ITU-R P.2040-3, Table 3). The table's fits start at
1 GHz for most materials, and Sionna RT refuses a carrier below that. Here the formula is extrapolated: to 0.8 GHz, the
carrier of NB-IoT in LTE band 20, permittivity stays as at 1 GHz where b = 0 and conductivity falls by 0.8^d.

Sionna RT takes every surface for a slab in air, in all its scenes 10 cm thick. That suits walls. The ground has nothing
under it: it becomes so thick that no wave comes back from its other side, which is the half space of Fresnel's
formulas (P.2040-3, eq. 31). A slab of 10 cm reflects up to 7 dB less at 0.8 GHz.
"""

import re
from pathlib import Path
from typing import Any

from rfloc.backend import prepare
from rfloc.city import City
from rfloc.errors import DataError

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
    """Sionna's scene of a Mitsuba file (or DataError), its ITU materials set for a carrier [Hz], also below 1 GHz.

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
    """Sionna's scene of a city, ready to trace at a carrier [Hz]: x, y, z [m] in its frame, ground at `City.ground_at`.

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
