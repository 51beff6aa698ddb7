"""Footprints, heights and streets onto a grid (row 0 = south)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rfloc.frames import Grid

if TYPE_CHECKING:
    import geopandas as gpd


def rasterize(shapes: list[tuple[Any, float]], grid: Grid, dtype: str = "float32") -> NDArray[Any]:
    """Burn (geometry, value) pairs into a grid: a cell takes the value of the last geometry that holds its centre.

    Returns
    -------
    ndarray, shape (ny, nx)
        Row 0 = south; 0 where no geometry is.
    """
    from rasterio.features import rasterize as burn
    from rasterio.transform import Affine

    if not shapes:
        return np.zeros(grid.shape, dtype)
    top = grid.y0 + grid.ny * grid.cell
    transform = Affine(grid.cell, 0.0, grid.x0, 0.0, -grid.cell, top)  # GDAL wants row 0 = north
    return burn(shapes, out_shape=grid.shape, transform=transform, fill=0, dtype=dtype)[::-1].copy()


def rasterize_city(buildings: gpd.GeoDataFrame, streets: gpd.GeoDataFrame, grid: Grid) -> dict[str, NDArray[Any]]:
    """Layers of a city from files on flat ground.

    Parameters
    ----------
    buildings : GeoDataFrame
        Columns geometry, height [m]; where footprints overlap, the taller counts.
    streets : GeoDataFrame
        Columns geometry, width [m], tunnel.
    grid : Grid
        Where to.

    Returns
    -------
    dict
        `building`, `road` uint8, `height` [m above ground] and `ground` (0) float32, each (ny, nx). `road` is the strip
        of each street's width outside tunnels and buildings.
    """
    ordered = buildings.sort_values("height")
    height = rasterize(list(zip(ordered.geometry, ordered["height"], strict=True)), grid)
    building = height > 0
    open_air = streets[~streets["tunnel"].astype(bool)]
    strips = open_air.geometry.buffer(open_air["width"] / 2.0)
    road = rasterize([(shape, 1) for shape in strips], grid, "uint8") == 1
    return {
        "building": building.astype(np.uint8),
        "road": (road & ~building).astype(np.uint8),
        "height": height,
        "ground": np.zeros(grid.shape, np.float32),
    }
