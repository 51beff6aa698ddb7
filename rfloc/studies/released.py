"""What the released code chose otherwise than this project, each choice on its own.

Nothing else uses these: they exist so that the effect of each can be measured. Choices that parameters can express are
parameters here too (`conf/variant/released_code.yaml` has them together).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from rfloc.config import RadioParams, SimulationParams
from rfloc.datasets.hidden import links_from_gain
from rfloc.schema import FEATURES, links_dataset
from rfloc.simulation.antennas import Antenna
from rfloc.simulation.paths import path_gain
from rfloc.stations import Stations
from rfloc.studies.released_rays import COLUMNS, ROWS, SLANTS, Departure, trace_gain

if TYPE_CHECKING:
    from rfloc.city import City

__all__ = [
    "DEPARTURES",
    "Departure",
    "compare",
    "one_feature",
    "rank_of_features",
    "simulate",
    "together",
    "trace_gain",
]

Array = NDArray[np.float64]

#: The UE's antenna: half-wave dipoles, crossed.
DIPOLES = Antenna("dipole", slants=(45.0, -45.0))

#: RSSI that stands for "no path" [dBm].
SENTINEL_DBM = -140.0

#: Noise and interference [dBm], resource blocks and elements: constants of the metrics.
NOISE_DBM, INTERFERENCE_DBM, BLOCKS, ELEMENTS = -100.0, -110.0, 84, 1008

#: The choices that bear on what a simulated UE hears, by key.
DEPARTURES: dict[str, Departure] = {
    "array": Departure("6 × 6 elements, 72 ports summed", array="explicit"),
    "synthetic": Departure("the same, without size", array="synthetic"),
    "elements": Departure(
        "no tilt, 30 dB front to back, UE dipoles",
        radio={"downtilt": 0.0, "front_to_back_db": 30.0},
        dipoles=True,
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
        for item in dataclasses.fields(Departure):
            value = getattr(departure, item.name)
            if item.name in ("radio", "sim"):
                changes[item.name] = {**value, **changes[item.name]}
            elif item.name != "label" and value != item.default:
                changes.setdefault(item.name, value)
    return Departure(label, **changes)


def one_feature(path_gain: ArrayLike, power_dbm: ArrayLike) -> dict[str, Array]:
    """The metrics of the released code: RSSI is one station's level, the others are constants away from it.

    NSINR = RSSI - (noise + interference), both constant; NRSRP = RSSI - 10 log10 1008 + 30; NRSRQ = 10 log10(84/1008).

    Parameters
    ----------
    path_gain : array_like, shape (ue, bs)
        Linear.
    power_dbm : array_like, shape (bs,)
        Transmit power [dBm].

    Returns
    -------
    dict
        `rssi nsinr nrsrp nrsrq`, each (ue, bs); RSSI is nowhere under :data:`SENTINEL_DBM`.
    """
    level = np.asarray(power_dbm, float) + 10 * np.log10(np.maximum(np.asarray(path_gain, float), 1e-30))
    rssi = np.maximum(level, SENTINEL_DBM)
    disturbance = 10 * np.log10(10 ** (NOISE_DBM / 10) + 10 ** (INTERFERENCE_DBM / 10))
    return {
        "rssi": rssi,
        "nsinr": rssi - disturbance,
        "nrsrp": rssi - 10 * np.log10(ELEMENTS) + 30.0,
        "nrsrq": np.full_like(rssi, 10 * np.log10(BLOCKS / ELEMENTS)),
    }


def simulate(
    city: City,
    stations: Stations,
    x: ArrayLike,
    y: ArrayLike,
    departure: Departure,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    paths: xr.Dataset,
) -> xr.Dataset:
    """Links of UEs with some of the released code's choices.

    Parameters
    ----------
    stations : Stations
        As traced: clear of roofs.
    x, y : array_like, shape (ue,)
        UE positions [m].
    paths : Dataset of kind "paths"
        Of these stations and UEs with this project's choices; as many rays are traced where it cannot serve.

    Returns
    -------
    Dataset of kind "links"
        Positions are those that stations and UEs are said to have; the attribute `paths` counts what was found. With
        metrics of one feature and the sentinel together no level is censored; with either alone, what this project
        would not report is missing, or -140 dBm.
    """
    radio, sim = radio.model_copy(update=dict(departure.radio)), sim.model_copy(update=dict(departure.sim))
    count = np.isfinite(paths["delay"].values).sum()
    if departure.traces:
        gain, found = trace_gain(city, stations, x, y, departure, sim, radio, seed, int(paths.attrs["samples"]))
        count = found.sum()
    else:
        antenna = Antenna.of_station(radio)
        summed = departure.array == "synthetic"
        if summed:
            antenna = dataclasses.replace(antenna, slants=SLANTS)
        gain = path_gain(paths, antenna, DIPOLES if departure.dipoles else None)
        gain = gain * (ROWS * COLUMNS * len(SLANTS) if summed else 1)
    links = links_from_gain(city, gain, stations, x, y, radio, source=f"released code: {departure.label}")
    links.attrs["paths"] = int(count)
    if not (departure.one_feature or departure.sentinel):
        return links
    heard, metrics = links["heard"].values, one_feature(gain, stations.power)
    if not departure.one_feature:
        silent = one_feature(np.zeros_like(gain), stations.power)
        metrics = {name: np.where(heard, links[name].values, silent[name]) for name in FEATURES}
    if not departure.sentinel:
        metrics = {name: np.where(heard, value, np.nan) for name, value in metrics.items()}
    reported = links_dataset(
        metrics,
        {"x": links["ue_x"].values, "y": links["ue_y"].values},
        {name: getattr(stations, name) for name in ("x", "y", "h", "azimuth", "power", "id")},
        city.frame,
        source=links.attrs["source"],
        city=city.key,
        carrier_hz=radio.carrier_hz,
    )
    return reported.assign_attrs(paths=int(count))


def compare(links: xr.Dataset, right: xr.Dataset) -> dict[str, float | int | None]:
    """How links differ from the right simulation of the same stations and UEs.

    Returns
    -------
    dict
        `bias_db`, `rms_db` (bias removed) and `spearman` of NRSRP over the links that both hear, None under three;
        `lost`: share of the links heard in the right simulation that are not heard; `invented`: share of the links
        heard that are not heard there; `rank`: :func:`rank_of_features`.
    """
    here, there = links["heard"].values, right["heard"].values
    both = here & there
    error = links["nrsrp"].values[both].astype(float) - right["nrsrp"].values[both]
    enough = error.size > 2
    rho = spearmanr(links["nrsrp"].values[both], right["nrsrp"].values[both]).statistic if enough else None
    return {
        "bias_db": float(error.mean()) if enough else None,
        "rms_db": float(error.std()) if enough else None,
        "spearman": None if rho is None else float(rho),
        "lost": float((there & ~here).sum() / max(there.sum(), 1)),
        "invented": float((here & ~there).sum() / max(here.sum(), 1)),
        "rank": rank_of_features(links),
    }


def rank_of_features(links: xr.Dataset, tolerance_db: float = 0.01) -> int:
    """How many of the four features are free: directions in which heard links spread by more than this [dB]."""
    values = np.stack([links[name].values[links["heard"].values] for name in FEATURES], 1).astype(float)
    if len(values) < 2:
        return 0
    spread = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) / np.sqrt(len(values))
    return int((spread > tolerance_db).sum())
