"""Charts that several pages draw: errors, calibration scores, distributions of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from rfloc.evaluation.errors import ue_errors
from rfloc.figures.style import OKABE_ITO, ROLE_LABELS, legend_outside, method_style
from rfloc.schema import FEATURES


def error_cdf(ax: Axes, predictions: Mapping[str, xr.Dataset], role: str, *, limit: float = 400.0) -> Axes:
    """Share of UEs of one role with at most a given mean error, one line a method."""
    count = 0
    for name, found in predictions.items():
        error = np.sort(ue_errors(found, role).error)
        count = len(error)
        style = method_style(name)
        style.pop("marker")
        share = np.arange(1, count + 1) / count
        ax.step(np.concatenate([[0], error]), np.concatenate([[0], share]), where="post", **style)
    ax.set_xlim(0, limit)
    ax.set_ylim(0, 1)
    ax.set_xlabel("error, averaged over a UE's crops [m]")
    ax.set_ylabel(f"share of the {count} UEs")
    ax.set_title(ROLE_LABELS.get(role, role))
    ax.grid(alpha=0.3)
    legend_outside(ax)
    return ax


def calibration_gain(
    ax: Axes,
    names: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    unmoved: Sequence[float],
    *,
    label: str = "held-out Spearman ρ",
) -> Axes:
    """One line a station: a score at the nominal pose, after calibration, had nobody moved it; NaN draws nothing."""
    first, second, between = (np.asarray(values, float) for values in (before, after, unmoved))
    order = np.argsort(np.where(np.isnan(first), -np.inf, first))
    lines = np.arange(len(order))
    ax.hlines(lines, first[order], second[order], color="0.7", linewidth=1.5)
    ax.plot(first[order], lines, "o", mfc="white", mec=OKABE_ITO["sky"], mew=1.5, label="nominal pose")
    ax.plot(between[order], lines, "|", color=OKABE_ITO["black"], ms=11, mew=1.5, label="unmoved, levels solved")
    ax.plot(second[order], lines, "o", color=OKABE_ITO["blue"], label="calibrated")
    ax.set_yticks(lines, [names[k] for k in order])
    ax.set_ylabel("station")
    ax.set_xlabel(label)
    ax.grid(axis="x", alpha=0.3)
    legend_outside(ax)
    return ax


def feature_distributions(
    axes: Sequence[Axes], datasets: Mapping[str, xr.Dataset], *, bins: int = 40
) -> Sequence[Axes]:
    """Distribution of the four radio features over heard links, a line a dataset, in about `bins` bins on four axes."""
    for ax, (name, about) in zip(axes, FEATURES.items(), strict=True):
        values = {key: links[name].values[np.isfinite(links[name].values)] for key, links in datasets.items()}
        pooled = np.concatenate(list(values.values()))
        low, high = np.quantile(pooled, [0.002, 0.998]) if pooled.size else (0.0, 1.0)
        width = max(
            1.0, np.ceil((high - low) / bins)
        )  # whole dB: reports are quantised, finer bins would beat with them
        edges = np.arange(np.floor(low) - 0.5, high + width, width)
        for key, found in values.items():
            style = method_style(key)
            label = f"{style['label'].removesuffix(' zero-shot')} ({found.size:,} links)"
            if found.size:
                weights = np.full(found.size, 100 / found.size)
                ax.hist(found, list(edges), weights=weights, histtype="step",
                        color=style["color"], linewidth=1.5, label=label)  # fmt: skip
        ax.set_xlabel(f"{name.upper()} [{about.unit}]")
        ax.set_ylabel("share of links [%]")
    legend_outside(axes[-1])
    return axes
