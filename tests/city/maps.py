"""A small map in OpenStreetMap's own formats: a house, a block with a courtyard, streets, a tunnel and a railway."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import osmium
import shapely
from osmium.osm.mutable import Node, Relation, Way
from shapely.geometry import LineString, Polygon

from rfloc.config import CityParams
from rfloc.frames import LocalFrame

FRAME = LocalFrame(45.0, 10.0)
BOX = [44.999, 45.001, 9.999, 10.001]  # about 222 m x 158 m round the origin

HOUSE = shapely.box(-60, -40, -40, -20)
BLOCK = Polygon(shapely.box(10, 10, 50, 50).exterior, [shapely.box(20, 20, 40, 40).exterior])
STREETS = {
    "primary": (LineString([(-80, 0), (80, 0)]), {"bridge": "viaduct"}),
    "residential": (LineString([(0, -80), (0, 80)]), {"tunnel": "no"}),
    "footway": (LineString([(-70, -80), (-70, 80)]), {"tunnel": "building_passage"}),
}


def city(**changes: object) -> CityParams:
    """A city from files in BOX."""
    base: dict[str, object] = {
        "name": "Testville", "source": "file", "buildings": "b.osm", "streets": "b.osm", "box": BOX,
    }  # fmt: skip
    return CityParams(**(base | changes))  # type: ignore[arg-type]


def write(path: Path, shapes: Iterable, crs: str | None = FRAME.crs, into: str | None = None, **columns: list) -> Path:
    """Shapes in metres, in degrees unless there is no `crs`; the suffix names the format, `into` a layer."""
    table = gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    table = table.to_crs(4326) if crs else table
    table.to_parquet(path, write_covering_bbox=True) if path.suffix == ".parquet" else table.to_file(path, layer=into)
    return path


@dataclass
class OsmMap:
    """Nodes (lon, lat), ways (node ids, tags), relations (way ids with roles, tags); ids count from 1."""

    nodes: list[tuple[float, float]] = field(default_factory=list)
    ways: list[tuple[list[int], dict[str, str]]] = field(default_factory=list)
    relations: list[tuple[list[tuple[int, str]], dict[str, str]]] = field(default_factory=list)

    def way(self, line: shapely.Geometry, **tags: str) -> int:
        """Add the vertices of a line in metres."""
        xy = shapely.get_coordinates(line)
        closed = bool((xy[0] == xy[-1]).all())
        lat, lon = FRAME.to_geographic(*xy[: len(xy) - closed].T)
        first = len(self.nodes) + 1
        self.nodes += zip(lon.round(9), lat.round(9), strict=True)
        ids = list(range(first, len(self.nodes) + 1))
        self.ways.append((ids + [first] * closed, tags))
        return len(self.ways)

    def json(self, **more: str) -> bytes:
        """As Overpass answers."""
        nodes = enumerate(self.nodes, 1)
        found: list[dict[str, object]] = [{"type": "node", "id": i, "lat": at[1], "lon": at[0]} for i, at in nodes]
        found += [{"type": "way", "id": i, "nodes": refs, "tags": tags} for i, (refs, tags) in enumerate(self.ways, 1)]
        for i, (members, tags) in enumerate(self.relations, 1):
            of = [{"type": "way", "ref": way, "role": role} for way, role in members]
            found.append({"type": "relation", "id": i, "members": of, "tags": tags})
        return json.dumps({"version": 0.6, "elements": found, **more}).encode()

    def write(
        self, path: Path, bounds: osmium.osm.Box | None = None, without: tuple[str, ...] = (), turned: bool = False
    ) -> Path:
        """Write to a `.osm` or `.pbf` file as extracts are published, with their bounds.

        `without` names what an extract cut off (`node 3`); `turned` is an editor's file: last first, ids below 0.
        """
        sign = -1 if turned else 1
        found: dict[str, Any] = {f"node {i}": Node(id=sign * i, location=at) for i, at in enumerate(self.nodes, 1)}
        for i, (refs, tags) in enumerate(self.ways, 1):
            found[f"way {i}"] = Way(id=sign * i, nodes=[sign * n for n in refs], tags=tags)
        for i, (members, tags) in enumerate(self.relations, 1):
            found[f"relation {i}"] = Relation(
                id=sign * i, members=[("w", sign * w, as_) for w, as_ in members], tags=tags
            )
        header = osmium.io.Header()
        if bounds:
            header.add_box(bounds)
        with osmium.SimpleWriter(path, header=header, overwrite=True) as writer:
            for name in reversed(found) if turned else found:
                if name not in without:
                    writer.add(found[name])
        return path


def small_map() -> OsmMap:
    """HOUSE, BLOCK and STREETS, a railway, and an address that is no building."""
    osm = OsmMap()
    osm.way(HOUSE.exterior, building="house", **{"building:levels": "2", "name": 'the "old" house'})
    outer, inner = osm.way(BLOCK.exterior), osm.way(BLOCK.interiors[0])
    tags = {"type": "multipolygon", "building": "apartments", "height": "21 m"}
    osm.relations.append(([(outer, "outer"), (inner, "inner")], tags))
    for name, (line, more) in STREETS.items():
        osm.way(line, highway=name, **more)
    osm.way(LineString([(-80, 60), (80, 60)]), railway="rail")
    osm.way(shapely.box(60, 60, 70, 70).exterior, landuse="grass")
    return osm
