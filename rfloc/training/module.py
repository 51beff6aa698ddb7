"""The Lightning module: loss, optimiser, schedule, the loaders of numbered batches and the record of a run."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from rfloc.config import ExperimentParams, TrainingParams
from rfloc.errors import TrainingError
from rfloc.files import say
from rfloc.localizers.networks import INPUTS, predict, to_posterior
from rfloc.localizers.pair import PairScore
from rfloc.training.adversary import Adversary, PairedSteps
from rfloc.training.batches import CropSource, TrainingSteps, ValidationSteps

#: Entries of the history that get one value a pass; with targets, `domain_errors` does too.
SERIES = ("steps", "samples", "losses", "learning_rates", "val_errors", "samples_per_s")
#: Share of training over which the rate falls in the end.
DECAY = 0.5
#: Peak learning rate of a pair score: its few weights bear far longer steps than a transformer's (training.lr).
PAIR_RATE = 0.01


def wsd(progress: float, warmup: float, decay: float) -> float:
    """Warm-up, stable, decay (section 6.3): factor on the peak rate after a share `progress` of training."""
    rising = progress / warmup if progress < warmup else 1.0
    falling = (1.0 - progress) / decay if 1.0 - progress < decay else 1.0
    return max(0.0, min(1.0, rising, falling))


def heatmap_loss(logits: Tensor, target: Tensor, loss: str) -> Tensor:
    """Mean loss of logits (batch, G, G) at flat targets (batch,): cross-entropy, or "bce" of every cell (6.3)."""
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


class Plan:
    """How many passes, steps and crops a run has: `samples` crops in `max_epochs` passes, rounded up to whole steps."""

    def __init__(self, experiment: ExperimentParams, training: TrainingParams) -> None:
        self.devices = training.devices
        self.batch_size = min(training.batch_size, math.ceil(experiment.samples / self.devices))
        self.step_samples = self.batch_size * self.devices
        wanted = math.ceil(experiment.samples / self.step_samples)
        self.pass_steps = math.ceil(wanted / training.max_epochs)
        self.passes = math.ceil(wanted / self.pass_steps)
        self.steps = self.passes * self.pass_steps


class LocalizerModule(pl.LightningModule):
    """Trains a network in place on `sources`; the fixed crops of `val` choose the pass to keep.

    With `targets`, what the network knows of a crop as a whole comes to look alike there and here (:class:`Adversary`).
    Batches are numbered, so a resumed run or another number of workers draws the same ones. `log` prints a line a pass.
    """

    def __init__(
        self, network: nn.Module, experiment: ExperimentParams, training: TrainingParams,
        sources: Sequence[CropSource] = (), val: ValidationSteps | None = None, seed: int = 0,
        targets: Sequence[CropSource] = (), log: Callable[[str], None] = say,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.experiment, self.training_params = network, experiment, training
        self.sources, self.val, self.seed, self.targets, self.say = sources, val, seed, targets, log
        self.adversary = Adversary(network, seed) if targets else None
        self.plan, self.lr = Plan(experiment, training), training.lr * experiment.lr_scale
        self.history: dict[str, list] = {name: [] for name in (*SERIES, *(["domain_errors"] if targets else []))}
        self.resumed_at = 0

    def factor(self, progress: float) -> float:
        """The experiment's schedule: factor on the peak learning rate."""
        linear = self.experiment.schedule == "linear"
        return wsd(progress, *((0.0, 1.0) if linear else (self.training_params.warmup, DECAY)))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; matrices and kernels decay, biases, norms, embeddings of positions and pair scores do not."""
        modules = self.network.modules()
        pairs = {id(p) for module in modules if isinstance(module, PairScore) for p in module.parameters()}
        groups: dict[str, dict[str, Any]] = {
            "matrices": {"params": [], "weight_decay": self.training_params.weight_decay},
            "others": {"params": []},
            "pairs": {"params": [], "lr": PAIR_RATE * self.experiment.lr_scale},
        }
        for name, value in self.named_parameters():
            plain = value.ndim < 2 or name.endswith(("position_embeddings", "cls_token"))
            groups["pairs" if id(value) in pairs else "others" if plain else "matrices"]["params"].append(value)
        used = [group for group in groups.values() if group["params"]]
        optimizer = torch.optim.AdamW(used, lr=self.lr, weight_decay=0.0)
        steps = self.plan.steps
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor((step + 0.5) / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        """Batches of the current pass that fall to this device; up to 8 processes draw beside each GPU."""
        world, steps = self.trainer.world_size, self.plan.pass_steps
        first = self.trainer.current_epoch * steps * world + self.trainer.global_rank
        numbers = range(first, first + steps * world, world)
        how = self.training_params, self.plan.batch_size, self.seed
        own = TrainingSteps(self.sources, *how, numbers)
        part: Dataset[dict[str, Tensor]] = own
        if self.targets:  # numbered on from where the sources' batches end
            after = self.plan.steps * world
            later = range(first + after, numbers.stop + after, world)
            part = PairedSteps(own, TrainingSteps(self.targets, *how, later))
        idle = torch.multiprocessing.cpu_count() // world - 1 if torch.cuda.is_available() else 0
        return DataLoader(part, batch_size=None, num_workers=min(8, max(0, idle)))

    def val_dataloader(self) -> DataLoader:
        """The validation crops, the same on every device; not called where there are none."""
        assert self.val is not None
        return DataLoader(self.val, batch_size=None)

    def on_train_start(self) -> None:
        """Start the clock of the run, that tells how long it will take."""
        self._began = time.perf_counter()

    def on_train_epoch_start(self) -> None:
        """Start the clock of a pass, which stops when validation starts."""
        self._started = time.perf_counter()
        self._losses: list[Tensor] = []
        self._errors: list[Tensor] = []
        self._wrong: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Loss of a batch; with targets, that of the domain classifier is added."""
        if self.adversary is None:
            loss = heatmap_loss(predict(self.network, batch), batch["target"], self.training_params.loss)
            self._losses.append(loss.detach())
            return loss
        known, progress = len(batch["target"]), self.trainer.global_step / self.plan.steps
        logits, summary = self.network.with_summary(*(batch[name] for name in INPUTS))  # type: ignore[operator]
        loss = heatmap_loss(logits[:known], batch["target"], self.training_params.loss)
        of_domain, wrong = self.adversary(summary, known, progress)
        self._losses.append(loss.detach())
        self._wrong.append(wrong)
        return loss + of_domain

    def on_validation_start(self) -> None:
        """Stop the clock of a pass: validation does not count."""
        self._train_s = time.perf_counter() - self._started

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """Errors of the posterior mean [m] on a batch."""
        posterior = to_posterior(predict(self.network, batch), self.training_params.loss)
        error = posterior_mean(posterior, batch["size"]) - batch["target_xy"].double()
        self._errors.append(error.norm(dim=1))

    def on_train_epoch_end(self) -> None:
        """Write the pass into the history and print a line (raises TrainingError where the loss is not finite)."""
        train_s = self._train_s if self._errors else time.perf_counter() - self._started
        loss = self.trainer.strategy.reduce(torch.stack(self._losses).mean()).item()
        done, total = self.trainer.current_epoch + 1, self.plan.passes
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in pass {done} of {total}",
                "training has diverged, so its checkpoint would be worthless",
                "lower training.lr or the experiment's lr_scale",
            )
        error = torch.cat(self._errors).mean().item() if self._errors else None
        if error is not None:
            self.log("val_error", error)
        step, each = self.trainer.global_step, self.plan.step_samples
        rate = (step - (self.history["steps"] or [0])[-1]) * each / train_s
        row = (step, step * each, loss, self.lr * self.factor(step / self.plan.steps), error, rate)
        for name, value in zip(SERIES, row, strict=True):
            self.history[name].append(value)
        if self._wrong:
            self.history["domain_errors"].append(self.trainer.strategy.reduce(torch.stack(self._wrong).mean()).item())
        if self.trainer.is_global_zero:
            seen = "" if error is None else f"  val {error:.1f} m"
            passed = time.perf_counter() - self._began
            left = timedelta(seconds=round(passed / (done - self.resumed_at) * (total - done)))
            said = f"pass {done}/{total}  samples {step * each:,}  loss {loss:.3f}{seen}"
            self.say(f"{said}  {rate:.0f} samples/s  {left} left")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the record of the run."""
        checkpoint["rfloc"] = {"history": self.history, "resumed_at": self.resumed_at}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the record of the run back."""
        self.history = checkpoint["rfloc"]["history"]
        self.resumed_at = len(self.history["steps"])
