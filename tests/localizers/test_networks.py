"""What every network keeps to; the published MLP+UNet; and the pair score, which geometry alone decides."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError
from rfloc.localizers.map_radioformer import build_model
from rfloc.localizers.mlp_unet import MLPUNet
from rfloc.localizers.networks import build_network, predict, to_posterior
from rfloc.localizers.pair import RF_MEAN, PairScore, obstructed

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
    with pytest.raises(ConfigError, match="there is no network 'unet'"):
        build_network("unet", TINY, CROPS)


@pytest.fixture
def unet() -> MLPUNet:
    return seasoned("mlp_unet")


def build(divisor: int = 8, crops: CropParams = CROPS) -> MLPUNet:
    torch.manual_seed(0)
    return build_network("mlp_unet", ModelParams(unet_divisor=divisor), crops)


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
        found = sum(p.numel() for p in build(1, CropParams(pixels=224, output=224)).parameters())
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


def open_inputs(size: float = 400.0, pixels: int = 28) -> dict[str, Tensor]:
    """Two crops of three stations without buildings and streets; the second hears but two of them."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    ahead = torch.tensor([[0.6, 0.8], [-1.0, 0.0], [0.0, 0.0]]).expand(2, -1, -1).clone()
    empty = {"image": torch.zeros(2, 2, pixels, pixels), "size": torch.full((2,), size), "bs_boresight": ahead}
    return inputs(seed=1) | empty | {"bs_mask": mask, "rf_mask": mask[..., None].repeat(1, 1, 4)}


@pytest.fixture
def pair() -> PairScore:
    torch.manual_seed(0)
    return build_network("pair", ModelParams(), CropParams(output=28)).eval()


def test_scores_add_up_over_the_stations_that_are_heard(pair: PairScore) -> None:
    x, none = open_inputs(), open_inputs()
    none["bs_mask"] = torch.zeros_like(none["bs_mask"])
    prior = predict(pair, none)
    alone = []
    for k in range(3):
        only = x | {"bs_mask": x["bs_mask"] & (torch.arange(3) == k)}
        alone.append(predict(pair, only) - prior)
    torch.testing.assert_close(predict(pair, x) - prior, sum(alone), atol=1e-5, rtol=1e-4)
    assert not alone[2][1].any() and alone[2][0].any()


def test_a_place_scores_the_same_in_crops_of_any_size(pair: PairScore) -> None:
    small = predict(pair, open_inputs(size=400.0))
    fine = PairScore(84).eval()
    fine.grid = 84
    fine.load_state_dict(pair.state_dict())
    whole = predict(fine, open_inputs(size=1200.0, pixels=84))
    torch.testing.assert_close(whole[:, 28:56, 28:56], small, atol=1e-4, rtol=1e-4)


def test_streets_and_buildings_weigh_by_the_share_that_they_cover(pair: PairScore) -> None:
    with torch.no_grad():
        pair.cover.weight.copy_(torch.tensor([-2.0, 3.0]).view(1, 2, 1, 1))
    x = open_inputs(pixels=56)
    street = x | {"image": x["image"].clone()}
    street["image"][:, 1, :2, :1] = 1.0  # half of the first cell
    gain = predict(pair, street) - predict(pair, x)
    assert gain[:, 0, 0].tolist() == pytest.approx([1.5, 1.5]) and not gain[:, 1:].any()


def test_no_direction_of_the_compass_is_preferred(pair: PairScore) -> None:
    x = open_inputs()
    x["image"] = torch.rand(x["image"].shape, generator=torch.Generator().manual_seed(2))
    x["bs_xy"] += 1.7  # no point of a line falls on the edge of a pixel
    quarter = x | {"image": x["image"].rot90(1, (2, 3))}  # counter-clockwise: (x, y) becomes (-y, x)
    mirrored = x | {"image": x["image"].flip(3)}
    for name in ("bs_xy", "bs_boresight"):
        quarter[name] = x[name].flip(-1) * torch.tensor([-1.0, 1.0])
        mirrored[name] = x[name] * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(predict(pair, quarter), predict(pair, x).rot90(1, (1, 2)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(predict(pair, mirrored), predict(pair, x).flip(2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["pair", "pair_no_azimuth", "pair_no_obstruction"])
def test_where_stations_look_and_what_stands_between_count_unless_left_out(kind: str) -> None:
    torch.manual_seed(0)
    net = build_network(kind, ModelParams(), CropParams(output=28)).eval()
    x = open_inputs()
    turned, built = x | {"bs_boresight": x["bs_boresight"].roll(1, 0).flip(-1)}, x | {"image": x["image"].clone()}
    built["image"][:, 0, 10:18] = 1.0  # the weight of cover is 0 before training
    for name, changed in {"pair_no_azimuth": turned, "pair_no_obstruction": built}.items():
        assert torch.equal(predict(net, changed), predict(net, x)) == (kind == name)


def test_a_line_is_obstructed_by_its_share_in_buildings() -> None:
    east = torch.zeros(1, 64, 64)
    east[:, :, 32:] = 1.0
    ends = torch.tensor([[[0.4, 0.0], [-0.4, 0.1], [-0.4, 0.4], [0.4, 0.4]]])
    assert obstructed(east, ends, torch.tensor([[-0.4, 0.0]])).tolist() == [[0.5, 0.0, 0.0, 0.5]]
    north = east.rot90(1, (1, 2))
    assert obstructed(north, ends[:, :3], torch.tensor([[-0.4, -0.4]])).tolist() == [[0.0, 0.1875, 0.5]]


def test_our_recipe_adds_its_logits_and_the_papers_has_none() -> None:
    crops, small = CropParams(pixels=28, output=14), {"width": 16, "depth": 1, "heads": 2, "mlp": [8]}
    torch.manual_seed(2)
    ours = build_model(ModelParams(recipe="ours", **small), crops).eval()
    torch.manual_seed(2)
    paper = build_model(ModelParams(recipe="paper", **small), crops).eval()
    assert paper.pair is None and ours.pair is not None
    x = open_inputs()
    torch.testing.assert_close(predict(ours, x), predict(paper, x) + predict(ours.pair, x))
    nothing = {name: value for name, value in ours.state_dict().items() if not name.startswith("pair.")}
    assert nothing.keys() == paper.state_dict().keys()
