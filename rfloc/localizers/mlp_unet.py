"""MLP+UNet: a convolutional encoder and decoder of the crop, into whose bottleneck an MLP of three stations is spread.

The paper's baseline (appendix C), after Khachatrian et al. 2025. It sees the image that MapRadioFormer+ sees, stations
drawn in, and its MLP the three strongest stations, where the released code takes the first three of a file. An MLP of
fixed inputs knows stations by their order, so that more of them would not fit. With `recipe="ours"` the logits of a
pair score of the same three stations are added: alone, the network stays where streets are.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError
from rfloc.localizers.map_radioformer import MapRadioFormer, pool_logits
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

    def __init__(
        self, channels: list[int], mlp: list[int], stations: int, pixels: int, output: int, paired: bool = False
    ) -> None:
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
        self.pair = PairScore(output) if paired else None  # last: the other weights are the paper's recipe's

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
        bs_xy, rf, rf_mask, bs_mask, bs_boresight = (
            told[:, : self.stations] for told in (bs_xy, rf, rf_mask, bs_mask, bs_boresight)
        )
        _, told = stations_told(bs_xy, rf, rf_mask, bs_mask, size)
        radio = self.radio(told.flatten(1))[..., None, None].expand(-1, -1, *x.shape[2:])
        x = self.fuse(torch.cat((x, radio), 1))
        summary = x.mean((2, 3))
        for up, join, skip in zip(self.up, self.join, passed[-2::-1], strict=True):
            x = join(torch.cat((skip, up(x, output_size=skip.shape[2:])), 1))
        logits = pool_logits(self.out(x).squeeze(1), self.pool)
        if self.pair is not None:
            logits = logits + self.pair(image, bs_xy, rf, rf_mask, bs_mask, size, bs_boresight)
        return logits, summary


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
    stations, paired = min(STATIONS, crops.max_bs), model.recipe == "ours"
    net = MLPUNet(channels, mlp, stations, crops.pixels, crops.output, paired)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a third faster, on CPUs too
