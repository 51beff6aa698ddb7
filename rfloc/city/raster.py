"""Footprints, heights and streets onto a grid (row 0 = south), block by block into Zarr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rfloc.frames import Grid
from rfloc.schema import SCHEMAS

if TYPE_CHECKING:
    import geopandas as gpd

#: Layers and how they are stored. A height is a float32 because the mesh is: roof and raster agree to the bit.
LAYERS = {"building": "uint8", "road": "uint8", "height": "float32", "ground": "float32"}

#: Edge of a chunk, the least that is decoded, and of a shard, a file with its chunks [cells].
CHUNK, SHARD = 1024, 4096

Block = tuple[slice, slice, Mapping[str, NDArray[Any]]]


def rasterize(shapes: Sequence[tuple[Any, float]], grid: Grid, dtype: str = "float32") -> NDArray[Any]:
    """Burn (geometry, value) pairs into a grid: a cell takes the value of the last geometry that holds its centre.

    Returns
    -------
    ndarray, shape (ny, nx)
        Row 0 = south; 0 where no geometry is.
    """
    from rasterio.features import rasterize as burn
    from rasterio.transform import Affine

    if not len(shapes):
        return np.zeros(grid.shape, dtype)
    top = grid.y0 + grid.ny * grid.cell
    transform = Affine(grid.cell, 0.0, grid.x0, 0.0, -grid.cell, top)  # GDAL wants row 0 = north
    return burn(shapes, out_shape=grid.shape, transform=transform, fill=0, dtype=dtype)[::-1]


def rasterize_city(
    buildings: gpd.GeoDataFrame, streets: gpd.GeoDataFrame, grid: Grid, path: Path, *, block: int = SHARD
) -> dict[str, Any]:
    """Write the raster of a city from files on flat ground, holding one block at a time.

    Parameters
    ----------
    buildings : GeoDataFrame
        Columns geometry, height [m]; where footprints overlap, the taller counts.
    streets : GeoDataFrame
        Columns geometry, width [m], tunnel. `road` is the strip of each street's width outside tunnels and buildings.
    grid : Grid
        Where to.
    path : Path
        Zarr folder to write.
    block : int
        Edge of a block [cells]; the result does not depend on it.

    Returns
    -------
    dict
        See :func:`write_raster`.
    """
    return write_raster(path, grid, _burn(buildings, streets, grid, block))


def blocks(grid: Grid, edge: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the blocks of `edge` cells that tile a grid."""
    for row in range(0, grid.ny, edge):
        for col in range(0, grid.nx, edge):
            yield slice(row, min(row + edge, grid.ny)), slice(col, min(col + edge, grid.nx))


def _burn(buildings: gpd.GeoDataFrame, streets: gpd.GeoDataFrame, grid: Grid, edge: int) -> Iterator[Block]:
    import shapely

    ordered = buildings.sort_values("height", kind="stable")
    footprint, height = ordered.geometry.to_numpy(), ordered["height"].to_numpy(float)
    open_air = streets[~streets["tunnel"].astype(bool)]
    line, half = open_air.geometry.to_numpy(), open_air["width"].to_numpy(float) / 2
    trees = shapely.STRtree(footprint), shapely.STRtree(line)
    reach = half.max(initial=0.0)
    for rows, cols in blocks(grid, edge):
        part = grid.part(rows, cols)
        near = np.sort(trees[0].query(shapely.box(*part.bounds)))  # in order of height
        roof = rasterize(list(zip(footprint[near], height[near], strict=True)), part)
        near = trees[1].query(shapely.box(*part.bounds).buffer(reach, join_style="mitre"))
        strips = shapely.buffer(line[near], half[near])
        road = rasterize([(strip, 1) for strip in strips], part, "uint8") == 1
        building = roof > 0
        yield rows, cols, {"building": building, "road": road & ~building, "height": roof}


def write_raster(path: Path, grid: Grid, parts: Iterable[Block]) -> dict[str, Any]:
    """Write layers to one sharded Zarr store; what no block holds is 0 and takes no space.

    Parameters
    ----------
    path : Path
        Zarr folder to write.
    grid : Grid
        Its grid attributes are written, the frame's are not.
    parts : iterable of (rows, columns, layers)
        Blocks of :data:`LAYERS`, row 0 = south.

    Returns
    -------
    dict
        `cells` (nx, ny), `built_share`, `road_share` of all cells, `median_height` of the built ones [m].
    """
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.create_group(path, overwrite=True, attributes=grid.to_attrs())
    for name, dtype in LAYERS.items():
        unit = SCHEMAS["raster"].variables[name].unit
        group.create_array(
            name, shape=grid.shape, dtype=dtype, chunks=(CHUNK, CHUNK), shards=(SHARD, SHARD), fill_value=0,
            dimension_names=("y", "x"), attributes={"units": unit} if unit else {}, compressors=ZstdCodec(level=1),
        )  # fmt: skip
    road, millimetres = 0, np.zeros(0, np.int64)
    for rows, cols, layers in parts:
        for name, values in layers.items():
            group[name][rows, cols] = values  # type: ignore[index]
        road += int(np.count_nonzero(layers["road"]))
        roofs = np.rint(1000 * layers["height"][layers["building"] == 1]).astype(np.int64)
        found = np.bincount(roofs, minlength=len(millimetres))
        found[: len(millimetres)] += millimetres
        millimetres = found
    built = int(millimetres.sum())
    middle = np.searchsorted(np.cumsum(millimetres), [(built - 1) // 2, built // 2], side="right")
    return {
        "cells": [grid.nx, grid.ny],
        "built_share": round(built / (grid.nx * grid.ny), 4),
        "road_share": round(road / (grid.nx * grid.ny), 4),
        "median_height": round(float(middle.mean()) / 1000, 2) if built else 0.0,
    }
