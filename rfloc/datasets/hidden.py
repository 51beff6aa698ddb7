"""The hidden campaign: a simulated reality whose true parameters nobody is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from rfloc.city import Bounds, City
from rfloc.config import CampaignParams, EngineParams, RadioParams, SimulationParams
from rfloc.datasets.build import links_from_gain
from rfloc.errors import SimulationError
from rfloc.simulation.maps import read_error_db, read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.propagation import correlated_shadowing
from rfloc.stations import ROOF_CLEARANCE, Stations

#: Added to the seed of a reality's rays, so that no simulation of it shares their noise.
OTHER_RAYS = 10_000
#: Reports are quantised to this step [dB] and limited to this many stations, the strongest: what scanners do.
STEP_DB, STRONGEST = 1.0, 10


@dataclass(frozen=True)
class HiddenCampaign:
    """What a hidden campaign reports, and the truth behind it, which only evaluation may look at."""

    links: xr.Dataset  #: the reports, with the *nominal* station table
    true_stations: Stations  #: where they really are, look to, and how loud they are
    true_maps: xr.Dataset  #: isotropic, of the true stations

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


def hidden_campaign(
    city: City,
    params: CampaignParams,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    cache: Path | None = None,
    engine: EngineParams | None = None,
    progress: bool = True,
) -> HiddenCampaign:
    """Simulate a measured campaign with parameters that calibration and localization are not told.

    Hidden: the stations' positions (the nominal ones are off by `position_sd` an axis), azimuths and powers, and
    correlated shadowing. Reports are censored at the sensitivity, quantised to :data:`STEP_DB` and limited to the
    :data:`STRONGEST`. For `cache`, `engine`, `progress` see :func:`~rfloc.simulation.maps.trace_maps`.
    """
    rng = np.random.default_rng(seed)
    truth = place_stations(city, params.stations, params.height, radio.power_dbm, None, rng).above_roofs(city)
    nominal = truth.moved(*rng.normal(0.0, params.position_sd, (2, truth.n))).replace(
        azimuth=(truth.azimuth + rng.normal(0.0, params.azimuth_sd, truth.n)) % 360.0
    )
    truth = truth.replace(power=truth.power + rng.normal(0.0, params.gain_sd, truth.n))
    x, y = city.street_points(params.ues, rng)
    rays = Rays(sim, radio, sim.samples, seed + OTHER_RAYS)
    maps = trace_maps(Plane(city, sim.cell, radio.ue_height), truth, rays, cache, engine, progress)
    shadowing = correlated_shadowing(
        x, y, params.shadowing_sd, params.shadowing_distance, np.random.default_rng(seed + 1), truth.n
    )
    source = "simulated reality: ray-traced maps of hidden stations, shadowing, censoring, quantisation"
    links = links_from_gain(
        city, read_maps(maps, x, y, radio) * 10 ** (shadowing / 10), truth, x, y, radio, source, STEP_DB,
        STRONGEST, nominal, read_error_db(maps, x, y),
    )  # fmt: skip
    return HiddenCampaign(links, truth, maps)
