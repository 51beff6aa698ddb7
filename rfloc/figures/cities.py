"""Figures of a city's geometry: footprints, raster layers and the scene that is traced. Maps are in metres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Patch

from rfloc.errors import DataError
from rfloc.figures.maps import ROOFS, map_axes, scale_bar
from rfloc.figures.style import OKABE_ITO, legend_outside
from rfloc.frames import Grid

if TYPE_CHECKING:
    import geopandas as gpd

    from rfloc.city import City

#: Colours of the rules that gave heights, in the order of the rule table.
RULE_COLOURS = [
    OKABE_ITO[name] for name in ("blue", "sky", "green", "orange", "vermilion", "purple", "yellow", "black", "grey")
]


def footprints_by_height(ax: Axes, buildings: gpd.GeoDataFrame) -> Axes:
    """Footprints, in the frame's metres, coloured by the height of their roofs."""
    buildings.plot(ax=ax, column="height", **ROOFS)
    roofs_bar(ax)
    map_axes(ax)
    return scale_bar(ax)


def footprints_by_rule(ax: Axes, buildings: gpd.GeoDataFrame, rules: Sequence[str]) -> Axes:
    """Footprints, in the frame's metres, coloured by the rule that gave their height.

    Parameters
    ----------
    rules : sequence of str
        Every value that `height_source` may have: a rule keeps its colour where another one is not used.

    Raises
    ------
    DataError
        If a building has another `height_source`, or there are more rules than colours.
    """
    strange = sorted(set(buildings["height_source"]) - set(rules))
    if strange or len(rules) > len(RULE_COLOURS):
        raise DataError(
            f"no colour for the rules {', '.join(strange)}" if strange else f"{len(rules)} rules are too many to draw",
            f"rules are {', '.join(rules)}; there are {len(RULE_COLOURS)} colours",
        )
    handles = []
    for rule, colour in zip(rules, RULE_COLOURS, strict=False):
        mine = buildings[buildings["height_source"] == rule]
        if len(mine):
            mine.plot(ax=ax, color=colour)
            handles.append(Patch(color=colour, label=f"{rule} ({len(mine):,})"))
    map_axes(ax)
    legend_outside(ax, handles, title="height from")
    return scale_bar(ax)


def roofs_bar(ax: Axes | Sequence[Axes]) -> None:
    """Colour bar of roof heights beside an axes, or beside several."""
    first = ax if isinstance(ax, Axes) else np.ravel(np.asarray(ax))[0]
    shown = ScalarMappable(Normalize(ROOFS["vmin"], ROOFS["vmax"]), ROOFS["cmap"])
    first.figure.colorbar(shown, ax=ax, label="roof above ground [m]", extend="max", shrink=0.7)


def raster_layers(axes: Sequence[Axes], raster: xr.Dataset) -> Sequence[Axes]:
    """Building, road and height layers of a raster, or of a window of one, on three axes."""
    extent = Grid.from_attrs(raster.attrs).extent
    for ax, name in zip(axes, ("building", "road", "height"), strict=True):
        layer = raster[name].values
        look: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 1}
        if name == "height":
            layer, look = np.ma.masked_equal(layer, 0), ROOFS
        ax.imshow(layer, extent=extent, origin="lower", interpolation="nearest", **look)
        ax.set_title(name)
        map_axes(ax)
    scale_bar(axes[0])
    roofs_bar(axes[-1])
    return axes


def scene_view(
    ax: Axes, city: City, *, span: float = 800.0, resolution: tuple[int, int] = (400, 300), samples: int = 16
) -> Axes:
    """The meshes that are traced, as a camera in the south sees the middle of the city, coloured by material.

    Parameters
    ----------
    span : float
        Width of the view at the middle [m]; no wider than the city.
    resolution : (width, height)
        Of the picture [px].
    samples : int
        Rays a pixel.
    """
    from rfloc.backend import prepare

    prepare()
    import sionna.rt as rt

    x_min, y_min, x_max, y_max = city.bounds
    x, y = (x_min + x_max) / 2, (y_min + y_max) / 2
    span = min(span, x_max - x_min, y_max - y_min)
    ground = float(city.ground_at(x, y))
    # A field of view of 45 deg shows `span` at a distance of 1.2 span; the camera looks down at 45 deg.
    camera = rt.Camera(position=[x, y - 0.85 * span, ground + 0.85 * span], look_at=[x, y, ground])
    scene = rt.load_scene(str(city.scene_path), merge_shapes=True)
    seen = scene.render(
        camera=camera, resolution=list(resolution), num_samples=samples, show_devices=False, return_bitmap=True
    )
    pixels = np.clip(np.array(seen), 0, 1)
    srgb = np.where(pixels <= 0.0031308, 12.92 * pixels, 1.055 * pixels ** (1 / 2.4) - 0.055)
    ax.imshow(np.dstack([srgb[..., :3], pixels[..., 3]]))
    ax.set_axis_off()
    return ax
