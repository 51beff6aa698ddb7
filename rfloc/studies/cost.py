"""What datasets and training would cost: maps, links, disk, and the time that a measured probe predicts; operations.

A network is not run: PyTorch's meta device knows shapes alone, so that a training step of DINOv2-L/14 at the paper's
size is gone through in seconds and no memory. Operations are PyTorch's: two a multiply-add, in products, convolutions.
"""

import itertools
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rfloc.city import box_bounds, open_city
from rfloc.config import CropParams, EngineParams, ModelParams, Params, RadioParams, SimulationParams
from rfloc.datasets.synthetic import deployments
from rfloc.evaluation import paper_says
from rfloc.frames import LocalFrame
from rfloc.localizers.networks import build_network, predict
from rfloc.schema import FEATURES
from rfloc.simulation.many import connect
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.simulation.scene import load_radio_scene
from rfloc.stations import Stations

#: Height of a probe's stations [m], and bytes a link has on disk, before compression.
MAST, LINK_BYTES = 30.0, 8


def sizes(params: Params, b_stations: float) -> pd.DataFrame:
    """What datasets B (`b_stations` stations a city) and, if it is traced, C ask for.

    Columns: `parts`, and in each of them `stations` on average, `ues`, and `samples`, rays a station. A patch of C has
    its own stations and, of those that its neighbours are expected to have, the ones within `c_border` of it.
    """
    s = params.synthetic
    rows = {"B": (len(s.b_cities), b_stations, s.b_ues, params.simulation.samples)}
    if s.c_source == "rays":
        heard = []
        for region in (params.cities[key] for key in s.c_regions):
            stations = float(s.c_stations)
            if region.box is not None:
                x_min, y_min, x_max, y_max = box_bounds(LocalFrame(*region.centre), region.box)
                for edge, patches in ((y_max - y_min, s.c_patches[0]), (x_max - x_min, s.c_patches[1])):
                    stations *= 1 + 2 * s.c_border * (patches - 1) / edge  # on both sides, none past the region's edge
            heard.append(stations)
        parts = len(s.c_regions) * (s.c_take or int(np.prod(s.c_patches))) * len(deployments(s))
        rows["C"] = (parts, float(np.mean(heard)), s.c_ues, s.c_samples)
    return pd.DataFrame(rows, index=["parts", "stations", "ues", "samples"]).T


def estimate(asked: pd.DataFrame, engine: EngineParams, probe: pd.Series) -> pd.DataFrame:
    """What datasets of such :func:`sizes` would take; at most one worker a station loads the scene of a part."""
    workers = engine.workers or os.cpu_count() or 1
    maps, loads = (asked.parts * asked.stations).round(), asked.parts * asked.stations.clip(upper=workers)
    links = maps * asked.ues
    a_map = probe["map [s]"] + asked.samples / 1e6 * probe["million rays [s]"] + asked.ues / 1e3 * probe["1000 UEs [s]"]
    seconds = (loads * probe["city [s]"] + maps * a_map) / maps.clip(1, workers)
    return pd.DataFrame(
        {
            "maps": maps.astype(int), "links": links.astype(int), "links [MB]": links * LINK_BYTES / 1e6,
            "kept maps [MB]": maps * probe["map [MB]"], "time [min]": seconds / 60, "links/s": links / seconds,
        }
    )  # fmt: skip


def probe_city(folder: Path, sim: SimulationParams, radio: RadioParams, samples: int, seed: int) -> pd.Series:
    """Measure what a worker of one thread needs in the city of a folder, its name: maps with hardly any and many rays.

    `city [s]`: to read it and load its scene; `map [s]` and, besides, `million rays [s]`; `1000 UEs [s]`: to read them
    off a map; `map [MB]`: a kept one; `worker [MB]`: the process at its peak.
    """
    with connect(EngineParams(scheduler="local", workers=1)) as client:
        return client.submit(_measure, folder.resolve(), sim, radio, samples, seed, pure=False).result()


def _measure(folder: Path, sim: SimulationParams, radio: RadioParams, samples: int, seed: int) -> pd.Series:
    scene = open_city(folder).scene_path
    load_radio_scene(scene, radio.carrier_hz, sim.scattering)  # what is imported is imported once
    start = time.perf_counter()
    plane = Plane(open_city(folder), sim.cell, radio.ue_height)
    load_radio_scene(scene, radio.carrier_hz, sim.scattering)
    loaded = time.perf_counter() - start
    x, y = plane.city.street_points(1000, np.random.default_rng(seed))
    k = np.arange(3)
    stations = Stations(x[k], y[k], np.full(3, MAST), np.zeros(3), np.full(3, radio.power_dbm), k.astype(str))
    spent: dict[int, list[float]] = {sim.map_batches: [], samples: []}
    with tempfile.TemporaryDirectory() as kept:
        for rays, station in itertools.product(spent, k):
            start = time.perf_counter()
            maps = trace_maps(plane, stations.take([station]), Rays(sim, radio, rays, seed), Path(kept), progress=False)
            spent[rays].append(time.perf_counter() - start)
        map_bytes = max(file.stat().st_size for file in Path(kept).iterdir())
    rest, whole = (min(seconds[1:]) for seconds in spent.values())  # the first one, which compiles, does not count
    start = time.perf_counter()
    read_maps(maps, x, y, radio)
    found = {
        "city [s]": loaded, "map [s]": min(rest, whole), "million rays [s]": 1e6 * max(whole - rest, 0.0) / samples,
        "1000 UEs [s]": time.perf_counter() - start, "map [MB]": map_bytes / 1e6,
        "worker [MB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,  # Linux counts kilobytes
    }  # fmt: skip
    return pd.Series(found, name=plane.city.key)


#: Peak of an NVIDIA A100 in bfloat16, dense, as its data sheet states it [FLOP/s].
A100 = 312e12
#: Share of it that large transformers compute at (model FLOPs utilization): 0.44 to 0.52 (Narayanan et al. 2021), 0.46
#: (Chowdhery et al. 2022); smaller ones, with data to be drawn beside, less.
MFU = 0.4


def network_cost(name: str, model: ModelParams, crops: CropParams) -> dict[str, float]:
    """A network's `parameters`, and of a training step `GFLOP a crop`, `state [GB]` and `activations [MB a crop]`.

    Of a step of two crops, for batch norms want more than one. The state is weights, gradients and AdamW's two moments
    in single precision, activations what the backward pass keeps; recipe "ours" is counted without its pair score.
    """
    shapes = {"image": (2, crops.pixels, crops.pixels), "size": (), "bs_xy": (crops.max_bs, 2)}
    shapes |= {"rf": (crops.max_bs, len(FEATURES)), "bs_boresight": (crops.max_bs, 2)}
    kept: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage()._cdata] = saved.untyped_storage().nbytes()
        return saved

    with torch.device("meta"):
        network = build_network(name, model.model_copy(update={"recipe": "paper"}), crops)
        inputs = {key: torch.empty(2, *shape) for key, shape in shapes.items()}
        inputs["bs_mask"] = torch.empty(2, crops.max_bs, dtype=torch.bool)
        inputs["rf_mask"] = torch.empty(2, crops.max_bs, len(FEATURES), dtype=torch.bool)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), hooks:
        predict(network, inputs).sum().backward()
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    count = sum(p.numel() for p in network.parameters())
    activations = sum(size for storage, size in kept.items() if storage not in weights) / 2
    found = {"parameters": count, "GFLOP a crop": counter.get_total_flops() / 2e9, "state [GB]": 16 * count / 1e9}
    return found | {"activations [MB a crop]": activations / 1e6}


def training_costs(params: Params) -> pd.DataFrame:
    """What experiments ask for, with all stages that they start from; rows of a pair score alone are left out.

    `crops` and `EFLOP` of all stages; the :func:`network_cost`, and what `a GPU holds [GB]` with a batch; `A100 h at
    peak`, `A100 h` at :data:`MFU` of it, and the paper's (appendix F).
    """
    rows = {key: row for key, row in params.experiments.items() if not row.model.startswith("pair")}
    costs = {name: network_cost(name, params.model, params.crops) for name in {row.model for row in rows.values()}}
    for cost in costs.values():
        held = params.training.batch_size * cost["activations [MB a crop]"] / 1e3
        cost["a GPU holds [GB]"] = cost["state [GB]"] + held
    table = {}
    for key, row in rows.items():
        stages = [row]
        while stages[-1].start != "init":
            stages.append(params.experiments[stages[-1].start])
        # An adapting stage computes on as many crops of its target.
        crops = sum(stage.samples * (2 if stage.adapt else 1) for stage in stages)
        flop = 1e9 * crops * costs[row.model]["GFLOP a crop"]
        hours = flop / A100 / 3600
        told = {"A100 h at peak": hours, "A100 h": hours / MFU, "A100 h, paper": paper_says()["hours"].get(key, np.nan)}
        table[key] = {"crops": crops, **costs[row.model], "EFLOP": flop / 1e18, **told}
    return pd.DataFrame(table).T
