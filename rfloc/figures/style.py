"""Colours, line styles, labels and legends that all figures share."""

import zlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from rfloc.evaluation.tables import METHODS, Method

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
