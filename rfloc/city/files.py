"""A city from files: footprints and streets to raster layers and a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfloc.city import CELL, box_bounds, mesh, osm
from rfloc.city.raster import rasterize_city
from rfloc.config import CityParams
from rfloc.errors import ConfigError
from rfloc.frames import Grid, LocalFrame

#: ITU materials of a city from files; the paper takes concrete for both.
BUILDING_MATERIAL = "concrete"
GROUND_MATERIAL = "medium_dry_ground"


def build_from_files(
    params: CityParams, frame: LocalFrame, data_root: Path, folder: Path
) -> tuple[Grid, dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a city's files, write `buildings.parquet`, `streets.parquet` and the scene into `folder`.

    Returns
    -------
    grid : Grid
        The box and its margin, 1 m cells.
    layers : dict
        See :func:`rfloc.city.raster.rasterize_city`.
    facts : dict
        Counts of what was read, repaired and united.
    """
    if params.buildings is None or params.streets is None or params.box is None:
        raise ConfigError(f"city {params.name!r} names no files", "a city from files needs buildings, streets and box")
    footprints, facts = osm.read_buildings(
        osm.resolve(params.buildings, data_root), params.box, params.margin, frame, params.default_height
    )
    streets, street_facts = osm.read_streets(osm.resolve(params.streets, data_root), params.box, params.margin, frame)
    grid = Grid.covering(*box_bounds(frame, params.box, params.margin), CELL)
    layers = rasterize_city(footprints, streets, grid)

    prisms = mesh.Mesh.merge(
        mesh.prism(polygon, -mesh.FOUNDATION, height)
        for polygon, height in zip(footprints.geometry, footprints["height"], strict=True)
    )
    low = np.minimum(prisms.vertices[:, :2].min(axis=0), grid.bounds[:2]) - mesh.APRON
    high = np.maximum(prisms.vertices[:, :2].max(axis=0), grid.bounds[2:]) + mesh.APRON
    ground = mesh.plane(low[0], low[1], high[0], high[1])
    mesh.write_scene({"buildings": (prisms, BUILDING_MATERIAL), "ground": (ground, GROUND_MATERIAL)}, folder)
    footprints.to_parquet(folder / "buildings.parquet")
    streets.to_parquet(folder / "streets.parquet")
    return grid, layers, facts | street_facts | {"triangles": len(prisms.faces)}
