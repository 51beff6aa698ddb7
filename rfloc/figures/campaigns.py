"""Figures of measured campaigns: how much each UE hears, where stations were put and how well that is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.lines import Line2D

from rfloc.figures.maps import city_map
from rfloc.figures.style import OKABE_ITO, STATION, legend_outside, method_style

#: Colour of each source of station positions.
SOURCE_COLOURS = {
    "published": OKABE_ITO["black"],
    "table": OKABE_ITO["blue"],
    "estimated": OKABE_ITO["vermilion"],
    "nominal": OKABE_ITO["grey"],
}


def heard_stations(ax: Axes, datasets: Mapping[str, xr.Dataset]) -> Axes:
    """Share of UEs by the number of stations that they hear, a line a dataset."""
    most = max(int(links["heard"].sum("bs").max()) for links in datasets.values())
    edges = np.arange(most + 2) - 0.5
    for index, (key, links) in enumerate(datasets.items()):
        heard = links["heard"].sum("bs").values
        colour = method_style("A")["color"] if index == 0 else list(OKABE_ITO.values())[index]
        ax.hist(
            heard, list(edges), weights=np.full(len(heard), 100 / len(heard)), histtype="step", linewidth=1.5,
            color=colour, label=f"{key} ({len(heard):,} UEs)",
        )  # fmt: skip
    ax.set_xlabel("stations heard at once")
    ax.set_ylabel("share of UEs [%]")
    legend_outside(ax)
    return ax


def station_positions(ax: Axes, raster: xr.Dataset, links: xr.Dataset) -> Axes:
    """Stations over the city, coloured by where their positions come from; a circle of one stated error (1 sigma).

    Stations outside the raster are counted in the legend and not shown.
    """
    city_map(ax, raster)
    x, y, error = links["bs_x"].values, links["bs_y"].values, links["bs_position_error"].values
    source = links["bs_position_source"].values.astype(str)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    handles = []
    for name, colour in SOURCE_COLOURS.items():
        mine = source == name
        if not mine.any():
            continue
        known = mine & np.isfinite(error)
        size = 2 * error[known]
        circles = EllipseCollection(
            size, size, np.zeros(known.sum()), offsets=np.column_stack([x, y])[known], units="xy",
            transOffset=ax.transData, facecolor="none", edgecolor=colour, linewidth=0.7,
        )  # fmt: skip
        ax.add_collection(circles, autolim=False)
        look = STATION | {"color": colour}
        ax.plot(x[mine], y[mine], **look, ms=10, mew=0.6)
        outside = int((mine & ~((x >= left) & (x <= right) & (y >= low) & (y <= high))).sum())
        label = f"{name} ({mine.sum()}" + (f", {outside} outside)" if outside else ")")
        handles.append(Line2D([], [], **look, ms=10, mew=0.6, label=label))
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    legend_outside(ax, handles, title="position from")
    return ax
