"""Staged training: one experiment starts from another's checkpoint, trains on its datasets and leaves its own.

A checkpoint has weights as safetensors, and as JSON in the header what describes the network and where they come from.
Lightning keeps the state of a run after every pass in a folder named by all that the run depends on, so that an
interrupted run continues, bit for bit, and none is continued with other parameters or data.
"""

import json
import logging
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import xarray as xr
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rfloc.config import CropParams, ExperimentParams, ModelParams, TrainingParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.files import digest, own, say, write
from rfloc.localizers.networks import NetLocalizer, build_network, few_threads
from rfloc.schema import FEATURES
from rfloc.training.batches import CropSource, Source, ValidationSteps
from rfloc.training.module import LocalizerModule


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

    `weights_root` holds them, `<backbone>/` inside in Hugging Face's layout; `seed` is of all that is not pretrained.
    Raises TrainingError if they are not there, ConfigError for the small trunk, which has none.
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


logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints do not belong on pages


def run_experiment(
    *, key: str, experiment: ExperimentParams, sources: list[Source],
    val: tuple[xr.Dataset, xr.Dataset, xr.Dataset] | None, model: ModelParams, crops: CropParams,
    training: TrainingParams, start: Path | None, out: Path, seed: int, targets: Sequence[Source] = (),
    log: Callable[[str], None] = say,
) -> dict[str, Any]:  # fmt: skip
    """Train the experiment `key` and write its checkpoint `out`; called again, an interrupted run continues.

    `sources` is what to train on; a split of other links, in whatever frame, excludes its held-out and validation
    blocks. UEs of `val` (links, raster, split) with role "val" choose the pass whose weights are kept; None keeps the
    last. Measured UEs there choose with real data: a zero-shot experiment takes simulated ones or None. `start` is the
    checkpoint whose weights are trained on; None: the untrained model. `targets` are where `experiment.adapt` says to
    adapt to: their inputs are seen, their UEs' places are not, and the last pass is kept, for validation on the sources
    would choose the one that is adapted least.

    Returns :data:`~rfloc.training.module.SERIES` a pass (lists), `chosen_pass`, `val_error` [m] of the posterior mean
    there (None without `val`), `val_crops`, `train_ues`, `parameters`, `wall_s`, `resumed_at` (passes done before).
    Raises TrainingError or SplitError: there is no dataset or no usable UE, `start` does not fit, training diverges.
    """
    began = time.perf_counter()
    if not sources:
        raise TrainingError(f"experiment {key!r} has no dataset to train on", "", "name at least one")
    checkpoint = _start(start, experiment.model, model, crops, seed)
    if bool(targets) != (experiment.adapt is not None):
        what = f"experiment {key!r} adapts to {experiment.adapt}, and was given {len(targets)} datasets for that"
        raise TrainingError(what, "adaptation sees inputs of another domain", "pass on what `open_targets` finds")
    ready, unlabelled = ([CropSource(source, crops, seed) for source in group] for group in (sources, targets))
    fixed = None if val is None else ValidationSteps(*val, crops, training.batch_size, seed)
    params = {"experiment": experiment, "model": model, "crops": crops, "training": training}
    setting = {name: section.model_dump() for name, section in params.items()} | {"key": key, "seed": seed}
    setting["start"] = digest({name: value.cpu().numpy() for name, value in checkpoint.state.items()})
    seen = [_about(*source) for source in (*sources, *targets)] + ([] if val is None else [_about(*val)])
    folder = own(out.parent / f".{key}-{digest(setting, seen)[:16]}")
    network = checkpoint.build()
    module = LocalizerModule(
        network, experiment, training, crops, ready, fixed, seed, unlabelled, log=lambda line: log(f"{key}: {line}")
    )
    with few_threads(network):
        _fit(module, folder)
    # Read back: with several devices it was other processes that trained.
    last, best = (folder / f"{name}.ckpt" for name in ("last", "best"))
    record = torch.load(last, map_location="cpu", weights_only=True)["rfloc"]
    kept = torch.load(last if fixed is None or targets else best, map_location="cpu", weights_only=True)
    weights = ((name.partition("."), value) for name, value in kept["state_dict"].items())
    state = {name: value for (part, _, name), value in weights if part == "network"}
    history, chosen = record["history"], kept["epoch"] + 1
    summary = {
        "chosen_pass": chosen, "val_error": history["val_errors"][chosen - 1],
        "val_crops": 0 if fixed is None else fixed.crops.sizes["sample"],
        "train_ues": sum(len(source.ues) for source in ready),
        "parameters": sum(p.numel() for p in network.parameters()),
    }  # fmt: skip
    made = {"loss": training.loss, "samples": history["samples"][-1], "torch": str(torch.__version__)}
    save_checkpoint(Checkpoint(state, experiment.model, model, crops, setting | summary | made), out)
    for left in out.parent.glob(f".{key}-*"):
        if not left.is_symlink():  # a trial's, to what the pipeline left
            shutil.rmtree(left)
    return history | summary | {"wall_s": time.perf_counter() - began, "resumed_at": record["resumed_at"]}


def _start(start: Path | None, network: str, model: ModelParams, crops: CropParams, seed: int) -> Checkpoint:
    """The checkpoint to train on; the untrained one that all share is of one network, others make their own."""
    if start is not None:
        checkpoint = load_checkpoint(start)
        if checkpoint.network == network or checkpoint.provenance["key"] != "init":
            checkpoint.require_fit(network, model, crops)
            return checkpoint
    return initial(model, crops, None, seed, network)


def _about(links: xr.Dataset, raster: xr.Dataset, split: xr.Dataset | None, simulated: bool = False) -> list[Any]:
    """What a run sees of a dataset, to be hashed."""
    arrays = [links[name].values for name in (*FEATURES, "heard", "ue_x", "ue_y", "bs_x", "bs_y", "bs_azimuth")]
    roles = None if split is None else [split["role"].values, repr(sorted(split.attrs.items()))]
    return [*arrays, raster["building"].values, raster["road"].values, roles, simulated]


def _fit(module: LocalizerModule, folder: Path) -> None:
    """Train, from where `folder` says that an earlier call ended; leaves the last state there, and the best."""
    plan, last = module.plan, folder / "last.ckpt"
    options: dict[str, Any] = {"dirpath": folder, "save_on_train_epoch_end": True, "enable_version_counter": False}
    keep: list[pl.Callback] = [ModelCheckpoint(filename="last", **options)]
    if module.val is not None:  # first, so that the last state knows which was best
        keep.insert(0, ModelCheckpoint(filename="best", monitor="val_error", save_weights_only=True, **options))
    trainer = pl.Trainer(
        accelerator="auto", devices=plan.devices, strategy="auto" if plan.devices == 1 else "ddp_notebook",
        precision="bf16-mixed" if module.training_params.bf16 else "32-true", max_epochs=plan.passes,
        gradient_clip_val=1.0, callbacks=keep, reload_dataloaders_every_n_epochs=1, use_distributed_sampler=False,
        num_sanity_val_steps=0, limit_val_batches=0 if module.val is None else None, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(does not have many workers|LeafSpec|exists and is not empty)")
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C, which it leaves ignored from then on
            signal.signal(signal.SIGINT, handler)
            raise (error.__context__ or error) from None
