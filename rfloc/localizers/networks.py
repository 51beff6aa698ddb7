"""Networks as localizers: MLP+UNet, a registry, the tensors that every network is given, and logits as a posterior.

A network maps those tensors to logits over the crop grid. A new one is a file with a builder and a line in
:data:`NETWORKS`; experiments name it by `experiments.<key>.model`.

MLP+UNet, a convolutional encoder and decoder of the crop into whose bottleneck an MLP of three stations is spread, is
the paper's baseline (appendix C), after Khachatrian et al. 2025. It sees the image that MapRadioFormer+ sees, stations
drawn in, and its MLP the three strongest stations, where the released code takes the first three of a file. An MLP of
fixed inputs knows stations by their order, so that more of them would not fit.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.crops import Batch
from rfloc.errors import ConfigError, DataError
from rfloc.localizers.map_radioformer import MapRadioFormer, build_model, pool_logits
from rfloc.localizers.pair import RF_MEAN, PairScore, Summarised, stations_told

#: Channels of the encoder's levels, each at half the edge of the one before; widths of the MLP (appendix C).
CHANNELS, MLP = (64, 128, 256, 512, 1024), (256, 1024, 256)
#: Stations that the MLP is given.
STATIONS = 3


def twice(before: int, after: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch norm and ReLU."""
    layers = [m for a in (before, after) for m in (nn.Conv2d(a, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())]
    return nn.Sequential(*layers)


class MLPUNet(Summarised):
    """The network, its `channels` and `mlp` widths as published or narrower; made by :func:`build_mlp_unet`."""

    def __init__(self, channels: list[int], mlp: list[int], stations: int, pixels: int, output: int) -> None:
        super().__init__()
        self.stations, self.pool, self.width = stations, pixels // output, channels[-1]
        self.down = nn.ModuleList(twice(a, b) for a, b in pairwise([3, *channels]))
        widths = [stations * (2 + 2 * len(RF_MEAN)), *mlp]
        self.radio = nn.Sequential(*[m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())][:-1])
        self.fuse = nn.Conv2d(channels[-1] + mlp[-1], channels[-1], 1)
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairwise(channels[::-1]))
        self.join = nn.ModuleList(twice(2 * b, b) for b in channels[-2::-1])
        self.out = nn.Conv2d(channels[0], 1, 1)
        # One pixel in all is the UE's: where binary cross-entropy starts from. A softmax does not see it.
        nn.init.constant_(self.out.bias, -2 * math.log(pixels))  # type: ignore[arg-type]

    def with_summary(
        self, image: Tensor, bs_xy: Tensor, rf: Tensor, rf_mask: Tensor, bs_mask: Tensor, size: Tensor,
        bs_boresight: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Logits, and the mean over the bottleneck, (batch, width): what is known of the crop as a whole."""
        x = MapRadioFormer.encode_image(image, bs_xy, rf, rf_mask, bs_mask, size)
        passed = []
        for k, level in enumerate(self.down):
            x = level(x if k == 0 else nn.functional.max_pool2d(x, 2))
            passed.append(x)
        k = self.stations
        _, told = stations_told(bs_xy[:, :k], rf[:, :k], rf_mask[:, :k], bs_mask[:, :k], size)
        radio = self.radio(told.flatten(1))[..., None, None].expand(-1, -1, *x.shape[2:])
        x = self.fuse(torch.cat((x, radio), 1))
        summary = x.mean((2, 3))
        for up, join, skip in zip(self.up, self.join, passed[-2::-1], strict=True):
            x = join(torch.cat((skip, up(x, output_size=skip.shape[2:])), 1))
        return pool_logits(self.out(x).squeeze(1), self.pool), summary


def build_mlp_unet(model: ModelParams, crops: CropParams) -> MLPUNet:
    """The network at `crops.pixels`, the paper's widths divided by `model.unet_divisor` (else ConfigError)."""
    halved = len(CHANNELS) - 1
    problems = {
        f"crops.pixels={crops.pixels} is no multiple of crops.output={crops.output}": crops.pixels % crops.output,
        f"crops.pixels={crops.pixels} cannot be halved {halved} times": not crops.pixels >> halved,
        f"model.unet_divisor={model.unet_divisor} does not divide {CHANNELS[0]}": CHANNELS[0] % model.unet_divisor,
    }
    for problem, wrong in problems.items():
        if wrong:
            raise ConfigError(problem, "the levels of MLP+UNet would not fit together", "change one of them")
    channels, mlp = ([width // model.unet_divisor for width in widths] for widths in (CHANNELS, MLP))
    net = MLPUNet(channels, mlp, min(STATIONS, crops.max_bs), crops.pixels, crops.output)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a third faster, on CPUs too


#: Builders by name: model and crop parameters, and the folder of pretrained weights or None, to a network.
NETWORKS: dict[str, Callable[[ModelParams, CropParams, Path | None], nn.Module]] = {
    "map_radioformer": build_model,
    "mlp_unet": lambda model, crops, weights: build_mlp_unet(model, crops),
    "pair": lambda model, crops, weights: PairScore(crops.output),
    # What the parts of the two are worth: the first without its pair score, the second without one thing it is told.
    "transformer": lambda model, crops, weights: build_model(
        model.model_copy(update={"recipe": "paper"}), crops, weights
    ),
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
            return to_posterior(predict(self.network, as_tensors(batch, self.device)), self.loss).cpu().numpy()
