"""Files of maps, packed or not, whatever their format: what they hold near a place, what they say they cover and lack.

OpenStreetMap's own formats are read by osmium, GeoParquet by geopandas, every other one by GDAL. Buildings that a tiled
source cut at the borders of its tiles are made whole again.
"""

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
from numpy.typing import NDArray
from pyproj import CRS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rfloc.arrays import Floats, Ints
from rfloc.city.columns import OTHER_TAGS, Kind
from rfloc.frames import Bounds

#: What reading a file that is damaged, or not what its name says, raises (RuntimeError: osmium and pyogrio).
UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, pyarrow.ArrowException, shapely.GEOSException)
_PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}


@dataclass
class Held:
    """What a file holds of a kind near a place."""

    features: gpd.GeoDataFrame  #: EPSG:4326, with the file's own columns, or tags as columns
    stated: Bounds | tuple[()] = ()  #: west, south, east, north [deg] that the file says it covers, where it does
    incomplete: Counter[str] = field(default_factory=Counter)  #: reason -> features that lack something


def read(path: Path, kind: Kind, area: gpd.GeoSeries | None) -> Held:
    """Features of a kind in a file whose bounds meet those of an area, or all (raises one of :data:`UNREADABLE`)."""
    with contextlib.ExitStack() as stack:
        if path.suffix.lower() in _PACKED:
            plain = Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.stem
            with _PACKED[path.suffix.lower()](path) as packed, plain.open("wb") as out:
                shutil.copyfileobj(packed, out)
            path = plain
        readers = {".parquet": _read_parquet, **dict.fromkeys((".osm", ".pbf"), _read_osm)}
        held = readers.get(path.suffix.lower(), _read_gdal)(path, kind, area)
    layer = held.features
    if {"building", "highway"} <= {*layer.columns} and OTHER_TAGS not in layer.columns:  # all in one layer
        said = [layer[k] == v if v else layer[k].notna() for k, v in kind.marks.items() if k in layer.columns]
        layer = layer[np.logical_or.reduce(said)]
    layer = layer[~(layer.geometry.isna() | layer.geometry.is_empty)].reset_index(drop=True)
    if "type" in layer.columns:  # of a relation it says how that is drawn, not what it is
        layer["type"] = layer["type"].mask(layer["type"] == "multipolygon")
    held.features = layer.set_geometry(shapely.force_2d(layer.geometry.to_numpy()), crs=layer.crs).to_crs(4326)
    return held


def _bounds(area: gpd.GeoSeries | None, crs: Any) -> Bounds | None:
    """West, south, east, north of an area in a coordinate system; all longitudes where it lies across the 180th."""
    if crs is None:
        raise ValueError("it says no coordinate system; degrees or metres, and which datum, would be a guess")
    if area is None:
        return None
    west, south, east, north = area.to_crs(crs).total_bounds
    return (-360.0, south, 360.0, north) if CRS(crs).is_geographic and east - west > 180 else (west, south, east, north)


def _read_parquet(path: Path, kind: Kind, area: gpd.GeoSeries | None) -> Held:
    about = json.loads((pyarrow.parquet.read_schema(path).metadata or {}).get(b"geo", b"{}"))
    if not about:
        raise ValueError("a plain Parquet table, no GeoParquet: its metadata name no geometry")
    column = about["columns"][about["primary_column"]]
    near = _bounds(area, column.get("crs", "OGC:CRS84"))
    layer = gpd.read_parquet(path, bbox=near if "covering" in column else None)
    return Held(layer if near is None else layer.cx[near[0] : near[2], near[1] : near[3]])


def _read_gdal(path: Path, kind: Kind, area: gpd.GeoSeries | None) -> Held:
    layers = []
    for name in _choose_layers(path, kind):
        info, wanted = pyogrio.read_info(path, layer=name), []
        for key, value in kind.marks.items():
            column = f'"{key}" IS NOT NULL' if value is None else f"\"{key}\" = '{value}'"
            tag = f'"{key}"=>' + ("" if value is None else f'"{value}"')
            wanted.append(column if key in info["fields"] else f"{OTHER_TAGS} LIKE '%{tag}%'")
        where = " OR ".join(wanted) if OTHER_TAGS in info["fields"] else None
        layers.append(pyogrio.read_dataframe(path, layer=name, where=where, bbox=_bounds(area, info["crs"])))
    return Held(pd.concat(layers, ignore_index=True))


def _choose_layers(path: Path, kind: Kind) -> list[str]:
    """The only layer of the right geometry, else the one whose name says what it holds; GDAL's own with its areas."""
    layers = {str(name): str(of) for name, of in pyogrio.list_layers(path)}
    fitting = [name for name, of in layers.items() if kind.geometry in of or of in ("Unknown", "GeometryCollection")]
    for found in (fitting, [name for name in fitting if name.lower() in kind.layers]):
        if len(found) == 1:
            return [*found, "multipolygons"] if found == ["lines"] and "multipolygons" in layers else found
    said = ", ".join(f"{name} ({of})" for name, of in layers.items())
    raise ValueError(f"{len(fitting)} of its layers hold {kind.geometry}s, none called {kind.layers[0]!r}: {said}")


def _read_osm(path: Path, kind: Kind, area: gpd.GeoSeries | None) -> Held:
    """Nodes, relations, their ways and other ways, one after the other, in whatever order a file has them.

    A way that lacks nodes is the line through the others; of a multipolygon that lacks ways whole outer rings are kept.
    """
    import osmium
    from osmium.osm import NODE, RELATION, WAY

    west, south, east, north = _bounds(area, 4326) or (-360.0, -90.0, 360.0, 90.0)
    file, keys = osmium.io.File(str(path), path.suffix.lower()[1:]), osmium.filter.KeyFilter(*kind.marks)
    to_wkb, places = osmium.geom.WKBFactory(), osmium.NodeLocationsForWays(osmium.index.create_map("flex_mem"))
    places.ignore_errors()
    with osmium.io.Reader(file, NODE) as reader:
        osmium.apply(reader, places)
        box = reader.header().box()
    low, high = box.bottom_left, box.top_right
    held = Held(gpd.GeoDataFrame(), (low.lon, low.lat, high.lon, high.lat) if box.valid() else ())
    features: list[tuple[dict[str, str], Any]] = []

    def each(entity: Any, *chosen: Any) -> Iterator[Any]:
        with osmium.io.Reader(file, entity) as reader:
            yield from osmium.OsmFileIterator(reader, places, *chosen)

    @functools.cache
    def new() -> dict[int, tuple[float, float]]:
        """Nodes of negative number, which an editor gave and osmium's table leaves out."""
        return {node.id: (node.lon, node.lat) for node in each(NODE) if node.id < 0}

    def line(way: Any) -> tuple[Any, bool]:
        """The line through the nodes of a way that are there [deg], and whether all are."""
        try:
            return shapely.from_wkb(to_wkb.create_linestring(way)), True
        except (osmium.InvalidLocationError, RuntimeError):
            at = [new().get(n.ref) if n.ref < 0 else n.location.valid() and (n.lon, n.lat) for n in way.nodes]
            points = list(filter(None, at))
            return shapely.LineString(points * 2 if len(points) == 1 else points), len(points) == len(at)

    def take(tags: Any, shape: Any, drawn: Any, lacks: str) -> None:
        """Keep a feature if it is of the kind and what is drawn of it lies near, and count what it lacks."""
        if any(tags.get(key) == value if value else key in tags for key, value in kind.marks.items()):
            x_min, y_min, x_max, y_max = drawn.bounds
            if x_min <= east and x_max >= west and y_min <= north and y_max >= south:
                area = kind.geometry == "Polygon" and not lacks and shape.geom_type == "LineString"
                features.append((dict(tags), shapely.Polygon(shape) if area else shape))
                held.incomplete.update([lacks] if lacks else [])

    multipolygons = osmium.filter.TagFilter(("type", "multipolygon"))
    relations = [(dict(r.tags), [m for m in r.members if m.type == "w"]) for r in each(RELATION, keys, multipolygons)]
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
    held.features = gpd.GeoDataFrame([tags for tags, _ in features], geometry=[s for _, s in features], crs=4326)
    return held


TOLERANCE = 0.1  #: coordinates this close to a border lie on it [m]: sources round to 1e-6 deg
MIN_LENGTH = 0.2  #: edges on a border shorter than this say nothing [m]
MIN_SHARE = 0.5  #: two pieces belong together where their edges on a border share this much of the shorter one
_EQUATOR = 2 * np.pi * 6378137.0  #: of Web Mercator's sphere [m]


def unite_pieces(pieces: gpd.GeoDataFrame, zoom: int) -> tuple[gpd.GeoDataFrame, Ints]:
    """Unite pieces of buildings that were cut at the borders of Web Mercator tiles of a zoom level.

    Two pieces belong together where each has an edge on the same border, one on either side, the edges overlap, and all
    their other columns agree. Neighbours that only touch elsewhere stay apart. Takes valid Polygons, EPSG:4326, with
    columns of tags; gives what no border cut, what was united (MultiPolygons where rounding parts one), their pieces.
    """
    tags = pieces.drop(columns="geometry")
    said = tags.astype(str).where(tags.notna(), "")  # None and NaN are both silence
    label = pd.factorize(pd.util.hash_pandas_object(said, index=False))[0]
    middle, tile = _EQUATOR / 2, _EQUATOR / 2**zoom  # Web Mercator, a tile its unit: borders lie at whole numbers
    in_tiles = f"+proj=webmerc +datum=WGS84 +over +x_0={middle} +y_0={middle} +to_meter={tile}"  # over the 180th, too
    flat = pieces.to_crs(CRS(in_tiles))
    a, b = _facing(flat.geometry.to_numpy(), zoom)
    same = label[a] == label[b]
    links = coo_array((np.ones(same.sum()), (a[same], b[same])), shape=(len(pieces), len(pieces)))
    building = connected_components(links, directed=False)[1]
    count = np.bincount(building)
    cut = count[building] > 1
    if not cut.any():
        return pieces, count
    snapped = flat[cut].set_geometry(flat.geometry[cut].transform(lambda xy: _on_borders(xy, zoom)[0]).make_valid())
    united = snapped.dissolve(building[cut]).to_crs(pieces.crs)
    out = pd.concat([pieces[~cut], united], ignore_index=True)
    return out, np.concatenate([count[building[~cut]], count[united.index]])


def _on_borders(xy: Floats, zoom: int) -> tuple[Floats, Floats]:
    """Coordinates [tiles] (n, 2), moved exactly onto the borders they lie on, and a tile's width there [m], (n,)."""
    border, width = np.round(xy), _EQUATOR / 2**zoom / np.cosh(2 * np.pi * (xy[:, 1] / 2**zoom - 0.5))
    return np.where(np.abs(xy - border) * width[:, None] < TOLERANCE, border, xy), width


def _facing(shapes: NDArray[np.object_], zoom: int) -> Ints:
    """Pairs of polygons [tiles] with edges on one border that overlap, one on either side: their rows, (2, n)."""
    rings, piece = shapely.get_rings(shapes, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    middle = shapely.bounds(shapes).reshape(-1, 2, 2).mean(axis=1)
    xy, width = _on_borders(corners, zoom)
    found = []
    for axis in (0, 1):
        on = xy[:, axis] == np.round(xy[:, axis])
        k = np.flatnonzero(on[1:] & on[:-1] & (xy[1:, axis] == xy[:-1, axis]) & (ring[1:] == ring[:-1]))
        along = np.sort(np.column_stack([corners[k, 1 - axis], corners[k + 1, 1 - axis]]))
        long = np.ptp(along, axis=1) * width[k] >= MIN_LENGTH
        (low, high), border, owner = along[long].T, xy[k[long], axis], piece[ring[k[long]]]
        after = middle[owner, axis] > border
        i, j = shapely.STRtree(shapely.box(low, border, high, border)).query(shapely.box(low, border, high, border))
        overlap = np.minimum(high[i], high[j]) - np.maximum(low[i], low[j])
        enough = overlap >= MIN_SHARE * np.minimum(high[i] - low[i], high[j] - low[j])
        found.append(owner[np.stack([i, j])[:, enough & (after[j] > after[i])]])
    return np.concatenate(found, axis=1)
