"""Losses, decoding in training, optimiser groups."""

from __future__ import annotations

import math

import torch

from rfloc.config import CropParams, ModelParams, TrainingParams
from rfloc.crops import cell_centres
from rfloc.localizers.map_radioformer import build_model
from rfloc.training.module import LocalizerModule, heatmap_loss, posterior_mean


def test_losses_of_indifferent_logits() -> None:
    logits, target = torch.zeros(3, 5, 5), torch.tensor([0, 7, 24])
    assert math.isclose(heatmap_loss(logits, target, "softmax").item(), math.log(25), rel_tol=1e-6)
    assert math.isclose(heatmap_loss(logits, target, "bce").item(), math.log(2), rel_tol=1e-6)


def test_losses_vanish_at_the_truth_and_grow_elsewhere() -> None:
    logits = torch.full((1, 4, 4), -30.0)
    logits[0, 1, 2] = 30.0
    for loss in ("softmax", "bce"):
        assert heatmap_loss(logits, torch.tensor([6]), loss) < 1e-6
        assert heatmap_loss(logits, torch.tensor([9]), loss) > 1.0


def test_posterior_mean_of_a_point_mass_is_the_cell_centre() -> None:
    x, y = cell_centres(80.0, 4)
    for i in range(4):
        for j in range(4):
            posterior = torch.zeros(1, 4, 4, dtype=torch.float64)
            posterior[0, i, j] = 1.0
            assert posterior_mean(posterior, torch.tensor([80.0])).tolist() == [[x[i, j], y[i, j]]]


def test_only_matrices_decay(tiny: ModelParams, crops: CropParams) -> None:
    net = build_model(tiny, crops)
    module = LocalizerModule(
        net, TrainingParams(weight_decay=0.3), lr=1.0, factor=lambda p: 1 - p, steps=4, step_samples=1
    )
    made = module.configure_optimizers()
    decay, plain = made["optimizer"].param_groups
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert sum(len(g["params"]) for g in (decay, plain)) == len(list(net.parameters()))
    assert any(p is net.embeddings.position_embeddings for p in plain["params"])
    assert all(p.ndim >= 2 for p in decay["params"])
    rates = []
    for _ in range(4):
        rates.append(decay["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == [0.875, 0.625, 0.375, 0.125]
