"""Domain adversarial training: the reversed gradient, what the classifier can tell, what a target may show."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from rfloc.config import CropParams, ExperimentParams, TrainingParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.localizers.networks import INPUTS, build_network
from rfloc.localizers.pair import Summarised
from rfloc.training.adversary import Adversary, PairedSteps, reversed_gradient, strength
from rfloc.training.batches import CropSource, TrainingSteps
from rfloc.training.checkpoints import load_checkpoint
from rfloc.training.experiment import run_experiment
from tests.training.conftest import log_distance_links, same

NETWORKS = ("map_radioformer", "mlp_unet")


def shifted(links: xr.Dataset, by: float) -> xr.Dataset:
    """Links in which everything that is heard is so much stronger [dB]."""
    return links.assign({name: links[name] + by for name in ("rssi", "nrsrp")})


def paired(plain: xr.Dataset, crops: CropParams, by: float) -> PairedSteps:
    """Batches of 2 x 32 crops without noise, the targets' levels shifted."""
    quiet = TrainingParams(noise_db=0.0)
    both = [log_distance_links(400), shifted(log_distance_links(400, seed=5), by)]
    sources = ([CropSource((links, plain, None, False), crops, 0)] for links in both)
    return PairedSteps(*(TrainingSteps(of, quiet, 32, seed, range(10)) for seed, of in enumerate(sources)))


def test_the_reversed_gradient_is_the_exact_negative() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, requires_grad=True)
    head = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    (plain,) = torch.autograd.grad(head(x).square().sum(), x)
    (reversed_,) = torch.autograd.grad(head(reversed_gradient(x, 1.0)).square().sum(), x)
    assert torch.equal(reversed_, -plain) and torch.equal(reversed_gradient(x, 1.0), x)
    (weak,) = torch.autograd.grad(head(reversed_gradient(x, 0.25)).square().sum(), x)
    torch.testing.assert_close(weak, -0.25 * plain)


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.0), (0.1, 0.46211715726), (1.0, 0.99990920426)])
def test_the_adversary_grows_as_published(progress: float, factor: float) -> None:
    assert strength(progress) == pytest.approx(factor)


@pytest.mark.parametrize(("by", "low", "high"), [(0.0, 0.4, 0.6), (20.0, 0.0, 0.2)])
def test_the_classifier_tells_shifted_domains_and_no_identical_ones(by, low, high, plain, tiny, crops):
    """It learns from the summaries of some batches and is asked about those of others."""
    steps = paired(plain, crops, by)
    batches = [steps[k] for k in range(10)]
    for name in NETWORKS:
        torch.manual_seed(1)
        net = build_network(name, tiny, crops)
        adversary = Adversary(net, 0)
        optimizer = torch.optim.AdamW(adversary.parameters(), lr=1e-2)
        with torch.no_grad():
            summaries = [net.with_summary(*(batch[name] for name in INPUTS))[1] for batch in batches]
        spread, mean = torch.std_mean(torch.cat(summaries), 0)
        summaries = [(summary - mean) / spread.clamp(min=1e-6) for summary in summaries]
        for _ in range(10):
            for summary in summaries[:7]:
                optimizer.zero_grad()
                adversary(summary, 32, 0.0)[0].backward()
                optimizer.step()
        assert low <= np.mean([adversary(summary, 32, 0.0)[1].item() for summary in summaries[7:]]) <= high


def test_an_encoder_that_works_against_it_forgets_what_tells_the_domain() -> None:
    """The signal is in one number, the domain in another: the weight of the latter vanishes."""
    torch.manual_seed(0)

    class Plain(Summarised):
        width = 2

    net = Plain()
    encoder, task, adversary = nn.Linear(2, 2), nn.Linear(2, 1), Adversary(net, 0)
    optimizer = torch.optim.SGD([*encoder.parameters(), *task.parameters(), *adversary.parameters()], lr=0.1)
    domain = (torch.arange(128) >= 64).float() * 2 - 1
    for k in range(400):
        signal = torch.randn(128)
        features = encoder(torch.stack((signal, domain), 1))
        loss = (task(features[:64]).squeeze(1) - signal[:64]).square().mean() + adversary(features, 64, k / 400)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    of_signal, of_domain = encoder.weight.detach().norm(dim=0).tolist()
    assert of_domain < 0.2 * of_signal


def test_of_a_target_nothing_but_inputs_is_seen_and_the_pair_score_has_nothing_to_align(plain, tiny, crops):
    with pytest.raises(ConfigError, match="PairScore cannot be adapted"):
        Adversary(build_network("pair", tiny, crops), 0)
    steps = paired(plain, crops, 0.0)
    batch, source = steps[3], steps.sources[3]
    assert {name: len(batch[name]) for name in batch} == {n: 64 if n in INPUTS else 32 for n in batch}
    assert torch.equal(batch["target"], source["target"]) and torch.equal(batch["target_xy"], source["target_xy"])
    assert not torch.equal(batch["rf"][32:], batch["rf"][:32])


@pytest.mark.parametrize("name", NETWORKS)
def test_an_interrupted_adaptation_continues_as_if_nothing_had_been(name, links, plain, tiny, crops, tmp_path):
    """Its classifier is part of the state of training, and no part of the checkpoint."""

    def stop(line: str) -> None:
        if "pass 2" in line:
            raise InterruptedError

    row = ExperimentParams(label="", start="init", data="B", adapt="A", samples=48, model=name)
    how = {"key": "B", "experiment": row, "sources": [(links, plain, None, True)], "val": None, "model": tiny}
    how |= {"crops": crops, "training": TrainingParams(batch_size=8, max_epochs=3), "start": None, "seed": 3}
    how |= {"targets": [(shifted(links, 5.0), plain, None, False)]}
    whole = run_experiment(**how, out=tmp_path / "whole/B.pt", log=lambda _: None)
    with pytest.raises(InterruptedError):
        run_experiment(**how, out=tmp_path / "B.pt", log=stop)
    resumed = run_experiment(**how, out=tmp_path / "B.pt", log=lambda _: None)
    assert resumed["resumed_at"] == 1 and len(whole["domain_errors"]) == 3
    assert (resumed["losses"], resumed["domain_errors"]) == (whole["losses"], whole["domain_errors"])
    states = [load_checkpoint(tmp_path / path).state for path in ("whole/B.pt", "B.pt")]
    assert same(*states) and states[0].keys() == build_network(name, tiny, crops).state_dict().keys()
    with pytest.raises(TrainingError, match="'B' adapts to A, and was given 0 datasets"):
        run_experiment(**how | {"targets": []}, out=tmp_path / "none.pt")
