"""Vector files to features near a city's box, in degrees, with the columns asked for: one reader for every format."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError
from xml.sax import SAXParseException

import shapely

from rfloc.city import Bounds, box_bounds
from rfloc.config import project_root
from rfloc.errors import ConfigError, DataError
from rfloc.frames import LocalFrame

if TYPE_CHECKING:
    import geopandas as gpd

#: A coordinate system's bounds of what is to be read.
Near = Callable[[Any], Bounds]

#: Features this far outside a city are read too [m], so that a building cut at a tile border there is whole.
REACH = 200.0

#: What a file may hold: kind -> (OSM tag that marks it, geometry, names of its layer where a file has several).
KINDS = {
    "buildings": ("building", "Polygon", ("buildings", "building", "multipolygons")),
    "streets": ("highway", "LineString", ("streets", "street", "roads", "road", "highways", "transportation", "lines")),
}

#: Column in which GDAL keeps the tags that have no column of their own, as `"key"=>"value"`.
_OTHER_TAGS = "other_tags"


def data_folders(data_root: Path, project: Path | None = None) -> list[Path]:
    """Where input files lie: `data_root`, then `data/` of the project, by default of the one round the working folder.

    Outside a project there is only `data_root`.
    """
    folders = [Path(data_root)]
    with contextlib.suppress(ConfigError):
        folders.append((project or project_root()) / "data")
    return folders


def resolve(name: str, data_root: Path, project: Path | None = None) -> Path:
    """The input file `name` in the first of :func:`data_folders` that has it (raises DataError naming them)."""
    folders = data_folders(data_root, project)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"there is no file {name}",
        "looked for " + " and ".join(str(folder / name) for folder in dict.fromkeys(folders)),
        "check the name, and that data.root (or RFLOC_DATA) is the folder that it starts from; "
        "Rome's files come with `rfloc fetch rome`",
    )


def read_layer(
    path: Path, kind: str, columns: tuple[str, ...], box: list[float], margin: float, frame: LocalFrame
) -> gpd.GeoDataFrame:
    """Features of a file near a box.

    Parameters
    ----------
    path : Path
        GeoParquet (`.parquet`), OpenStreetMap XML (`.osm`) or its binary form (`.pbf`), or anything else that GDAL
        reads (GeoPackage, GeoJSON, ...).
    kind : {"buildings", "streets"}
        What is looked for. A file with several layers gives the only one of the right geometry, else the one with a
        name in :data:`KINDS`; a file with both tags in :data:`KINDS` gives the features that have this kind's.
    columns : tuple of str
        Columns to keep where the file has them, under OSM's names.
    box : list of float
        lat_min, lat_max, lon_min, lon_max [deg].
    margin : float
        The box is widened by this on each side [m].
    frame : LocalFrame
        Frame in which the margin is measured.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; every feature that comes within :data:`REACH` of the box and its margin, and some beyond.

    Raises
    ------
    DataError
        If the file is missing or unreadable, says no coordinate system, has no layer of this kind or nothing in the
        box.
    """
    import geopandas as gpd
    import pyarrow
    import pyogrio

    if not path.is_file():
        raise DataError(f"there is no file {path}", "", "check the city's `buildings` and `streets`")
    local = gpd.GeoSeries([shapely.box(*box_bounds(frame, box, margin + REACH))], crs=frame.crs)

    def near(crs: Any) -> Bounds:
        if crs is None:
            raise DataError(
                f"{path} says no coordinate system",
                "degrees or metres, and which datum, would be a guess",
                "write it again with a CRS, e.g. `gdf.set_crs(4326)` before saving",
            )
        return tuple(local.to_crs(crs).total_bounds)

    read = {".parquet": _read_parquet, ".osm": _read_xml}.get(path.suffix.lower(), _read_gdal)
    try:
        layer = _of_kind(read(path, kind, near), kind)
        if layer.empty:
            raise _outside(path, kind, box, _of_kind(read(path, kind, None), kind))
    except (
        pyarrow.ArrowException, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, shapely.GEOSException,
        OSError, ValueError, KeyError, ParseError, SAXParseException,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path} can't be read as {kind}", f"{type(error).__name__}: {error}", "is it whole, and a vector file?"
        ) from None
    layer = layer[~(layer.geometry.isna() | layer.geometry.is_empty)]
    return _with_columns(layer, columns).to_crs(4326).reset_index(drop=True)


def _of_kind(layer: gpd.GeoDataFrame, kind: str) -> gpd.GeoDataFrame:
    """Of a file in which buildings, streets and more lie together, the features with the tag of their kind."""
    mixed = {tag for tag, _, _ in KINDS.values()} <= set(layer.columns)
    return layer[layer[KINDS[kind][0]].notna()] if mixed else layer


def _read_parquet(path: Path, kind: str, near: Near | None) -> gpd.GeoDataFrame:
    """Row groups near the box where the file has a column of bounding boxes, else every row."""
    import geopandas as gpd
    import pyarrow.parquet as pq
    from pyproj import CRS

    about = json.loads((pq.read_schema(path).metadata or {}).get(b"geo", b"null"))
    if about is None:
        raise ValueError("a plain Parquet table, no GeoParquet: its metadata name no geometry")
    column = about["columns"][about["primary_column"]]
    crs = CRS.from_user_input(column.get("crs", "OGC:CRS84")) if column.get("crs", "") is not None else None
    if near is None:
        return gpd.read_parquet(path)
    x_min, y_min, x_max, y_max = bounds = near(crs)
    layer = gpd.read_parquet(path, bbox=bounds if "covering" in column else None)
    return layer.cx[x_min:x_max, y_min:y_max]


def _read_xml(path: Path, kind: str, near: Near | None) -> gpd.GeoDataFrame:
    """Features with the tag of their kind, by osmnx."""
    import geopandas as gpd
    from osmnx._errors import InsufficientResponseError
    from osmnx.features import features_from_xml

    try:
        layer = features_from_xml(path, tags={KINDS[kind][0]: True})
    except InsufficientResponseError:  # the file is whole and has none
        return gpd.GeoDataFrame(geometry=[], crs=4326)
    if near is None:
        return layer
    x_min, y_min, x_max, y_max = near(layer.crs)
    return layer.cx[x_min:x_max, y_min:y_max]


def _read_gdal(path: Path, kind: str, near: Near | None) -> gpd.GeoDataFrame:
    """One layer of a file that GDAL reads; of OpenStreetMap's features only those with the tag of their kind."""
    import pyogrio

    layer = _choose_layer(path, kind)
    about = pyogrio.read_info(path, layer=layer)
    where = f"{KINDS[kind][0]} IS NOT NULL" if _OTHER_TAGS in about["fields"] else None
    bbox = near(about["crs"]) if near is not None else None
    return pyogrio.read_dataframe(path, layer=layer, where=where, bbox=bbox)


def _choose_layer(path: Path, kind: str) -> str:
    """The only layer of the right geometry, else the one whose name says what it holds."""
    import pyogrio

    _, geometry, names = KINDS[kind]
    layers = {str(name): str(of) for name, of in pyogrio.list_layers(path)}
    fitting = [name for name, of in layers.items() if geometry in of or of in ("Unknown", "GeometryCollection")]
    named = [name for name in fitting if name.lower() in names]
    for found in (fitting, named):
        if len(found) == 1:
            return found[0]
    raise DataError(
        f"{path} has {len(fitting)} layers that may hold {kind}",
        "its layers are " + ", ".join(f"{name} ({of})" for name, of in layers.items()),
        f"keep one with {geometry}s, or call it {names[0]!r}"
        if fitting
        else f"name a file with {geometry}s as the city's `{kind}`",
    )


def _with_columns(layer: gpd.GeoDataFrame, columns: tuple[str, ...]) -> gpd.GeoDataFrame:
    """Geometry and the columns asked for, also where GDAL wrote `building_levels` or put tags into one column."""
    import geopandas as gpd

    out = gpd.GeoDataFrame(geometry=layer.geometry.array, index=layer.index)
    for name in columns:
        spelt = next((n for n in (name, name.replace(":", "_")) if n in layer.columns), None)
        if spelt is not None:
            out[name] = layer[spelt]
        elif _OTHER_TAGS in layer.columns:
            pattern = rf'(?:^|,)"{re.escape(name)}"=>"((?:[^"\\]|\\.)*)"'
            out[name] = layer[_OTHER_TAGS].astype(object).str.extract(pattern, expand=False)
    return out.dropna(axis="columns", how="all")


def _outside(path: Path, kind: str, box: list[float], layer: gpd.GeoDataFrame) -> DataError:
    """The error of a file without a feature near the box; `layer` is all that the file has."""
    if layer.empty:
        return DataError(
            f"{path.name} has no {kind}",
            f"it can be read, but no feature in it is one (in OpenStreetMap's files: has the tag {KINDS[kind][0]!r})",
            f"name another file as the city's `{kind}`",
        )
    lat_min, lat_max, lon_min, lon_max = box
    x_min, y_min, x_max, y_max = layer.total_bounds
    if layer.crs.is_geographic and (x_min < -180.5 or x_max > 180.5 or y_min < -90.5 or y_max > 90.5):
        return DataError(
            f"{path.name} says that its coordinates are degrees, and they are not",
            f"x runs from {x_min:g} to {x_max:g}, y from {y_min:g} to {y_max:g}",
            "write it again with the CRS that its coordinates have",
        )
    x_min, y_min, x_max, y_max = layer.to_crs(4326).total_bounds
    extent = shapely.box(x_min, y_min, x_max, y_max)
    if extent.intersects(shapely.box(lon_min, lat_min, lon_max, lat_max)):
        return DataError(
            f"{path.name} has no {kind} in the box {box}",
            "the file's extent covers the box, but no feature lies in it",
            "check the order lat_min, lat_max, lon_min, lon_max, or choose another box",
        )
    away, swapped_away = (
        extent.distance(shapely.box(*edges))
        for edges in ((lon_min, lat_min, lon_max, lat_max), (lat_min, lon_min, lat_max, lon_max))
    )
    return DataError(
        f"the box {box} lies outside {path.name}",
        f"the file covers lat {y_min:.4f}..{y_max:.4f}, lon {x_min:.4f}..{x_max:.4f}",
        "latitude and longitude are swapped, in the file or in the box: a box is lat_min, lat_max, lon_min, lon_max, "
        "and in a file x is the longitude"
        if swapped_away < min(away, 1.0)
        else "move the box, or use an extract that covers it",
    )
