"""Two ways to one answer, timed in turns and held against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from rfloc.backend import prepare

prepare()
import drjit as dr  # noqa: E402 - the backend is chosen first

Array = NDArray[np.float64]


def clock(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives and its time [s], without that in which the ray tracer compiled kernels."""
    dr.kernel_history_clear()
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        start = time.perf_counter()
        found = work()
        dr.sync_thread()
        seconds = time.perf_counter() - start
        kernels = dr.kernel_history()
    compiled = 1e-3 * sum(kernel.get("codegen_time", 0.0) + kernel.get("backend_time", 0.0) for kernel in kernels)
    return found, max(seconds - compiled, 1e-9)


def in_turns(
    jobs: Mapping[str, Callable[[int], Any]], repeats: int, warm_up: Callable[[], Any] | None = None
) -> tuple[dict[str, list[Any]], dict[str, float]]:
    """Run jobs A B A B ..., and say for each what it gave and how long it took.

    Parameters
    ----------
    jobs : mapping
        Name -> job, called with the number of the round.
    repeats : int
        Rounds that count.
    warm_up : callable, optional
        Run before, not counted.

    Returns
    -------
    found : dict
        Name -> what the job gave, one entry a round.
    times : dict
        Name -> median [s], without compilation.
    """
    if warm_up:
        warm_up()
    runs: dict[str, list[tuple[Any, float]]] = {name: [] for name in jobs}
    for turn in range(repeats):
        for name, job in jobs.items():
            runs[name].append(clock(lambda job=job, turn=turn: job(turn)))
    found = {name: [run[0] for run in done] for name, done in runs.items()}
    return found, {name: float(np.median([run[1] for run in done])) for name, done in runs.items()}


def distance(gain: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """How far path gains (ue, bs) are from converged ones.

    Returns
    -------
    dict
        `spearman`: over all UEs, a link that is missing ranking lowest, mean over stations; `rms_db`: on the links
        that both have; `lost`: share of the converged trace's links that are missing; `links` of these.
    """
    gain, truth = np.asarray(gain, float), np.asarray(truth, float)
    told = [k for k in range(truth.shape[1]) if np.ptp(truth[:, k]) > 0]
    ranks = [spearmanr(gain[:, k], truth[:, k]).statistic if np.ptp(gain[:, k]) > 0 else 0.0 for k in told]
    both = (gain > 0) & (truth > 0)
    error = 10 * np.log10(gain[both] / truth[both])
    return {
        "spearman": float(np.mean(ranks)) if ranks else float("nan"),
        "rms_db": float(np.sqrt((error**2).mean())) if error.size else float("nan"),
        "lost": float(1 - both.sum() / max((truth > 0).sum(), 1)),
        "links": int((truth > 0).sum()),
    }


def time_at(spearman: float, curve: list[dict[str, Any]]) -> tuple[float, bool]:
    """Time at which a curve of points with `spearman` and `s` reaches a Spearman, and whether it lies within the curve.

    log(time) is linear between points in the order of time; a slower point that is worse counts as its faster one.
    Past either end the time there is given: past the last point, a lower bound.
    """
    points = sorted(curve, key=lambda point: point["s"])
    reached = np.maximum.accumulate([point["spearman"] for point in points])
    seconds = np.log([point["s"] for point in points])
    better = np.concatenate([[True], np.diff(reached) > 0])
    within = bool(reached[0] <= spearman <= reached[-1])
    return float(np.exp(np.interp(spearman, reached[better], seconds[better]))), within


def rounded(value: Any, digits: int = 4) -> Any:
    """Numbers to so many significant digits, and NaN as None, throughout a tree."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
