"""Cities: footprints and streets, or one of Sionna RT's scenes, to a 1 m raster and a scene ready to trace.

``build_city`` makes a city folder, ``open_city`` reads it back; both return a :class:`City`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import ArrayLike, NDArray

from rfloc.city.raster import CHUNK, write_raster
from rfloc.city.windows import RasterReader
from rfloc.config import CityParams, check
from rfloc.errors import DataError
from rfloc.files import load_json, save_json
from rfloc.frames import Grid, LocalFrame
from rfloc.schema import load

#: Cell of the city raster [m].
CELL = 1.0

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class City:
    """One city in its local frame.

    Attributes
    ----------
    key : str
        Its key in `cities` of params.yaml.
    params : CityParams
        What it was built from.
    frame : LocalFrame
        Frame of all x, y [m].
    grid : Grid
        The 1 m grid of the raster, row 0 = south.
    raster : xarray.Dataset
        `building`, `road` uint8 (y, x); `height` float32 (y, x) [m above ground], 0 outdoors; `ground` float32 (y, x),
        z of the ground in the scene [m]. `road` marks where a UE may stand. Opened lazily: `.values` of a layer loads
        and keeps it, which only a small city bears; the methods here read what they need.
    folder : Path
        Where it lies on disk.
    """

    key: str
    params: CityParams
    frame: LocalFrame
    grid: Grid
    raster: xr.Dataset
    folder: Path

    @property
    def outdoor(self) -> NDArray[np.bool_]:
        """Cells that no building covers, shape (ny, nx)."""
        return self._equal("building", 0)

    @property
    def road(self) -> NDArray[np.bool_]:
        """Cells where a UE may stand, shape (ny, nx)."""
        return self._equal("road", 1)

    def _equal(self, layer: str, value: int) -> NDArray[np.bool_]:
        out = np.empty(self.grid.shape, bool)
        for rows in _bands(0, self.grid.ny):
            np.equal(self.raster[layer][rows].values, value, out=out[rows])
        return out

    @property
    def bounds(self) -> Bounds:
        """(x_min, y_min, x_max, y_max) [m] of the city proper: the box without its margin, or the whole scene."""
        if self.params.box is None:
            return self.grid.bounds
        return box_bounds(self.frame, self.params.box)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Counts taken while the city was built (polygons read, repaired, height sources, built-up share, ...)."""
        return dict(load_json(self.folder / "city.json")["facts"])

    def ground_at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """z of the ground in the scene [m] at x, y [m]; past the edge, that of the nearest cell."""
        return self._at("ground", x, y)

    def height_at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Height of the roof above ground [m] at x, y [m], 0 outdoors; past the edge, that of the nearest cell."""
        return self._at("height", x, y)

    def _at(self, name: str, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        row, col, _ = self.grid.index(x, y)
        return self._reader.at(name, row, col).astype(float)

    @cached_property
    def _reader(self) -> RasterReader:
        return RasterReader(self.raster)

    def window(
        self, x: float, y: float, size: float, layers: Sequence[str] = ("building", "road")
    ) -> NDArray[np.number]:
        """Read the square of `size` metres round x, y [m], whole cells: (L, n, n), row 0 = south, 0 past the edge.

        With an odd number of cells, x, y lies in the middle one.
        """
        n = round(size / self.grid.cell)
        row, col = (int(np.floor(at - n / 2 + 0.5)) for at in self.grid.to_pixel(x, y))
        return self._reader.window(layers, row, col, n, n)

    def street_points(
        self, n: int, rng: np.random.Generator, within: Bounds | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw UE positions uniformly over the area of the road cells.

        Parameters
        ----------
        n : int
            Number of positions.
        rng : numpy.random.Generator
            Source of randomness.
        within : (x_min, y_min, x_max, y_max), optional
            Only cells whose centre lies in this box [m]; default: the city proper, :attr:`bounds`.

        Returns
        -------
        x, y : ndarray, shape (n,)
            Positions [m], each inside a road cell.

        Raises
        ------
        DataError
            If the box holds no road cell.
        """
        return self._points("road", 1, n, rng, within)

    def outdoor_points(
        self, n: int, rng: np.random.Generator, within: Bounds | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw UE positions uniformly over the ground that no building covers; else as :meth:`street_points`."""
        return self._points("building", 0, n, rng, within)

    def _points(
        self, layer: str, value: int, n: int, rng: np.random.Generator, within: Bounds | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x_min, y_min, x_max, y_max = self.bounds if within is None else within
        col = np.flatnonzero((self.grid.x >= x_min) & (self.grid.x <= x_max))
        row = np.flatnonzero((self.grid.y >= y_min) & (self.grid.y <= y_max))
        bands = _bands(row[0], row[-1] + 1) if row.size and col.size else []

        def cells(band: slice) -> NDArray[np.intp]:
            return np.flatnonzero(self.raster[layer][band, col[0] : col[-1] + 1].values == value)

        last = np.cumsum([0] + [cells(band).size for band in bands])
        if last[-1] == 0:
            raise DataError(
                f"city {self.key!r} has no {'street' if layer == 'road' else 'open ground'} between "
                f"x {x_min:g}..{x_max:g} m and y {y_min:g}..{y_max:g} m",
                f"UEs stand on cells whose `{layer}` is {value}, and none lies there",
                "widen the box, or check the city's streets in a figure",
            )
        pick = rng.integers(last[-1], size=n)
        shift = rng.uniform(-0.5, 0.5, size=(2, n)) * self.grid.cell
        i, j = np.empty((2, n), np.int64)
        for band, start, stop in zip(bands, last[:-1], last[1:], strict=True):
            mine = (pick >= start) & (pick < stop)
            if mine.any():
                i[mine], j[mine] = np.divmod(cells(band)[pick[mine] - start], col.size)
                i[mine] += band.start
        return self.grid.x[col[0] + j] + shift[0], self.grid.y[i] + shift[1]

    @property
    def scene_path(self) -> Path:
        """The Mitsuba scene file (Sionna's own, or the one in the city folder)."""
        if self.params.source == "sionna":
            from rfloc.city.sionna_scenes import scene_file

            return scene_file(str(self.params.scene))
        return self.folder / "scene.xml"


def _bands(first: int, stop: int) -> list[slice]:
    """Rows [first, stop) in steps that end where chunks of the raster end."""
    edges = [int(first), *range((int(first) // CHUNK + 1) * CHUNK, int(stop), CHUNK), int(stop)]
    return [slice(*pair) for pair in pairwise(edges)]


def box_bounds(frame: LocalFrame, box: list[float], margin: float = 0.0) -> Bounds:
    """(x_min, y_min, x_max, y_max) [m] round a box (lat_min, lat_max, lon_min, lon_max) [deg], `margin` [m] wider."""
    lat_min, lat_max, lon_min, lon_max = box
    x, y = frame.to_local([lat_min, lat_min, lat_max, lat_max], [lon_min, lon_max, lon_min, lon_max])
    return float(x.min()) - margin, float(y.min()) - margin, float(x.max()) + margin, float(y.max()) + margin


def build_city(key: str, params: CityParams, data_root: str | Path, folder: str | Path, seed: int = 0) -> City:
    """Build a city and write its folder, replacing an older one only once the new one is whole.

    Parameters
    ----------
    key : str
        Its key in `cities`.
    params : CityParams
        What to build; `source` says from what.
    data_root : path
        Folder under which `params.buildings` and `params.streets` are looked for, before the project's `data/`.
    folder : path
        Where to write: `raster.zarr`, `city.json` and, for a city from files, `scene.xml`, `meshes/*.ply`,
        `buildings.parquet`, `streets.parquet`.
    seed : int
        Of heights that are drawn; recorded in `city.json`.

    Raises
    ------
    DataError
        If an input is missing, damaged, or holds nothing in the box.
    """
    folder = Path(folder)
    frame = LocalFrame(*params.centre)
    fresh = folder.with_name(folder.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        if params.source == "sionna":
            from rfloc.city.sionna_scenes import raster_of_scene

            grid, layers, facts = raster_of_scene(str(params.scene))
            facts |= write_raster(fresh / "raster.zarr", grid, [(slice(0, grid.ny), slice(0, grid.nx), layers)])
        else:
            from rfloc.city.files import build_from_files

            facts = build_from_files(params, frame, Path(data_root), fresh, seed)
        zarr.open_group(fresh / "raster.zarr").attrs.update({"city": key, **frame.to_attrs()})
        save_json({"key": key, "params": params.model_dump(), "seed": seed, "facts": facts}, fresh / "city.json")
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return open_city(folder)


def open_city(folder: str | Path) -> City:
    """Read a city that :func:`build_city` wrote (raises DataError where there is none)."""
    folder = Path(folder)
    if not (folder / "city.json").exists():
        raise DataError(
            f"there is no city in {folder}",
            "the stage that builds it has not run here",
            "run `dvc repro`, which builds every city that params.yaml names",
        )
    about = load_json(folder / "city.json")
    params = check(CityParams, about["params"], where=f"cities.{about['key']}")
    raster = load(folder / "raster.zarr", "raster", lazy=True)
    return City(
        about["key"], params, LocalFrame.from_attrs(raster.attrs), Grid.from_attrs(raster.attrs), raster, folder
    )
