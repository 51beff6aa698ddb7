"""Datasets B and C (paper 4.2, 4.3): which parts they have, and links made of their gains.

B has the stations of measured campaigns and new UEs. C invents the stations as well, in patches of a region, see
:mod:`.deployments`; stations of other patches near the border are heard, and stand where their own patch puts them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.city import City
from rfloc.city.patches import Patch, build_patch, cut, neighbours, randomised
from rfloc.config import CityParams, EngineParams, RadioParams, SimulationParams, SyntheticParams
from rfloc.datasets.deployments import (
    across_border,
    areas,
    deployments,
    draw_scene,
    draw_stations,
    draw_ues,
    join,
    rng_of,
)
from rfloc.datasets.hidden import links_from_gain
from rfloc.datasets.statistical import StatisticalModel
from rfloc.errors import SplitError
from rfloc.frames import LocalFrame
from rfloc.simulation.engine import Part, read_part, run_campaign
from rfloc.simulation.shards import describe
from rfloc.splits import held_out, roles_by_area
from rfloc.stations import Stations

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class SyntheticPart:
    """Links to be: what is simulated, and what its links say about themselves.

    Parameters
    ----------
    part : Part
        Stations, UEs, and how rays are traced.
    city : City
        Where; in dataset C a patch.
    source : str
        Who invents what, in words.
    drawn : dict
        Attributes of the links: the patch, and everything that was drawn for it.
    """

    part: Part
    city: City
    source: str
    drawn: dict[str, Any] = field(default_factory=dict)

    def links(self, path_gain: Floats, gain_error: Floats | None, how: str) -> xr.Dataset:
        """Links from gains (linear) and their errors [dB], shape (ue, bs); the patch's loss by clutter comes on top."""
        part, loss = self.part, 10 ** (-self.drawn.get("clutter_db", 0.0) / 10)
        links = links_from_gain(
            self.city, path_gain * loss, part.stations, part.ue_x, part.ue_y, part.radio, f"{self.source}, {how}",
            gain_error=gain_error,
        )  # fmt: skip
        return links.assign_attrs(self.drawn)


def simulate(
    parts: Sequence[SyntheticPart],
    source: str,
    folder: Path,
    engine: EngineParams,
    seed: int,
    cache: Path | None = None,
    progress: bool = True,
) -> Iterator[tuple[str, xr.Dataset]]:
    """Name and links of every part, one after the other.

    Parameters
    ----------
    source : {"rays", "statistical"}
        Rays run as one campaign. The statistical simulator draws a model from its priors for every part, recorded in
        the links' attributes.
    folder : Path
        Stores of campaigns, each named by the hash of its plan: one that was interrupted goes on where it stopped.
    engine, cache, progress
        As :func:`rfloc.simulation.engine.run_campaign`.
    seed : int
        Of the statistical models.
    """
    if source == "rays":
        traced = [each.part for each in parts]
        plan = json.dumps(describe(traced, engine.shard_links), sort_keys=True)
        store = folder / f"{hashlib.sha256(plan.encode()).hexdigest()[:16]}.zarr"
        run_campaign(traced, store, engine, cache=cache, progress=progress)
        for each in parts:
            yield each.part.name, each.links(*read_part(store, each.part), "traced by rays")
        return
    for each in parts:
        part, rng = each.part, rng_of(seed, each.part.name, "model")
        model = StatisticalModel.draw(rng)
        numbers = {f"model_{key}": value for key, value in vars(model).items() if isinstance(value, float)}
        own = model.for_stations(part.stations, rng)
        gain = own.path_gain(each.city, part.stations, part.ue_x, part.ue_y, part.radio, part.seed)
        yield part.name, each.links(gain, None, f"statistical, {model.source}").assign_attrs(numbers)


def part_of_b(
    city: City,
    stations: Stations,
    params: SyntheticParams,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    splits: Sequence[xr.Dataset] = (),
) -> SyntheticPart:
    """Dataset B in one city: UEs in the central 80 % of the box that the stations span, where `b_where` says.

    Parameters
    ----------
    splits : sequence of Dataset
        See :func:`outside_held_out`.
    """
    rng, box = rng_of(seed, city.key, "B"), stations.central_box(0.8)
    if params.b_where == "box":
        x, y = (rng.uniform(box[k], box[k + 2], params.b_ues) for k in (0, 1))
    else:
        draw = city.street_points if params.b_where == "streets" else city.outdoor_points
        x, y = draw(params.b_ues, rng, within=box)
    kept = outside_held_out(city, x, y, splits)
    part = Part(city.key, city.folder, stations, x[kept], y[kept], sim, radio, seed, sim.samples)
    return SyntheticPart(part, city, "measured stations, simulated signals (B)")


def parts_of_c(
    cities: Mapping[str, CityParams],
    params: SyntheticParams,
    sim: SimulationParams,
    radio: RadioParams,
    seed: int,
    data_root: str | Path,
    build: Path,
    splits: Sequence[xr.Dataset] = (),
) -> list[SyntheticPart]:
    """Dataset C: build the patches that are taken, and draw their deployments.

    With `c_border`, the neighbours of a patch are built too, for as long as it takes to place their stations. Where
    patches have heights of their own (`c_randomise`), a neighbour's mast is lifted above the roofs of this one.

    Parameters
    ----------
    cities : mapping
        Parameters of the regions, by key.
    data_root : path
        Where the regions' files are.
    build : Path
        Folder of the city folders `cities` and `patches`.
    splits : sequence of Dataset
        See :func:`outside_held_out`.
    """
    parts: list[SyntheticPart] = []
    for region in params.c_regions:
        patches = cut(region, cities[region], params.c_patches, params.c_margin)
        taken = take(patches, params.c_take, rng_of(seed, region, "take"))
        around = {patch.key: neighbours(patch, patches) if params.c_border else [] for patch in taken}
        built, tables = {}, {}
        with tempfile.TemporaryDirectory() as elsewhere:
            for patch in {p.key: p for p in (*taken, *(q for near in around.values() for q in near))}.values():
                scene = draw_scene(patch, params, seed)
                scaled = randomised(patch, scene["height_scale"], scene["permittivity_scale"]) if scene else patch
                city = build_patch(scaled, data_root, build if patch.key in around else Path(elsewhere))
                tables[patch.key] = {at: draw_stations(city, params, radio, seed, at) for at in deployments(params)}
                built[patch.key] = city
        for patch, at in itertools.product(taken, deployments(params)):
            city, scene = built[patch.key], draw_scene(patch, params, seed)
            stations = [tables[patch.key][at]]
            for near in around[patch.key]:
                stations.append(across_border(tables[near.key][at], built[near.key], city, params.c_border))
            x, y = draw_ues(city, params, seed, at)
            kept = outside_held_out(city, x, y, splits)
            part = Part(
                f"{city.key}-{at}", city.folder, join(stations).above_roofs(city), x[kept], y[kept],
                sim.model_copy(update={"scattering": scene.get("scattering", sim.scattering)}), radio,
                int(rng_of(seed, city.key, at, "rays").integers(2**31)), params.c_samples,
            )  # fmt: skip
            drawn = {"region": region, "deployment": at.number, "dense": at.dense, **scene}
            drawn["areas"] = areas(city, params, seed, at)
            parts.append(SyntheticPart(part, city, "invented stations (C)", drawn))
    return parts


def take(patches: list[Patch], n: int | None, rng: np.random.Generator) -> list[Patch]:
    """So many of the patches, drawn at random, or all of them; what fewer hold, more hold too."""
    chosen = rng.permutation(len(patches))[:n]
    return [patches[k] for k in sorted(chosen)]


def outside_held_out(city: City, x: Floats, y: Floats, splits: Sequence[xr.Dataset]) -> NDArray[np.bool_]:
    """Whether positions [m] lie outside the areas that splits of other cities hold out or validate on, and buffers.

    A patch may cover streets on which measurements test; no synthetic UE stands there. In a split's own city its roles
    see to that when a network is trained, and those that validate choose checkpoints.
    """
    kept = np.ones(np.shape(x), bool)
    for split in splits:
        if split.attrs["city"] != city.key:
            kept &= roles_by_area(split, city.frame, x, y) == "train"
    return kept


def require_unseen(links: xr.Dataset, splits: Sequence[xr.Dataset]) -> None:
    """Raise unless no UE of these links is one that a split holds out, or stands in an area that it holds out.

    Stations placed with the measurements of such a UE would leak them into dataset B.

    Raises
    ------
    SplitError
        Naming the city of the split and the number of UEs.
    """
    at = np.column_stack([links["ue_lat"], links["ue_lon"]]).round(6)
    for split in splits:
        away = split["role"].values != "train"
        tested = set(map(tuple, np.column_stack([split["ue_lat"], split["ue_lon"]])[away].round(6).tolist()))
        inside = held_out(split, *LocalFrame.from_attrs(split.attrs).to_local(*at.T))
        bad = int((inside | np.array([tuple(row) in tested for row in at.tolist()])).sum())
        if bad:
            raise SplitError(
                f"{bad} of {len(at)} UEs that would place the stations of {links.attrs['city']!r} are held out of "
                f"{split.attrs['city']!r}",
                "its known and unknown streets, validation and buffers must not enter training data",
                "choose a box that is disjoint from that campaign's",
            )
