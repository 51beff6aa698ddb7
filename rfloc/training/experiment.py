"""Staged training: one experiment starts from another's checkpoint, trains on its datasets and leaves its own.

Lightning keeps the state of a run after every pass in a folder named by all that the run depends on, so that an
interrupted run continues, bit for bit, and none is continued with other parameters or data.
"""

import logging
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import xarray as xr
from lightning.pytorch.callbacks import ModelCheckpoint

from rfloc.config import CropParams, ExperimentParams, ModelParams, TrainingParams
from rfloc.errors import TrainingError
from rfloc.files import digest, own, say
from rfloc.localizers.networks import few_threads
from rfloc.schema import FEATURES
from rfloc.training.batches import CropSource, Source, ValidationSteps
from rfloc.training.checkpoints import Checkpoint, initial, load_checkpoint, save_checkpoint
from rfloc.training.module import LocalizerModule

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
        network, experiment, training, ready, fixed, seed, unlabelled, log=lambda line: log(f"{key}: {line}")
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
