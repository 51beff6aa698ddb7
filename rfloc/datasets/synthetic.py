"""Datasets B, C and S: which parts they have, and links read off their stations' maps (paper 4.2, 4.3).

B has the stations of measured campaigns and new UEs; S is B with levels of the statistical simulator. C invents the
stations as well, in patches of a region; stations of other patches near the border are heard, and stand where their own
patch puts them. Every draw of C has a generator of its own, by seed, patch and deployment, whatever other patches are
taken.
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
import xarray as xr

from rfloc.arrays import Bools, Floats
from rfloc.city import Bounds, City, build_patch, cut, neighbours
from rfloc.config import EngineParams, Params, SyntheticParams
from rfloc.datasets.build import links_from_gain, require_heard
from rfloc.datasets.hidden import place_stations, rng_of
from rfloc.datasets.statistical import StatisticalModel
from rfloc.errors import SimulationError, SplitError
from rfloc.frames import LocalFrame
from rfloc.simulation.maps import gain_at, sector_gain_db, trace_ahead
from rfloc.simulation.plane import Plane, Rays
from rfloc.splits import held_out, near, roles_by_area
from rfloc.stations import Stations

#: Stations that share a sub-region of a dense deployment: some more than the three that a crop must hold.
STATIONS_A_SUBREGION = 5
#: Places that are tried for sub-regions.
CENTRES = 1000


@dataclass(frozen=True)
class Part:
    """Links to be: stations and UEs in one city, how rays are traced, and what the links say about themselves."""

    name: str  #: of the links
    plane: Plane  #: where; in dataset C in a patch
    stations: Stations
    rays: Rays
    x: Floats  #: of the UEs [m]
    y: Floats
    source: str  #: who invents what, in words
    drawn: dict[str, Any] = field(default_factory=dict)  #: attributes of the links: what was drawn for the patch

    def links(self, cache: Path | None) -> xr.Dataset:
        """Links read off the maps of the stations, kept in `cache` or traced now."""
        stations, radio, at = self.stations, self.rays.radio, (self.x, self.y)
        gain, error = gain_at(self.plane, stations, self.rays, *at, cache)
        sectors = 10 ** (sector_gain_db(stations.above_roofs(self.plane.city), *at, radio).T / 10)
        source = f"{self.source}, traced by rays"
        links = links_from_gain(self.plane.city, gain * sectors, stations, *at, radio, source, gain_error=error)
        return require_heard(links, radio).assign_attrs(self.drawn)

    def links_without_rays(self, model: StatisticalModel, *, measured: bool = False) -> xr.Dataset:
        """Links by the statistical simulator, of stations drawn or, `measured`, of those that it was fitted to."""
        rng = rng_of(self.rays.seed, self.name, "stations")
        own = model if measured else model.for_stations(self.stations, rng)
        gain = own.path_gain(self.plane.city, self.stations, self.x, self.y, self.rays.radio, self.rays.seed)
        source = f"{self.source}, {own.source}"
        links = links_from_gain(self.plane.city, gain, self.stations, self.x, self.y, self.rays.radio, source)
        return require_heard(links, self.rays.radio).assign_attrs(self.drawn)


def simulate(parts: Sequence[Part], cache: Path, engine: EngineParams) -> Iterator[tuple[str, xr.Dataset]]:
    """Name and links of every part, once the maps of all are traced (:func:`~rfloc.simulation.maps.trace_ahead`)."""
    trace_ahead([(part.plane, part.stations, part.rays) for part in parts], cache, engine)
    for part in parts:
        yield part.name, part.links(cache)


def part_of_b(city: City, stations: Stations, params: Params, splits: Sequence[xr.Dataset] = ()) -> Part:
    """Dataset B in a city: UEs in the stations' central box by `b_where`, none that other cities' `splits` hold out."""
    asked, sim, radio = params.synthetic, params.simulation, params.radio
    rng, box = rng_of(params.seed, city.key, "B"), stations.central_box(0.8)
    if asked.b_where == "box":
        x, y = rng.uniform(box[:2], box[2:], (asked.b_ues, 2)).T
    else:
        x, y = city.street_points(asked.b_ues, rng, box, anywhere=asked.b_where != "streets")
    kept = outside_held_out(city, x, y, splits)
    plane, rays = Plane(city, sim.cell, radio.ue_height), Rays(sim, radio, sim.samples, params.seed)
    return Part(city.key, plane, stations, rays, x[kept], y[kept], "measured stations, simulated signals (B)")


def parts_of_c(params: Params, data_root: str | Path, build: Path, splits: Sequence[xr.Dataset] = ()) -> list[Part]:
    """Dataset C: build the patches that are taken, and draw their deployments.

    With `c_border`, the neighbours of a patch are built too, for as long as it takes to place their stations. Files of
    regions lie under `data_root`, cities and patches in `build`; `splits` as for B.
    """
    parts: list[Part] = []
    asked, sim, radio, seed = params.synthetic, params.simulation, params.radio, params.seed
    for region in asked.c_regions:
        patches = cut(region, params.cities[region], asked.c_patches, asked.c_margin)
        drawn = rng_of(seed, region, "take").permutation(len(patches))[: asked.c_take]  # more only adds to fewer
        taken = [patches[k] for k in sorted(drawn)]
        around = {patch.key: neighbours(patch, patches) if asked.c_border else [] for patch in taken}
        built, tables = {}, {}
        with tempfile.TemporaryDirectory() as elsewhere:
            for patch in {p.key: p for p in (*taken, *(q for of in around.values() for q in of))}.values():
                city = build_patch(patch, data_root, build if patch.key in around else Path(elsewhere))
                tables[patch.key] = {at: draw_stations(city, params, at) for at in deployments(asked)}
                built[patch.key] = city
        planes = {patch.key: Plane(built[patch.key], sim.cell, radio.ue_height) for patch in taken}
        for patch, at in itertools.product(taken, deployments(asked)):
            city, stations = built[patch.key], [tables[patch.key][at]]
            for beside in around[patch.key]:  # what stands within reach, in the frame of this one
                table, home = tables[beside.key][at], built[beside.key]
                x, y = city.frame.to_local(*home.frame.to_geographic(table.x, table.y))
                reached = near(shapely.box(*city.bounds), x, y, asked.c_border)
                stations.append(table.replace(x=x, y=y).take(reached))
            boxes = areas(city, params, at)
            x, y = draw_ues(city, params, at)
            kept = outside_held_out(city, x, y, splits)
            rays = Rays(sim, radio, asked.c_samples, int(rng_of(seed, city.key, at, "rays").integers(2**31)))
            about = {"region": region, "deployment": at.number, "dense": at.dense, "areas": boxes}
            plane, stood = planes[patch.key], Stations.join(stations).above_roofs(city)
            ues, source = (x[kept], y[kept]), "invented stations (C)"
            parts.append(Part(f"{city.key}-{at}", plane, stood, rays, *ues, source, about))
    return parts


def outside_held_out(city: City, x: Floats, y: Floats, splits: Sequence[xr.Dataset]) -> Bools:
    """Whether positions [m] lie outside what splits of other cities, whose streets these may be, hold out."""
    kept = np.ones(np.shape(x), bool)
    for split in splits:
        if split.attrs["city"] != city.key:
            kept &= roles_by_area(split, city.frame, x, y) == "train"
    return kept


def require_unseen(links: xr.Dataset, splits: Sequence[xr.Dataset]) -> None:
    """Raise SplitError if a UE of these links, which place stations of B, is held out of a split or stands there."""
    at, *there = (np.round(ds["ue_lat"].values + 1j * ds["ue_lon"].values, 6) for ds in (links, *splits))
    for split, theirs in zip(splits, there, strict=True):
        inside = held_out(split, *LocalFrame.from_attrs(split.attrs).to_local(at.real, at.imag))
        if bad := int((inside | np.isin(at, theirs[split["role"].values != "train"])).sum()):
            raise SplitError(
                f"{bad} of {len(at)} UEs that would place the stations of {links.attrs['city']!r} are held out of "
                f"{split.attrs['city']!r}",
                "its known and unknown streets, validation and buffers must not enter training data",
                "choose a box that is disjoint from that campaign's",
            )


class Deployment(NamedTuple):
    """One draw of a patch's stations and UEs, all over it or (`dense`) in sub-regions."""

    number: int
    dense: bool = False

    def __str__(self) -> str:
        return f"{self.number}-dense" if self.dense else str(self.number)


def deployments(params: SyntheticParams) -> list[Deployment]:
    """The deployments of every patch: `c_deployments`, each with a dense twin where `c_dense` asks for one."""
    variants = (False,) if params.c_dense is None else (False, True)
    return [Deployment(number, dense) for number in range(params.c_deployments) for dense in variants]


def areas(city: City, params: Params, at: Deployment) -> list[Bounds]:
    """The whole city, or sub-regions, apart and built up at least as on average (SimulationError: there is no room)."""
    edge = params.synthetic.c_dense
    if not at.dense or edge is None:
        return [city.bounds]
    x_min, y_min, x_max, y_max = city.bounds
    wanted = max(1, round(params.synthetic.c_stations / STATIONS_A_SUBREGION))
    rng, centres = rng_of(params.seed, city.key, at, "areas"), np.empty((0, 2))
    inner = x_min + edge / 2, y_min + edge / 2, x_max - edge / 2, y_max - edge / 2
    if inner[0] < inner[2] and inner[1] < inner[3]:
        for x, y in zip(*city.street_points(CENTRES, rng, within=inner), strict=True):
            if len(centres) == wanted:
                break
            apart = (np.abs(centres - (x, y)).max(axis=1) >= edge).all()
            if apart and city.window(x, y, edge, ["building"]).mean() >= city.facts["built_share"]:
                centres = np.vstack([centres, (x, y)])
    if len(centres) < wanted:
        raise SimulationError(
            f"{city.key!r} has room for {len(centres)} sub-regions of {edge:g} m, not for {wanted}",
            f"it spans {x_max - x_min:.0f} m x {y_max - y_min:.0f} m; they are built up and do not overlap",
            "lower synthetic.c_dense or synthetic.c_stations, or cut the region into fewer patches",
        )
    return [(x - edge / 2, y - edge / 2, x + edge / 2, y + edge / 2) for x, y in centres.tolist()]


def draw_stations(city: City, params: Params, at: Deployment) -> Stations:
    """The stations of a patch: on its roofs, and where these have no room, on open ground; azimuths are random."""
    rng, boxes = rng_of(params.seed, city.key, at, "stations"), areas(city, params, at)
    shares = map(len, np.array_split(range(params.synthetic.c_stations), len(boxes)))
    each = zip(shares, boxes, rng.spawn(len(boxes)), strict=True)
    height, power = params.synthetic.c_height, params.radio.power_dbm
    table = Stations.join([place_stations(city, n, height, power, own, box, masts=True) for n, box, own in each])
    return table.replace(id=[f"{city.key}-{k:02d}" for k in range(table.n)])


def draw_ues(city: City, params: Params, at: Deployment) -> Floats:
    """UE positions x, y [m] on the streets of a patch or, dense, of its sub-regions; (2, c_ues)."""
    rng, boxes = rng_of(params.seed, city.key, at, "UEs"), areas(city, params, at)
    shares = map(len, np.array_split(range(params.synthetic.c_ues), len(boxes)))
    return np.concatenate(list(map(city.street_points, shares, rng.spawn(len(boxes)), boxes)), axis=1)
