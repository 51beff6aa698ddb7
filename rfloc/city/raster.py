"""Footprints, heights and streets, or a scene of Sionna RT that vertical rays read off, onto a grid (row 0 = south)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage, sparse

from rfloc.arrays import Bools, Floats
from rfloc.errors import DataError
from rfloc.frames import Grid

CELL = 1.0  #: of the city raster [m]
CLEARANCE = 2.0  #: what begins higher above ground can be walked under [m]
MIN_HEIGHT = 2.0  #: what stands higher above ground is a building [m]; lower things (steps, kerbs) are not
MAX_GROUND_SPREAD = 10.0  #: a flat radio map cannot follow streets that rise and fall by more [m]
HULL_RADII = (25.0, 50.0, 100.0)  #: gaps between buildings up to twice this wide are in the city's hull [m]: in order
LARGE = 0.25  #: an outdoor region of at least this share of the largest one has streets; smaller ones are courtyards
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
    road, ground = np.where(height > 0, np.uint8(0), road), np.zeros(grid.shape, np.float32)
    return {"building": (height > 0).astype(np.uint8), "road": road, "height": height, "ground": ground}


def cells(layer: NDArray[Any], row: int, col: int, rows: int, cols: int, dtype: Any = None) -> NDArray[Any]:
    """Cells [row, row + rows) x [col, col + cols) of a layer: (rows, cols), row 0 = south; 0 outside the raster."""
    south, west = max(-row, 0), max(-col, 0)
    part = layer[max(row, 0) : max(row + rows, 0), max(col, 0) : max(col + cols, 0)].astype(dtype or layer.dtype)
    if part.shape == (rows, cols):
        return part
    out = np.zeros((rows, cols), part.dtype)
    out[south : south + part.shape[0], west : west + part.shape[1]] = part
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
        means *= means >= 1e-6  # rounding of edges that coincide with a cell's
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


def scene_file(name: str) -> Path:
    """The XML file of one of Sionna RT's scenes (raises DataError for a name that it doesn't have)."""
    from rfloc.backend import prepare

    prepare()
    from sionna.rt import scene

    path = getattr(scene, name, None)
    if not isinstance(path, str) or not path.endswith(".xml"):
        names = sorted(n for n, p in vars(scene).items() if isinstance(p, str) and p.endswith(f"{n}.xml"))
        raise DataError(f"Sionna RT has no scene {name!r}", f"it has {', '.join(names)}", "set the city's `scene`")
    return Path(path)


def raster_of_scene(name: str) -> Raster:
    """Raster of a scene's bounding box, what vertical rays from above and below meet in each cell; facts of both."""
    path = scene_file(name)
    import sionna.rt as rt

    scene = rt.load_scene(str(path), merge_shapes=True)
    box = scene.mi_scene.bbox()
    (x_min, y_min, z_min), (x_max, y_max, z_max) = np.array(box.min).ravel(), np.array(box.max).ravel()
    grid = Grid.covering(x_min, y_min, x_max, y_max, CELL)
    top = _vertical_hits(scene.mi_scene, grid, z_max + 10.0, -1.0)
    ground = _vertical_hits(scene.mi_scene, grid, z_min - 10.0, 1.0)
    void = np.isnan(ground)
    level = float(np.median(ground[~void]))
    height = np.where(void, 0.0, top - ground)
    building = height > MIN_HEIGHT
    streets, street_facts = street_mask(building)
    layers: Layers = {
        "building": building.astype(np.uint8),
        "road": (streets & ~void).astype(np.uint8),
        "height": np.where(building, height, 0.0).astype(np.float32),
        "ground": np.where(void, level, ground).astype(np.float32),
    }
    low, high = np.percentile(layers["ground"][layers["road"] == 1], [2, 98]) if layers["road"].any() else (0.0, 0.0)
    if high - low > MAX_GROUND_SPREAD:
        raise DataError(
            f"the streets of scene {name!r} lie between z = {low:.0f} m and {high:.0f} m",
            f"radio maps are computed on a horizontal plane, which may be off by {MAX_GROUND_SPREAD:g} m",
            "choose a flatter scene, or a city from a map, whose ground is flat",
        )
    facts: dict[str, Any] = {
        "scene": name,
        "size_m": [round(float(x_max - x_min)), round(float(y_max - y_min))],
        "ground_m": [round(float(v), 2) for v in (np.nanmin(ground), level, np.nanmax(ground))],
        "void_share": round(float(void.mean()), 4),
        **street_facts,
    }
    return grid, layers, facts


def _vertical_hits(mi_scene: Any, grid: Grid, z: float, direction: float) -> Floats:
    """z [m] of the first hit of a vertical ray from height `z` through each cell's centre, NaN where none; (ny, nx)."""
    import mitsuba as mi

    x, y = np.meshgrid(grid.x, grid.y)
    origin = mi.Point3f(mi.Float(x.ravel()), mi.Float(y.ravel()), mi.Float(z))
    hit = mi_scene.ray_intersect_preliminary(mi.Ray3f(origin, mi.Vector3f(0.0, 0.0, direction)), coherent=True)
    t = np.array(hit.t, dtype=float)
    return np.where(np.isfinite(t), z + direction * t, np.nan).reshape(grid.shape)


def street_mask(building: Bools) -> tuple[Bools, dict[str, Any]]:
    """Where a UE may stand, (ny, nx): the large outdoor regions inside the closed hull of the built area; and facts.

    The hull is the morphological closing of the built area by a disc with its holes filled, the disc the first of
    :data:`HULL_RADII` in whose hull streets hang together, or the last. Small regions (courtyards) are left out.
    """
    for radius in HULL_RADII:
        pad = int(np.ceil(radius / CELL)) + 1
        grown = ndimage.distance_transform_edt(~np.pad(building, pad)) * CELL <= radius
        closed = ndimage.distance_transform_edt(grown) * CELL > radius
        hull = ndimage.binary_fill_holes(closed)[pad:-pad, pad:-pad] & building.any()
        region, n = ndimage.label(hull & ~building)
        sizes = np.bincount(region.ravel(), minlength=n + 1)[1:]
        large = np.flatnonzero(sizes >= LARGE * sizes.max(initial=1)) + 1
        if len(large) <= 1:
            break
    left = 1 - sizes[large - 1].sum() / max(sizes.sum(), 1)
    facts = {"hull_radius_m": radius, "street_regions": len(large), "other_regions": n - len(large)}
    return np.isin(region, large), facts | {"other_share": round(float(left), 4)}
