"""Figure of what the released code's choices do to links and to a localizer that trusts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from rfloc.figures.style import OKABE_ITO


def departures(
    axes: Sequence[Axes], rows: Mapping[str, Mapping[str, Any]], *, floor: Mapping[str, Any], centre: float
) -> Sequence[Axes]:
    """One line a departure: how far links are off [dB] on the first axes, how far k-NN is [m] on the second.

    Parameters
    ----------
    rows : dict
        By key: `label`; `bias_db` and `rms_db`, None where no link is common; `metres`, `metres_levelled`.
    floor : dict
        The same of the right simulation, traced with other rays.
    centre : float
        Error of the centre guess [m].
    """
    lines = range(len(rows))[::-1]
    first, second = axes
    for line, row in zip(lines, rows.values(), strict=True):
        if row["rms_db"] is not None:
            first.plot(row["rms_db"], line, "D", color=OKABE_ITO["blue"], ms=5)
            first.plot(abs(row["bias_db"]), line, "o", mfc="none", mec=OKABE_ITO["orange"], mew=1.5)
        second.plot([row["metres_levelled"], row["metres"]], [line, line], color="0.8", zorder=0)
        second.plot(row["metres"], line, "s", color=OKABE_ITO["vermilion"], ms=5)
        second.plot(row["metres_levelled"], line, "o", mfc="none", mec=OKABE_ITO["black"], mew=1.2)
    first.axvline(floor["rms_db"], color=OKABE_ITO["blue"], linestyle=":")
    second.axvline(floor["metres"], color=OKABE_ITO["black"], linestyle=":")
    second.axvline(centre, color=OKABE_ITO["grey"], linestyle="--")
    first.plot([], [], "o", mfc="none", mec=OKABE_ITO["orange"], mew=1.5, label="size of the bias")
    first.plot([], [], "D", color=OKABE_ITO["blue"], ms=5, label="rms without it")
    first.plot([], [], color=OKABE_ITO["blue"], linestyle=":", label="rms between rays")
    second.plot([], [], "s", color=OKABE_ITO["vermilion"], ms=5, label="as it comes")
    second.plot([], [], "o", mfc="none", mec=OKABE_ITO["black"], mew=1.2, label="levels put right")
    second.plot([], [], color=OKABE_ITO["black"], linestyle=":", label="right simulation")
    second.plot([], [], color=OKABE_ITO["grey"], linestyle="--", label="centre guess")
    first.set_yticks(list(lines), [row["label"] for row in rows.values()])
    second.set_yticks(list(lines), [])
    first.set_xlabel("NRSRP against the right simulation [dB]")
    second.set_xlabel("mean error of k-NN [m]")
    for ax in axes:
        ax.set_xlim(left=-0.02 * ax.get_xlim()[1])
        ax.set_ylim(-0.7, len(rows) - 0.3)
        ax.grid(alpha=0.3)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.0, handletextpad=0.4)
    return axes
