"""Sionna RT's own city scenes: their raster, read off with vertical rays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rfloc.city.raster import CELL, Layers, Raster
from rfloc.errors import DataError
from rfloc.frames import Grid

#: What stands higher above ground than this is a building [m]; lower things (steps, kerbs) are not.
MIN_HEIGHT = 2.0

#: Gaps between buildings up to twice this wide are inside the city's closed hull [m].
HULL_RADIUS = 25.0


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
    """Raster of a scene's bounding box: what vertical rays from above and from below meet in every cell's centre.

    `road` is :func:`street_mask`. Facts are name, size [m], lowest, median and highest ground [m], and the share of
    cells without ground.
    """
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
    layers: Layers = {
        "building": building.astype(np.uint8),
        "road": (street_mask(building) & ~void).astype(np.uint8),
        "height": np.where(building, height, 0.0).astype(np.float32),
        "ground": np.where(void, level, ground).astype(np.float32),
    }
    facts: dict[str, Any] = {
        "scene": name,
        "size_m": [round(float(x_max - x_min)), round(float(y_max - y_min))],
        "ground_m": [round(float(v), 2) for v in (np.nanmin(ground), level, np.nanmax(ground))],
        "void_share": round(float(void.mean()), 4),
    }
    return grid, layers, facts


def _vertical_hits(mi_scene: Any, grid: Grid, z: float, direction: float) -> NDArray[np.float64]:
    """z [m] of the first hit of a vertical ray from height `z` through each cell's centre, NaN where none; (ny, nx)."""
    import mitsuba as mi

    x, y = np.meshgrid(grid.x, grid.y)
    origin = mi.Point3f(mi.Float(x.ravel()), mi.Float(y.ravel()), mi.Float(z))
    hit = mi_scene.ray_intersect_preliminary(mi.Ray3f(origin, mi.Vector3f(0.0, 0.0, direction)), coherent=True)
    t = np.array(hit.t, dtype=float)
    return np.where(np.isfinite(t), z + direction * t, np.nan).reshape(grid.shape)


def street_mask(building: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a UE may stand, (ny, nx): the largest connected outdoor region inside the closed hull of the built area.

    The hull is the morphological closing of the built area by a disc of :data:`HULL_RADIUS` with its holes filled;
    outdoor regions that touch it nowhere else (courtyards) are left out.
    """
    if not building.any():
        return np.zeros_like(building)
    pad = int(np.ceil(HULL_RADIUS / CELL)) + 1
    grown = ndimage.distance_transform_edt(~np.pad(building, pad)) * CELL <= HULL_RADIUS
    closed = ndimage.distance_transform_edt(grown) * CELL > HULL_RADIUS
    hull = ndimage.binary_fill_holes(closed)[pad:-pad, pad:-pad]
    region, _ = ndimage.label(hull & ~building)
    sizes = np.bincount(region[region > 0], minlength=2)
    return region == sizes.argmax() if sizes.any() else np.zeros_like(building)
