"""Colours, line styles, labels and legends that all figures share."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#8A8A8A",
}
_C = OKABE_ITO

#: Label, colour, line style and marker of each method.
METHODS: dict[str, tuple[str, str, Any, str]] = {
    "centre": ("crop centre", _C["grey"], ":", "+"),
    "street_median": ("street median", _C["grey"], "--", "x"),
    "centroid": ("station centroid", _C["grey"], "-", "1"),
    "knn": ("k-NN", _C["vermilion"], "--", "v"),
    "knn_square": ("k-NN in the square", _C["vermilion"], "-", "^"),
    "knn_square_4": ("k-NN in the square, all features", _C["vermilion"], "-.", "<"),
    "posterior": ("map posterior", _C["orange"], "-", "h"),
    "posterior_nominal": ("map posterior, nominal", _C["orange"], ":", "P"),
    "posterior_calibrated": ("map posterior, calibrated", _C["orange"], "--", "p"),
    "posterior_true": ("map posterior, true poses", _C["orange"], "-", "h"),
    "A": ("A", _C["purple"], "-", "o"),
    "B": ("B zero-shot", _C["sky"], "--", "s"),
    "Bp": ("B′ zero-shot", _C["blue"], "--", "s"),
    "C": ("C zero-shot", _C["green"], "--", "s"),
    "C_Bp": ("C → B′ zero-shot", _C["black"], "--", "s"),
    "B_A": ("B → A", _C["sky"], "-", "o"),
    "Bp_A": ("B′ → A", _C["blue"], "-", "o"),
    "C_A": ("C → A", _C["green"], "-", "o"),
    "C_Bp_A": ("C → B′ → A", _C["black"], "-", "o"),
}
METHOD_COLOURS: dict[str, str] = {name: colour for name, (_, colour, _, _) in METHODS.items()}

#: Colour of each split role.
ROLE_COLOURS = {
    "train": _C["sky"],
    "val": _C["purple"],
    "known": _C["green"],
    "unknown": _C["vermilion"],
    "buffer": "#C8C8C8",
}
ROLE_LABELS = {
    "train": "training",
    "val": "validation",
    "known": "test, known streets",
    "unknown": "test, unknown streets",
    "buffer": "buffer, unused",
}
STATION: dict[str, Any] = {"marker": "*", "color": _C["black"], "markeredgecolor": "white", "linestyle": "none"}

#: Settings for `matplotlib.rc_context` or `plt.rcParams.update`.
STYLE: dict[str, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",  # legends outside the axes are kept whole
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.titlesize": "medium",
}


def method_style(name: str) -> dict[str, Any]:
    """Label, colour, linestyle and marker of a method; one not in :data:`METHODS` gets a colour by its name."""
    if name in METHODS:
        label, colour, line, marker = METHODS[name]
    else:
        spare = [_C["yellow"], _C["sky"], _C["orange"], _C["purple"], _C["blue"], _C["green"]]
        label, colour, line, marker = name, spare[zlib.crc32(name.encode()) % len(spare)], "-.", "D"
    return {"label": label, "color": colour, "linestyle": line, "marker": marker}


def legend_outside(ax: Axes, handles: Sequence[Any] | None = None, **options: Any) -> None:
    """Put the legend to the right of the axes."""
    extra = {} if handles is None else {"handles": handles}
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, **extra, **options)


def legend_below(ax: Axes) -> None:
    """Put the legend under the axes and their label."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=4, borderaxespad=0.0, handletextpad=0.3)
