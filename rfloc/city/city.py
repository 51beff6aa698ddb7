"""A city in its local frame: built from a map or from a scene of Sionna RT into a folder, and read back from it.

A region too large to trace at once is cut into patches, cities with frames of their own (paper, section 4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from rfloc.arrays import Bools, Floats
from rfloc.city.raster import CELL, Raster, cells, city_layers, raster_of_scene, scene_file
from rfloc.config import CityParams, check
from rfloc.errors import ConfigError, DataError
from rfloc.files import load_json, save_json, say, write
from rfloc.frames import Bounds, Grid, LocalFrame
from rfloc.schema import load, save, with_units

#: Where nothing of a kind lies within this distance [m], it may not have been mapped; Rome's parks have 250 and 105.
MAX_EMPTY = {"building": 400.0, "building or street": 200.0}
#: Rasters that are open, (folder, when its city was built) -> raster: training opens several deployments of one patch.
_open: WeakValueDictionary[tuple[Path, int], xr.Dataset] = WeakValueDictionary()


@dataclass(frozen=True)
class City:
    """One city in its local frame.

    Layers (y, x) of the raster, read when first asked for: `building`, `road` (where a UE may stand), uint8; `height`
    of roofs above ground [m], 0 outdoors, and `ground`, its z in the scene [m], float32.
    """

    key: str  #: in `cities` of params.yaml
    params: CityParams  #: what it was built from
    frame: LocalFrame  #: of all x, y [m]
    grid: Grid  #: of the raster, row 0 = south
    raster: xr.Dataset
    folder: Path
    facts: dict[str, Any]  #: taken while it was built: polygons read, repaired, height sources, built-up share, ...

    @property
    def outdoor(self) -> Bools:
        """Cells that no building covers, shape (ny, nx)."""
        return self.raster["building"].values == 0

    @property
    def road(self) -> Bools:
        """Cells where a UE may stand, shape (ny, nx)."""
        return self.raster["road"].values == 1

    @property
    def bounds(self) -> Bounds:
        """(x_min, y_min, x_max, y_max) [m] of the city proper: the box without its margin, or the whole scene."""
        return self.grid.bounds if self.params.box is None else box_bounds(self.frame, self.params.box)

    def ground_at(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """z of the ground in the scene [m] at x, y [m]; past the edge, that of the nearest cell."""
        row, col, _ = self.grid.index(x, y)
        return np.asarray(self.raster["ground"].values[row, col], float)

    def height_at(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """Height of the roof above ground [m] at x, y [m], 0 outdoors; past the edge, that of the nearest cell."""
        row, col, _ = self.grid.index(x, y)
        return np.asarray(self.raster["height"].values[row, col], float)

    def window(self, x: float, y: float, size: float, layers: Sequence[str] = ("building", "road")) -> NDArray[Any]:
        """Whole cells of a square of `size` [m] round x, y [m]: (L, n, n), row 0 = south, 0 past the raster's edge."""
        n = round(size / self.grid.cell)
        row, col = (int(np.floor(at - n / 2 + 0.5)) for at in self.grid.to_pixel(x, y))
        return np.stack([cells(self.raster[name].values, row, col, n, n) for name in layers])

    def street_points(
        self, n: int, rng: np.random.Generator, within: Bounds | None = None, *, anywhere: bool = False
    ) -> tuple[Floats, Floats]:
        """Draw n UE positions x, y [m] uniformly over roads; `anywhere`: over all ground that no building covers.

        Only cells count whose centre lies in the box `within`, by default :attr:`bounds`; DataError if none is free.
        A UE has a stream of its own, its row of spawned generators: a changed cell moves few UEs, and more move none.
        """
        layer, value = ("building", 0) if anywhere else ("road", 1)
        box, edge = self.bounds if within is None else within, self.grid.bounds
        low, high = np.maximum(box[:2], edge[:2]), np.minimum(box[2:], edge[2:])
        free, grid = self.raster[layer].values == value, self.grid
        rows, cols = ((axis >= low[k]) & (axis <= high[k]) for k, axis in ((1, grid.y), (0, grid.x)))
        if not free[np.ix_(rows, cols)].any():
            raise DataError(
                f"city {self.key!r} has no {'open ground' if anywhere else 'street'} between "
                f"x {box[0]:g}..{box[2]:g} m and y {box[1]:g}..{box[3]:g} m",
                f"UEs stand on cells whose `{layer}` is {value}, and none lies there",
                "widen the box, or check the city's streets in a figure",
            )
        at, left = np.empty((n, 2)), np.arange(n)
        while left.size:
            tried = low + rng.spawn(1)[0].random((n, 2))[left] * (high - low)
            row, col, _ = grid.index(*tried.T)
            found = free[row, col]
            at[left[found]], left = tried[found], left[~found]
        return at[:, 0], at[:, 1]

    @property
    def scene_path(self) -> Path:
        """The Mitsuba scene file (Sionna's own, or the one in the city folder)."""
        ready_made = self.params.source == "sionna"
        return scene_file(str(self.params.scene)) if ready_made else self.folder / "scene.xml"


def box_bounds(frame: LocalFrame, box: list[float], margin: float = 0.0) -> Bounds:
    """(x_min, y_min, x_max, y_max) [m] round a box (lat_min, lat_max, lon_min, lon_max) [deg], `margin` [m] wider."""
    lat_min, lat_max, lon_min, lon_max = box
    x, y = frame.to_local([lat_min, lat_min, lat_max, lat_max], [lon_min, lon_max, lon_min, lon_max])
    return float(x.min()) - margin, float(y.min()) - margin, float(x.max()) + margin, float(y.max()) + margin


def build_city(key: str, params: CityParams, data_root: str | Path, folder: str | Path) -> City:
    """Build the city `key` from files under `data_root`, and write it to `folder`, whose old content stays until then.

    The folder holds `raster.zarr`, `city.json` and, for a city from a map, `scene.xml`, `meshes/*.ply`,
    `buildings.parquet`, `streets.parquet`. Raises DataError if an input is missing, damaged, or has nothing in the box.
    """
    frame = LocalFrame(*params.centre)
    with write(folder) as fresh:
        fresh.mkdir()
        if params.source == "sionna":
            grid, layers, facts = raster_of_scene(str(params.scene))
        else:
            grid, layers, facts = _from_map(params, frame, data_root, fresh)
        roofs = layers["height"][layers["building"] == 1]
        facts |= {
            "cells": [grid.nx, grid.ny],
            "built_share": round(float(layers["building"].mean()), 4),
            "road_share": round(float(layers["road"].mean()), 4),
            "median_height": round(float(np.median(roofs)), 2) if roofs.size else 0.0,
        }
        if not facts["road_share"] and params.source != "none":
            raise DataError(
                f"in {params.name} there is no cell where a UE may stand",
                "its streets lie in tunnels, under buildings or outside the box",
                "look at its streets and footprints in a figure; check the box, and that no footprint covers all",
            )
        for warning in facts.get("warnings", []):
            say(f"{key}: {warning}")
        attrs = {"city": key, **grid.to_attrs(), **frame.to_attrs()}
        raster = xr.Dataset({name: (("y", "x"), values) for name, values in layers.items()}, attrs=attrs)
        save(with_units(raster, "raster"), fresh / "raster.zarr", "raster")
        save_json({"key": key, "params": params.model_dump(), "facts": facts}, fresh / "city.json")
    return open_city(folder)


def _from_map(params: CityParams, frame: LocalFrame, data_root: str | Path, folder: Path) -> Raster:
    """The raster of a city from a map, or without: flat ground. Its scene and tables are written into `folder`."""
    from rfloc.city import heights, mesh, osm

    grid = Grid.covering(*box_bounds(frame, params.box or [], params.margin), CELL)
    if params.source == "none":
        mesh.write_city(None, grid, folder)
        empty = {"building": np.uint8, "road": np.uint8, "height": np.float32, "ground": np.float32}
        return grid, {name: np.zeros(grid.shape, kind) for name, kind in empty.items()}, {"warnings": ["it has no map"]}
    footprints, facts = osm.read_buildings(params, frame, data_root)
    streets, street_facts = osm.read_streets(params, frame, data_root)
    footprints, height_facts = heights.assign_heights(footprints, params.height_prior)
    base = footprints["base"].where(footprints["base"] > 0, -mesh.FOUNDATION)
    roofs = mesh.prisms(footprints.geometry, footprints["height"], base)
    mesh.write_city(roofs, grid, folder)
    unused = facts["tags_unused"] | height_facts["tags_unused"] | street_facts["tags_unused"]
    facts |= street_facts | height_facts | {"tags_unused": unused, "triangles": len(roofs.faces)}
    facts["height_sources"] = footprints["height_source"].value_counts().to_dict()
    facts["warnings"] = warnings = facts.pop("warnings_buildings") + facts.pop("warnings_streets")
    footprints.to_parquet(folder / "buildings.parquet")
    streets.to_parquet(folder / "streets.parquet")
    layers = city_layers(footprints, streets, grid)
    mapped = {"building": layers["building"], "building or street": layers["building"] | layers["road"]}
    for what, most in MAX_EMPTY.items():
        away = ndimage.distance_transform_edt(mapped[what] == 0) * CELL
        row, col = np.unravel_index(away.argmax(), away.shape)
        lat, lon = frame.to_geographic(grid.x[col], grid.y[row])
        if away[row, col] > most:
            said = f"no {what} within {away[row, col]:.0f} m of {lat:.5f}, {lon:.5f}"
            warnings.append(f"{said}: a park or water, or a hole in the map?")
    return grid, layers, facts


def open_city(folder: str | Path) -> City:
    """Read a city that :func:`build_city` wrote (raises DataError where there is none)."""
    folder = Path(folder)
    about = load_json(folder / "city.json")
    params = check(CityParams, about["params"], where=f"cities.{about['key']}")
    version = folder.resolve(), (folder / "city.json").stat().st_mtime_ns
    raster = _open.get(version)
    if raster is None:
        raster = _open[version] = load(folder / "raster.zarr", "raster", lazy=True)
    frame, grid = LocalFrame.from_attrs(raster.attrs), Grid.from_attrs(raster.attrs)
    return City(about["key"], params, frame, grid, raster, folder, about["facts"])


@dataclass(frozen=True)
class Patch:
    """One patch of a region."""

    key: str  #: its name as a city: `<region>-<row>-<column>`, or the region's own key where that is not cut
    region: str  #: its key in `cities`
    row: int  #: 0 is the southernmost
    col: int  #: 0 is the westernmost
    params: CityParams  #: what it is built from


def cut(region: str, params: CityParams, patches: Sequence[int], margin: float) -> list[Patch]:
    """Patches (rows, columns) of a region, row by row from the south, `margin` [m] wider (ConfigError: no box)."""
    rows, cols = patches
    if rows == cols == 1:
        return [Patch(region, region, 0, 0, params)]
    if params.box is None:
        raise ConfigError(
            f"{region!r} can't be cut into {rows} x {cols} patches",
            "it is a mesh of Sionna RT; patches are built from footprints in a box",
            "take 1 x 1, or a city of source file or overpass",
        )
    south, north, west, east = params.box
    lat, lon = np.linspace(south, north, rows + 1).tolist(), np.linspace(west, east, cols + 1).tolist()
    of_all = {"origin": None, "margin": margin, "patches_only": False}
    found = []
    for i, j in np.ndindex(rows, cols):
        own = {"name": f"{params.name}, patch {i}, {j}", "box": [lat[i], lat[i + 1], lon[j], lon[j + 1]]}
        found.append(Patch(f"{region}-{i:02d}-{j:02d}", region, i, j, params.model_copy(update=own | of_all)))
    return found


def neighbours(patch: Patch, patches: list[Patch]) -> list[Patch]:
    """The patches that touch a patch, corners included, in their order."""
    return [p for p in patches if p != patch and max(abs(p.row - patch.row), abs(p.col - patch.col)) <= 1]


def build_patch(patch: Patch, data_root: str | Path, build: str | Path) -> City:
    """Build a patch into `build/patches/<key>`, or open the city in `build/cities` that it is (raises DataError)."""
    if patch.key == patch.region:
        return open_city(Path(build) / "cities" / patch.key)
    return build_city(patch.key, patch.params, data_root, Path(build) / "patches" / patch.key)


def open_any(build: str | Path, key: str) -> City:
    """The city, or the patch, of a name that links carry (raises DataError where neither was built)."""
    for folder in ("cities", "patches"):
        if (Path(build) / folder / key / "city.json").is_file():
            return open_city(Path(build) / folder / key)
    raise DataError(
        f"neither a city nor a patch called {key!r} was built in {build}",
        "the stage `cities` builds the cities of params.yaml, the stage `simulation` the patches of dataset C",
        "run `dvc repro`",
    )
