"""Checkpoints: weights as safetensors; what describes the network, and where they come from, as JSON in the header."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.files import write
from rfloc.localizers.networks import NetLocalizer, build_network


@dataclass(frozen=True)
class Checkpoint:
    """A network as it was saved."""

    state: dict[str, Tensor]
    network: str  #: name in :data:`~rfloc.localizers.networks.NETWORKS`
    model: ModelParams
    crops: CropParams
    provenance: dict[str, Any]  #: `key`, `loss`, and what the run recorded of itself

    def build(self) -> nn.Module:
        """The network with its weights (raises TrainingError where another version of it wrote them)."""
        with torch.random.fork_rng(devices=[]):
            network = build_network(self.network, self.model, self.crops)
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            what = f"checkpoint {self.provenance['key']!r} is of another version of {self.network}"
            raise TrainingError(what, " ".join(str(error).split()), "train the experiment again") from None
        return network

    def require_fit(self, network: str, model: ModelParams, crops: CropParams) -> None:
        """Raise TrainingError unless a network of these parameters can start from this checkpoint."""
        idle = {"pretrained"} | (set() if model.backbone == "small" else {"width", "depth", "heads"})
        pairs = {f"model.{k}": (v, getattr(model, k)) for k, v in self.model.model_dump(exclude=idle).items()}
        pairs |= {f"crops.{k}": (getattr(self.crops, k), getattr(crops, k)) for k in ("pixels", "output")}
        pairs["the network"] = (self.network, network)
        unlike = [f"{k} is {theirs} there, {ours} here" for k, (theirs, ours) in pairs.items() if theirs != ours]
        if unlike:
            raise TrainingError(
                f"checkpoint {self.provenance['key']!r} does not fit the model: {'; '.join(unlike)}",
                "an experiment continues the network of the one it starts from",
                "train the earlier experiment again with these parameters",
            )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> Path:
    """Write a checkpoint, replacing what was there only once the new one is whole."""
    model, crops = checkpoint.model.model_dump(), checkpoint.crops.model_dump()
    about = {"network": checkpoint.network, "model": model, "crops": crops, "provenance": checkpoint.provenance}
    state = {name: value.detach().cpu().contiguous() for name, value in checkpoint.state.items()}
    with write(path) as part:
        save_file(state, part, {"rfloc": json.dumps(about)})
    return Path(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint (raises TrainingError where there is none, or it is not one of ours)."""
    if not path.is_file():
        raise TrainingError(
            f"there is no checkpoint at {path}",
            "the experiment that makes it has not run here",
            "run `dvc repro`, which trains in the order in which experiments start from each other",
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["rfloc"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        model, crops = ModelParams.model_validate(about["model"]), CropParams.model_validate(about["crops"])
        return Checkpoint(state, about["network"], model, crops, about["provenance"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path} is no checkpoint of this version", " ".join(str(error).split()), "train the experiment again"
        ) from None


def initial(
    model: ModelParams, crops: CropParams, weights_root: Path | None, seed: int, network: str = "map_radioformer"
) -> Checkpoint:
    """The network that experiments start from: untrained, or with DINOv2's weights where `model.pretrained`.

    They are in `weights_root`/<backbone>, in Hugging Face's layout (else TrainingError; ConfigError: the small trunk).
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
        built = build_network(network, model, crops, weights_root if model.pretrained else None)
    provenance = {"key": "init", "loss": "softmax", "seed": seed, "torch": str(torch.__version__)}
    return Checkpoint(built.state_dict(), network, model, crops, provenance)


def init_checkpoint(path: Path, model: ModelParams, crops: CropParams, weights_root: Path | None, seed: int) -> Path:
    """Write the checkpoint that :func:`initial` makes, and return its path."""
    return save_checkpoint(initial(model, crops, weights_root, seed), path)


def load_localizer(path: Path) -> NetLocalizer:
    """A checkpoint as a localizer, named after its experiment (raises TrainingError)."""
    checkpoint = load_checkpoint(path)
    return NetLocalizer(checkpoint.build(), checkpoint.provenance["key"], checkpoint.provenance["loss"])
