"""Checkpoints: what is written is read back, and nothing else is."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.training.checkpoints import init_checkpoint, load_checkpoint, load_localizer
from tests.training.conftest import same


def test_seed_decides_the_weights_and_the_global_state_is_left_alone(tmp_path, tiny, crops):
    before = torch.random.get_rng_state()
    paths = (init_checkpoint(tmp_path / f"{k}.pt", tiny, crops, None, seed) for k, seed in enumerate((1, 1, 2)))
    a, b, c = (load_checkpoint(path).state for path in paths)
    assert same(a, b) and not same(a, c)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not load_localizer(tmp_path / "0.pt").network.training


def test_crops_of_another_grid_or_another_version_of_a_network_do_not_fit(
    tmp_path: Path, tiny: ModelParams, crops: CropParams
) -> None:
    checkpoint = load_checkpoint(init_checkpoint(tmp_path / "init.pt", tiny, crops, None, seed=4))
    with pytest.raises(TrainingError, match=r"crops\.output is 14 there, 28 here"):
        checkpoint.require_fit("map_radioformer", tiny, crops.model_copy(update={"output": 28}))
    checkpoint.require_fit("map_radioformer", tiny, crops.model_copy(update={"min_heard": 1}))
    checkpoint.state.popitem()
    with pytest.raises(TrainingError, match="'init' is of another version of map_radioformer"):
        checkpoint.build()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "pickle.pt")
    save_file({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    for name in ("pickle", "other"):
        with pytest.raises(TrainingError, match=rf"{name}\.pt"):
            load_checkpoint(tmp_path / f"{name}.pt")
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")


def test_pretrained_needs_weights_and_a_trunk_that_has_some(tmp_path, tiny, crops):
    with pytest.raises(ConfigError, match="small"):
        init_checkpoint(tmp_path / "x.pt", tiny.model_copy(update={"pretrained": True}), crops, tmp_path, 0)
    dino = ModelParams(backbone="dinov2-small", pretrained=True)
    with pytest.raises(TrainingError, match="RFLOC_WEIGHTS"):
        init_checkpoint(tmp_path / "x.pt", dino, crops, None, 0)
