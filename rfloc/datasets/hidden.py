"""The hidden campaign: a simulated reality whose true parameters nobody is told."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.random import Generator

from rfloc.city import Bounds, City
from rfloc.config import CampaignParams, EngineParams, RadioParams, SimulationParams
from rfloc.datasets.build import links_from_gain, require_heard
from rfloc.errors import SimulationError
from rfloc.simulation.maps import read_error_db, read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.propagation import correlated_shadowing
from rfloc.stations import ROOF_CLEARANCE, Stations

#: Places that a station tries.
ATTEMPTS = 4096
#: Added to the seed of a reality's rays, so that no simulation of it shares their noise.
OTHER_RAYS = 10_000
#: Reports are quantised to this step [dB] and limited to this many stations, the strongest: what scanners do.
STEP_DB, STRONGEST = 1.0, 10


def rng_of(seed: int, *words: object) -> Generator:
    """A generator of its own for every seed and words."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def place_stations(
    city: City, n: int, heights: Sequence[float], power: float, rng: Generator, within: Bounds, masts: bool = False
) -> Stations:
    """Put stations on roofs, at random, each by a stream spawned from `rng`: the first of its places that is free.

    They stand `within` a box [m], at least half the mean spacing sqrt(built area / n) apart. Roofs
    too tall for the `heights`, low to high above ground [m], carry none. With `masts`, those for which roofs have no
    room stand on open ground; else raises SimulationError. The `power` of each is in dBm.
    """
    low, high = heights
    grid, box = city.grid, within
    built, roof = (city.raster[name].values for name in ("building", "height"))
    fitting = (built == 1) & (roof + ROOF_CLEARANCE <= high)
    inside = fitting[np.ix_((grid.y > box[1]) & (grid.y < box[3]), (grid.x > box[0]) & (grid.x < box[2]))]
    area = np.count_nonzero(inside) or inside.size * masts
    separation = 0.5 * float(np.sqrt(area * grid.cell**2 / n))
    placed, own = np.empty((0, 2)), rng.spawn(n)
    for ground in (fitting, built == 0) if masts else (fitting,):
        for stream in own[len(placed) :]:
            tried = stream.spawn(1)[0].uniform(box[:2], box[2:], (ATTEMPTS, 2))
            row, col, there = grid.index(*tried.T)
            apart = np.hypot(*(tried[:, None] - placed).T).min(0, initial=np.inf) >= separation
            found = np.flatnonzero(there & ground[row, col] & apart)
            if not found.size:
                break
            placed = np.vstack([placed, tried[found[0]]])
    if len(placed) < n:
        raise SimulationError(
            f"{city.key!r} has room for {len(placed)} stations, not for {n}",
            f"they stand on roofs under {high - ROOF_CLEARANCE:g} m{' or open ground' * masts}, "
            f"{separation:.0f} m or more apart",
            "ask for fewer stations, or allow taller masts",
        )
    x, y = placed.T
    roof = city.height_at(x, y)
    least, share, turn = np.maximum(low, roof + ROOF_CLEARANCE * (roof > 0)), *np.transpose([s.random(2) for s in own])
    names = np.array([f"{city.key}-{k:02d}" for k in range(n)])
    return Stations(x, y, least + share * (high - least), 360.0 * turn, np.full(n, power), names)


def hidden_campaign(
    city: City, params: CampaignParams, sim: SimulationParams, radio: RadioParams, seed: int, cache: Path | None = None,
    engine: EngineParams | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:  # fmt: skip
    """Simulate a measured campaign with parameters that calibration and localization are not told.

    Hidden: the stations' positions (the nominal ones are off by `position_sd` an axis), azimuths and powers, and
    correlated shadowing. `cache` and `engine` are :func:`~rfloc.simulation.maps.trace_maps`'s. Gives the reports, links
    with the *nominal* stations, and isotropic maps of the true ones, which only evaluation may look at.
    """
    placing, telling, walking, shading = (rng_of(seed, city.key, kind) for kind in ("place", "tell", "walk", "shade"))
    truth = place_stations(city, params.stations, params.height, radio.power_dbm, placing, city.bounds)
    truth = truth.above_roofs(city)
    dx, dy, turn, louder = np.transpose([stream.normal(size=4) for stream in telling.spawn(truth.n)])
    nominal = truth.moved(params.position_sd * dx, params.position_sd * dy).replace(
        azimuth=(truth.azimuth + params.azimuth_sd * turn) % 360.0
    )
    truth = truth.replace(power=truth.power + params.gain_sd * louder)
    x, y = city.street_points(params.ues, walking)
    rays = Rays(sim, radio, sim.samples, seed + OTHER_RAYS)
    maps = trace_maps(Plane(city, sim.cell, radio.ue_height), truth, rays, cache, engine)
    how = params.shadowing_sd, params.shadowing_distance, shading, truth.n, city.grid.bounds
    gain = read_maps(maps, x, y, radio) * 10 ** (correlated_shadowing(x, y, *how) / 10)
    source = "simulated reality: ray-traced maps of hidden stations, shadowing, censoring, quantisation"
    reports = STEP_DB, STRONGEST, nominal, read_error_db(maps, x, y)
    links = require_heard(links_from_gain(city, gain, truth, x, y, radio, source, *reports), radio)
    return links.assign_attrs(cell=sim.cell), maps
