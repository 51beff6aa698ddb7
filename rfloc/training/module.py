"""The Lightning module: loss, optimiser, schedule, the record of a run and its best state."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from rfloc.config import TrainingParams
from rfloc.errors import TrainingError
from rfloc.localizers.map_radioformer import MapRadioFormer, predict, to_posterior
from rfloc.training.schedules import Schedule

#: Entries of the history that get one value a pass.
SERIES = ("steps", "samples", "losses", "learning_rates", "val_errors", "samples_per_s")


def heatmap_loss(logits: Tensor, target: Tensor, loss: str) -> Tensor:
    """Mean loss of logits (batch, G, G) against flat target cells (batch,).

    "softmax" is the cross-entropy of one distribution over the grid; "bce" the binary cross-entropy of every cell
    against a heatmap that is 1 in the target's cell (section 6.3).
    """
    flat = logits.float().flatten(1)
    if loss == "softmax":
        return nn.functional.cross_entropy(flat, target)
    truth = nn.functional.one_hot(target, flat.shape[1]).to(flat.dtype)
    return nn.functional.binary_cross_entropy_with_logits(flat, truth)


def posterior_mean(posterior: Tensor, size: Tensor) -> Tensor:
    """Mean positions (batch, 2) of posteriors (batch, G, G) from the centres of crops of `size`, (batch,) [m]."""
    cells = posterior.shape[-1]
    at = ((torch.arange(cells, device=posterior.device) + 0.5) / cells - 0.5).to(posterior)
    return size[:, None] * torch.stack((posterior.sum(1) @ at, -(posterior.sum(2) @ at)), -1)


class LocalizerModule(pl.LightningModule):
    """Trains a network on batches of tensors.

    Parameters
    ----------
    model : MapRadioFormer
        The network, trained in place.
    training : TrainingParams
        Loss, weight decay.
    lr : float
        Peak learning rate.
    factor : callable
        The schedule: progress to a factor on `lr`.
    steps : int
        Optimiser steps of the whole run.
    step_samples : int
        Crops an optimiser step, over all devices.
    identity : str
        Names parameters and data of the run; kept in resume files.
    log : callable
        Prints a line of progress.
    """

    def __init__(
        self,
        model: MapRadioFormer,
        training: TrainingParams,
        *,
        lr: float,
        factor: Schedule,
        steps: int,
        step_samples: int,
        identity: str = "",
        log: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self.model, self.training_params, self.lr, self.factor = model, training, lr, factor
        self.steps, self.step_samples, self.identity, self.say = steps, step_samples, identity, log
        self.history: dict[str, list] = {name: [] for name in SERIES}
        self.best: dict[str, Any] = {"pass": 0, "val_error": math.inf, "state": {}}
        self._losses: list[Tensor] = []
        self._errors: list[Tensor] = []
        self._train_s = 0.0

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; matrices and kernels decay, biases, norms and embeddings of positions do not."""
        named = list(self.model.named_parameters())
        plain = [p for n, p in named if p.ndim < 2 or n.endswith(("position_embeddings", "cls_token"))]
        matrices = [p for n, p in named if p.ndim >= 2 and not n.endswith(("position_embeddings", "cls_token"))]
        optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.training_params.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.lr,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor((step + 0.5) / self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Start the clock of a pass."""
        self._started = time.perf_counter()
        self._losses = []

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Loss of a batch."""
        loss = heatmap_loss(predict(self.model, batch), batch["target"], self.training_params.loss)
        self._losses.append(loss.detach())
        return loss

    def on_validation_start(self) -> None:
        """Stop the clock of a pass: validation does not count."""
        self._errors = []
        self._train_s = time.perf_counter() - self._started

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """Errors of the posterior mean [m] on a batch."""
        posterior = to_posterior(predict(self.model, batch), self.training_params.loss)
        error = posterior_mean(posterior, batch["size"]) - batch["target_xy"].double()
        self._errors.append(error.norm(dim=1))

    def on_train_epoch_end(self) -> None:
        """Write the pass into the history, keep the state if it is the best so far, print a line.

        Raises
        ------
        TrainingError
            If the loss is not finite.
        """
        if not self._errors:
            self._train_s = time.perf_counter() - self._started
        loss = self.trainer.strategy.reduce(torch.stack(self._losses).mean()).item()
        done, total = self.trainer.current_epoch + 1, self.trainer.max_epochs
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in pass {done} of {total}",
                "training has diverged, so its checkpoint would be worthless",
                "lower training.lr or the experiment's lr_scale",
            )
        error = torch.cat(self._errors).mean().item() if self._errors else None
        step = self.trainer.global_step
        rate = (step - (self.history["steps"] or [0])[-1]) * self.step_samples / self._train_s
        lr = self.lr * self.factor(step / self.steps)
        row = (step, step * self.step_samples, loss, lr, error, rate)
        for name, value in zip(SERIES, row, strict=True):
            self.history[name].append(value)
        if error is None or error < self.best["val_error"]:
            state = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
            self.best = {"pass": done, "val_error": math.inf if error is None else error, "state": state}
        if not self.trainer.is_global_zero:
            return
        self.say(
            f"pass {done}/{total}  samples {step * self.step_samples:,}  loss {loss:.3f}"
            + (f"  val {error:.1f} m" if error is not None else "")
            + f"  {rate:.0f} samples/s"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the record of the run in its resume file."""
        checkpoint["rfloc"] = {"identity": self.identity, "history": self.history, "best": self.best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the record of the run back from its resume file."""
        self.history = copy.deepcopy(checkpoint["rfloc"]["history"])
        self.best = checkpoint["rfloc"]["best"]
