"""Costs of networks that are only built in outline, against closed forms."""

import pytest
import torch

from rfloc.config import CropParams, ExperimentParams, ModelParams, Params, TrainingParams
from rfloc.localizers.mlp_unet import MLPUNet
from rfloc.localizers.networks import build_network
from rfloc.studies.cost import A100, MFU, network_cost, training_costs

CROPS = CropParams(pixels=224, output=224, max_bs=10)


def test_the_papers_transformer_does_six_operations_a_weight_and_token() -> None:
    """Forward and backward; attention, the head and embeddings, which see fewer tokens, are the rest."""
    cost = network_cost("map_radioformer", ModelParams(backbone="dinov2-large", mlp=[256, 1024]), CROPS)
    tokens = 1 + 16**2 + 10
    assert cost["GFLOP a crop"] == pytest.approx(6e-9 * cost["parameters"] * tokens, rel=0.05)
    assert cost["state [GB]"] == pytest.approx(16e-9 * cost["parameters"])
    assert cost["activations [MB a crop]"] > 24 * tokens * 1024 * 4 / 1e6


def test_what_is_counted_in_outline_is_what_a_real_network_has() -> None:
    crops = CropParams(pixels=28, output=14)
    net = build_network("mlp_unet", ModelParams(unet_divisor=16), crops)
    assert isinstance(net, MLPUNet)
    counted = network_cost("mlp_unet", ModelParams(unet_divisor=16), crops)["parameters"]
    assert counted == sum(p.numel() for p in net.parameters())
    assert not any(p.is_meta for p in net.parameters()) and torch.get_default_device().type == "cpu"


#: A made-up network's.
COST = {"GFLOP a crop": 2.0, "state [GB]": 3.0, "activations [MB a crop]": 500.0}


def test_a_row_pays_for_its_stages_and_for_the_crops_of_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfloc.studies.cost.network_cost", lambda *_: dict(COST))
    first = ExperimentParams(label="", start="init", data="Bp", samples=100)
    rows = {
        "Bp": first,
        "Bp_A": first.model_copy(update={"start": "Bp", "samples": 50}),
        "Bp_A_adapt": first.model_copy(update={"start": "Bp", "samples": 50, "adapt": "A"}),
        "pair_A": first.model_copy(update={"model": "pair"}),
    }
    training = TrainingParams(batch_size=8)
    found = training_costs(Params.model_construct(experiments=rows, model=None, crops=None, training=training))
    assert found.crops.to_dict() == {"Bp": 100, "Bp_A": 150, "Bp_A_adapt": 200}
    assert found.EFLOP["Bp_A"] == pytest.approx(3e-7)
    assert found["A100 h at peak"]["Bp_A"] == pytest.approx(3e11 / A100 / 3600)
    assert found["A100 h"]["Bp_A"] == pytest.approx(3e11 / A100 / 3600 / MFU)
    assert found["a GPU holds [GB]"]["Bp_A"] == pytest.approx(3 + 8 * 0.5)
    assert found["A100 h, paper"]["Bp"] == 40
