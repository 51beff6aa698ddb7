"""Losses, decoding in training, optimiser groups."""

import numpy as np
import pytest
import torch

from rfloc.config import CropParams, ExperimentParams, ModelParams, TrainingParams
from rfloc.crops import cell_centres
from rfloc.localizers.map_radioformer import build_model
from rfloc.training.module import PAIR_RATE, LocalizerModule, heatmap_loss, posterior_mean, wsd


def test_losses_vanish_at_the_truth_and_grow_elsewhere_and_a_point_mass_has_its_cells_centre() -> None:
    logits = torch.full((1, 4, 4), -30.0)
    logits[0, 1, 2] = 30.0
    for loss, cells in (("softmax", 16), ("bce", 2)):
        assert heatmap_loss(0 * logits, torch.tensor([6]), loss).item() == pytest.approx(np.log(cells))
        assert heatmap_loss(logits, torch.tensor([6]), loss) < 1e-6
        assert heatmap_loss(logits, torch.tensor([9]), loss) > 1.0
    x, y = cell_centres(80.0, 4)
    found = posterior_mean(torch.eye(16, dtype=torch.float64).view(16, 4, 4), torch.full((16,), 80.0))
    np.testing.assert_array_equal(found, np.stack([x.ravel(), y.ravel()], axis=1))


def test_only_matrices_decay_and_pair_scores_take_steps_of_their_own(tiny: ModelParams, crops: CropParams) -> None:
    net = build_model(tiny, crops)
    experiment = ExperimentParams(label="A", start="B", data="A", samples=4, schedule="linear")
    module = LocalizerModule(net, experiment, TrainingParams(weight_decay=0.3, lr=1.0, batch_size=1))
    made = module.configure_optimizers()
    decay, plain, pair = made["optimizer"].param_groups
    assert (decay["weight_decay"], plain["weight_decay"], pair["weight_decay"]) == (0.3, 0.0, 0.0)
    assert sum(len(g["params"]) for g in (decay, plain, pair)) == len(list(net.parameters()))
    assert {id(p) for p in pair["params"]} == {id(p) for p in net.pair.parameters()}
    assert pair["lr"] == pytest.approx(0.875 * PAIR_RATE)
    assert any(p is net.embeddings.position_embeddings for p in plain["params"])
    assert all(p.ndim >= 2 for p in decay["params"])
    rates = []
    for _ in range(4):
        rates.append(decay["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == [0.875, 0.625, 0.375, 0.125]


@pytest.mark.parametrize(
    ("progress", "factor"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.6, 1.0), (0.7, 1.0), (0.85, 0.5), (1.0, 0.0)]
)
def test_wsd_closed_form(progress: float, factor: float) -> None:
    assert wsd(progress, 0.1, 0.3) == pytest.approx(factor)
