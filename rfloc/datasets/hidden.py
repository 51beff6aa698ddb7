"""From path gain to links, and the hidden campaign: a simulated reality whose true parameters nobody is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.city import Bounds, City
from rfloc.config import CampaignParams, RadioParams, SimulationParams
from rfloc.datasets.radio import features
from rfloc.errors import SimulationError
from rfloc.schema import FEATURES, links_dataset
from rfloc.simulation.maps import read_error_db, read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.propagation import correlated_shadowing
from rfloc.stations import ROOF_CLEARANCE, Stations

__all__ = [
    "HiddenCampaign",
    "Stations",
    "hidden_campaign",
    "links_from_gain",
    "place_stations",
    "simulate_links",
]

#: Added to the seed of a reality's rays, so that no simulation of it shares their noise.
OTHER_RAYS = 10_000
#: Reports are quantised to this step [dB] and limited to this many stations, the strongest: what scanners do.
STEP_DB, STRONGEST = 1.0, 10


@dataclass(frozen=True)
class HiddenCampaign:
    """What a hidden campaign reports, and the truth behind it, which only evaluation may look at.

    Parameters
    ----------
    links : Dataset of kind "links"
        The reports, with the *nominal* station table.
    true_stations : Stations
        Where the stations really are, look to, and how loud they are.
    true_maps : Dataset of kind "maps"
        Isotropic maps of the true stations.
    """

    links: xr.Dataset
    true_stations: Stations
    true_maps: xr.Dataset

    @property
    def nominal(self) -> Stations:
        """The station table that the campaign reports."""
        return Stations.from_dataset(self.links)


def place_stations(
    city: City,
    n: int,
    heights: tuple[float, float] | list[float],
    power: float,
    min_separation: float | None,
    rng: np.random.Generator,
    within: Bounds | None = None,
    masts: bool = False,
) -> Stations:
    """Put stations on roofs, at random.

    Parameters
    ----------
    heights : (low, high)
        Range of antenna heights above ground [m]; roofs too tall for it carry no station.
    power : float
        Transmit power of each [dBm].
    min_separation : float or None
        Least distance between two [m]; None: half the mean spacing sqrt(built area / n).
    within : (x_min, y_min, x_max, y_max), optional
        Where they may stand [m]; default: the city proper.
    masts : bool
        Those for which the roofs have no room stand on open ground, at least as far apart.

    Raises
    ------
    SimulationError
        If there is no room for `n` of them.
    """
    low, high = heights
    x_min, y_min, x_max, y_max = within or city.bounds
    first_col, last_col = np.searchsorted(city.grid.x, x_min, "right"), np.searchsorted(city.grid.x, x_max)
    first_row, last_row = np.searchsorted(city.grid.y, y_min, "right"), np.searchsorted(city.grid.y, y_max)
    part = city.raster[["building", "height"]].isel(y=slice(first_row, last_row), x=slice(first_col, last_col))
    built, roof = part["building"].values == 1, part["height"].values
    fitting = built & (roof + ROOF_CLEARANCE <= high)
    if min_separation is None:
        area = np.count_nonzero(fitting) or fitting.size * masts
        min_separation = 0.5 * float(np.sqrt(area * city.grid.cell**2 / n))
    chosen = np.empty((0, 2), int)
    for ground in (fitting, ~built) if masts else (fitting,):
        cells = np.argwhere(ground) if len(chosen) < n else chosen[:0]
        for cell in cells[rng.permutation(len(cells))]:
            if len(chosen) == n:
                break
            if (np.hypot(*(cell - chosen).T) * city.grid.cell >= min_separation).all():
                chosen = np.vstack([chosen, cell])
    if len(chosen) < n:
        raise SimulationError(
            f"{city.key!r} has room for {len(chosen)} stations, not for {n}",
            f"they stand on roofs under {high - ROOF_CLEARANCE:g} m{' or open ground' * masts}, "
            f"{min_separation:.0f} m or more apart",
            "ask for fewer stations, allow taller masts or a smaller separation",
        )
    row, col = chosen.T
    return Stations(
        x=city.grid.x[first_col + col],
        y=city.grid.y[first_row + row],
        h=rng.uniform(np.maximum(low, np.where(built[row, col], roof[row, col] + ROOF_CLEARANCE, 0.0)), high),
        azimuth=rng.uniform(0.0, 360.0, n),
        power=np.full(n, power),
        id=np.array([f"{city.key}-{k:02d}" for k in range(n)]),
    )


def simulate_links(
    city: City,
    maps: xr.Dataset,
    ue_x: ArrayLike,
    ue_y: ArrayLike,
    radio: RadioParams,
    source: str,
    shadowing_sd: float = 0.0,
    shadowing_distance: float = 40.0,
    step: float = 0.0,
    strongest: int | None = None,
    stations: Stations | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Read a links dataset off radio maps, with the Monte Carlo error of every link's gain where the maps have one.

    Parameters
    ----------
    ue_x, ue_y : array_like, shape (ue,)
        UE positions in the city's frame [m].
    source : str
        Who filled the arrays, in words.
    shadowing_sd, shadowing_distance : float
        Shadowing [dB] and its decorrelation distance [m], an independent field a station.
    step : float
        Quantisation of all four features [dB]; 0 = none.
    strongest : int, optional
        Report at most this many stations a UE.
    stations : Stations, optional
        Station table to report; default: that of the maps.
    seed : int
        Seed of the shadowing.
    """
    city.frame.require_same(type(city.frame).from_attrs(maps.attrs), "these maps")
    x, y = np.asarray(ue_x, float), np.asarray(ue_y, float)
    traced = Stations.from_dataset(maps)
    gain, error = read_maps(maps, x, y, radio), read_error_db(maps, x, y) if "ray_error" in maps else None
    if shadowing_sd:
        rng = np.random.default_rng(seed)
        gain = gain * 10 ** (correlated_shadowing(x, y, shadowing_sd, shadowing_distance, rng, traced.n) / 10)
    return links_from_gain(city, gain, traced, x, y, radio, source, step, strongest, stations, error)


def links_from_gain(
    city: City,
    path_gain: ArrayLike,
    stations: Stations,
    ue_x: ArrayLike,
    ue_y: ArrayLike,
    radio: RadioParams,
    source: str,
    step: float = 0.0,
    strongest: int | None = None,
    table: Stations | None = None,
    gain_error: ArrayLike | None = None,
) -> xr.Dataset:
    """Turn path gain into the links that UEs would report: features, censoring, quantisation.

    Parameters
    ----------
    path_gain : array_like, shape (ue, bs)
        Linear, antenna patterns applied.
    stations : Stations
        Who transmits, with which power.
    table : Stations, optional
        Station table to report; default: `stations`.
    gain_error : array_like, optional
        Monte Carlo standard error of `path_gain` [dB], shape (ue, bs), NaN where unknown.

    Other parameters are those of :func:`simulate_links`.
    """
    values = features(path_gain, stations.power, radio)
    heard = np.isfinite(values["nrsrp"])
    if strongest is not None and strongest < stations.n:
        order = np.argsort(np.argsort(-np.where(heard, values["nrsrp"], -np.inf), axis=1), axis=1)
        heard &= order < strongest
    if step:
        values = {name: np.round(values[name] / step) * step for name in FEATURES}
    table = stations if table is None else table
    return links_dataset(
        values,
        {"x": np.asarray(ue_x, float), "y": np.asarray(ue_y, float)},
        {name: getattr(table, name) for name in ("x", "y", "h", "azimuth", "power", "id")},
        city.frame,
        source=source,
        city=city.key,
        carrier_hz=radio.carrier_hz,
        heard=heard,
        gain_error=None if gain_error is None else np.asarray(gain_error, float),
    )


def hidden_campaign(
    city: City,
    params: CampaignParams,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    progress: bool = True,
) -> HiddenCampaign:
    """Simulate a measured campaign with parameters that calibration and localization are not told.

    Hidden: the stations' positions (the nominal ones are off by `position_sd` an axis), azimuths and powers, and
    correlated shadowing. Reports are censored at the sensitivity, quantised to :data:`STEP_DB` and limited to the
    :data:`STRONGEST`.
    """
    rng = np.random.default_rng(seed)
    truth = place_stations(city, params.stations, params.height, radio.power_dbm, None, rng).above_roofs(city)
    nominal = truth.moved(*rng.normal(0.0, params.position_sd, (2, truth.n))).replace(
        azimuth=(truth.azimuth + rng.normal(0.0, params.azimuth_sd, truth.n)) % 360.0
    )
    truth = truth.replace(power=truth.power + rng.normal(0.0, params.gain_sd, truth.n))
    ue_x, ue_y = city.street_points(params.ues, rng)
    rays = Rays(sim, radio, sim.samples, seed + OTHER_RAYS)
    maps = trace_maps(Plane(city, sim.cell, radio.ue_height), truth, rays, progress=progress)
    links = simulate_links(
        city,
        maps,
        ue_x,
        ue_y,
        radio,
        source="simulated reality: ray-traced maps of hidden stations, shadowing, censoring, quantisation",
        shadowing_sd=params.shadowing_sd,
        shadowing_distance=params.shadowing_distance,
        step=STEP_DB,
        strongest=STRONGEST,
        stations=nominal,
        seed=seed + 1,
    )
    return HiddenCampaign(links, truth, maps)
