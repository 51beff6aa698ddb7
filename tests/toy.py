"""The toy city: nine buildings on 360 m x 360 m, one with a courtyard, one L-shaped.

`python -m tests.toy` writes data/toy.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rfloc.config import CityParams, check
from rfloc.frames import LocalFrame

#: The project folder, and the frame of the toy city.
PROJECT, FRAME = Path(__file__).resolve().parents[1], LocalFrame(45.0, 10.0)
#: Half the edge of the toy city [m]; streets run along these x and these y [m].
HALF, STREETS = 180.0, (-174.0, -60.0, 60.0, 174.0)

Ring = list[tuple[float, float]]


def rectangle(x: float, y: float, width: float, depth: float) -> Ring:
    """Closed counter-clockwise ring of a rectangle centred on x, y [m]."""
    a, b = width / 2, depth / 2
    return [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b), (x - a, y - b)]


#: name -> (rings: shell, then courtyards [m]; tags as OSM would hold them; height that the rules give [m])
BUILDINGS: dict[str, tuple[list[Ring], dict[str, str], float]] = {
    "southwest": ([rectangle(-120, -120, 80, 80)], {"height": "15"}, 15.0),
    "south": ([rectangle(0, -120, 70, 60)], {"building:levels": "6"}, 18.0),
    "southeast": ([rectangle(120, -115, 80, 50)], {"height": "24 m"}, 24.0),
    "west": ([rectangle(-115, 0, 60, 84)], {"building": "apartments"}, 18.5),
    "courtyard": ([rectangle(0, 0, 90, 90), rectangle(0, 0, 40, 40)[::-1]], {"height": "21"}, 21.0),
    "east": ([rectangle(120, 0, 76, 76)], {}, 18.5),
    "northwest": (
        [[(-160, 80), (-80, 80), (-80, 110), (-125, 110), (-125, 160), (-160, 160), (-160, 80)]],
        {"height": "12.5"},
        12.5,
    ),
    "north": ([rectangle(5, 120, 80, 70)], {"building": "office", "building:levels": "4"}, 14.0),
    "northeast": ([rectangle(120, 125, 50, 70)], {"height": "60 ft"}, 18.288),
}


def _feature(kind: str, coordinates: Any, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def _degrees(ring: Ring) -> list[list[float]]:
    lat, lon = FRAME.to_geographic([p[0] for p in ring], [p[1] for p in ring])
    return [[round(float(o), 9), round(float(a), 9)] for a, o in zip(lat, lon, strict=True)]


def buildings() -> dict[str, Any]:
    """The nine footprints as GeoJSON."""
    features = [
        _feature("Polygon", [_degrees(ring) for ring in rings], {"name": name, "building": "yes"} | tags)
        for name, (rings, tags, _) in BUILDINGS.items()
    ]
    return {"type": "FeatureCollection", "features": features}


def streets() -> dict[str, Any]:
    """Eight streets on a lattice, and a tunnel and a railway on which no UE stands."""
    lines = []
    for at, kind in zip(STREETS, ("minor", "secondary", "secondary", "minor"), strict=True):
        lines += [([(at, -HALF), (at, HALF)], kind, False), ([(-HALF, at), (HALF, at)], kind, False)]
    lines.append(([(-180.0, -180.0), (180.0, 180.0)], "secondary", True))
    lines.append(([(-170.0, 168.0), (170.0, 168.0)], "rail", False))
    features = [
        _feature("LineString", _degrees(line), {"class": kind, "tunnel": tunnel, "bridge": False})
        for line, kind, tunnel in lines
    ]
    return {"type": "FeatureCollection", "features": features}


def campaign(ues: int = 120, seed: int = 0) -> str:
    """A campaign on the toy city's streets as CSV: five sectors, log-distance levels with shadowing, some missing."""
    rng = np.random.default_rng(seed)
    along, street = rng.uniform(-170.0, 170.0, ues), rng.choice(STREETS, ues)
    x, y = np.where(rng.random(ues) < 0.5, (street, along), (along, street))
    x, y = x + rng.normal(0.0, 2.0, ues), y + rng.normal(0.0, 2.0, ues)
    sites = np.array([(-120.0, -120.0), (120.0, -115.0), (0.0, 30.0), (-120.0, 95.0), (120.0, 125.0)])
    azimuth, mast = np.array([45.0, 315.0, 180.0, 135.0, 225.0]), np.array([25.0, 30.0, 28.0, 22.0, 26.0])
    east, north = x[:, None] - sites[:, 0], y[:, None] - sites[:, 1]
    off = (np.degrees(np.arctan2(east, north)) - azimuth + 180.0) % 360.0 - 180.0
    loss = 30.0 + 35.0 * np.log10(np.hypot(np.hypot(east, north), mast))
    pattern = np.minimum(12.0 * (off / 65.0) ** 2, 20.0)
    nrsrp = 43.0 - 10 * np.log10(1008) - loss - pattern + rng.normal(0, 4.0, loss.shape)
    power = 10 ** (nrsrp / 10)
    rssi = 10 * np.log10(84 * 12 * power.sum(axis=1, keepdims=True) * 0.3)
    nsinr = 10 * np.log10(power / (0.3 * (power.sum(axis=1, keepdims=True) - power) + 1e-13))
    nrsrq = nrsrp - rssi + 10 * np.log10(84)
    (lat, lon), (bs_lat, bs_lon) = FRAME.to_geographic(x, y), FRAME.to_geographic(sites[:, 0], sites[:, 1])
    lines = ["ue_lat,ue_lon,bs_id,bs_lat,bs_lon,rssi,nsinr,nrsrp,nrsrq,campaign,bs_h,bs_azimuth,bs_power"]
    for i, k in np.argwhere(nsinr > -20.0):
        measured = nrsrp[i, k] > -112.0  # detected, but too weak to be measured: the fields stay empty
        levels = [f"{v[i, min(k, v.shape[1] - 1)]:.1f}" if measured else "" for v in (rssi, nsinr, nrsrp, nrsrq)]
        places = [f"{v:.6f}" for v in (lat[i], lon[i])], [f"{v:.6f}" for v in (bs_lat[k], bs_lon[k])]
        station = [str(1 + i * 2 // ues), f"{mast[k]:g}", f"{azimuth[k]:g}", "43"]
        lines.append(",".join([*places[0], f"toy-{k}", *places[1], *levels, *station]))
    return "\n".join(lines) + "\n"


def city_params(name: str) -> CityParams:
    """The parameters in conf/city/<name>.yaml."""
    return check(CityParams, yaml.safe_load((PROJECT / "conf" / "city" / f"{name}.yaml").read_text()))


def files() -> dict[str, str]:
    """Name under data/toy -> content."""
    layers = {"buildings.geojson": buildings(), "streets.geojson": streets()}
    return {name: json.dumps(layer, indent=1) + "\n" for name, layer in layers.items()} | {"campaign.csv": campaign()}


if __name__ == "__main__":
    target = PROJECT / "data" / "toy"
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (target / name).write_text(content)
