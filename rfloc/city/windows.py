"""Windows of a city's raster: chunks read as they are needed, layers averaged over the pixels of a crop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rfloc.city.raster import CHUNK
from rfloc.frames import Grid

#: What a reader keeps of decoded chunks [bytes]: building and road of 134 square kilometres at 1 m.
KEPT = 256 * CHUNK**2


class RasterReader:
    """Windows of a raster: chunks are decoded when they are first needed, and the last ones used are kept.

    Parameters
    ----------
    raster : Dataset
        Of kind "raster", in memory or opened lazily.
    kept : int
        Bytes of chunks that are kept.
    """

    def __init__(self, raster: xr.Dataset, kept: int = KEPT) -> None:
        self.raster, self.grid, self.kept = raster, Grid.from_attrs(raster.attrs), kept
        self._chunks: OrderedDict[tuple[str, int, int], NDArray[Any]] = OrderedDict()
        self._held = 0

    def _chunk(self, layer: str, i: int, j: int) -> NDArray[Any]:
        key = layer, i, j
        if key not in self._chunks:
            at = slice(i * CHUNK, (i + 1) * CHUNK), slice(j * CHUNK, (j + 1) * CHUNK)
            self._chunks[key] = self.raster[layer][at].values
            self._held += self._chunks[key].nbytes
            while self._held > self.kept and len(self._chunks) > 1:
                self._held -= self._chunks.popitem(last=False)[1].nbytes
        self._chunks.move_to_end(key)
        return self._chunks[key]

    def window(
        self, layers: Sequence[str], row: int, col: int, rows: int, cols: int, dtype: str | None = None
    ) -> NDArray[Any]:
        """Cells [row, row + rows) x [col, col + cols): (L, rows, cols), row 0 = south; 0 outside the raster."""
        types = [self.raster[name].dtype for name in layers] if dtype is None else [dtype]
        out = np.zeros((len(layers), rows, cols), np.result_type(*types))
        south, north = max(row, 0), min(row + rows, self.grid.ny)
        west, east = max(col, 0), min(col + cols, self.grid.nx)
        for i in range(south // CHUNK, -(-north // CHUNK)) if west < east else ():
            low, high = max(south, i * CHUNK), min(north, (i + 1) * CHUNK)
            for j in range(west // CHUNK, -(-east // CHUNK)) if low < high else ():
                left, right = max(west, j * CHUNK), min(east, (j + 1) * CHUNK)
                inside = slice(low - i * CHUNK, high - i * CHUNK), slice(left - j * CHUNK, right - j * CHUNK)
                for part, name in zip(out, layers, strict=True):
                    part[low - row : high - row, left - col : right - col] = self._chunk(name, i, j)[inside]
        return out

    def at(self, layer: str, row: ArrayLike, col: ArrayLike) -> NDArray[Any]:
        """Values of single cells inside the raster, in the shape of `row` and `col`."""
        row, col = np.broadcast_arrays(row, col)
        out = np.empty(row.shape, self.raster[layer].dtype)
        chunk = row // CHUNK * (self.grid.nx // CHUNK + 1) + col // CHUNK
        for key in np.unique(chunk):
            mine = chunk == key
            i, j = divmod(int(key), self.grid.nx // CHUNK + 1)
            out[mine] = self._chunk(layer, i, j)[row[mine] - i * CHUNK, col[mine] - j * CHUNK]
        return out


class AreaPooler:
    """Exact area averages of raster layers over windows at any offset: every cell counts by its share of a pixel.

    What lies outside the raster counts as 0. Only the chunks of the raster under a window are read.

    Parameters
    ----------
    raster : Dataset
        Of kind "raster".
    layers : sequence of str
        Variables to pool.
    """

    def __init__(self, raster: xr.Dataset, layers: Sequence[str]) -> None:
        self.layers, self._reader = layers, RasterReader(raster)
        self.grid = self._reader.grid

    def window(self, x: float, y: float, size: float, pixels: int) -> NDArray[np.float32]:
        """Layers averaged over `pixels` x `pixels` of a square around x, y [m]: (L, pixels, pixels), row 0 = north."""
        row, col = self.grid.to_pixel(x - size / 2, y - size / 2)
        step = size / pixels / self.grid.cell
        (i, south_north), (j, west_east) = _shares(float(row), pixels, step), _shares(float(col), pixels, step)
        cells = self._reader.window(self.layers, i, j, south_north.shape[1], west_east.shape[1], "float32")
        means = np.stack([(west_east @ (south_north @ layer).T).T for layer in cells])
        means[means < 1e-6] = 0.0  # rounding of edges that coincide with a cell's
        return means[:, ::-1]


def _shares(start: float, pixels: int, step: float) -> tuple[int, sparse.csr_array]:
    """Shares of cells in pixels along an axis: the first cell, and (pixels, cells), for pixels of `step` cells."""
    edges = start + step * np.arange(pixels + 1)
    first, reach = int(np.floor(start)), int(np.ceil(step)) + 1
    cell = np.floor(edges[:-1, None]) + np.arange(reach)
    share = np.clip(np.minimum(cell + 1, edges[1:, None]) - np.maximum(cell, edges[:-1, None]), 0, None) / step
    index = (cell - first).astype(np.int32)
    rows = np.arange(0, index.size + 1, reach, dtype=np.int32)
    return first, sparse.csr_array((share.astype(np.float32).ravel(), index.ravel(), rows), (pixels, index.max() + 1))
