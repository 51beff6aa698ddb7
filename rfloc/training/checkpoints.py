"""Checkpoints: weights, the parameters that describe their network, where they come from; plain data throughout."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.localizers.map_radioformer import MapRadioFormer, NetLocalizer, build_model

#: Bumped when a checkpoint's keys change.
FORMAT = 1

#: Crop parameters that the shape of the network depends on.
SHAPE = ("pixels", "output")


@dataclass(frozen=True)
class Checkpoint:
    """A network as it was saved."""

    state: dict[str, torch.Tensor]
    model: ModelParams
    crops: CropParams
    provenance: dict[str, Any]  #: `key`, `loss`, and what the run recorded of itself

    def network(self) -> MapRadioFormer:
        """The network with its weights (raises TrainingError where they do not fit its parameters)."""
        with torch.random.fork_rng(devices=[]):
            network = build_model(self.model, self.crops)
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise TrainingError(
                f"the weights of checkpoint {self.provenance.get('key')!r} do not fit its own parameters",
                str(error).splitlines()[-1].strip(),
                "it was written by another version of the network: train it again",
            ) from None
        return network

    def require_fit(self, model: ModelParams, crops: CropParams) -> None:
        """Raise TrainingError unless a network of these parameters can start from this checkpoint."""
        pairs = {f"model.{k}": (v, getattr(model, k)) for k, v in self.model.model_dump(exclude={"pretrained"}).items()}
        if model.backbone != "small":
            pairs = {k: v for k, v in pairs.items() if k not in ("model.width", "model.depth", "model.heads")}
        pairs |= {f"crops.{k}": (getattr(self.crops, k), getattr(crops, k)) for k in SHAPE}
        unlike = [f"{k} is {theirs} there, {ours} here" for k, (theirs, ours) in pairs.items() if theirs != ours]
        if unlike:
            raise TrainingError(
                f"checkpoint {self.provenance.get('key')!r} does not fit the model: {'; '.join(unlike)}",
                "an experiment continues the network of the one it starts from",
                "train the earlier experiment again with these parameters",
            )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> Path:
    """Write a checkpoint, replacing what was there only once the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    content = {
        "format": FORMAT,
        "state": {name: value.detach().cpu() for name, value in checkpoint.state.items()},
        "model": checkpoint.model.model_dump(),
        "crops": checkpoint.crops.model_dump(),
        "provenance": checkpoint.provenance,
    }
    torch.save(content, fresh)
    os.replace(fresh, path)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing but tensors and plain data is unpickled.

    Raises
    ------
    TrainingError
        If there is none, or it is not one of ours.
    """
    content = read_plain(path)
    try:
        if content["format"] != FORMAT:
            raise KeyError(f"format {content['format']}, where {FORMAT} is read")
        return Checkpoint(
            content["state"],
            ModelParams.model_validate(content["model"]),
            CropParams.model_validate(content["crops"]),
            content["provenance"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path} is no checkpoint of this version",
            " ".join(str(error).split()),
            "train the experiment again",
        ) from None


def read_plain(path: Path) -> Any:
    """What `torch.save` wrote to a file, restricted to tensors and plain data (raises TrainingError)."""
    if not path.is_file():
        raise TrainingError(
            f"there is no checkpoint at {path}",
            "the experiment that makes it has not run here",
            "run `dvc repro`, which trains in the order in which experiments start from each other",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise TrainingError(
            f"{path} cannot be read as a checkpoint",
            (str(error).splitlines() or [type(error).__name__])[0],
            "the file is damaged or of another kind: remove it and train the experiment again",
        ) from None


def initial(model: ModelParams, crops: CropParams, weights_root: Path | None, seed: int) -> Checkpoint:
    """The model that experiments start from: untrained, or with DINOv2's weights where `model.pretrained`.

    Parameters
    ----------
    model, crops : ModelParams, CropParams
        Describe the network.
    weights_root : Path or None
        Folder of pretrained weights, `<backbone>/` inside in Hugging Face's layout.
    seed : int
        Of everything that is not pretrained.

    Raises
    ------
    TrainingError
        If pretrained weights are wanted and not there.
    ConfigError
        If the parts of the network do not fit, or `pretrained` is on for the small trunk, which has no weights.
    """
    if model.pretrained and model.backbone == "small":
        raise ConfigError(
            "model.pretrained is on for model.backbone=small",
            "only DINOv2's trunks have pretrained weights",
            "choose a dinov2 backbone or set model.pretrained to false",
        )
    if model.pretrained and weights_root is None:
        raise TrainingError(
            f"model.pretrained is on, but no folder of weights is known for {model.backbone}",
            "neither data.weights nor $RFLOC_WEIGHTS is set",
            "set one of them, or set model.pretrained to false",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(model, crops, weights_root if model.pretrained else None)
    provenance = {"key": "init", "loss": "softmax", "seed": seed, "torch": str(torch.__version__)}
    return Checkpoint(network.state_dict(), model, crops, provenance)


def init_checkpoint(path: Path, model: ModelParams, crops: CropParams, weights_root: Path | None, seed: int) -> Path:
    """Write the checkpoint that :func:`initial` makes, and return its path."""
    return save_checkpoint(initial(model, crops, weights_root, seed), Path(path))


def load_localizer(path: Path, device: str | None = None) -> NetLocalizer:
    """A checkpoint as a localizer, named after its experiment (raises TrainingError)."""
    checkpoint = load_checkpoint(Path(path))
    return NetLocalizer(checkpoint.network(), checkpoint.provenance["key"], checkpoint.provenance["loss"], device)


def digest_state(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of weights, by name and value."""
    sha = hashlib.sha256()
    for name in sorted(state):
        sha.update(name.encode())
        sha.update(state[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
