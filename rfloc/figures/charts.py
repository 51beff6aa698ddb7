"""Charts: errors, calibration scores, distributions of features, departures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rfloc.evaluation.errors import ue_errors
from rfloc.figures.style import OKABE_ITO, ROLE_LABELS, legend_outside, method_style
from rfloc.schema import FEATURES


def error_cdf(ax: Axes, predictions: Mapping[str, xr.Dataset], role: str, *, limit: float = 400.0) -> Axes:
    """Share of UEs of one role with at most a given mean error, one line a method."""
    for name, found in predictions.items():
        error = np.sort(ue_errors(found, role).error)
        share = np.linspace(0, 1, len(error) + 1)
        ax.step([0, *error], share, where="post", **(method_style(name) | {"marker": None}))
    ax.set(xlim=(0, limit), ylim=(0, 1), title=ROLE_LABELS.get(role, role))
    ax.set(xlabel="error, averaged over a UE's crops [m]", ylabel=f"share of the {len(error)} UEs")
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
    """Distribution of the four radio features over heard links, a line a dataset, in about `bins` bins on four axes.

    Bins are whole dB wide: reports are quantised, finer bins would beat with them.
    """
    for ax, (name, about) in zip(axes, FEATURES.items(), strict=True):
        values = {key: links[name].values[np.isfinite(links[name].values)] for key, links in datasets.items()}
        pooled = np.concatenate(list(values.values()))
        low, high = np.quantile(pooled, [0.002, 0.998]) if pooled.size else (0.0, 1.0)
        width = max(1.0, np.ceil((high - low) / bins))
        for key, found in values.items():
            look = method_style(key)
            label = f"{look['label'].removesuffix(' zero-shot')} ({found.size:,} links)"
            _outline(ax, found, np.arange(np.floor(low) - 0.5, high + width, width), label, look["color"])
        ax.set(xlabel=f"{name.upper()} [{about.unit}]", ylabel="share of links [%]")
    legend_outside(axes[-1])
    return axes


def heard_stations(ax: Axes, datasets: Mapping[str, xr.Dataset]) -> Axes:
    """Share of UEs by the number of stations that they hear, a line a dataset."""
    heard = {key: links["heard"].sum("bs").values for key, links in datasets.items()}
    edges = np.arange(max(int(count.max()) for count in heard.values()) + 2) - 0.5
    for index, (key, count) in enumerate(heard.items()):
        colour = method_style("A")["color"] if index == 0 else list(OKABE_ITO.values())[index]
        _outline(ax, count, edges, f"{key} ({len(count):,} UEs)", colour)
    ax.set(xlabel="stations heard at once", ylabel="share of UEs [%]")
    legend_outside(ax)
    return ax


def _outline(ax: Axes, values: NDArray[Any], edges: NDArray[Any], label: str, colour: str) -> None:
    """Histogram in percent as a line; none of nothing."""
    if values.size:
        share = np.full(values.size, 100 / values.size)
        ax.hist(values, list(edges), weights=share, histtype="step", linewidth=1.5, color=colour, label=label)


def departures(
    axes: Sequence[Axes], rows: Mapping[str, Mapping[str, Any]], *, floor: Mapping[str, Any], centre: float
) -> Sequence[Axes]:
    """One line a departure: how far links are off [dB] on the first axes, how far k-NN is [m] on the second.

    `rows` have `label`, `bias_db` and `rms_db` (None where no link is common), `metres`, `metres_levelled`, and so has
    `floor`, the right simulation traced with other rays; `centre` is the error of the centre guess [m].
    """
    lines, (first, second) = np.arange(len(rows))[::-1], axes
    bias, rms, metres, levelled = (
        np.array([row[name] for row in rows.values()], float)
        for name in ("bias_db", "rms_db", "metres", "metres_levelled")
    )
    hollow: dict[str, Any] = {"marker": "o", "mfc": "none", "linestyle": "none"}
    first.plot(abs(bias), lines, **hollow, mec=OKABE_ITO["orange"], mew=1.5, label="size of the bias")
    first.plot(rms, lines, "D", color=OKABE_ITO["blue"], ms=5, label="rms without it")
    first.axvline(floor["rms_db"], color=OKABE_ITO["blue"], linestyle=":", label="rms between rays")
    second.hlines(lines, levelled, metres, color="0.8", zorder=0)
    second.plot(metres, lines, "s", color=OKABE_ITO["vermilion"], ms=5, label="as it comes")
    second.plot(levelled, lines, **hollow, mec="black", mew=1.2, label="levels put right")
    second.axvline(floor["metres"], color="black", linestyle=":", label="right simulation")
    second.axvline(centre, color=OKABE_ITO["grey"], linestyle="--", label="centre guess")
    first.set_yticks(lines, [row["label"] for row in rows.values()])
    second.set_yticks(lines, [])
    first.set_xlabel("NRSRP against the right simulation [dB]")
    second.set_xlabel("mean error of k-NN [m]")
    for ax in axes:
        ax.set(xlim=(-0.02 * ax.get_xlim()[1], None), ylim=(-0.7, len(rows) - 0.3))
        ax.grid(alpha=0.3)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.0, handletextpad=0.4)
    return axes
