"""Sionna RT's own city scenes: their raster, read off with vertical rays."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from rfloc.arrays import Bools, Floats
from rfloc.city.raster import CELL, Layers, Raster
from rfloc.errors import DataError
from rfloc.frames import Grid

MIN_HEIGHT = 2.0  #: what stands higher above ground is a building [m]; lower things (steps, kerbs) are not
MAX_GROUND_SPREAD = 10.0  #: a flat radio map cannot follow streets that rise and fall by more [m]
HULL_RADII = (25.0, 50.0, 100.0)  #: gaps between buildings up to twice this wide are in the city's hull [m]: in order
LARGE = 0.25  #: an outdoor region of at least this share of the largest one has streets; smaller ones are courtyards


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

    Facts are size, lowest, median and highest ground [m], the share of cells without, and those of the streets.
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
