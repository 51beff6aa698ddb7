"""Figures on a map: city, stations, UEs, radio maps, crops and posteriors. All axes are in metres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rfloc.city import Patch
from rfloc.crops import Batch
from rfloc.figures.style import OKABE_ITO, ROLE_COLOURS, ROLE_LABELS, STATION, legend_outside
from rfloc.frames import Grid, LocalFrame, toward
from rfloc.schema import FEATURES, ROLES
from rfloc.splits import unknown_area, val_area

#: White where there is no probability, dark where there is most.
DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#FFFFFF", "#FDDC9B", "#F8765C", "#B63679", "#51127C", "#000004"]
)
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


def scale_bar(ax: Axes, length: float | None = None) -> Axes:
    """Draw a bar of `length` metres (default: a round number near a fifth of the width) in the lower left corner."""
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    if length is None:
        power = 10 ** np.floor(np.log10((right - left) / 5))
        length = float(power * max(step for step in (1, 2, 5) if step * power <= (right - left) / 5))
    x, y = left + 0.05 * (right - left), low + 0.05 * (high - low)
    around = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    for colour, width in (("white", 6), ("black", 3)):
        ax.plot([x, x + length], [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=9)
    above = y + 0.018 * (high - low)
    ax.text(x + length / 2, above, f"{length:g} m", ha="center", va="bottom", bbox=around, zorder=9, fontsize="small")
    return ax


def roofs_bar(ax: Axes | Sequence[Axes]) -> None:
    """Colour bar of roof heights beside an axes, or beside several."""
    first = ax if isinstance(ax, Axes) else np.ravel(np.asarray(ax))[0]
    shown = ScalarMappable(Normalize(ROOFS["vmin"], ROOFS["vmax"]), ROOFS["cmap"])
    first.figure.colorbar(shown, ax=ax, label="roof above ground [m]", extend="max", shrink=0.7)


def _raster(ax: Axes, values: NDArray[Any], grid: Grid, **look: Any) -> AxesImage:
    """Cells of a grid, row 0 = south, in their place."""
    return ax.imshow(values, extent=grid.extent, origin="lower", interpolation="nearest", **look)


def city_map(ax: Axes, raster: xr.Dataset, *, roofs: bool = False, bar: bool = True) -> Axes:
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
    return scale_bar(ax) if bar else ax


def box_outline(ax: Axes, frame: LocalFrame, box: Sequence[float], **look: Any) -> Axes:
    """Outline of a box (lat_min, lat_max, lon_min, lon_max) [deg] on a map in the metres of `frame`."""
    south, north, west, east = box
    x, y = frame.to_local([south, south, north, north, south], [west, east, east, west, west])
    ax.plot(x, y, **({"linewidth": 1.5} | look))
    return ax


def held_out_areas(ax: Axes, split: xr.Dataset) -> Axes:
    """Outlines of the areas that a split holds out for testing and for validation, in the colours of their UEs."""
    for role, area in (("val", val_area(split)), ("unknown", unknown_area(split))):
        rings = [ring for part in shapely.get_parts(area) for ring in (part.exterior, *part.interiors)]
        lines = [shapely.get_coordinates(ring) for ring in rings]
        ax.add_collection(LineCollection(lines, colors=ROLE_COLOURS[role], linewidths=1.0), autolim=False)
    return ax


def split_map(ax: Axes, raster: xr.Dataset, links: xr.Dataset, split: xr.Dataset | None = None) -> Axes:
    """UEs by split role and stations with their azimuth, over the city."""
    city_map(ax, raster)
    role = np.full(links.sizes["ue"], "train") if split is None else split["role"].values.astype(str)
    for name in ("buffer", *(r for r in ROLES if r != "buffer")):
        mine = role == name
        if mine.any():
            label = f"UEs ({mine.sum():,})" if split is None else f"{ROLE_LABELS[name]} ({mine.sum():,})"
            ax.plot(links["ue_x"][mine], links["ue_y"][mine], ".", ms=3, color=ROLE_COLOURS[name], label=label)
    stations(ax, links)
    legend_outside(ax, markerscale=1.6)
    return ax


def stations(
    ax: Axes, source: xr.Dataset, *, length: float | None = None, colour: str = "black", size: float = 9.0
) -> Axes:
    """Stations of links or maps as stars of `size` points; a stroke of `length` metres points along a known azimuth."""
    x, y, azimuth = (source[name].values for name in ("bs_x", "bs_y", "bs_azimuth"))
    length = 0.035 * float(np.ptp(ax.get_xlim())) if length is None else length
    east, north = toward(azimuth)
    known = np.isfinite(azimuth)
    ends_x, ends_y = x + length * east, y + length * north
    ax.plot([x[known], ends_x[known]], [y[known], ends_y[known]], color=colour, linewidth=1.2)
    ax.plot(x, y, **(STATION | {"color": colour}), ms=size, mew=0.06 * size, label=f"base stations ({len(x)})")
    return ax


def radio_map(
    ax: Axes,
    raster: xr.Dataset,
    level: NDArray[np.floating],
    grid: Grid,
    *,
    label: str = "NRSRP [dBm]",
    limits: tuple[float, float] = (-130.0, -60.0),
) -> Axes:
    """One station's map, (ny, nx) with row 0 = south, over the city; buildings stay grey, cells without a ray blank."""
    city_map(ax, raster, bar=False)
    shown, (low, high) = np.ma.masked_invalid(level), limits
    picture = _raster(ax, shown, grid, cmap="viridis", vmin=low, vmax=high)
    city = Grid.from_attrs(raster.attrs)
    _raster(ax, np.ma.masked_equal(raster["building"].values > 0, False), city, cmap=ListedColormap(["#B9B9B9"]))
    ax.set(xlim=city.extent[:2], ylim=city.extent[2:])
    ax.figure.colorbar(picture, ax=ax, label=label, extend="both", shrink=0.85)
    return scale_bar(ax)


def crop_input(ax: Axes, batch: Batch, b: int = 0, *, feature: str = "nrsrp") -> Axes:
    """What a localizer sees of crop `b`: buildings, streets and stations coloured by a feature; the UE as a cross."""
    half = batch.size[b] / 2
    building, road = batch.image[b]
    picture = np.ones((*building.shape, 3)) - 0.08 * road[..., None] * [0.2, 0.4, 1.0] - 0.3 * building[..., None]
    ax.imshow(np.clip(picture, 0, 1), extent=(-half, half, -half, half), interpolation="nearest")
    mask = batch.bs_mask[b]
    which = list(FEATURES).index(feature)
    at, value = batch.bs_xy[b][mask], np.where(batch.rf_mask[b, mask, which], batch.rf[b, mask, which], np.nan)
    dots = ax.scatter(
        at[:, 0], at[:, 1], c=value, cmap="viridis", marker="*", s=110, edgecolor="black", linewidth=0.6,
        plotnonfinite=True, label="heard stations", zorder=4,
    )  # fmt: skip
    ax.figure.colorbar(dots, ax=ax, label=f"{feature.upper()} [{FEATURES[feature].unit}]", shrink=0.7, location="right")
    ax.plot(*batch.target_xy[b], "x", color=OKABE_ITO["green"], ms=10, mew=2.5, label="UE", zorder=5)
    _crop_axes(ax, half)
    return ax


def _crop_axes(ax: Axes, half: float) -> None:
    """Axes of a crop, and the legend under it."""
    ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    ax.set(xlabel="east of the crop's centre [m]", ylabel="north of the crop's centre [m]")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=4, borderaxespad=0.0, handletextpad=0.3)


def posterior_map(
    ax: Axes, posterior: NDArray[np.floating], batch: Batch, b: int = 0, *, estimate: NDArray[np.floating] | None = None
) -> Axes:
    """Posterior (G, G) of crop `b` with its 90 % region, stations, the true position and an estimate (x, y) [m].

    Colour is density relative to its maximum, on a square-root scale so that a tail stays visible.
    """
    half = batch.size[b] / 2
    box = (-half, half, -half, half)
    relative = posterior / posterior.max()
    walls = np.ma.masked_less(batch.image[b, 0], 0.5)
    picture = ax.imshow(np.sqrt(relative), extent=box, cmap=DENSITY, vmin=0, vmax=1, interpolation="nearest")
    ax.imshow(walls, extent=box, cmap=ListedColormap(["#707070"]), alpha=0.22, interpolation="nearest")
    levels = np.sort(posterior.ravel())[::-1]
    edge = levels[min(int((np.cumsum(levels) < 0.9).sum()), levels.size - 1)]
    if levels[-1] < edge < levels[0]:
        centres = ((np.arange(len(posterior)) + 0.5) / len(posterior) - 0.5) * batch.size[b]
        ax.contour(centres, -centres, posterior, levels=[edge * (1 - 1e-6)], colors=OKABE_ITO["blue"], linewidths=1.0)
    ax.plot([], [], color=OKABE_ITO["blue"], linewidth=1.0, label="90 % region")
    ax.plot(*batch.bs_xy[b][batch.bs_mask[b]].T, **STATION, ms=10, label="heard stations")
    ax.plot(*batch.target_xy[b], "x", color=OKABE_ITO["green"], ms=10, mew=2.5, label="UE")
    if estimate is not None:
        ax.plot(*estimate, "o", mfc="none", mec=OKABE_ITO["sky"], ms=10, mew=2.5, label="estimate")
    bar = ax.figure.colorbar(picture, ax=ax, label="density / maximum", shrink=0.7)
    ticks = np.array([0, 0.01, 0.1, 0.25, 0.5, 1.0])
    bar.set_ticks(list(np.sqrt(ticks)), labels=[f"{t:g}" for t in ticks])
    _crop_axes(ax, half)
    return ax


def calibration_map(ax: Axes, raster: xr.Dataset, poses: Mapping[str, xr.Dataset], *, margin: float = 80.0) -> Axes:
    """Station poses by name ("nominal", "calibrated", "true"), joined station by station, over the city around them."""
    city_map(ax, raster, bar=False)
    x, y = (np.concatenate([table[name].values for table in poses.values()]) for name in ("bs_x", "bs_y"))
    ax.set(xlim=(x.min() - margin, x.max() + margin), ylim=(y.min() - margin, y.max() + margin))
    for a, b in pairwise(poses.values()):
        ax.plot([a["bs_x"], b["bs_x"]], [a["bs_y"], b["bs_y"]], color="black", linewidth=0.8)
    known = {"nominal": OKABE_ITO["sky"], "calibrated": OKABE_ITO["blue"], "true": OKABE_ITO["vermilion"]}
    colours = {name: known.get(name, OKABE_ITO["purple"]) for name in poses}
    for name, table in poses.items():
        stations(ax, table, colour=colours[name], size=7)
    legend_outside(ax, [Line2D([], [], **STATION | {"color": c}, ms=9, label=f"{n} pose") for n, c in colours.items()])
    return scale_bar(ax)


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
    ax.set(xlim=(left, right), ylim=(low, high))
    legend_outside(ax, handles, title="position from")
    return ax


def patch_grid(ax: Axes, frame: LocalFrame, patches: Sequence[Patch], datasets: Sequence[xr.Dataset]) -> Axes:
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
