"""Figures: one function a figure, which draws on the axes that it is given.

Maps are in metres of the city's local frame; a method has one colour and line style in all figures, from Okabe and
Ito's palette. Legends stand outside the data: lay figures out with `layout="constrained"`.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from rfloc.city.city import Patch
from rfloc.evaluation.errors import ue_errors
from rfloc.evaluation.tables import METHODS, Method
from rfloc.frames import Grid, LocalFrame, toward
from rfloc.schema import FEATURES, ROLES, measured
from rfloc.splits import unknown_area, val_area

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
    spare = ("yellow", "sky", "orange", "purple", "blue", "green")[zlib.crc32(name.encode()) % 6]
    method = METHODS.get(name, Method(name, spare, "-.", "D"))
    return {"label": method.label, "color": OKABE_ITO[method.colour], "linestyle": method.line, "marker": method.marker}


def legend_outside(ax: Axes, handles: Sequence[Any] | None = None, **options: Any) -> None:
    """Put the legend to the right of the axes; a long one below them all, for which the figure grows."""
    handles, figure = handles or ax.get_legend_handles_labels()[0], ax.get_figure(root=True)
    if len(handles) <= 16 or figure is None:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, **options)
    else:
        figure.set_figheight(figure.get_figheight() + 0.07 * len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small", **options)


def error_cdf(ax: Axes, predictions: Mapping[str, xr.Dataset], role: str) -> None:
    """Share of UEs of one role with at most a given mean error, one line a method."""
    for name, found in predictions.items():
        error = ue_errors(found, role).error
        ax.ecdf(error, **(method_style(name) | {"marker": None}))
    ax.set(xlim=(0, 400), ylim=(0, 1), title=ROLE_LABELS.get(role, role))
    ax.set(xlabel="error, averaged over a UE's crops [m]", ylabel=f"share of the {len(error)} UEs")
    ax.grid(alpha=0.3)
    legend_outside(ax)


def feature_distributions(axes: Sequence[Axes], datasets: Mapping[str, xr.Dataset]) -> None:
    """Features over heard links, a line a dataset, on as many axes as :data:`FEATURES`; those that none has go."""
    present = [name for name in FEATURES if any(name in measured(links) for links in datasets.values())]
    for ax in axes[len(present) :]:
        ax.remove()
    for ax, name in zip(axes, present, strict=False):
        values = {key: links[name].values[np.isfinite(links[name].values)] for key, links in datasets.items()}
        pooled = np.concatenate(list(values.values()))
        low, high = np.quantile(pooled, [0.002, 0.998])
        width = max(1.0, np.ceil((high - low) / 40))  # whole dB: finer bins would beat with quantised reports
        edges = np.arange(np.floor(low) - 0.5, high + width, width)
        for key, found in values.items():
            look = method_style(key)
            label = f"{look['label'].removesuffix(' zero-shot')} ({int(datasets[key]['heard'].sum()):,} links)"
            share = np.full(found.size, 100 / max(found.size, 1))
            ax.hist(found, list(edges), weights=share, histtype="step", lw=1.5, color=look["color"], label=label)
        ax.set(xlabel=f"{name.upper()} [{FEATURES[name].unit}]", ylabel="share of links [%]")
    legend_outside(axes[len(present) - 1])


def diagram(boxes: Mapping[str, tuple[float, float, str, str]], arrows: Sequence[tuple[str, str]], ax: Axes) -> None:
    """Boxes, by name x, y of the middle [inches], text and colour; arrows between; axes become the whole figure."""
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


#: Colours and limits [m] of roofs.
ROOFS: dict[str, Any] = {"cmap": "viridis", "vmin": 0.0, "vmax": 40.0}
#: A map is drawn from at most so many cells along an edge.
MOST_PIXELS = 1500
#: Colour of each source of station positions.
SOURCE_COLOURS = {
    source: OKABE_ITO[colour]
    for source, colour in {"published": "black", "table": "blue", "estimated": "vermilion", "nominal": "grey"}.items()
}
#: Outlines of the areas in which stations and UEs of a dense deployment stand.
AREA_COLOURS = (OKABE_ITO["purple"], OKABE_ITO["green"])


def map_axes(ax: Axes) -> None:
    """Label an axes as a map in metres, both axes at one scale."""
    ax.set(aspect="equal", xlabel="x, east [m]", ylabel="y, north [m]")


def scale_bar(ax: Axes) -> None:
    """Draw a bar of a round number of metres, near a fifth of the width, in the lower left corner."""
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    power = 10 ** np.floor(np.log10((right - left) / 5))
    length = float(power * max(step for step in (1, 2, 5) if step * power <= (right - left) / 5))
    x, y = left + 0.05 * (right - left), low + 0.05 * (high - low)
    around = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    for colour, width in (("white", 6), ("black", 3)):
        ax.plot([x, x + length], [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=9)
    above = y + 0.018 * (high - low)
    ax.text(x + length / 2, above, f"{length:g} m", ha="center", va="bottom", bbox=around, zorder=9, fontsize="small")


def roofs_bar(ax: Axes | Sequence[Axes]) -> None:
    """Colour bar of roof heights beside an axes, or beside several."""
    shown = ScalarMappable(Normalize(ROOFS["vmin"], ROOFS["vmax"]), ROOFS["cmap"])
    np.ravel(np.asarray(ax))[0].figure.colorbar(shown, ax=ax, label="roof above ground [m]", extend="max", shrink=0.7)


def _raster(ax: Axes, values: NDArray[Any], grid: Grid, **look: Any) -> AxesImage:
    """Cells of a grid, row 0 = south, in their place."""
    return ax.imshow(values, extent=grid.extent, origin="lower", interpolation="nearest", **look)


def city_map(ax: Axes, raster: xr.Dataset, *, roofs: bool = False, bar: bool = True) -> None:
    """Buildings grey, or by the height of their `roofs`; places where a UE may stand pale. Large cities are thinned."""
    grid = Grid.from_attrs(raster.attrs)
    step = max(-(-n // MOST_PIXELS) for n in grid.shape)
    thin = raster.isel(y=slice(None, None, step), x=slice(None, None, step))
    built = thin["building"].values > 0
    tone = np.where(built, 2, np.where(thin["road"].values > 0, 1, 0))
    _raster(ax, tone, grid, cmap=ListedColormap(["white", "#EFEBDD", "#B9B9B9"]), vmin=0, vmax=2)
    if roofs:
        _raster(ax, np.ma.masked_where(~built, thin["height"].values), grid, **ROOFS)
    map_axes(ax)
    if bar:
        scale_bar(ax)


def box_outline(ax: Axes, frame: LocalFrame, box: Sequence[float], **look: Any) -> None:
    """Outline of a box (lat_min, lat_max, lon_min, lon_max) [deg] on a map in the metres of `frame`."""
    south, north, west, east = box
    x, y = frame.to_local([south, south, north, north, south], [west, east, east, west, west])
    ax.plot(x, y, **({"linewidth": 1.5} | look))


def split_map(ax: Axes, raster: xr.Dataset, links: xr.Dataset, split: xr.Dataset) -> None:
    """UEs by split role and stations with their azimuth, over the city; outlines of areas that are held out."""
    city_map(ax, raster)
    for name in ("buffer", *(r for r in ROLES if r != "buffer")):
        mine = split["role"].values == name
        if mine.any():
            label = f"{ROLE_LABELS[name]} ({mine.sum():,})"
            ax.plot(links["ue_x"][mine], links["ue_y"][mine], ".", ms=3, color=ROLE_COLOURS[name], label=label)
    for name, area in (("val", val_area(split)), ("unknown", unknown_area(split))):
        lines = [shapely.get_coordinates(ring) for ring in shapely.get_parts(shapely.boundary(area))]
        ax.add_collection(LineCollection(lines, colors=ROLE_COLOURS[name], linewidths=1.0), autolim=False)
    stations(ax, links)
    legend_outside(ax, markerscale=1.6)


def stations(ax: Axes, source: xr.Dataset, *, colour: str = "black", size: float = 9.0) -> None:
    """Stations of links or maps as stars of `size` points; a stroke points along a known azimuth."""
    x, y, azimuth = (source[name].values for name in ("bs_x", "bs_y", "bs_azimuth"))
    east, north = 0.035 * np.ptp(ax.get_xlim()) * np.stack(toward(azimuth))
    known = np.isfinite(azimuth)
    ax.plot([x[known], (x + east)[known]], [y[known], (y + north)[known]], color=colour, linewidth=1.2)
    ax.plot(x, y, **(STATION | {"color": colour}), ms=size, mew=0.06 * size, label=f"base stations ({len(x)})")


def radio_map(
    ax: Axes, raster: xr.Dataset, level: NDArray[np.floating], grid: Grid, *,
    label: str = "NRSRP [dBm]", limits: tuple[float, float] = (-130.0, -60.0),
) -> None:  # fmt: skip
    """One station's map, (ny, nx) with row 0 = south, over the city; buildings stay grey, cells without a ray blank."""
    city_map(ax, raster, bar=False)
    picture = _raster(ax, np.ma.masked_invalid(level), grid, cmap="viridis", vmin=limits[0], vmax=limits[1])
    city = Grid.from_attrs(raster.attrs)
    _raster(ax, np.ma.masked_equal(raster["building"].values > 0, False), city, cmap=ListedColormap(["#B9B9B9"]))
    ax.set(xlim=city.extent[:2], ylim=city.extent[2:])
    ax.figure.colorbar(picture, ax=ax, label=label, extend="both", shrink=0.85)
    scale_bar(ax)


def station_positions(ax: Axes, raster: xr.Dataset, links: xr.Dataset) -> None:
    """Stations by where positions come from, circles of one stated sigma; those off the raster are only counted."""
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
        for b in np.flatnonzero(known):
            ax.add_patch(Circle((x[b], y[b]), error[b], fill=False, edgecolor=colour, linewidth=0.7))
        look = STATION | {"color": colour, "ms": 10, "mew": 0.6}
        ax.plot(x[mine], y[mine], **look)
        outside = int((mine & ~((x >= left) & (x <= right) & (y >= low) & (y <= high))).sum())
        label = f"{name} ({mine.sum()}" + (f", {outside} outside)" if outside else ")")
        handles.append(Line2D([], [], **look, label=label))
    ax.set(xlim=(left, right), ylim=(low, high))
    legend_outside(ax, handles, title="position from")


def patch_grid(ax: Axes, frame: LocalFrame, patches: Sequence[Patch], datasets: Sequence[xr.Dataset]) -> None:
    """Patches of a region in the metres of `frame`, stations and areas of their links (paper, figure 2)."""
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
    scale_bar(ax)


def deployment_map(ax: Axes, raster: xr.Dataset, links: xr.Dataset) -> None:
    """UEs and stations of invented links over their city, and the areas in which they stand."""
    city_map(ax, raster)
    ax.plot(links["ue_x"], links["ue_y"], ".", ms=1.0, color=OKABE_ITO["blue"], label=f"UEs ({links.sizes['ue']:,})")
    for colour, (west, south, east, north) in _dense_areas(links):
        ax.add_patch(Rectangle((west, south), east - west, north - south, fill=False, edgecolor=colour, linewidth=1.5))
    stations(ax, links)
    legend_outside(ax, markerscale=1.6)


def _dense_areas(links: xr.Dataset) -> list[tuple[str, list[float]]]:
    """The areas of a dense deployment with a colour each; none where UEs stand all over the patch."""
    areas = links.attrs["areas"] if links.attrs["dense"] else []
    return [(AREA_COLOURS[k % len(AREA_COLOURS)], area) for k, area in enumerate(areas)]
