"""Figure of the sensitivity study: what every factor's settings do to rank correlation and to k-NN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rfloc.figures.style import OKABE_ITO
from rfloc.studies.sensitivity_table import stands_out

#: Colour of each group of factors, and its name.
GROUPS = {
    "noise": (OKABE_ITO["grey"], "the study's own noise"),
    "simulation": (OKABE_ITO["blue"], "simulation-wide"),
    "stations": (OKABE_ITO["vermilion"], "base stations"),
}


def sensitivity(
    axes: Sequence[Axes], study: Mapping[str, Any], columns: Sequence[str], labels: Sequence[str], chosen: Sequence[str]
) -> Sequence[Axes]:
    """One line a factor, one dot a setting, one column a score; the base is a vertical line.

    A band about the base is as wide as what other rays do. Dots are full where a setting stands out of it
    (:func:`~rfloc.studies.sensitivity_table.stands_out`).

    Parameters
    ----------
    axes : sequence of Axes
        One a column.
    study : dict
        As :func:`~rfloc.studies.sensitivity_table.study` returns it.
    columns, labels : sequence of str
        Scores, and what they are called, with units.
    chosen : sequence of str
        Scores for which the best setting of each station is drawn too.
    """
    factors = study["factors"]
    rows = dict(zip(factors, range(len(factors))[::-1], strict=True))
    for ax, name, label in zip(axes, columns, labels, strict=True):
        at_base, noise = next(item[name] for item in study["settings"] if item["base"]), study["noise"][name]
        ax.axvspan(at_base - noise, at_base + noise, color="0.9", zorder=0)
        ax.axvline(at_base, color=OKABE_ITO["black"], linewidth=1, zorder=1)
        for key, factor in factors.items():
            colour = GROUPS[factor["group"]][0]
            ax.plot(factor[name], [rows[key]] * 2, color=colour, linewidth=3, alpha=0.3, solid_capstyle="round")
            if name in chosen and factor["group"] != "noise":
                ax.plot(factor["chosen"][name], rows[key], "D", mfc="none", mec=OKABE_ITO["black"], mew=1.1, ms=6)
        for item in study["settings"]:
            if not item["base"]:
                colour = GROUPS[factors[item["factor"]]["group"]][0]
                face = colour if stands_out(item, name, noise) else "white"
                ax.plot(item[name], rows[item["factor"]], "o", color=colour, mfc=face, ms=4.5, zorder=3)
        ax.set_yticks(list(rows.values()), [f["label"] for f in factors.values()] if ax is axes[0] else [])
        ax.set_ylim(-0.7, len(rows) - 0.3)
        ax.set_xlabel(label)
        ax.grid(alpha=0.3)
    handles: list[Any] = [Line2D([], [], marker="o", color=c, linewidth=3, label=n) for c, n in GROUPS.values()]
    handles.append(Line2D([], [], color=OKABE_ITO["black"], linewidth=1, label="base"))
    handles.append(
        Line2D([], [], marker="D", mfc="none", mec=OKABE_ITO["black"], linewidth=0, label="each station's best")
    )
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.5)
    return axes
