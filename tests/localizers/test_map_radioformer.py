"""MapRadioFormer+: closed forms of its parts, parity with the reference transformer, and what must not matter."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.localizers.map_radioformer import BLOB, Head, MapRadioFormer, build_model, draw_stations, sinusoids, unpatch
from rfloc.localizers.networks import predict, to_posterior
from rfloc.schema import FEATURES
from tests.localizers.test_networks import CROPS, inputs, seasoned


@pytest.fixture
def net() -> MapRadioFormer:
    return seasoned("map_radioformer")


def test_stations_are_a_set(net: MapRadioFormer) -> None:
    x = inputs()
    order = [2, 0, 1]
    turned = x | {name: x[name][:, order] for name in ("bs_xy", "rf", "rf_mask", "bs_mask", "bs_boresight")}
    torch.testing.assert_close(predict(net, turned), predict(net, x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stations", [0, 3])
def test_parity_with_the_reference_transformer_on_image_tokens(stations: int) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(1)
    three = Dinov2Config(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, image_size=42, patch_size=14)
    reference = Dinov2Model(three).eval()
    model, crops = ModelParams(mlp=[8], patch=14, recipe="paper"), CropParams(pixels=28, output=14)
    net = MapRadioFormer(copy.deepcopy(reference), model, crops).eval()
    seen: list[Tensor] = []
    net.head.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    x = inputs(stations=stations)
    x["bs_mask"][:] = False
    predict(net, x)
    image = MapRadioFormer.encode_image(*(x[name] for name in ("image", "bs_xy", "rf", "rf_mask", "bs_mask", "size")))
    torch.testing.assert_close(image, torch.cat((x["image"], torch.full((2, 1, 28, 28), 28 / 400.0)), 1))
    with torch.inference_mode():
        states = reference(image, output_hidden_states=True).hidden_states
    assert len(seen) == len(states) == 4
    for ours, theirs in zip(seen, states, strict=True):
        torch.testing.assert_close(ours.flatten(2).mT, theirs[:, 1:], atol=1e-5, rtol=1e-4)


def test_pretrained_weights_enter_the_trunk() -> None:
    from transformers import Dinov2Model

    root = os.environ.get("RFLOC_WEIGHTS")
    if not root or not (Path(root) / "dinov2-small").is_dir():
        pytest.skip("RFLOC_WEIGHTS names no folder with dinov2-small")
    net = build_model(ModelParams(backbone="dinov2-small", pretrained=True), CROPS, Path(root))
    reference = Dinov2Model.from_pretrained(Path(root) / "dinov2-small", dtype=torch.float32)
    for name, value in reference.encoder.layer.state_dict().items():
        torch.testing.assert_close(net.layers.state_dict()[name], value)
    logits = predict(net.eval(), inputs())
    assert logits.shape == (2, 14, 14)
    assert torch.isfinite(logits).all()


def test_unpatch_is_the_appendix_formula() -> None:
    tokens = torch.randn(2, 2 * 3 * 3, 2, 4)
    image = unpatch(tokens, 2)
    for c, r, s in np.ndindex(2, 3, 3):
        torch.testing.assert_close(image[:, c, r::3, s::3], tokens[:, c * 9 + r * 3 + s])


def test_station_mark_is_seven_pixels_wide_holds_row_column_level_and_covers_that_of_a_weaker_one() -> None:
    xy = torch.tensor([[[0.25, -0.25], [0.5, 0.5]]])  # south-east quarter, and the north-east corner
    image = draw_stations(torch.zeros(1, 3, 40, 40), xy, torch.tensor([[2.0, 3.0]]), torch.ones(1, 2, dtype=torch.bool))
    marked = (image[0, 2] == 2.0).nonzero()
    assert len(marked) == BLOB**2
    assert marked.float().mean(0).tolist() == [30.0, 30.0]
    assert image[0, :, 30, 30].tolist() == [0.75, 0.75, 2.0]
    corner = (image[0, 2] == 3.0).nonzero()
    assert corner.tolist() == [[i, j] for i in range(4) for j in range(37, 40)]
    level, there = torch.tensor([[5.0, 6.0, 7.0]]), torch.tensor([[True, True, False]])  # the last is absent
    image = draw_stations(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 2), level, there)
    assert set(image[0, 2].unique().tolist()) == {0.0, 5.0}


def test_station_marks_hold_nrsrp_where_no_rssi_was_measured() -> None:
    x = inputs(batch=1, stations=1)
    x["rf_mask"][..., 0] = False
    image = MapRadioFormer.encode_image(*(x[name] for name in ("image", "bs_xy", "rf", "rf_mask", "bs_mask", "size")))
    nrsrp = (x["rf"][0, 0, 2] - FEATURES["nrsrp"].mean) / FEATURES["nrsrp"].sd
    assert image[0, 2].unique().tolist() == pytest.approx(sorted([28 / 400, float(nrsrp)]))


@given(st.lists(st.floats(-0.5, 0.5), min_size=6, max_size=6))
def test_sinusoids_compare_positions_by_displacement(values: list[float]) -> None:
    a, b, shift = torch.tensor(values, dtype=torch.float64).view(3, 2)
    code = lambda xy: sinusoids(xy, 32, 56).double()  # noqa: E731
    torch.testing.assert_close(code(a) @ code(b), code(a + shift) @ code(b + shift), atol=1e-3, rtol=0)
    torch.testing.assert_close(code(a) @ code(a), torch.tensor(16.0, dtype=torch.float64), atol=1e-4, rtol=0)


def test_head_averages_normalised_layers_and_adds_up_pixels() -> None:
    torch.manual_seed(0)
    layers = [torch.randn(4, 8, 4, 4) * k for k in (1.0, 7.0)]
    fine = Head(8, 2, patches=4, pixels=24, output=24).eval()
    coarse = Head(8, 2, patches=4, pixels=24, output=6).eval()  # no multiple of 4: works at 24 px, sums 4 x 4
    coarse.load_state_dict(fine.state_dict())
    mean = (fine.norms[0](layers[0]) + fine.norms[1](layers[1])) / 2
    expected = fine.smooth(unpatch(fine.project(mean), 3)).squeeze(1)
    torch.testing.assert_close(fine(layers), expected)
    p = to_posterior(fine(layers), "softmax").view(4, 6, 4, 6, 4).sum((2, 4))
    torch.testing.assert_close(to_posterior(coarse(layers), "softmax"), p, atol=1e-5, rtol=1e-4)
    paper = Head(1024, 25, patches=16, pixels=224, output=224)
    assert paper.project.out_channels == 588


@pytest.mark.parametrize(
    ("model", "crops", "named"),
    [
        (ModelParams(width=30, heads=3), CropParams(), "model.width=30"),
        (ModelParams(), CropParams(pixels=100), "crops.pixels=100"),
        (ModelParams(), CropParams(output=50), "crops.output=50"),
        (ModelParams(backbone="dinov2-small", patch=7), CropParams(), "model.patch=7"),
    ],
)
def test_parts_that_do_not_fit_are_refused(model: ModelParams, crops: CropParams, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        build_model(model, crops)


def test_weights_that_are_missing_damaged_or_do_not_fit_are_named(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    def refused(name: str, said: str) -> None:
        with pytest.raises(TrainingError, match=said):
            build_model(ModelParams(backbone=name, pretrained=True), CROPS, tmp_path)

    refused("dinov2-base", "no weights of dinov2-base")
    small = Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=3, image_size=42)
    Dinov2Model(small).save_pretrained(tmp_path / "dinov2-small")
    refused("dinov2-small", "of another network than dinov2-small")
    (tmp_path / "dinov2-small/model.safetensors").write_bytes(b"no weights")
    refused("dinov2-small", "cannot be read")


def test_every_crop_has_its_own_scale(net: MapRadioFormer) -> None:
    x = inputs() | {"size": torch.tensor([300.0, 800.0])}
    with torch.no_grad():
        both = predict(net, x)
        alone = torch.cat([predict(net, {name: value[[b]] for name, value in x.items()}) for b in range(2)])
    torch.testing.assert_close(both, alone)
    image = MapRadioFormer.encode_image(*(x[name] for name in ("image", "bs_xy", "rf", "rf_mask", "bs_mask", "size")))
    assert image[:, 2, -1, 14].tolist() == pytest.approx([28 / 300, 28 / 800])
