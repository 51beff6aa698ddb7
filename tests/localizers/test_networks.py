"""What every network keeps to: absent stations do not matter, missing features are told, all weights are trained."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError
from rfloc.localizers.networks import build_network, predict, to_posterior
from rfloc.localizers.pair import RF_MEAN

CROPS = CropParams(size=400.0, pixels=28, output=14, max_bs=5)
TINY = ModelParams(width=16, depth=2, heads=2, patch=14, mlp=[8], unet_divisor=8)
KINDS = ("map_radioformer", "mlp_unet", "pair")


def inputs(batch: int = 2, stations: int = 3, pixels: int = 28, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs with every station and feature there; stations lie far enough apart for their marks."""
    g = torch.Generator().manual_seed(seed)
    xy = torch.tensor([[-120.0, 90.0], [130.0, -110.0], [0.0, 0.0], [-130.0, -120.0], [150.0, 150.0]])[:stations]
    return {
        "image": torch.rand(batch, 2, pixels, pixels, generator=g),
        "bs_xy": xy.expand(batch, -1, -1).clone(),
        "rf": torch.randn(batch, stations, 4, generator=g) * 8 + torch.tensor(RF_MEAN),
        "rf_mask": torch.ones(batch, stations, 4, dtype=torch.bool),
        "bs_mask": torch.ones(batch, stations, dtype=torch.bool),
        "size": torch.full((batch,), 400.0),
        "bs_boresight": torch.zeros(batch, stations, 2),
    }


def seasoned(kind: str) -> nn.Module:
    """A small network with weights large enough that every token counts, whose batch norms have seen something."""
    torch.manual_seed(0)
    net = build_network(kind, TINY, CROPS)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim > 1 and kind == "map_radioformer" and name.startswith(("layers", "radio")):
                p.normal_(std=0.4)
    predict(net, inputs(8, 5))
    return net.eval()


@pytest.mark.parametrize(("kind", "least"), [("map_radioformer", 1e-2), ("mlp_unet", 0.0), ("pair", 1e-4)])
def test_what_is_not_there_does_not_matter_and_what_is_missing_is_told(kind: str, least: float) -> None:
    net, x = seasoned(kind), inputs(stations=5)
    x["rf"][:, 0, 2] = RF_MEAN[2]
    missing = x | {"rf_mask": x["rf_mask"].clone()}
    missing["rf_mask"][:, 0, 2] = False
    assert (predict(net, missing) - predict(net, x)).abs().max() > least
    missing["bs_mask"] = torch.arange(5).expand(2, -1) < 3
    garbage = missing | {name: x[name].clone() for name in ("bs_xy", "rf")}
    garbage["bs_xy"][:, 3:], garbage["rf"][:, 3:], garbage["rf"][:, 0, 2] = 77.0, 1e6, 1e6
    torch.testing.assert_close(predict(net, garbage), predict(net, missing), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_trained(kind: str) -> None:
    net = build_network(kind, TINY, CROPS)
    nn.functional.cross_entropy(predict(net, inputs(stations=5)).flatten(1), torch.tensor([3, 100])).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_posterior_as_the_loss_means_it_and_a_network_that_nobody_wrote_is_named() -> None:
    logits = torch.tensor([[[0.0, np.log(3.0)], [-np.inf, 0.0]]])
    torch.testing.assert_close(to_posterior(logits, "softmax").flatten(), torch.tensor([0.2, 0.6, 0.0, 0.2]).double())
    cells = torch.tensor([0.5, 0.75, 0.0, 0.5]).double()
    torch.testing.assert_close(to_posterior(logits, "bce").flatten(), cells / cells.sum())
    with pytest.raises(ConfigError, match="there is no network 'vgg'"):
        build_network("vgg", TINY, CROPS)
