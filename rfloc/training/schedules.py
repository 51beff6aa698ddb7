"""Learning-rate schedules as closed forms of training progress, so that they read the same for any number of steps."""

from __future__ import annotations

from collections.abc import Callable

from rfloc.config import ExperimentParams, TrainingParams

Schedule = Callable[[float], float]


def wsd(progress: float, warmup: float, decay: float) -> float:
    """Warm-up, stable, decay (section 6.3): factor on the peak learning rate.

    Linear from 0 over the share `warmup` of training, 1 in between, linear to 0 over the last share `decay`.

    Parameters
    ----------
    progress : float
        Share of training that is over, 0 to 1.
    warmup, decay : float
        Shares of training; 0 leaves that phase out.
    """
    rising = progress / warmup if progress < warmup else 1.0
    falling = (1.0 - progress) / decay if 1.0 - progress < decay else 1.0
    return max(0.0, min(1.0, rising, falling))


def linear(progress: float) -> float:
    """Linear decay from 1 to 0, as in fine-tuning (section 6.3)."""
    return wsd(progress, 0.0, 1.0)


def schedule(experiment: ExperimentParams, training: TrainingParams) -> Schedule:
    """The schedule that an experiment names."""
    if experiment.schedule == "linear":
        return linear
    return lambda progress: wsd(progress, training.warmup, training.decay)
