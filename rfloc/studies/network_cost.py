"""What a network costs without running it: weights, operations and memory of a training step, on tensors of no content.

PyTorch's meta device knows shapes alone, so that DINOv2-L/14 at the paper's size is stepped through in seconds and no
memory. Operations are counted as PyTorch counts them: two a multiply-add, in matrix products and convolutions.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rfloc.config import CropParams, ModelParams, Params
from rfloc.evaluation import paper_says
from rfloc.localizers.networks import build_network, predict
from rfloc.schema import FEATURES

#: Peak of an NVIDIA A100 in bfloat16, dense, as its data sheet states it [FLOP/s].
A100 = 312e12

#: Share of it that large transformers compute at (model FLOPs utilization): 0.44 to 0.52 (Narayanan et al. 2021), 0.46
#: (Chowdhery et al. 2022); smaller ones, with data to be drawn beside, less.
MFU = 0.4
#: Crops of the step that is counted: batch norms want more than one.
TWO = 2


def network_cost(name: str, model: ModelParams, crops: CropParams) -> dict[str, float]:
    """A network's `parameters`, and of a training step `GFLOP a crop`, `state [GB]` and `activations [MB a crop]`.

    The state is weights, gradients and AdamW's two moments in single precision; activations are what the backward pass
    keeps. A pair score's work depends on how many stations are heard: recipe "ours" is counted without.
    """
    shapes = {"image": (2, crops.pixels, crops.pixels), "size": (), "bs_xy": (crops.max_bs, 2)}
    shapes |= {"rf": (crops.max_bs, len(FEATURES)), "bs_boresight": (crops.max_bs, 2)}
    kept: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage()._cdata] = saved.untyped_storage().nbytes()
        return saved

    with torch.device("meta"):
        network = build_network(name, model.model_copy(update={"recipe": "paper"}), crops)
        inputs = {key: torch.empty(TWO, *shape) for key, shape in shapes.items()}
        inputs["bs_mask"] = torch.empty(TWO, crops.max_bs, dtype=torch.bool)
        inputs["rf_mask"] = torch.empty(TWO, crops.max_bs, len(FEATURES), dtype=torch.bool)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), hooks:
        predict(network, inputs).sum().backward()
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    count = sum(p.numel() for p in network.parameters())
    activations = sum(size for storage, size in kept.items() if storage not in weights) / TWO
    flop = counter.get_total_flops() / TWO / 1e9
    found = {"parameters": count, "GFLOP a crop": flop, "state [GB]": 16 * count / 1e9}
    return found | {"activations [MB a crop]": activations / 1e6}


def training_costs(params: Params) -> pd.DataFrame:
    """What experiments ask for, with all stages that they start from; rows of a pair score alone are left out.

    `crops` and `EFLOP` of all stages; of the network `parameters`, `GFLOP a crop`, `state [GB]`, `activations [MB a
    crop]`, and what `a GPU holds [GB]` with a batch; `A100 h at peak`, `A100 h` at :data:`MFU` of it, and the paper's
    (appendix F).
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
