"""Figures of campaigns: how much each UE hears, where stations stand, how well that is known, what was invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rfloc.city.patches import Patch
from rfloc.figures.maps import box_outline, city_map, map_axes, scale_bar, stations
from rfloc.figures.style import OKABE_ITO, STATION, legend_outside, method_style
from rfloc.frames import LocalFrame

#: Colour of each source of station positions.
SOURCE_COLOURS = {
    "published": OKABE_ITO["black"],
    "table": OKABE_ITO["blue"],
    "estimated": OKABE_ITO["vermilion"],
    "nominal": OKABE_ITO["grey"],
}

#: Outlines of the areas in which stations and UEs of a dense deployment stand.
AREA_COLOURS = (OKABE_ITO["purple"], OKABE_ITO["green"])


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


def patch_grid(ax: Axes, frame: LocalFrame, patches: Sequence[Patch], datasets: Sequence[xr.Dataset]) -> Axes:
    """Patches of a region in the metres of `frame`; stations and areas of links where there are some (paper, figure 2).

    Parameters
    ----------
    patches : sequence of Patch
        All patches of the region; those without links are drawn empty.
    datasets : sequence of Dataset
        Links of dataset C.
    """
    used = {links.attrs["city"] for links in datasets}
    for patch in sorted(patches, key=lambda patch: patch.key in used):
        look = {"color": "black", "linewidth": 1.2} if patch.key in used else {"color": "0.8", "linewidth": 0.6}
        box_outline(ax, frame, patch.params.box or [], **look)
    for links in datasets:
        home = LocalFrame.from_attrs(links.attrs)
        x, y = frame.to_local(*home.to_geographic(links["bs_x"].values, links["bs_y"].values))
        ax.plot(x, y, ".", color=OKABE_ITO["vermilion"], ms=2.5)
        for colour, (west, south, east, north) in _dense_areas(links):
            x, y = frame.to_local(*home.to_geographic([west, east, east, west], [south, south, north, north]))
            ax.fill(x, y, facecolor="none", edgecolor=colour, linewidth=1.0)
    map_axes(ax)
    return scale_bar(ax)


def deployment_map(ax: Axes, raster: xr.Dataset, links: xr.Dataset) -> Axes:
    """UEs and stations of invented links over their city, and the areas in which they stand."""
    city_map(ax, raster)
    ax.plot(links["ue_x"], links["ue_y"], ".", ms=1.0, color=OKABE_ITO["blue"], label=f"UEs ({links.sizes['ue']:,})")
    for colour, (west, south, east, north) in _dense_areas(links):
        ax.add_patch(Rectangle((west, south), east - west, north - south, fill=False, edgecolor=colour, linewidth=1.5))
    stations(ax, links)
    legend_outside(ax, markerscale=1.6)
    return ax


def _dense_areas(links: xr.Dataset) -> list[tuple[str, list[float]]]:
    """The areas of a dense deployment with a colour each; none where UEs stand all over the patch."""
    areas = links.attrs["areas"] if links.attrs["dense"] else []
    return [(AREA_COLOURS[k % len(AREA_COLOURS)], area) for k, area in enumerate(areas)]
