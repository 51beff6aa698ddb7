"""Staged training: one experiment starts from another's checkpoint, trains on its datasets and leaves its own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from rfloc.config import CropParams, ExperimentParams, ModelParams, TrainingParams
from rfloc.errors import TrainingError
from rfloc.training.batches import Source, ValidationSteps, gather_sources
from rfloc.training.checkpoints import (
    Checkpoint,
    digest_state,
    init_checkpoint,
    initial,
    load_checkpoint,
    load_localizer,
    read_plain,
    save_checkpoint,
)
from rfloc.training.loop import Crops, Plan, quiet, trainer_for
from rfloc.training.module import LocalizerModule
from rfloc.training.schedules import schedule

__all__ = ["init_checkpoint", "load_localizer", "run_experiment"]


def run_experiment(
    *,
    key: str,
    experiment: ExperimentParams,
    sources: list[Source],
    val: tuple[xr.Dataset, xr.Dataset, xr.Dataset] | None,
    model: ModelParams,
    crops: CropParams,
    training: TrainingParams,
    start: Path | None,
    out: Path,
    seed: int,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train one experiment and write its checkpoint.

    An interrupted run continues after its last whole pass when it is called again with the same arguments.

    Parameters
    ----------
    key : str
        Name of the experiment.
    experiment : ExperimentParams
        Samples, schedule, factor on the learning rate.
    sources : list of (links, raster, split or None, simulated)
        What to train on. A split of other links, in whatever frame, excludes its held-out and validation blocks.
    val : (links, raster, split) or None
        UEs with role "val" choose the pass whose weights are kept; None keeps the last. Measured UEs here choose with
        real data: a zero-shot experiment takes simulated ones or None.
    model, crops, training : ModelParams, CropParams, TrainingParams
        The network, its inputs, how it is trained.
    start : Path or None
        Checkpoint whose weights are trained on; None: the untrained model.
    out : Path
        Checkpoint to write.
    seed : int
        Of crops, augmentation and, without `start`, of the weights.
    log : callable
        Prints a line of progress.

    Returns
    -------
    dict
        `steps samples losses learning_rates val_errors samples_per_s` a pass (lists), `chosen_pass`, `val_error` [m]
        of the posterior mean there (None without `val`), `val_crops`, `train_ues`, `parameters`, `wall_s`,
        `resumed_at` (passes that an earlier call had done).

    Raises
    ------
    TrainingError
        If `start` does not fit the model, a dataset has nothing to train on, or training diverges.
    SplitError
        If a split does not belong to its links, or no validation UE has a crop.
    """
    began = time.perf_counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = _start(start, model, crops, seed)
    network = checkpoint.network()
    plan = Plan(experiment, training)
    ready = gather_sources(sources, crops, seed)
    val_steps = None if val is None else ValidationSteps(*val, crops, training.batch_size, seed)
    setting = {
        "key": key,
        "experiment": experiment.model_dump(),
        "model": model.model_dump(),
        "crops": crops.model_dump(),
        "training": training.model_dump(),
        "seed": seed,
        "start": digest_state(checkpoint.state),
    }
    module = LocalizerModule(
        network,
        training,
        lr=training.lr * experiment.lr_scale,
        factor=schedule(experiment, training),
        steps=plan.steps,
        step_samples=plan.step_samples,
        identity=_identity(setting, sources, val),
        log=lambda line: log(f"{key}: {line}"),
    )
    resume = out.with_name(out.name + ".resume")
    done = _passes_done(resume, module.identity)
    with quiet():
        trainer = trainer_for(plan, training, resume, validate=val_steps is not None)
        data = Crops(ready, val_steps, crops, training, plan, seed)
        trainer.fit(module, datamodule=data, ckpt_path=str(resume) if done else None, weights_only=True)
    record = read_plain(resume)["rfloc"]  # not the module: with several devices it was trained in other processes
    history, best = record["history"], record["best"]
    summary = {
        "chosen_pass": best["pass"],
        "val_error": None if val_steps is None else best["val_error"],
        "val_crops": 0 if val_steps is None else val_steps.fixed.sizes["sample"],
        "train_ues": sum(len(source.ues) for source in ready),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    made = {"loss": training.loss, "samples": history["samples"][-1], "torch": str(torch.__version__)}
    save_checkpoint(Checkpoint(best["state"], model, crops, setting | summary | made), out)
    resume.unlink()
    return history | summary | {"wall_s": time.perf_counter() - began, "resumed_at": done}


def _start(start: Path | None, model: ModelParams, crops: CropParams, seed: int) -> Checkpoint:
    """The checkpoint to train on."""
    if start is not None:
        checkpoint = load_checkpoint(start)
        checkpoint.require_fit(model, crops)
        return checkpoint
    if model.pretrained:
        raise TrainingError(
            "model.pretrained is on, but the experiment has no checkpoint to start from",
            "pretrained weights enter through the initial checkpoint",
            "write one with `init_checkpoint` and pass it as `start`",
        )
    return initial(model, crops, None, seed)


def _identity(setting: dict[str, Any], sources: Sequence[Source], val: Sequence[xr.Dataset] | None) -> str:
    """SHA-256 of the parameters, the starting weights and what is heard where: a resume file of another run differs."""
    sha = hashlib.sha256(json.dumps(setting, sort_keys=True).encode())
    for links, raster, split, simulated in sources:
        for array in (links["ue_x"], links["ue_y"], links["nrsrp"], links["bs_x"], links["bs_y"], raster["building"]):
            sha.update(array.values.tobytes())
        sha.update(b"none" if split is None else "".join(split["role"].values.tolist()).encode())
        sha.update(str(simulated).encode())
    if val is not None:
        sha.update(val[0]["nrsrp"].values.tobytes() + "".join(val[2]["role"].values.tolist()).encode())
    return sha.hexdigest()


def _passes_done(resume: Path, identity: str) -> int:
    """Passes that a resume file of this very run holds; one of another run, or a damaged one, does not count."""
    if not resume.is_file():
        return 0
    try:
        record = read_plain(resume)
    except TrainingError:
        return 0
    if record.get("rfloc", {}).get("identity") != identity:
        return 0
    return len(record["rfloc"]["history"]["steps"])
