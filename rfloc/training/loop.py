"""How Lightning is driven: the plan of passes, numbered batches, a resume file, and no noise."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
from torch.utils.data import DataLoader

from rfloc.config import CropParams, ExperimentParams, TrainingParams
from rfloc.training.batches import CropSource, TrainingSteps, ValidationSteps, worker_count

#: Gradients are clipped to this norm.
CLIP = 1.0


class Plan:
    """How many passes, steps and crops a run has: `samples` crops in `max_epochs` passes, rounded up to whole steps.

    Parameters
    ----------
    experiment, training : ExperimentParams, TrainingParams
        Samples, passes, batch size a device, devices.
    """

    def __init__(self, experiment: ExperimentParams, training: TrainingParams) -> None:
        self.devices = training.devices
        self.batch_size = min(training.batch_size, math.ceil(experiment.samples / self.devices))
        self.step_samples = self.batch_size * self.devices
        wanted = math.ceil(experiment.samples / self.step_samples)
        self.pass_steps = math.ceil(wanted / training.max_epochs)
        self.passes = math.ceil(wanted / self.pass_steps)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.passes * self.pass_steps


class Crops(pl.LightningDataModule):
    """The loaders of a run; batches are numbered, so a resumed run or another number of workers draws the same ones."""

    def __init__(
        self,
        sources: Sequence[CropSource],
        val: ValidationSteps | None,
        crops: CropParams,
        training: TrainingParams,
        plan: Plan,
        seed: int,
    ) -> None:
        super().__init__()
        self.sources, self.val, self.crops, self.training = sources, val, crops, training
        self.plan, self.seed, self.workers = plan, seed, worker_count(plan.devices)

    def train_dataloader(self) -> DataLoader:
        """The batches of the current pass that fall to this device."""
        assert self.trainer is not None
        world = self.trainer.world_size
        first = self.trainer.current_epoch * self.plan.pass_steps * world + self.trainer.global_rank
        steps = TrainingSteps(
            self.sources,
            self.crops,
            self.training,
            batch_size=self.plan.batch_size,
            seed=self.seed,
            first=first,
            stride=world,
            count=self.plan.pass_steps,
        )
        return DataLoader(steps, batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        """The validation crops, the same on every device; not called where there are none."""
        assert self.val is not None
        return DataLoader(self.val, batch_size=None)


class ResumeFile(pl.callbacks.Checkpoint):
    """Saves the whole state of a run after each pass, replacing the former file once the new one is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save; Lightning calls this after the module has recorded the pass."""
        fresh = self.path.with_name(self.path.name + ".new")
        trainer.save_checkpoint(fresh)
        if trainer.is_global_zero:
            fresh.replace(self.path)


def trainer_for(plan: Plan, training: TrainingParams, resume: Path, *, validate: bool) -> pl.Trainer:
    """A Lightning trainer that prints nothing, logs nowhere and leaves only the resume file."""
    return pl.Trainer(
        accelerator="auto",
        devices=plan.devices,
        strategy="auto" if plan.devices == 1 else "ddp_notebook",
        precision="bf16-mixed" if training.bf16 else "32-true",
        max_epochs=plan.passes,
        gradient_clip_val=CLIP,
        callbacks=[ResumeFile(resume)],
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=None if validate else 0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(resume.parent),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and its hints on workers and loggers out of notebooks."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
