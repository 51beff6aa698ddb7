"""A city from a map, in files or by Overpass: footprints, heights and streets to a raster and a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rfloc.city import CELL, box_bounds, mesh, osm, overpass
from rfloc.city.heights import assign_heights
from rfloc.city.raster import rasterize_city
from rfloc.city.vector import resolve
from rfloc.config import CityParams
from rfloc.frames import Grid, LocalFrame

#: ITU materials of a city from a map; the paper takes concrete for both.
BUILDING_MATERIAL = "concrete"
GROUND_MATERIAL = "medium_dry_ground"


def build_from_files(
    params: CityParams, frame: LocalFrame, data_root: Path, folder: Path, seed: int = 0
) -> dict[str, Any]:
    """Read a city's map, write `raster.zarr`, `buildings.parquet`, `streets.parquet` and the scene into `folder`.

    Parameters
    ----------
    params : CityParams
        `source` says whether the map lies in files or is fetched by Overpass and kept.
    frame : LocalFrame
        Frame of everything written [m].
    data_root : Path
        Where files are looked for first, see :func:`rfloc.city.vector.resolve`.
    folder : Path
        Where to write.
    seed : int
        Seeds heights that are drawn.

    Returns
    -------
    dict
        Counts of :func:`rfloc.city.osm.read_buildings`, :func:`rfloc.city.osm.read_streets` and
        :func:`rfloc.city.raster.rasterize_city`; `height_sources` (rule -> buildings), `triangles` of the mesh, and
        `map`, the name of the file that Overpass gave.

    Raises
    ------
    DataError
        If the map is missing, damaged, can't be had or has nothing in the box; nothing is written then.
    """
    assert params.box is not None
    facts: dict[str, Any] = {}
    if params.source == "overpass":
        source = overpass.fetch_map(params, frame, data_root)
        sources, facts["map"] = (source, source), source.name
    else:
        sources = resolve(str(params.buildings), data_root), resolve(str(params.streets), data_root)
    footprints, counts = osm.read_buildings(params, frame, sources[0])
    streets, street_counts = osm.read_streets(params, frame, sources[1])
    footprints = assign_heights(footprints, params, seed)[["geometry", "height", "height_source", "kind"]]
    facts |= counts | street_counts
    facts["height_sources"] = {str(k): int(v) for k, v in footprints["height_source"].value_counts().items()}

    grid = Grid.covering(*box_bounds(frame, params.box, params.margin), CELL)
    facts |= rasterize_city(footprints, streets, grid, folder / "raster.zarr")
    buildings = mesh.extrude(footprints)
    low = np.minimum(buildings.vertices[:, :2].min(axis=0), grid.bounds[:2]) - mesh.APRON
    high = np.maximum(buildings.vertices[:, :2].max(axis=0), grid.bounds[2:]) + mesh.APRON
    ground = mesh.plane(low[0], low[1], high[0], high[1])
    mesh.write_scene({"buildings": (buildings, BUILDING_MATERIAL), "ground": (ground, GROUND_MATERIAL)}, folder)
    footprints.to_parquet(folder / "buildings.parquet")
    streets.to_parquet(folder / "streets.parquet")
    return facts | {"triangles": len(buildings.faces)}
