"""Charts: errors, distributions of features, boxes and arrows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from rfloc.evaluation.errors import ue_errors
from rfloc.figures.style import ROLE_LABELS, legend_outside, method_style
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


def diagram(boxes: Mapping[str, tuple[float, float, str, str]], arrows: Sequence[tuple[str, str]], ax: Axes) -> Axes:
    """Boxes by name and arrows from box to box; a box is x, y of its middle [inches], text and colour.

    The axes become the whole of their figure, whose size the caller chose.
    """
    wide, high = ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    ax.set(position=(0, 0, 1, 1), xlim=(0, wide), ylim=(0, high))
    ax.axis("off")
    drawn = {}
    for name, (x, y, text, colour) in boxes.items():
        style = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "black"}
        drawn[name] = ax.text(x, y, text, ha="center", va="center", fontsize=11, bbox=style).get_bbox_patch()
    for start, end in arrows:
        ends: Any = {"patchA": drawn[start], "patchB": drawn[end], "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", boxes[end][:2], boxes[start][:2], arrowprops={"arrowstyle": "-|>", "color": "black", **ends})
    return ax
