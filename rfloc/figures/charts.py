"""Charts: errors, calibration scores, distributions of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from rfloc.evaluation.errors import ue_errors
from rfloc.figures.style import OKABE_ITO, ROLE_LABELS, legend_outside, method_style
from rfloc.schema import FEATURES, measured


def error_cdf(ax: Axes, predictions: Mapping[str, xr.Dataset], role: str) -> Axes:
    """Share of UEs of one role with at most a given mean error, one line a method."""
    for name, found in predictions.items():
        error = ue_errors(found, role).error
        ax.ecdf(error, **(method_style(name) | {"marker": None}))
    ax.set(xlim=(0, 400), ylim=(0, 1), title=ROLE_LABELS.get(role, role))
    ax.set(xlabel="error, averaged over a UE's crops [m]", ylabel=f"share of the {len(error)} UEs")
    ax.grid(alpha=0.3)
    legend_outside(ax)
    return ax


def calibration_gain(
    ax: Axes, names: Sequence[str], before: ArrayLike, after: ArrayLike, unmoved: ArrayLike, *, label: str
) -> Axes:
    """One line a station: a score at the nominal pose, after calibration, had nobody moved it; NaN draws nothing."""
    first, second, between = (np.asarray(values, float) for values in (before, after, unmoved))
    order = np.argsort(np.where(np.isnan(first), -np.inf, first))
    lines = np.arange(len(order))
    ax.hlines(lines, first[order], second[order], color="0.7", linewidth=1.5)
    ax.plot(first[order], lines, "o", mfc="white", mec=OKABE_ITO["sky"], mew=1.5, label="nominal pose")
    ax.plot(between[order], lines, "|", color=OKABE_ITO["black"], ms=11, mew=1.5, label="unmoved, levels solved")
    ax.plot(second[order], lines, "o", color=OKABE_ITO["blue"], label="calibrated")
    ax.set(yticks=lines, yticklabels=[names[k] for k in order], xlabel=label, ylabel="station")
    ax.grid(axis="x", alpha=0.3)
    legend_outside(ax)
    return ax


def feature_distributions(axes: Sequence[Axes], datasets: Mapping[str, xr.Dataset]) -> Sequence[Axes]:
    """Distribution over heard links of the features that a dataset has, a line a dataset, in about 40 bins.

    Axes are as many as :data:`FEATURES`; those of a feature that none has are removed. Bins are whole dB wide: reports
    are quantised, finer bins would beat with them.
    """
    present = [name for name in FEATURES if any(name in measured(links) for links in datasets.values())]
    for ax in axes[len(present) :]:
        ax.remove()
    for ax, name in zip(axes, present, strict=False):
        values = {key: links[name].values[np.isfinite(links[name].values)] for key, links in datasets.items()}
        pooled = np.concatenate(list(values.values()))
        low, high = np.quantile(pooled, [0.002, 0.998]) if pooled.size else (0.0, 1.0)
        width = max(1.0, np.ceil((high - low) / 40))
        edges = np.arange(np.floor(low) - 0.5, high + width, width)
        for key, found in values.items():
            look = method_style(key)
            label = f"{look['label'].removesuffix(' zero-shot')} ({int(datasets[key]['heard'].sum()):,} links)"
            share = np.full(found.size, 100 / max(found.size, 1))
            ax.hist(found, list(edges), weights=share, histtype="step", lw=1.5, color=look["color"], label=label)
        ax.set(xlabel=f"{name.upper()} [{FEATURES[name].unit}]", ylabel="share of links [%]")
    legend_outside(axes[len(present) - 1])
    return axes
