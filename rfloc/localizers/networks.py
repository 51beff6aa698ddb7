"""Networks as localizers: a registry, the tensors that every network is given, and logits as a posterior.

A network maps those tensors to logits over the crop grid. A new one is a file with a builder and a line in
:data:`NETWORKS`; experiments name it by `experiments.<key>.model`.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.crops import Batch
from rfloc.errors import ConfigError, DataError
from rfloc.localizers.map_radioformer import build_model
from rfloc.localizers.mlp_unet import build_mlp_unet
from rfloc.localizers.pair import PairScore


def _published(model: ModelParams) -> ModelParams:
    """The network as the paper has it."""
    return model.model_copy(update={"recipe": "paper"})


#: Builders by name: model and crop parameters, and the folder of pretrained weights or None, to a network.
NETWORKS: dict[str, Callable[[ModelParams, CropParams, Path | None], nn.Module]] = {
    "map_radioformer": build_model,
    "mlp_unet": lambda model, crops, weights: build_mlp_unet(model, crops),
    "pair": lambda model, crops, weights: PairScore(crops.output),
    # What parts are worth: the first two without a pair score beside them, the third without one thing it is told.
    "transformer": lambda model, crops, weights: build_model(_published(model), crops, weights),
    "unet": lambda model, crops, weights: build_mlp_unet(_published(model), crops),
    "pair_no_azimuth": lambda model, crops, weights: PairScore(crops.output, azimuth=False),
    "pair_no_obstruction": lambda model, crops, weights: PairScore(crops.output, obstruction=False),
}
#: What a network is given, in the order of its arguments.
INPUTS = ("image", "bs_xy", "rf", "rf_mask", "bs_mask", "size", "bs_boresight")
#: Weights from which on a step has enough work for several threads; DINOv2's smallest trunk has 22 million.
FEW = 5_000_000


def build_network(name: str, model: ModelParams, crops: CropParams, weights: Path | None = None) -> nn.Module:
    """The network of that name (raises ConfigError where there is none, or its parts do not fit)."""
    if name not in NETWORKS:
        raise ConfigError(f"there is no network {name!r}", f"there are {', '.join(NETWORKS)}", "name one of them")
    return NETWORKS[name](model, crops, weights)


def as_tensors(batch: Batch, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The inputs and targets of a batch as tensors on `device`, named as the fields of the batch."""
    names = ("image", "bs_xy", "rf", "rf_mask", "bs_mask", "bs_boresight", "target", "target_xy")
    tensors = {name: torch.as_tensor(np.ascontiguousarray(getattr(batch, name))).to(device) for name in names}
    return tensors | {"size": torch.as_tensor(batch.size, dtype=torch.float32, device=device)}


@contextlib.contextmanager
def few_threads(network: nn.Module) -> Iterator[None]:
    """Run a network of :data:`FEW` weights on one thread: equal on any number of cores, and beside neighbours.

    Its steps are thousands of short parallel regions, each as slow as the thread that a neighbour displaced.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if sum(p.numel() for p in network.parameters()) < FEW else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def predict(network: nn.Module, tensors: dict[str, Tensor]) -> Tensor:
    """Logits (batch, output, output) for a batch made by :func:`as_tensors`."""
    return network(*(tensors[name] for name in INPUTS))


def to_posterior(logits: Tensor, loss: str) -> Tensor:
    """Logits (batch, output, output) to probabilities that sum to 1 over the grid, as the training loss means them.

    With "bce" they say how probable each cell is by itself, which is scaled.
    """
    flat = logits.double().flatten(1)
    log_weight = flat if loss == "softmax" else nn.functional.logsigmoid(flat)
    return log_weight.softmax(1).view_as(logits)


class NetLocalizer:
    """A network that was trained with `loss` as a localizer, on a GPU if there is one."""

    def __init__(self, network: nn.Module, name: str, loss: str) -> None:
        self.name, self.loss = name, loss
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device).eval()

    def inputs(self, batch: Batch) -> list[Tensor]:
        """What the network is given of a batch, :data:`INPUTS`."""
        tensors = as_tensors(batch, self.device)
        return [tensors[name] for name in INPUTS]

    def posterior(self, batch: Batch) -> np.ndarray:
        """Probabilities over the crop grid, (batch, output, output), row 0 = north, each crop summing to 1.

        Raises DataError for a crop without stations.
        """
        if len(deaf := np.flatnonzero(~batch.bs_mask.any(axis=1))):
            raise DataError(
                f"{self.name!r} was given {len(deaf)} crops without a station, the first of UE {batch.ue[deaf[0]]}",
                "a network has seen none such in training, and could tell streets alone",
                "take crops from `evaluation_crops`, which keep crops.min_heard stations inside",
            )
        with torch.inference_mode(), few_threads(self.network):
            return to_posterior(self.network(*self.inputs(batch)), self.loss).cpu().numpy()
