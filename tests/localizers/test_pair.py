"""The pair score: a sum over stations that geometry alone decides, whatever the crop."""

import pytest
import torch
from torch import Tensor

from rfloc.config import CropParams, ModelParams
from rfloc.localizers.map_radioformer import build_model
from rfloc.localizers.networks import build_network, predict
from rfloc.localizers.pair import PairScore, obstructed
from tests.localizers.test_networks import inputs


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
