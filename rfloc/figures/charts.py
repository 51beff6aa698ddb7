"""Colours, line styles, labels and legends that all figures share, and charts: errors, distributions, boxes, arrows."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from rfloc.evaluation.errors import ue_errors
from rfloc.evaluation.tables import METHODS, Method
from rfloc.schema import FEATURES, measured

OKABE_ITO = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "yellow": "#F0E442",
    "blue": "#0072B2", "vermilion": "#D55E00", "purple": "#CC79A7", "grey": "#8A8A8A",
}  # fmt: skip
#: Colour and label of each split role.
_ROLES = {
    "train": (OKABE_ITO["sky"], "training"),
    "val": (OKABE_ITO["purple"], "validation"),
    "known": (OKABE_ITO["green"], "test, known streets"),
    "unknown": (OKABE_ITO["vermilion"], "test, unknown streets"),
    "buffer": ("#C8C8C8", "buffer, unused"),
}
ROLE_COLOURS, ROLE_LABELS = ({role: look[k] for role, look in _ROLES.items()} for k in (0, 1))
STATION: dict[str, Any] = {"marker": "*", "color": "black", "markeredgecolor": "white", "linestyle": "none"}
#: Settings for `matplotlib.rc_context` or `plt.rcParams.update`.
STYLE: dict[str, Any] = {
    "figure.dpi": 110, "savefig.dpi": 150, "savefig.bbox": "tight",  # legends outside the axes are kept whole
    "font.size": 9, "axes.titlesize": "medium", "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False,
}  # fmt: skip


def method_style(name: str) -> dict[str, Any]:
    """Label, colour, linestyle and marker of a method; one that tables do not know gets a colour by its name."""
    method = METHODS.get(name)
    if method is None:
        spare = ("yellow", "sky", "orange", "purple", "blue", "green")
        method = Method(name, spare[zlib.crc32(name.encode()) % len(spare)], "-.", "D")
    look = {"color": OKABE_ITO[method.colour], "linestyle": method.line, "marker": method.marker}
    return {"label": method.label, **look}


def legend_outside(ax: Axes, handles: Sequence[Any] | None = None, **options: Any) -> None:
    """Put the legend to the right of the axes."""
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, **options)


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
