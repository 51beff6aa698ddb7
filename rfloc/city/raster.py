"""Footprints, heights and streets onto a grid in memory (row 0 = south), and layers averaged over pixels of a crop."""

from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from rfloc.frames import Grid

CELL = 1.0  #: of the city raster [m]
CLEARANCE = 2.0  #: what begins higher above ground can be walked under [m]

Layers = dict[str, NDArray[Any]]
Raster = tuple[Grid, Layers, dict[str, Any]]  # and facts


def rasterize(shapes: Sequence[tuple[Any, float]], grid: Grid, dtype: str = "float32") -> NDArray[Any]:
    """Burn (geometry, value) pairs into a grid (ny, nx): of the last geometry that holds a cell's centre, else 0."""
    from rasterio.features import rasterize as burn
    from rasterio.transform import Affine

    if not len(shapes):
        return np.zeros(grid.shape, dtype)
    top = grid.y0 + grid.ny * grid.cell
    transform = Affine(grid.cell, 0.0, grid.x0, 0.0, -grid.cell, top)  # GDAL wants row 0 = north
    return np.ascontiguousarray(burn(shapes, out_shape=grid.shape, transform=transform, fill=0, dtype=dtype)[::-1])


def city_layers(buildings: gpd.GeoDataFrame, streets: gpd.GeoDataFrame, grid: Grid) -> Layers:
    """Layers (ny, nx) of flat ground: `building`, `road` uint8; `height`, `ground` float32 [m]; row 0 = south.

    Where footprints (geometry, height, base [m]) overlap, the taller counts; what one can walk under is no building
    unless something stands there. `road` is the strip of each street's width (geometry, width [m], tunnel) outside
    tunnels and buildings. A height is a float32 because the mesh is: roof and raster agree to the bit.
    """
    ordered = buildings.sort_values("height", kind="stable")
    height = rasterize(list(zip(ordered.geometry, ordered["height"], strict=True)), grid)
    standing = ordered.geometry[ordered["base"] < CLEARANCE]
    if len(standing) < len(ordered):
        height *= rasterize([(shape, 1) for shape in standing], grid)
    open_air = streets[~streets["tunnel"].astype(bool)]
    strips = shapely.buffer(open_air.geometry.to_numpy(), open_air["width"].to_numpy(float) / 2)
    road = rasterize([(strip, 1) for strip in strips], grid, "uint8")
    return {
        "building": (height > 0).astype(np.uint8),
        "road": np.where(height > 0, np.uint8(0), road),
        "height": height,
        "ground": np.zeros(grid.shape, np.float32),
    }


def layer_facts(layers: Layers) -> dict[str, Any]:
    """`cells` (nx, ny), `built_share`, `road_share` of all cells, `median_height` of the built ones [m]."""
    building = layers["building"] == 1
    roofs = layers["height"][building]
    return {
        "cells": list(building.shape[::-1]),
        "built_share": round(int(building.sum()) / building.size, 4),
        "road_share": round(int(layers["road"].sum()) / building.size, 4),
        "median_height": round(float(np.median(roofs)), 2) if roofs.size else 0.0,
    }


def cells(layer: NDArray[Any], row: int, col: int, rows: int, cols: int, dtype: Any = None) -> NDArray[Any]:
    """Cells [row, row + rows) x [col, col + cols) of a layer: (rows, cols), row 0 = south; 0 outside the raster."""
    if 0 <= row <= layer.shape[0] - rows and 0 <= col <= layer.shape[1] - cols:
        return layer[row : row + rows, col : col + cols].astype(dtype or layer.dtype)
    out = np.zeros((rows, cols), dtype or layer.dtype)
    south, north = max(row, 0), min(row + rows, layer.shape[0])
    west, east = max(col, 0), min(col + cols, layer.shape[1])
    if south < north and west < east:
        out[south - row : north - row, west - col : east - col] = layer[south:north, west:east]
    return out


class AreaPooler:
    """Exact area averages of raster layers at any offset: a cell counts by its share of a pixel, as 0 outside."""

    def __init__(self, raster: xr.Dataset, layers: Sequence[str]) -> None:
        self.grid, self._layers = Grid.from_attrs(raster.attrs), [raster[name].values for name in layers]

    def window(self, x: float, y: float, size: float, pixels: int) -> NDArray[np.float32]:
        """Layers averaged over `pixels` x `pixels` of a square around x, y [m]: (L, pixels, pixels), row 0 = north."""
        row, col = self.grid.to_pixel(x - size / 2, y - size / 2)
        step = size / pixels / self.grid.cell
        (i, south_north), (j, west_east) = _shares(float(row), pixels, step), _shares(float(col), pixels, step)
        parts = [cells(a, i, j, south_north.shape[1], west_east.shape[1], np.float32) for a in self._layers]
        means = np.stack([west_east @ (south_north @ part).T for part in parts])  # (L, x, y)
        means[means < 1e-6] = 0.0  # rounding of edges that coincide with a cell's
        return means.transpose(0, 2, 1)[:, ::-1]


def _shares(start: float, pixels: int, step: float) -> tuple[int, sparse.csr_array]:
    """Shares of cells in pixels along an axis: the first cell, and (pixels, cells), for pixels of `step` cells."""
    edges = start + step * np.arange(pixels + 1)
    first, reach = int(np.floor(start)), int(np.ceil(step)) + 1
    cell = np.floor(edges[:-1, None]) + np.arange(reach)
    share = np.maximum(np.minimum(cell + 1, edges[1:, None]) - np.maximum(cell, edges[:-1, None]), 0) / step
    index = (cell - first).astype(np.int32)
    rows = np.arange(0, index.size + 1, reach, dtype=np.int32)
    return first, sparse.csr_array((share.astype(np.float32).ravel(), index.ravel(), rows), (pixels, index.max() + 1))
