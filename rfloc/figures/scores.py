"""Figures of errors, of crops of many sizes, of calibration scores and of feature distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import norm

from rfloc.config import CropParams
from rfloc.evaluation.errors import ue_errors
from rfloc.figures.style import METHODS, OKABE_ITO, ROLE_LABELS, legend_outside, method_style
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


def known_unknown(ax: Axes, rows: Mapping[str, Mapping[str, Any]], *, metric: str = "mean_error") -> Axes:
    """Error on known against unknown streets (Figure 4 of the paper), with intervals where rows have them.

    Parameters
    ----------
    rows : dict
        By method: a dict with `known` and `unknown`, each a number [m] or a dict of metrics as
        :func:`rfloc.evaluation.tables.summarise` makes them.
    """
    top = 0.0
    for name, row in rows.items():
        style = method_style(name)
        style["linestyle"] = "none"
        cells = [c if isinstance(c, Mapping) else {metric: c} for c in (row["known"], row["unknown"])]
        value = [float(c[metric]) for c in cells]
        bars: list[Any] = [None, None]  # x, y
        for k, (cell, v) in enumerate(zip(cells, value, strict=True)):
            interval = cell.get(f"{metric}_ci")
            if interval is not None:
                bars[k] = [[max(v - interval[0], 0)], [max(interval[1] - v, 0)]]
                top = max(top, interval[1])
        hollow = METHODS.get(name, ("", "", "-", ""))[2] != "-"
        ax.errorbar(
            value[0], value[1], xerr=bars[0], yerr=bars[1], **style, ms=8, mew=1.6, elinewidth=0.7,
            mfc="white" if hollow else style["color"],
        )  # fmt: skip
        top = max(top, *value)
    ax.set_xlim(0, top * 1.05)
    ax.set_ylim(0, top * 1.05)
    ax.plot([0, top * 1.05], [0, top * 1.05], color="0.75", linewidth=1, zorder=0)
    ax.annotate("equal", (top, top), color="0.5", fontsize="small", rotation=45, ha="right", va="top")
    ax.set_aspect("equal")
    name = metric.replace("_", " ").replace("rmse", "RMSE")
    ax.set_xlabel(f"{name}, known streets [m]")
    ax.set_ylabel(f"{name}, unknown streets [m]")
    ax.grid(alpha=0.3)
    legend_outside(ax)
    return ax


def crop_sizes(ax: Axes, size: NDArray[np.floating], limits: Sequence[float], crops: CropParams) -> Axes:
    """Share of crops by edge [m], in bins with these limits, and the bins' shares under the truncated normal law."""
    edges = np.asarray(limits, float)
    weights = np.full(len(size), 100 / max(len(size), 1))
    ax.hist(size, list(edges), weights=weights, color=OKABE_ITO["sky"], edgecolor="white", label="drawn and usable")
    cdf = norm(2 * crops.var_mean, 2 * crops.var_sd).cdf(edges)
    share = 100 * np.diff(cdf) / (cdf[-1] - cdf[0])
    ax.plot((edges[1:] + edges[:-1]) / 2, share, "o", color=OKABE_ITO["black"], mfc="white", label="the law")
    ax.set_xticks(list(edges))
    ax.set_xlabel("edge of the crop [m]")
    ax.set_ylabel("share of crops [%]")
    ax.set_title(f"{len(size):,} crops")
    legend_outside(ax)
    return ax


def error_by_size(
    axes: Sequence[Axes],
    edges: Sequence[float],
    errors: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    expected: Sequence[float] | None = None,
) -> Sequence[Axes]:
    """Mean error by edge of the crop (the paper's Figure 8), known streets on the first axes, unknown on the second.

    Parameters
    ----------
    edges : sequence of float
        Edges of the bins [m].
    errors : dict
        By method, then `known` and `unknown`: mean error a bin [m], NaN where it holds no crop.
    expected : sequence of float, optional
        What guessing the centre is expected to give, a bin [m].
    """
    centres = (np.asarray(edges[1:]) + np.asarray(edges[:-1])) / 2
    for ax, role in zip(axes, ("known", "unknown"), strict=True):
        if expected is not None:
            ax.plot(centres, expected, color="0.8", linewidth=4, label="crop centre, expected", zorder=0)
        for name, by_role in errors.items():
            ax.plot(centres, by_role[role], **method_style(name), ms=5)
        ax.set_xticks(list(edges))
        ax.set_xlim(edges[0], edges[-1])
        ax.set_ylim(bottom=0)
        ax.set_xlabel("edge of the crop [m]")
        ax.set_ylabel("mean error [m]")
        ax.set_title(ROLE_LABELS[role])
        ax.grid(alpha=0.3)
    legend_outside(axes[-1])
    return axes


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
