"""The pair score: a sum over stations that geometry alone decides, whatever the crop."""

import pytest
import torch
from torch import Tensor

from rfloc.config import CropParams, ModelParams
from rfloc.localizers.map_radioformer import build_model
from rfloc.localizers.networks import build_network, predict
from rfloc.localizers.pair import RF_MEAN, PairScore


def inputs(size: float = 400.0, pixels: int = 28) -> dict[str, Tensor]:
    """Two crops of three stations without buildings and streets; the second hears but two of them."""
    g = torch.Generator().manual_seed(1)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    return {
        "image": torch.zeros(2, 2, pixels, pixels),
        "bs_xy": torch.tensor([[-120.0, 90.0], [130.0, -110.0], [0.0, 0.0]]).expand(2, -1, -1).clone(),
        "rf": torch.randn(2, 3, 4, generator=g) * 8 + torch.tensor(RF_MEAN),
        "rf_mask": mask[..., None].repeat(1, 1, 4),
        "bs_mask": mask,
        "size": torch.full((2,), size),
    }


@pytest.fixture
def net() -> PairScore:
    torch.manual_seed(0)
    return build_network("pair", ModelParams(), CropParams(output=28)).eval()


def test_scores_add_up_over_the_stations_that_are_heard(net: PairScore) -> None:
    x, none = inputs(), inputs()
    none["bs_mask"] = torch.zeros_like(none["bs_mask"])
    prior = predict(net, none)
    alone = []
    for k in range(3):
        only = x | {"bs_mask": x["bs_mask"] & (torch.arange(3) == k)}
        alone.append(predict(net, only) - prior)
    torch.testing.assert_close(predict(net, x) - prior, sum(alone), atol=1e-5, rtol=1e-4)
    assert not alone[2][1].any() and alone[2][0].any()


def test_what_is_not_there_does_not_matter_and_what_is_missing_is_told(net: PairScore) -> None:
    x = inputs()
    garbage = x | {name: x[name].clone() for name in ("bs_xy", "rf")}
    garbage["bs_xy"][1, 2], garbage["rf"][1, 2] = 77.0, 1e6
    torch.testing.assert_close(predict(net, garbage), predict(net, x))
    x["rf"][0, 0, 2] = RF_MEAN[2]
    missing = x | {"rf_mask": x["rf_mask"].clone()}
    missing["rf_mask"][0, 0, 2] = False
    assert (predict(net, missing) - predict(net, x))[0].abs().max() > 1e-4


def test_a_place_scores_the_same_in_crops_of_any_size(net: PairScore) -> None:
    small = predict(net, inputs(size=400.0))
    fine = PairScore(84).eval()
    fine.grid = 84
    fine.load_state_dict(net.state_dict())
    whole = predict(fine, inputs(size=1200.0, pixels=84))
    torch.testing.assert_close(whole[:, 28:56, 28:56], small, atol=1e-4, rtol=1e-4)


def test_streets_and_buildings_weigh_by_the_share_that_they_cover(net: PairScore) -> None:
    with torch.no_grad():
        net.cover.weight.copy_(torch.tensor([-2.0, 3.0]).view(1, 2, 1, 1))
    x = inputs(pixels=56)
    street = x | {"image": x["image"].clone()}
    street["image"][:, 1, :2, :1] = 1.0  # half of the first cell
    gain = predict(net, street) - predict(net, x)
    assert gain[:, 0, 0].tolist() == pytest.approx([1.5, 1.5]) and not gain[:, 1:].any()


def test_our_recipe_adds_its_logits_and_the_papers_has_none() -> None:
    crops, small = CropParams(pixels=28, output=14), {"width": 16, "depth": 1, "heads": 2, "mlp": [8]}
    torch.manual_seed(2)
    ours = build_model(ModelParams(recipe="ours", **small), crops).eval()
    torch.manual_seed(2)
    paper = build_model(ModelParams(recipe="paper", **small), crops).eval()
    assert paper.pair is None and ours.pair is not None
    x = inputs()
    torch.testing.assert_close(predict(ours, x), predict(paper, x) + predict(ours.pair, x))
    nothing = {name: value for name, value in ours.state_dict().items() if not name.startswith("pair.")}
    assert nothing.keys() == paper.state_dict().keys()
