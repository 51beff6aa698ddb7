"""The plan of a simulation campaign: its parts, each a city with stations and UEs, and their shards.

A shard is one station with so many UEs of one part that it has at most `shard_links` links (paper, Appendix I).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfloc.city import open_city
from rfloc.config import RadioParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.simulation.mapcache import PACKAGES, scene_hash, versions
from rfloc.stations import Stations

#: Columns of the stations and parameters of the radio interface that path gain depends on; the others come later.
_STATION = ("x", "y", "h", "azimuth", "id")
_RADIO = ("carrier_hz", "ue_height", "pattern", "downtilt", "front_to_back_db")

#: Packages whose version may change a result.
_PACKAGES = ("rfloc", *PACKAGES, "scipy", "zarr")


@dataclass(frozen=True)
class Part:
    """A part of a campaign: stations and UEs in one city, every link between them.

    Parameters
    ----------
    name : str
        Its name in the store: letters, digits, `_`, `-` and `.`.
    city : Path
        Folder of the city.
    stations : Stations
        Who transmits.
    ue_x, ue_y : ndarray, shape (ue,)
        UE positions in the city's frame [m].
    sim, radio
        How to trace, and with which antennas and carrier.
    seed : int
        Of the rays; all stations share it.
    samples : int
        Rays a station.
    """

    name: str
    city: Path
    stations: Stations
    ue_x: NDArray[np.float64]
    ue_y: NDArray[np.float64]
    sim: SimulationParams
    radio: RadioParams
    seed: int
    samples: int

    def __post_init__(self) -> None:
        for axis in ("ue_x", "ue_y"):
            object.__setattr__(self, axis, np.atleast_1d(np.asarray(getattr(self, axis), float)))
        object.__setattr__(self, "city", Path(self.city).resolve())  # workers have other working directories
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise SimulationError(
                f"{self.name!r} is no name of a part", "it names a folder", "use letters, digits, _ -"
            )
        if self.ue_x.shape != self.ue_y.shape or not self.ue_x.size or not self.stations.n:
            raise SimulationError(
                f"part {self.name!r} has {self.ue_x.size} x, {self.ue_y.size} y and {self.stations.n} stations",
                "a link needs a UE with both coordinates and a station",
            )

    @property
    def links(self) -> int:
        """Number of links."""
        return self.ue_x.size * self.stations.n

    def of_station(self, k: int) -> Part:
        """The part with station `k` alone."""
        return replace(self, stations=self.stations.take([k]))

    def describe(self, city: str) -> dict[str, Any]:
        """Everything that its gains depend on, arrays by hash, and `city`, the hash of its city's files."""
        return {
            "city": city,
            "stations": _digest(*(np.asarray(getattr(self.stations, name)) for name in _STATION)),
            "ues": _digest(self.ue_x, self.ue_y),
            "shape": [self.stations.n, self.ue_x.size],
            "simulation": self.sim.model_dump(exclude={"check_ues"}),
            "radio": self.radio.model_dump(include=set(_RADIO)),
            "seed": self.seed,
            "samples": self.samples,
        }


@dataclass(frozen=True)
class Shard:
    """Links between station number `station` of a part and its UEs from `start` up to `stop`."""

    part: str
    station: int
    block: int
    start: int
    stop: int
    station_id: str

    def __str__(self) -> str:
        return f"shard {self.part}/{self.station_id}/{self.block} (UEs {self.start} to {self.stop - 1})"

    @property
    def links(self) -> int:
        """Number of links."""
        return self.stop - self.start


def blocks(ues: int, shard_links: int) -> int:
    """Number of shards of a station, none of more than `shard_links` UEs."""
    return math.ceil(ues / shard_links)


def ues_a_shard(ues: int, shard_links: int) -> int:
    """UEs a shard, such that those of a station are of like size."""
    return math.ceil(ues / blocks(ues, shard_links))


def shards(part: Part, shard_links: int) -> Iterator[Shard]:
    """The shards of a part, station by station."""
    step = ues_a_shard(part.ue_x.size, shard_links)
    for k in range(part.stations.n):
        for block, start in enumerate(range(0, part.ue_x.size, step)):
            stop = min(start + step, part.ue_x.size)
            yield Shard(part.name, k, block, start, stop, str(part.stations.id[k]))


def describe(parts: Sequence[Part], shard_links: int) -> dict[str, Any]:
    """A plan: what a store holds, and what must not change while it is being filled."""
    names = [part.name for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SimulationError(f"several parts are called {', '.join(twice)}", "a part's name is its place in the store")
    cities = {folder: files_digest(folder) for folder in {part.city for part in parts}}
    return {
        "shard_links": shard_links,
        "versions": plan_versions(),
        "parts": {part.name: part.describe(cities[part.city]) for part in parts},
    }


def plan_versions() -> dict[str, str]:
    """Versions and code that may change a gain."""
    return versions(_PACKAGES, ("city/*.py", "simulation/*.py", "frames.py"))


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Where two plans differ, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key, "none"), new.get(key, "none"), f"{where}.{key}" if where else key)
    elif old != new:
        short = [str(v) if len(str(v)) < 25 else f"{str(v)[:8]}…" for v in (old, new)]
        yield f"{where} is {short[0]} there and {short[1]} here"


def _digest(*arrays: NDArray[Any]) -> str:
    """Hash of arrays, by value."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(array.tobytes() if array.dtype.kind == "f" else "\0".join(map(str, array)).encode())
    return found.hexdigest()


def files_digest(folder: Path) -> str:
    """Hash of the files that a city's maps are computed from."""
    whole = hashlib.sha256(scene_hash(open_city(folder).scene_path).encode())
    for path in (folder / "city.json", *sorted((folder / "raster.zarr").rglob("*"))):
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()
