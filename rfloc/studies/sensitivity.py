"""Which simulation parameters matter (paper section 5.1): one factor is varied at a time, from a base.

Rays are traced once for what they depend on. Antennas, azimuth and tilt are applied to isotropic maps by the straight
line between station and UE, and the rooftop term is computed for the UEs alone: such variants cost no ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.config import RadioParams, SensitivityParams, SimulationParams
from rfloc.errors import SimulationError
from rfloc.simulation.antennas import Pattern, pattern_gain_db
from rfloc.simulation.maps import gain_at, sector_gain_db
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: What the paper holds negligible, what it holds decisive, and the noise of this study itself.
Group = Literal["noise", "simulation", "stations"]


class Factor(NamedTuple):
    """A factor: its name in tables and the group that it belongs to."""

    label: str
    group: Group


#: The factors, in the order of tables.
FACTORS: dict[str, Factor] = {
    "rays": Factor("other rays", "noise"),
    "depth": Factor("path depth", "simulation"),
    "specular": Factor("specular reflection", "simulation"),
    "diffuse": Factor("diffuse reflection", "simulation"),
    "refraction": Factor("refraction", "simulation"),
    "diffraction": Factor("diffraction", "simulation"),
    "rooftop": Factor("rooftop term", "simulation"),
    "scattering": Factor("scattering coefficient", "simulation"),
    "carrier": Factor("carrier", "simulation"),
    "ue_pattern": Factor("UE antenna", "simulation"),
    "pattern": Factor("station antenna", "stations"),
    "downtilt": Factor("station downtilt", "stations"),
    "azimuth": Factor("station azimuth", "stations"),
    "height": Factor("station height", "stations"),
    "position": Factor("station position", "stations"),
}


@dataclass(frozen=True)
class Variant:
    """One simulation of the study.

    Parameters
    ----------
    factor : str
        Key of :data:`FACTORS`.
    setting : str
        The factor's value, in words and units.
    sim, radio : SimulationParams, RadioParams
        How rays are traced and with how many; carrier, UE height and the stations' antenna.
    stations : Stations
        Where stations are taken to stand and to look to.
    seed : int
        Of the rays.
    ue_pattern : {"isotropic", "dipole", "tr38901"}
        Antenna of the UEs, upright; of a directive one the boresight's vertical cut.
    """

    factor: str
    setting: str
    sim: SimulationParams
    radio: RadioParams
    stations: Stations
    seed: int
    ue_pattern: Pattern = "isotropic"

    def same_as(self, other: Variant) -> bool:
        """Both simulate the same, whatever they are called."""
        alike = all(getattr(self, name) == getattr(other, name) for name in ("sim", "radio", "seed", "ue_pattern"))
        pairs = [(getattr(self.stations, f.name), getattr(other.stations, f.name)) for f in fields(Stations)]
        return alike and all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


def variants(
    params: SensitivityParams, sim: SimulationParams, radio: RadioParams, stations: Stations, seed: int
) -> list[Variant]:
    """The simulations of the study, factor by factor; every factor has the base among its settings, the first is it.

    A station whose azimuth is unknown radiates alike to all sides at the base and looks to the north where it is turned
    by 0 degrees. Positions are moved by a distance in random directions, another one a station and draw.

    Raises
    ------
    SimulationError
        If there is no station.
    """
    if not stations.n:
        raise SimulationError("there are no stations", "the study varies where they stand and how they radiate")
    base = Variant("base", "base", sim.model_copy(update={"samples": params.samples}), radio, stations, seed)
    found: list[Variant] = []
    for factor, setting, changes in _settings(params, base):
        variant = replace(base, factor=factor, setting=setting, **changes)
        if not any(variant.factor == other.factor and variant.same_as(other) for other in found):
            found.append(variant)
    return found


def _settings(params: SensitivityParams, base: Variant) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Factor, setting and what it changes; the base's own settings are among them, and the base comes first."""
    sim, radio, stations = base.sim, base.radio, base.stations
    yield "rays", "base", {}
    for k in range(params.seeds):
        yield "rays", f"seed {k + 1}", {"seed": base.seed + 1 + k}
    for depth in sorted({*params.depths, sim.max_depth}):
        yield "depth", str(depth), {"sim": sim.model_copy(update={"max_depth": depth})}
    for flag in ("specular", "diffuse", "refraction", "diffraction", "rooftop"):
        for on in (False, True):
            yield flag, "on" if on else "off", {"sim": sim.model_copy(update={flag: on})}
    for share in sorted({*params.scatterings, sim.scattering}):
        yield "scattering", f"{share:g}", {"sim": sim.model_copy(update={"scattering": share})}
    for hz in sorted({*params.carriers_hz, radio.carrier_hz}):
        yield "carrier", f"{hz / 1e9:g} GHz", {"radio": radio.model_copy(update={"carrier_hz": hz})}
    for at_ue in ("isotropic", "dipole"):
        yield "ue_pattern", at_ue, {"ue_pattern": at_ue}
    for pattern in ("isotropic", "dipole", "tr38901"):
        yield "pattern", pattern, {"radio": radio.model_copy(update={"pattern": pattern})}
    for tilt in sorted({*params.downtilts, radio.downtilt}):
        yield "downtilt", f"{tilt:g}°", {"radio": radio.model_copy(update={"downtilt": tilt})}
    unknown = np.isnan(stations.azimuth)
    if unknown.any():
        yield "azimuth", "unknown", {}
    for turn in np.arange(0.0, 360.0 - 1e-9, params.azimuth_step):
        turned = np.where(unknown, turn, (stations.azimuth + turn) % 360.0)
        yield "azimuth", f"{'' if unknown.any() else '+'}{turn:g}°", {"stations": stations.replace(azimuth=turned)}
    yield "height", "as listed", {}
    for height in sorted(params.heights):
        yield "height", f"{height:g} m", {"stations": stations.replace(h=np.full(stations.n, height))}
    yield "position", "as listed", {}
    for draw in range(params.directions):
        angle = np.random.default_rng([base.seed, draw]).uniform(0.0, 2 * np.pi, stations.n)
        for shift in sorted(params.shifts):
            moved = stations.moved(shift * np.cos(angle), shift * np.sin(angle))
            yield "position", f"{shift:g} m, draw {draw + 1}", {"stations": moved}


class Simulator:
    """Path gain of variants at fixed UEs; what rays brought is kept, in memory and in the folder `cache`.

    Parameters
    ----------
    plane : Plane
        Of the radio maps.
    x, y : array_like, shape (ue,)
        UE positions [m].
    cache : path, optional
        Folder of kept maps (:func:`rfloc.simulation.maps.trace_maps`).

    Raises
    ------
    SimulationError
        If a UE stands outside the maps.
    """

    def __init__(self, plane: Plane, x: ArrayLike, y: ArrayLike, cache: str | Path | None = None) -> None:
        self.plane, self.cache = plane, cache
        self.x, self.y = np.asarray(x, float), np.asarray(y, float)
        self._kept: dict[Any, NDArray[np.float32]] = {}
        inside = plane.grid.index(self.x, self.y)[2]
        if not inside.all():
            raise SimulationError(
                f"{np.count_nonzero(~inside)} of {len(inside)} UEs stand outside the maps",
                "what is not simulated there would be taken for silence",
                "give the city a margin, or leave these UEs out",
            )

    def isotropic(self, variant: Variant) -> NDArray[np.float32]:
        """What maps of isotropic antennas say at the UEs, linear, shape (bs, ue)."""
        s, radio = variant.stations, variant.radio
        place = radio.carrier_hz, *(column.tobytes() for column in (s.x, s.y, s.h))
        key = (variant.sim.model_dump_json(), variant.seed, *place)
        if key not in self._kept:
            rays = Rays(variant.sim, radio, variant.sim.samples, variant.seed)
            gain, _ = gain_at(self.plane, s, rays, self.x, self.y, self.cache)
            self._kept[key] = gain.T.astype(np.float32)
        return self._kept[key]

    def gain(self, variant: Variant) -> Floats:
        """Path gain with the antennas of both ends, linear, shape (ue, bs); 0 where nothing arrives."""
        stations, radio = variant.stations.above_roofs(self.plane.city), variant.radio
        level = sector_gain_db(stations, self.x, self.y, radio)
        distance = np.hypot(self.x - stations.x[:, None], self.y - stations.y[:, None])
        elevation = np.degrees(np.arctan2(stations.h[:, None] - radio.ue_height, distance))
        level += pattern_gain_db(variant.ue_pattern, 0.0, elevation)
        return (self.isotropic(variant) * 10 ** (level / 10)).T
