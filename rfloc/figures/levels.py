"""Figure of held-out level errors relative to a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rfloc.figures.style import OKABE_ITO, legend_outside

_LOOKS = [(OKABE_ITO[colour], marker) for colour, marker in
          (("blue", "o"), ("sky", "s"), ("orange", "^"), ("vermilion", "D"))]  # fmt: skip


def level_ratios(ax: Axes, models: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Axes:
    """Ratio of held-out error to the baseline's with its interval, a line a model, a mark a way of holding out.

    Parameters
    ----------
    models : dict
        By model, then by way of holding out: `ratio` and, where there is one, `lo` and `hi` (else None).
    """
    names = list(models)
    ways = list(dict.fromkeys(way for found in models.values() for way in found))
    lines = np.arange(len(names))
    for k, way in enumerate(ways):
        colour, marker = _LOOKS[k % len(_LOOKS)]
        shift = 0.7 * ((k + 0.5) / len(ways) - 0.5)
        label: str | None = way
        for line, name in zip(lines, names, strict=True):
            found = models[name].get(way)
            if found is None:
                continue
            at = found["ratio"]
            span = None if found["lo"] is None else [[max(at - found["lo"], 0.0)], [max(found["hi"] - at, 0.0)]]
            ax.errorbar(at, line + shift, xerr=span, color=colour, marker=marker, ms=4, elinewidth=1, label=label)
            label = None
    ax.axvline(1.0, color="0.6", linewidth=1, zorder=0)
    ax.set_yticks(lines, names)
    ax.invert_yaxis()
    ax.set_xlabel("held-out NRSRP error, ratio to the baseline")
    ax.grid(axis="x", alpha=0.3)
    legend_outside(ax)
    return ax
