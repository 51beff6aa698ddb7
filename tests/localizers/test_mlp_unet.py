"""MLP+UNet: its size as published, what it listens to, and what must not matter."""

import pytest
import torch
from torch import Tensor

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError
from rfloc.localizers.mlp_unet import MLPUNet
from rfloc.localizers.networks import build_network, predict
from tests.localizers.test_networks import CROPS, inputs, seasoned


@pytest.fixture
def unet() -> MLPUNet:
    return seasoned("mlp_unet")


def build(divisor: int = 8, crops: CropParams = CROPS, name: str = "mlp_unet") -> MLPUNet:
    torch.manual_seed(0)
    return build_network(name, ModelParams(unet_divisor=divisor), crops)


def test_the_published_widths_have_as_many_weights_as_counted_by_hand() -> None:
    def double(a: int, b: int) -> int:  # two convolutions with biases, two batch norms
        return 9 * a * b + 9 * b * b + 2 * b + 4 * b

    levels = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    encoder = sum(double(a, b) for a, b in levels)
    # Three stations of position, four features and whether each was measured: 30 numbers.
    mlp = 30 * 256 + 256 + 256 * 1024 + 1024 + 1024 * 256 + 256
    fuse = (1024 + 256) * 1024 + 1024
    decoder = sum(4 * b * a + a + double(2 * a, a) for a, b in levels[1:])
    with torch.device("meta"):
        found = sum(p.numel() for p in build(1, CropParams(pixels=224, output=224), "unet").parameters())
    assert found == encoder + mlp + fuse + decoder + 65


@pytest.mark.parametrize(("pixels", "output"), [(28, 14), (32, 32), (112, 56)])
def test_answers_on_the_grid_of_the_crops_whatever_the_image_halves_to(pixels: int, output: int) -> None:
    logits = predict(build(32, CropParams(pixels=pixels, output=output)), inputs(stations=5, pixels=pixels))
    assert logits.shape == (2, output, output) and torch.isfinite(logits).all()


def test_listens_to_everything_and_its_mlp_is_told_of_the_strongest_three_stations_alone(unet: MLPUNet) -> None:
    x = inputs(stations=5)
    for name in ("image", "bs_xy", "rf", "size"):
        other = x[name] * 1.1
        assert (predict(unet, x | {name: other}) - predict(unet, x)).abs().amax((1, 2)).min() > 1e-6, name
    told: list[Tensor] = []
    unet.radio.register_forward_pre_hook(lambda _, args: told.append(args[0]))
    predict(unet, x)
    predict(unet, {name: value if name in ("image", "size") else value[:, :3] for name, value in x.items()})
    torch.testing.assert_close(told[0], told[1])
    assert told[0].shape == (2, 30)


def test_a_pair_score_of_the_same_three_stations_is_added_to_the_published_network(unet: MLPUNet) -> None:
    alone, x = build(name="unet").eval(), inputs(stations=5)
    alone.load_state_dict({name: value for name, value in unet.state_dict().items() if not name.startswith("pair.")})
    assert unet.pair is not None
    three = {name: value if name in ("image", "size") else value[:, :3] for name, value in x.items()}
    torch.testing.assert_close(predict(unet, x), predict(alone, x) + predict(unet.pair, three))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pixels": 28, "output": 12}, "crops.pixels=28 is no multiple"),
        ({"pixels": 14, "output": 14}, "cannot be halved 4 times"),
        ({"unet_divisor": 7}, "model.unet_divisor=7"),
    ],
)
def test_levels_that_do_not_fit_are_refused(changes: dict[str, int], named: str) -> None:
    divisor = changes.pop("unet_divisor", 8)
    with pytest.raises(ConfigError, match=named):
        build(divisor, CROPS.model_copy(update=changes))
