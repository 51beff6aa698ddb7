"""Which simulation parameters matter (paper section 5.1): one factor is varied at a time, from a base.

Rays are traced once for what they depend on. Antennas, azimuth and tilt are applied to isotropic maps by the straight
line between station and UE, and the rooftop term is computed for the UEs alone: such variants cost no ray.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rfloc.arrays import Floats, Singles
from rfloc.config import EngineParams, RadioParams, SensitivityParams, SimulationParams
from rfloc.files import digest
from rfloc.simulation import Plane, Rays, gain_at, sector_gain_db
from rfloc.simulation.antennas import Pattern, pattern_gain_db
from rfloc.simulation.maps import trace_ahead
from rfloc.stations import Stations
from rfloc.studies.agreement import COMBINATIONS, Agreement, Judge

#: The factors in the order of tables: label, and what the paper holds negligible ("simulation"), what it holds decisive
#: ("stations"), and the noise of this study itself.
FACTORS = {
    "rays": ("other rays", "noise"),
    "depth": ("path depth", "simulation"),
    "specular": ("specular reflection", "simulation"),
    "diffuse": ("diffuse reflection", "simulation"),
    "refraction": ("refraction", "simulation"),
    "diffraction": ("diffraction", "simulation"),
    "rooftop": ("rooftop term", "simulation"),
    "scattering": ("scattering coefficient", "simulation"),
    "carrier": ("carrier", "simulation"),
    "ue_pattern": ("UE antenna", "simulation"),
    "pattern": ("station antenna", "stations"),
    "downtilt": ("station downtilt", "stations"),
    "azimuth": ("station azimuth", "stations"),
    "height": ("station height", "stations"),
    "position": ("station position", "stations"),
}
#: Correlations that are reported, and scores that are compared with the base's by a paired bootstrap.
REPORTED = ("rssi", "nrsrp", "held_out")
COMPARED = ("rssi", "held_out", "sr_levelled")


@dataclass(frozen=True)
class Variant:
    """One simulation of the study."""

    factor: str  #: key of :data:`FACTORS`
    setting: str  #: the factor's value, in words and units
    sim: SimulationParams  #: how rays are traced and with how many
    radio: RadioParams  #: carrier, UE height and the stations' antenna
    stations: Stations  #: where stations are taken to stand and to look to
    seed: int  #: of the rays
    ue_pattern: Pattern = "isotropic"  #: antenna of the UEs, upright; of a directive one the boresight's vertical cut

    @property
    def key(self) -> str:
        """What is simulated, whatever it is called."""
        return digest(self.sim, self.radio, self.seed, self.ue_pattern, self.stations)

    @property
    def rays(self) -> Rays:
        """How its rays are traced."""
        return Rays(self.sim, self.radio, self.sim.samples, self.seed)


def variants(
    params: SensitivityParams, sim: SimulationParams, radio: RadioParams, stations: Stations, seed: int
) -> list[Variant]:
    """The simulations of the study, factor by factor; every factor has the base among its settings, the first is it.

    A station whose azimuth is unknown is omnidirectional at the base and looks to the north where it is turned by 0
    degrees. Positions are moved by a distance in random directions, another one a station and draw.
    """
    base = Variant("rays", "base", sim.model_copy(update={"samples": params.samples}), radio, stations, seed)
    sim = base.sim
    found: dict[Any, Variant] = {}

    def add(factor: str, setting: str, **changes: Any) -> None:
        variant = replace(base, factor=factor, setting=setting, **changes)
        found.setdefault((factor, variant.key), variant)

    add("rays", "base")
    for k in range(params.seeds):
        add("rays", f"seed {k + 1}", seed=seed + 1 + k)
    for depth in sorted({*params.depths, sim.max_depth}):
        add("depth", str(depth), sim=sim.model_copy(update={"max_depth": depth}))
    for flag, on in itertools.product(("specular", "diffuse", "refraction", "diffraction", "rooftop"), (False, True)):
        add(flag, "on" if on else "off", sim=sim.model_copy(update={flag: on}))
    for share in sorted({*params.scatterings, sim.scattering}):
        add("scattering", f"{share:g}", sim=sim.model_copy(update={"scattering": share}))
    for hz in sorted({*params.carriers_hz, radio.carrier_hz}):
        add("carrier", f"{hz / 1e9:g} GHz", radio=radio.model_copy(update={"carrier_hz": hz}))
    for at_ue in ("isotropic", "dipole"):
        add("ue_pattern", at_ue, ue_pattern=at_ue)
    for pattern in ("isotropic", "dipole", "tr38901"):
        add("pattern", pattern, radio=radio.model_copy(update={"pattern": pattern}))
    for tilt in sorted({*params.downtilts, radio.downtilt}):
        add("downtilt", f"{tilt:g}°", radio=radio.model_copy(update={"downtilt": tilt}))
    unknown = np.isnan(stations.azimuth)
    if unknown.any():
        add("azimuth", "unknown")
    for turn in np.arange(0.0, 360.0 - 1e-9, params.azimuth_step):
        turned = np.where(unknown, turn, (stations.azimuth + turn) % 360.0)
        add("azimuth", f"{'' if unknown.any() else '+'}{turn:g}°", stations=stations.replace(azimuth=turned))
    add("height", "as listed")
    for height in sorted(params.heights):
        add("height", f"{height:g} m", stations=stations.replace(h=np.full(stations.n, height)))
    add("position", "as listed")
    for draw in range(params.directions):
        angle = np.random.default_rng([seed, draw]).uniform(0.0, 2 * np.pi, stations.n)
        for shift in sorted(params.shifts):
            moved = stations.moved(shift * np.cos(angle), shift * np.sin(angle))
            add("position", f"{shift:g} m, draw {draw + 1}", stations=moved)
    return list(found.values())


class Simulator:
    """Path gain of variants at UEs x, y [m]; what rays bring is kept in the folder `cache`, traced by an `engine`."""

    def __init__(
        self, plane: Plane, x: ArrayLike, y: ArrayLike, cache: Path, engine: EngineParams | None = None
    ) -> None:
        self.plane, self.cache, self.engine = plane, cache, engine
        self.x, self.y = np.asarray(x, float), np.asarray(y, float)
        self._kept: dict[Any, Singles] = {}

    def trace(self, variants: Sequence[Variant]) -> None:
        """Trace what variants ask for, side by side."""
        trace_ahead(((self.plane, v.stations, v.rays) for v in variants), self.cache, self.engine, False)

    def gain(self, variant: Variant) -> Floats:
        """Path gain with the antennas of both ends, linear, shape (ue, bs); 0 where nothing arrives."""
        s, radio = variant.stations, variant.radio
        key = digest(variant.sim, variant.seed, radio.carrier_hz, s.x, s.y, s.h)
        if key not in self._kept:
            gain = gain_at(self.plane, s, variant.rays, self.x, self.y, self.cache)[0]
            self._kept[key] = gain.T.astype(np.float32)
        s = s.above_roofs(self.plane.city)
        distance = np.hypot(self.x - s.x[:, None], self.y - s.y[:, None])
        elevation = np.degrees(np.arctan2(s.h[:, None] - radio.ue_height, distance))
        level = sector_gain_db(s, self.x, self.y, radio) + pattern_gain_db(variant.ue_pattern, 0.0, elevation)
        return (self._kept[key] * 10 ** (level / 10)).T


def study(variants: Sequence[Variant], simulator: Simulator, judge: Judge) -> dict[str, Any]:
    """Simulate and judge every variant, the first being the base; for JSON.

    `settings`: :func:`_line` of each variant, with `factor`, `setting` and `base`, whether it is the base. `noise`: by
    :data:`COMPARED`, the greatest difference that other rays make. `factors`: by factor, `label`, `group`, least and
    greatest value of correlations, `sr` and `sr_levelled` over its settings, and `chosen`, the line of a simulation in
    which every station has the setting that fits its training UEs best.
    """
    gains = {key: simulator.gain(variant) for key, variant in {v.key: v for v in variants}.items()}
    judged = {key: judge(gain) for key, gain in gains.items()}
    first, base = variants[0].key, judged[variants[0].key]
    lines = [
        {"factor": v.factor, "setting": v.setting, "base": v.key == first, **_line(judge, judged[v.key], base)}
        for v in variants
    ]
    factors: dict[str, Any] = {}
    for name in dict.fromkeys(v.factor for v in variants):
        keys = [v.key for v in variants if v.factor == name]
        keys.sort(key=lambda key: key != first)  # the base first: it stays where nothing can be chosen
        best = judge(judge.chosen([gains[key] for key in keys], [judged[key] for key in keys]))
        own, (label, group) = [item for item in lines if item["factor"] == name], FACTORS[name]
        named = base.scores(*REPORTED, "sr", "sr_levelled")
        ranges = {of: [f(item[of] for item in own) for f in (min, max)] for of in named}
        factors[name] = {"label": label, "group": group, **ranges, "chosen": _line(judge, best, base)}
    same = [item for item in lines if item["factor"] == "rays"]
    noise = {of: max(abs(item[f"{of}_gap"]) for item in same) for of in base.scores(*COMPARED)}
    return {"settings": lines, "factors": factors, "noise": noise}


def _line(judge: Judge, found: Agreement, base: Agreement) -> dict[str, Any]:
    """A simulation, to four decimals: scores, `<name>_sd` over stations, `<name>_gap` to the base, `<name>_gap_ci`."""
    values: dict[str, Any] = {name: found.score(name) for name in found.scores(*REPORTED, *COMBINATIONS)}
    values |= {f"{name}_sd": float(np.nanstd(found.rho[name])) for name in found.scores(*REPORTED)}
    for name in found.scores(*COMPARED):
        gap, interval = judge.against(found, base, name)
        values |= {f"{name}_gap": gap, f"{name}_gap_ci": interval and [round(v, 4) for v in interval]}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def stands_out(item: Mapping[str, Any], name: str, noise: float) -> bool:
    """A line differs from the base by more than other rays do and, where it has an interval, that excludes 0."""
    interval = item[f"{name}_gap_ci"]
    return abs(item[f"{name}_gap"]) > noise and (interval is None or interval[0] > 0 or interval[1] < 0)
