"""Figures of calibration: where a site may stand, where its sectors may look, and what searches bring and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rfloc.figures.maps import city_map, scale_bar, stations
from rfloc.figures.style import OKABE_ITO, legend_outside

Floats = NDArray[np.float64]

#: Hexagons from west to east in which a position's posterior is shown.
HEXAGONS = 10


def pose_posterior(
    ax: Axes, raster: xr.Dataset, nominal: xr.Dataset, x: Floats, y: Floats, weight: Floats, *, margin: float = 40.0
) -> Axes:
    """Where a site may stand, the darker the likelier, over the city, and where its table puts it.

    Candidates are not spread evenly, so that their weights are summed in hexagons, not shown one by one.

    Parameters
    ----------
    nominal : Dataset
        Coordinates bs_x, bs_y of the site [m].
    x, y, weight : ndarray, shape (candidate,)
        Positions [m] and posterior weights.
    margin : float
        Shown past the candidates [m].
    """
    city_map(ax, raster, bar=False)
    ax.hexbin(
        x, y, C=weight, reduce_C_function=np.sum, mincnt=1, gridsize=HEXAGONS, cmap="Blues", alpha=0.8, linewidths=0.2,
        zorder=3,
    )  # fmt: skip
    stations(ax, nominal, colour=OKABE_ITO["vermilion"], size=11)
    ax.set_xlim(x.min() - margin, x.max() + margin)
    ax.set_ylim(y.min() - margin, y.max() + margin)
    return scale_bar(ax)


def azimuth_posterior(ax: Axes, azimuths: Sequence[Floats], weights: Sequence[Floats], names: Sequence[str]) -> Axes:
    """Posterior of each sector's azimuth [deg]; the share that is alike to all sides is in the legend."""
    colours = [OKABE_ITO[c] for c in ("blue", "orange", "green", "purple", "sky", "black")]
    for k, (azimuth, weight, name) in enumerate(zip(azimuths, weights, names, strict=True)):
        sides = np.isfinite(azimuth)
        label = name if sides.all() else f"{name} ({weight[~sides].sum():.0%} alike to all sides)"
        ax.plot(azimuth[sides], weight[sides], color=colours[k % len(colours)], label=label, drawstyle="steps-mid")
    ax.set(xlabel="azimuth [° clockwise from north]", ylabel="posterior weight", xlim=(0, 360))
    ax.set_xticks(range(0, 361, 45))
    legend_outside(ax)
    return ax


def convergence(ax: Axes, courses: Mapping[str, Floats], *, gap: float = 0.045) -> Axes:
    """The best score after each evaluation, a line a station, named at its end; names keep `gap` of the axis apart."""
    ends = {}
    for name, course in courses.items():
        lead = np.maximum.accumulate(course)
        ax.plot(np.arange(1, len(lead) + 1), lead, color=OKABE_ITO["orange"])
        ends[name] = (len(lead), float(lead[-1]))
    ax.set(xlabel="evaluations of the paper's search", ylabel="best Spearman ρ, training UEs")
    low, high = ax.get_ylim()
    at = -np.inf
    for name, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        at = max(y, at + gap * (high - low))
        ax.annotate(
            name, (x, y), (x * 1.06, at), fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "color": "0.7", "relpos": (0.0, 0.5)},
        )  # fmt: skip
    ax.set_ylim(low, max(high, at + gap * (high - low)))
    return ax


def search_cost(ax: Axes, ours: Sequence[float], paper: Sequence[tuple[float, float]]) -> Axes:
    """Mean time that a station takes [s], and every station's as a dot.

    Parameters
    ----------
    ours : sequence of float
        Seconds a station.
    paper : sequence of (tracing, rest)
        Seconds a station of the paper's search; empty where it did not run.
    """
    rows = ["ours"] + ["paper's search"] * bool(paper)
    ax.barh(0, float(np.mean(ours)), color=OKABE_ITO["blue"], label="screening, tracing and fits")
    ax.plot(ours, np.zeros(len(ours)), ".", color="black")
    if paper:
        tracing, rest = np.asarray(paper, float).T
        ax.barh(1, tracing.mean(), color=OKABE_ITO["orange"], label="tracing")
        ax.barh(1, rest.mean(), left=tracing.mean(), color=OKABE_ITO["sky"], label="Gaussian process")
        ax.plot(tracing + rest, np.ones(len(rest)), ".", color="black")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xlabel("time a station [s]")
    legend_outside(ax)
    return ax
