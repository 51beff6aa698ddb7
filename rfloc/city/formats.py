"""Files of maps, packed or not, whatever their format: what they hold near a place, how far they reach, what they lack.

OpenStreetMap's own formats are read by osmium, GeoParquet by geopandas, every other one by GDAL.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet
import pyogrio
import shapely
from pyproj import CRS

from rfloc.city.columns import OTHER_TAGS, Kind

Bounds = tuple[float, float, float, float]

#: What reading a file that is damaged, or not what its name says, raises (RuntimeError: osmium).
UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, pyarrow.ArrowException, shapely.GEOSException,
    pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError,
)  # fmt: skip

#: Suffixes that osmium reads, and those of packed files.
_OSM = (".osm", ".pbf", ".o5m", ".opl")
_PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}


@dataclass
class Held:
    """What a file holds of a kind near a place."""

    features: gpd.GeoDataFrame  #: EPSG:4326, with the file's own columns, or tags as columns
    extent: Bounds  #: west, south, east, north [deg] of all features of the file, NaN where it has none
    stated: Bounds | tuple[()] = ()  #: those that the file says it covers, where it does
    incomplete: Counter[str] = field(default_factory=Counter)  #: reason -> features near the place that lack something


def read(path: Path, kind: Kind, area: gpd.GeoSeries) -> Held:
    """Features of a kind in a file whose bounds meet those of an area (raises one of :data:`UNREADABLE`)."""
    with _unpacked(path) as plain:
        suffix = plain.suffix.lower()
        if suffix in _OSM:
            held = _read_osm(plain, kind, _bounds(area, 4326))
        else:
            held = _read_parquet(plain, area) if suffix == ".parquet" else _read_gdal(plain, kind, area)
    layer = held.features
    if {"building", "highway"} <= {*layer.columns} and OTHER_TAGS not in layer.columns:  # all in one layer
        said = [layer[k] == v if v else layer[k].notna() for k, v in kind.marks.items() if k in layer.columns]
        layer = layer[np.logical_or.reduce(said)]
    layer = layer[~(layer.geometry.isna() | layer.geometry.is_empty)].reset_index(drop=True)
    if "type" in layer.columns:  # of a relation it says how that is drawn, not what it is
        layer["type"] = layer["type"].mask(layer["type"] == "multipolygon")
    held.features = layer.set_geometry(shapely.force_2d(layer.geometry.to_numpy()), crs=layer.crs)
    return held


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or its content in a folder that goes with the block."""
    if path.suffix.lower() not in _PACKED:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with _PACKED[path.suffix.lower()](path) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out)
        yield plain


def _bounds(area: gpd.GeoSeries, crs: Any) -> Bounds:
    """West, south, east, north of an area in a coordinate system; all longitudes where it lies across the 180th."""
    if crs is None:
        raise ValueError("it says no coordinate system; degrees or metres, and which datum, would be a guess")
    west, south, east, north = area.to_crs(crs).total_bounds
    return (-360.0, south, 360.0, north) if CRS(crs).is_geographic and east - west > 180 else (west, south, east, north)


def _read_parquet(path: Path, area: gpd.GeoSeries) -> Held:
    about = json.loads((pyarrow.parquet.read_schema(path).metadata or {}).get(b"geo", b"{}"))
    if not about:
        raise ValueError("a plain Parquet table, no GeoParquet: its metadata name no geometry")
    column = about["columns"][about["primary_column"]]
    crs = column.get("crs", "OGC:CRS84")
    near = _bounds(area, crs)
    layer = gpd.read_parquet(path, bbox=near if "covering" in column else None)
    reach = column.get("bbox", list(layer.total_bounds))
    extent = gpd.GeoSeries([shapely.box(*reach[:2], *reach[len(reach) // 2 :][:2])], crs=crs).to_crs(4326).total_bounds
    return Held(layer.cx[near[0] : near[2], near[1] : near[3]].to_crs(4326), tuple(extent))


def _read_gdal(path: Path, kind: Kind, area: gpd.GeoSeries) -> Held:
    layers, extents = [], []
    for name in _choose_layers(path, kind):
        info = pyogrio.read_info(path, layer=name, force_total_bounds=True)
        near = _bounds(area, info["crs"])
        fields, wanted = info["fields"], []
        for key, value in kind.marks.items():
            column = f'"{key}" IS NOT NULL' if value is None else f"\"{key}\" = '{value}'"
            tag = f'"{key}"=>' + ("" if value is None else f'"{value}"')
            wanted.append(column if key in fields else f"{OTHER_TAGS} LIKE '%{tag}%'")
        where = " OR ".join(wanted) if OTHER_TAGS in fields else None
        layers.append(pyogrio.read_dataframe(path, layer=name, where=where, bbox=near).to_crs(4326))
        reach = gpd.GeoSeries([shapely.box(*info["total_bounds"])], crs=info["crs"])
        extents.append(reach.to_crs(4326).total_bounds)
    return Held(pd.concat(layers, ignore_index=True), _union(extents))


def _choose_layers(path: Path, kind: Kind) -> list[str]:
    """The only layer of the right geometry, else the one whose name says what it holds; GDAL's own with its areas."""
    layers = {str(name): str(of) for name, of in pyogrio.list_layers(path)}
    fitting = [name for name, of in layers.items() if kind.geometry in of or of in ("Unknown", "GeometryCollection")]
    for found in (fitting, [name for name in fitting if name.lower() in kind.layers]):
        if len(found) == 1:
            return [*found, "multipolygons"] if found == ["lines"] and "multipolygons" in layers else found
    said = ", ".join(f"{name} ({of})" for name, of in layers.items())
    raise ValueError(f"{len(fitting)} of its layers hold {kind.geometry}s, none called {kind.layers[0]!r}: {said}")


def _read_osm(path: Path, kind: Kind, near: Bounds) -> Held:
    """Nodes, relations, their ways and other ways, one after the other, in whatever order a file has them.

    A way that lacks nodes is the line through those that are there; of a multipolygon that lacks ways the outer rings
    that are whole are kept.
    """
    import osmium
    from osmium.osm import NODE, RELATION, WAY

    file, keys = osmium.io.File(str(path), path.suffix.lower()[1:]), osmium.filter.KeyFilter(*kind.marks)
    to_wkb, places = osmium.geom.WKBFactory(), osmium.NodeLocationsForWays(osmium.index.create_map("flex_mem"))
    places.ignore_errors()
    with osmium.io.Reader(file, NODE) as reader:
        osmium.apply(reader, places)
        box = reader.header().box()

    def each(entity: Any, *chosen: Any) -> Iterator[Any]:
        with osmium.io.Reader(file, entity) as reader:
            yield from osmium.OsmFileIterator(reader, places, *chosen)

    @functools.cache
    def new_nodes() -> dict[int, tuple[float, float]]:
        """Nodes of negative number, which an editor gave and osmium's table leaves out."""
        return {node.id: (node.lon, node.lat) for node in each(NODE) if node.id < 0}

    def place(node: Any) -> tuple[float, float] | None:
        known = (node.lon, node.lat) if node.location.valid() else None
        return new_nodes().get(node.ref) if node.ref < 0 else known

    def line(way: Any) -> tuple[Any, bool]:
        """The line through the nodes of a way that are there [deg], and whether all are."""
        try:
            return shapely.from_wkb(to_wkb.create_linestring(way)), True
        except (osmium.InvalidLocationError, RuntimeError):
            nodes = [place(node) for node in way.nodes]
            points = [at for at in nodes if at is not None]
            return shapely.LineString(points * 2 if len(points) == 1 else points), len(points) == len(nodes)

    features: list[tuple[dict[str, str], Any]] = []
    reach, incomplete = [(np.nan,) * 4], Counter[str]()

    def take(tags: Any, shape: Any, drawn: Any, lacks: str) -> None:
        """Keep a feature if it is of the kind and what is drawn of it lies near, and count what it lacks."""
        if any(tags.get(key) == value if value else key in tags for key, value in kind.marks.items()):
            west, south, east, north = drawn.bounds
            reach.append(drawn.bounds)
            if west <= near[2] and east >= near[0] and south <= near[3] and north >= near[1]:
                area = kind.geometry == "Polygon" and not lacks and shape.geom_type == "LineString"
                features.append((dict(tags), shapely.Polygon(shape) if area else shape))
                incomplete.update([lacks] if lacks else [])

    relations = [(dict(r.tags), [m for m in r.members if m.type == "w"]) for r in each(RELATION, keys)]
    relations = [(tags, of) for tags, of in relations if tags.get("type") == "multipolygon"]
    ids = {way.ref for _, of in relations for way in of}
    chosen = [osmium.filter.IdFilter(ids)] if min(ids, default=0) >= 0 else []
    drawn = ((way.id, *line(way)) for way in each(WAY, *chosen) if way.id in ids)
    rings = {number: ring for number, ring, whole in drawn if whole}
    for tags, of in relations:
        there = [way for way in of if way.ref in rings]
        lines = shapely.GeometryCollection([rings[way.ref] for way in there])
        if len(there) == len(of):
            shape = shapely.build_area(lines)
            take(tags, shape, lines, "an outline is not closed" if shape.is_empty else "")
        else:
            holes = shapely.polygonize([rings[way.ref] for way in there if way.role == "inner"])
            outer = shapely.polygonize([rings[way.ref] for way in there if way.role != "inner"])
            take(tags, outer.buffer(0) - holes.buffer(0), lines, "a multipolygon lacks ways")
    for way in each(WAY, keys):
        shape, whole = line(way)
        ring = way.is_closed() and shapely.get_num_coordinates(shape) > 3
        lacks = "an outline is not closed" if kind.geometry == "Polygon" and not ring else ""
        take(way.tags, shape, shape, lacks if whole else "a way lacks nodes")
    layer = gpd.GeoDataFrame([tags for tags, _ in features], geometry=[shape for _, shape in features], crs=4326)
    if box.valid():
        low, high = box.bottom_left, box.top_right
        return Held(layer, _union(reach), (low.lon, low.lat, high.lon, high.lat), incomplete)
    return Held(layer, _union(reach), (), incomplete)


def _union(bounds: list[Any]) -> Bounds:
    """The smallest bounds round several, NaN round none."""
    return (*np.fmin.reduce(bounds)[:2], *np.fmax.reduce(bounds)[2:])
