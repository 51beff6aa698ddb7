"""Whole runs: a network learns what a law says, runs repeat themselves, and interrupted ones continue."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rfloc.config import CropParams, ExperimentParams, ModelParams, SplitParams, TrainingParams
from rfloc.crops import CropBatcher, evaluation_crops
from rfloc.errors import DataError, TrainingError
from rfloc.localizers.networks import NETWORKS, NetLocalizer
from rfloc.splits import make_split
from rfloc.training import init_checkpoint, load_checkpoint, load_localizer, run_experiment
from rfloc.training.module import Plan
from tests.training.conftest import log_distance_links, same

TRAINING = TrainingParams(batch_size=16, max_epochs=3, lr=2e-3, noise_db=2.0)


def experiment(samples: int = 96, **changes: Any) -> ExperimentParams:
    return ExperimentParams(**({"label": "B", "start": "init", "data": "B", "samples": samples} | changes))


@pytest.fixture
def settings_(links: xr.Dataset, plain: xr.Dataset, tiny: ModelParams, crops: CropParams, tmp_path: Path) -> dict:
    """Arguments of a short run."""
    val = links, plain, make_split(links, SplitParams(block=50.0, buffer=10.0), 1)
    about = {"key": "B", "experiment": experiment(), "sources": [(links, plain, None, True)], "val": val}
    about |= {"model": tiny, "crops": crops, "training": TRAINING}
    return about | {"start": None, "out": tmp_path / "B.pt", "seed": 3}


@given(st.integers(1, 10_000), st.integers(1, 64), st.integers(1, 30), st.integers(1, 4))
def test_plan_draws_what_was_asked_for(samples: int, batch: int, passes: int, devices: int) -> None:
    plan = Plan(experiment(samples), TrainingParams(batch_size=batch, max_epochs=passes, devices=devices))
    drawn = plan.steps * plan.step_samples
    assert samples <= drawn < samples + plan.pass_steps * plan.step_samples
    assert 1 <= plan.passes <= passes
    assert plan.step_samples <= batch * devices


def test_a_run_leaves_a_checkpoint_a_record_and_nothing_else(settings_: dict) -> None:
    lines: list[str] = []
    history = run_experiment(**settings_, log=lines.append)
    assert [p.name for p in settings_["out"].parent.iterdir()] == ["B.pt"]
    assert history["samples"] == [32, 64, 96]
    assert history["steps"] == [2, 4, 6]
    assert len(lines) == 3
    assert lines[-1].startswith("B: pass 3/3  samples 96  loss ") and lines[-1].endswith("samples/s  0:00:00 left")
    assert history["learning_rates"][-1] == 0.0
    assert history["val_error"] == min(history["val_errors"]) == history["val_errors"][history["chosen_pass"] - 1]
    provenance = load_checkpoint(settings_["out"]).provenance
    assert (provenance["key"], provenance["seed"], provenance["samples"]) == ("B", 3, 96)
    assert load_localizer(settings_["out"]).name == "B"


class Interruption(Exception):
    """Stands for an error in whatever runs it."""


def interrupt(settings: dict, at: str, how: type[BaseException] | None) -> None:
    """Run until `at` is printed; then raise, or for None end the process as the system does: it can't defend itself."""

    def stop(line: str) -> None:
        if at in line:
            if how is not None:
                raise how
            os.kill(os.getpid(), signal.SIGKILL)

    if how is not None:
        with pytest.raises(how):
            run_experiment(**settings, log=stop)
    elif child := os.fork():
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    else:
        run_experiment(**settings, log=stop)
        os._exit(0)


@pytest.mark.parametrize(
    ("validated", "how"), [(True, Interruption), (False, Interruption), (True, KeyboardInterrupt), (True, None)]
)
def test_an_interrupted_run_continues_as_if_nothing_had_been(settings_, validated, how):
    settings_ |= {} if validated else {"val": None}
    whole = run_experiment(**settings_, log=lambda _: None)
    assert validated or (whole["chosen_pass"], whole["val_error"], whole["val_crops"]) == (3, None, 0)
    state = load_checkpoint(settings_["out"]).state
    settings_["out"].unlink()
    interrupt(settings_, "pass 3", how)
    assert not settings_["out"].exists()
    lines: list[str] = []
    resumed = run_experiment(**settings_, log=lines.append)
    assert resumed["resumed_at"] == 2
    assert len(lines) == 1
    assert resumed["losses"] == whole["losses"]
    assert resumed["val_errors"] == whole["val_errors"] and resumed["chosen_pass"] == whole["chosen_pass"]
    assert same(load_checkpoint(settings_["out"]).state, state)
    assert [p.name for p in settings_["out"].parent.iterdir()] == ["B.pt"]


def test_experiments_start_from_each_other(settings_: dict, tiny: ModelParams, crops: CropParams) -> None:
    folder = settings_["out"].parent
    init = init_checkpoint(folder / "init.pt", tiny, crops, None, seed=3)
    still = TRAINING.model_copy(update={"lr": 1e-12, "weight_decay": 0.0})
    run_experiment(**settings_ | {"start": init, "training": still, "val": None}, log=lambda _: None)
    before, after = load_checkpoint(init).state, load_checkpoint(settings_["out"]).state
    np.testing.assert_allclose(before["head.project.weight"], after["head.project.weight"], atol=1e-9)
    with pytest.raises(TrainingError, match=r"model\.depth is 1 there, 2 here"):
        run_experiment(**settings_ | {"start": init, "model": tiny.model_copy(update={"depth": 2})})


def test_nothing_to_train_on_and_nothing_to_locate_with_are_errors(settings_, links, plain, crops):
    with pytest.raises(TrainingError, match="'B' has no dataset"):
        run_experiment(**settings_ | {"sources": []})
    with pytest.raises(TrainingError, match="no UE of 'home' can be trained on"):
        run_experiment(**settings_ | {"sources": [(links.isel(ue=slice(0)), plain, None, True)]})
    batch = CropBatcher(links, plain, crops).batch([0], links["ue_x"][:1] + 150, links["ue_y"][:1] - 150)
    deaf = replace(batch, bs_mask=np.zeros_like(batch.bs_mask))
    with pytest.raises(DataError, match="1 crops without a station, the first of UE 0"):
        NetLocalizer(Flat(settings_["model"], crops), "flat", "softmax").posterior(deaf)


def test_few_weights_are_trained_and_asked_on_one_thread_and_the_number_is_given_back(settings_: dict) -> None:
    seen, before = [], torch.get_num_threads()

    class Seeing(Flat):
        def forward(self, *given):
            seen.append(torch.get_num_threads())
            return super().forward(*given)

    (links, plain, *_), *_ = settings_["sources"]
    crops = settings_["crops"]
    batch = CropBatcher(links, plain, crops).batch([0], links["ue_x"][:1].values, links["ue_y"][:1].values)
    torch.set_num_threads(3)
    run_experiment(**settings_, log=lambda _: seen.append(torch.get_num_threads()))
    NetLocalizer(Seeing(settings_["model"], crops), "seeing", "softmax").posterior(batch)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert (set(seen), after) == ({1}, 3)


def test_a_resume_file_of_another_run_is_not_taken_up_and_divergence_is_an_error(settings_: dict) -> None:
    interrupt(settings_, "pass 2", Interruption)
    assert run_experiment(**settings_ | {"seed": 8}, log=lambda _: None)["resumed_at"] == 0
    settings_["out"].unlink()
    wild = TRAINING.model_copy(update={"lr": 1e30})
    with pytest.raises(TrainingError, match="the loss is"):
        run_experiment(**settings_ | {"training": wild}, log=lambda _: None)
    assert not settings_["out"].exists()


def test_a_network_learns_the_log_distance_law(plain: xr.Dataset, tmp_path: Path) -> None:
    measured, simulated = log_distance_links(400, seed=1), log_distance_links(1500, seed=2, shadowing=4.0)
    split = make_split(measured, SplitParams(block=50.0, buffer=10.0), 3)
    crops = CropParams(size=400.0, jitter=0.8, max_bs=6, pixels=56, output=28)
    model = ModelParams(width=48, depth=2, heads=4, mlp=[64])
    training = TrainingParams(lr=3e-3, max_epochs=4, noise_db=2.0)
    run_experiment(
        key="B", experiment=experiment(2000), sources=[(simulated, plain, split, True)], val=None, model=model,
        crops=crops, training=training, start=None, out=tmp_path / "B.pt", seed=3, log=lambda _: None,
    )  # fmt: skip
    test = evaluation_crops(measured, split, crops, seed=5)
    batch = CropBatcher(measured, plain, crops).batch(test["ue"], test["crop_x"], test["crop_y"])
    posterior = load_localizer(tmp_path / "B.pt").posterior(batch)
    np.testing.assert_allclose(posterior.sum((1, 2)), 1.0, atol=1e-9)
    at = ((np.arange(28) + 0.5) / 28 - 0.5) * 400.0
    estimate = np.stack([posterior.sum(1) @ at, -posterior.sum(2) @ at], 1)
    error = np.linalg.norm(estimate - batch.target_xy, axis=1).mean()
    centre = np.linalg.norm(batch.target_xy, axis=1).mean()
    assert error < 0.25 * centre


class Flat(nn.Module):
    """A network that sees nothing: one logit a cell."""

    def __init__(self, model: ModelParams, crops: CropParams, weights: Path | None = None) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(crops.output, crops.output))

    def forward(self, image: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(image), -1, -1)


def test_a_row_of_another_network_is_a_builder_and_a_name(settings_, tiny, crops, monkeypatch):
    monkeypatch.setitem(NETWORKS, "flat", Flat)
    init = init_checkpoint(settings_["out"].parent / "init.pt", tiny, crops, None, seed=3)  # of the default network
    history = run_experiment(**settings_ | {"start": init, "experiment": experiment(model="flat")}, log=lambda _: None)
    assert history["parameters"] == crops.output**2
    assert load_checkpoint(settings_["out"]).network == "flat"
    later = {"start": settings_["out"], "out": settings_["out"].with_name("A.pt"), "key": "A"}
    with pytest.raises(TrainingError, match="the network is flat there, map_radioformer here"):
        run_experiment(**settings_ | later, log=lambda _: None)
