"""Footprints and streets of a city from OpenStreetMap, whatever the file: the same columns, repaired, in its frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from rfloc.city import box_bounds
from rfloc.city.tiles import unite_pieces
from rfloc.city.vector import read_layer
from rfloc.config import CityParams
from rfloc.errors import DataError
from rfloc.frames import LocalFrame

if TYPE_CHECKING:
    import geopandas as gpd

#: Footprints smaller, or on average narrower, than this are noise [m2], [m].
MIN_AREA = 1.0
MIN_WIDTH = 0.1

#: Columns that heights come from: OSM's tags, OpenMapTiles' fields and their plain names.
BUILDING_COLUMNS = (
    "kind", "building", "amenity", "height", "building:height", "levels", "building:levels", "render_height",
    "height_tagged",
)  # fmt: skip

#: Columns that say what a street is: OSM's tags and OpenMapTiles' fields.
STREET_COLUMNS = ("class", "highway", "tunnel", "bridge", "brunnel")

#: Full width [m] of the strip along a street's centre line where a UE may be, by class (OpenMapTiles or OSM `highway`).
#: Other classes (rail, subway, construction, ...) carry no UEs.
STREET_WIDTH = {
    "motorway": 14.0, "trunk": 14.0, "primary": 12.0, "secondary": 10.0, "tertiary": 9.0, "minor": 8.0,
    "unclassified": 8.0, "residential": 8.0, "road": 8.0, "living_street": 7.0, "service": 6.0, "pedestrian": 7.0,
    "path": 4.0, "footway": 4.0, "cycleway": 4.0, "bridleway": 4.0, "steps": 4.0, "track": 5.0,
    **dict.fromkeys([f"{of}_link" for of in ("motorway", "trunk", "primary", "secondary", "tertiary")], 7.0),
}  # fmt: skip

#: Values of a tag that deny it.
_DENIED = ("no", "false", "0", "")


def read_buildings(params: CityParams, frame: LocalFrame, source: Path) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Building footprints in a city's box and margin, before they have heights.

    Self-crossing polygons are repaired, buildings cut at tile borders (`tile_zoom`) united, of several polygons with
    one outline only the one with courtyards is kept, and slivers are dropped.

    Parameters
    ----------
    params : CityParams
        `box`, `margin` and `tile_zoom` count.
    frame : LocalFrame
        Frame of the result [m].
    source : Path
        A file that :func:`rfloc.city.vector.read_layer` reads.

    Returns
    -------
    footprints : GeoDataFrame
        Column geometry (valid Polygons, holes are courtyards), and those of :data:`BUILDING_COLUMNS` that hold
        anything, for :func:`rfloc.city.heights.assign_heights`.
    facts : dict
        Counts: `polygons` (features read near the box), `in_box_polygons` of them with their centroid in the box,
        `repaired`, `duplicates`, `pieces` of cut buildings and the `united` buildings made of them, `dropped` slivers,
        `buildings` left in box and margin.

    Raises
    ------
    DataError
        If the file can't be read, or holds no footprint in the box.
    """
    assert params.box is not None
    layer = read_layer(source, "buildings", BUILDING_COLUMNS, params.box, params.margin, frame)
    if "building" in layer.columns:
        layer = layer[~layer["building"].isin(["no"])]
    if "height_tagged" in layer.columns:  # where false, OpenMapTiles' height is a filler
        fields = layer.columns.intersection(["render_height", "height_tagged"])
        layer[fields] = layer[fields].where(layer["height_tagged"].isin([True]))
    lat_min, lat_max, lon_min, lon_max = params.box
    centre = shapely.get_coordinates(shapely.centroid(layer.geometry.to_numpy()))  # [n, 2] lon, lat
    in_box = (centre >= [lon_min, lat_min]).all(axis=1) & (centre <= [lon_max, lat_max]).all(axis=1)
    facts: dict[str, Any] = {"polygons": len(layer), "in_box_polygons": int(in_box.sum())}

    valid = layer.is_valid
    facts["repaired"] = int((~valid).sum())
    layer.loc[~valid, "geometry"] = layer.loc[~valid, "geometry"].make_valid()
    layer = _polygons(layer)
    rows = len(layer)
    layer = _without_doubles(layer)
    facts["duplicates"] = rows - len(layer)
    if params.tile_zoom is not None:
        layer, count = unite_pieces(layer, params.tile_zoom)
        facts |= {"pieces": int(count[count > 1].sum()), "united": int((count > 1).sum())}

    layer = _polygons(layer.to_crs(frame.crs))
    layer = layer[layer.intersects(shapely.box(*box_bounds(frame, params.box, params.margin)))]
    sliver = (layer.area < MIN_AREA) | (2.0 * layer.area < MIN_WIDTH * layer.length)
    facts |= {"dropped": int(sliver.sum()), "buildings": int((~sliver).sum())}
    if sliver.all():
        raise DataError(
            f"{source.name} has no footprint in the box {params.box}",
            f"of {facts['polygons']} features near it none is a polygon of {MIN_AREA:g} m2 inside",
            "footprints are polygons: check which file `buildings` names, or choose another box",
        )
    columns = ["geometry", *(name for name in BUILDING_COLUMNS if name in layer.columns)]
    return layer.loc[~sliver, columns].reset_index(drop=True), facts


def _polygons(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Every polygon a row of its own, other geometries left out."""
    for _ in range(2):  # a repaired polygon may be a collection that holds multipolygons
        layer = layer.explode(index_parts=False, ignore_index=True)
    out = layer[layer.geom_type == "Polygon"].reset_index(drop=True)
    return out.set_geometry(shapely.remove_repeated_points(out.geometry.to_numpy()), crs=out.crs)


def _without_doubles(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Of polygons with the same outline, the one with the largest courtyards; what its tags lack, the others give."""
    outline = shapely.normalize(shapely.polygons(shapely.get_exterior_ring(layer.geometry.to_numpy())))
    key = pd.Series(shapely.to_wkb(outline), index=layer.index)
    double = key.duplicated(keep=False)
    if not double.any():
        return layer
    some = layer[double].assign(outline=key[double])
    some = some.iloc[np.argsort(shapely.area(some.geometry.to_numpy()), kind="stable")]
    merged = some.drop(columns="geometry").groupby("outline", sort=False).first()
    merged = some.drop_duplicates("outline")[["outline", "geometry"]].join(merged, on="outline").drop(columns="outline")
    return pd.concat([layer[~double], merged[layer.columns]], ignore_index=True)


def read_streets(params: CityParams, frame: LocalFrame, source: Path) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Street centre lines in a city's box and margin where a UE may be.

    Parameters
    ----------
    params, frame, source
        As in :func:`read_buildings`.

    Returns
    -------
    streets : GeoDataFrame
        Columns geometry (lines), class, width [m], tunnel, bridge (bool). Tunnels are kept in the table and left out of
        the raster.
    facts : dict
        Counts: `streets`, `street_classes` (class -> lines), `tunnels`, `bridges`, and `lines_without_ues` of other
        classes.

    Raises
    ------
    DataError
        If the file can't be read, names no street class, or has no street of a known class in the box.
    """
    assert params.box is not None
    layer = read_layer(source, "streets", STREET_COLUMNS, params.box, params.margin, frame).to_crs(frame.crs)
    layer = layer[layer.intersects(shapely.box(*box_bounds(frame, params.box, params.margin)))].reset_index(drop=True)
    name = next((column for column in ("class", "highway") if column in layer.columns), None)
    if name is None:
        raise DataError(
            f"{source.name} says no street's class in a column `class` or `highway`",
            f"a street is as wide as its class; of {', '.join(STREET_COLUMNS)} it fills "
            f"{', '.join(layer.columns[1:]) or 'none'}",
            "add the column, and fill it",
        )
    out = layer[["geometry"]].copy()
    out["class"] = layer[name].astype(str)
    out["width"] = out["class"].map(STREET_WIDTH).astype(float)
    for flag in ("tunnel", "bridge"):
        said = layer[flag] if flag in layer.columns else pd.Series(None, index=layer.index, dtype=object)
        out[flag] = said.notna() & ~said.astype(str).str.lower().isin(_DENIED)
        if "brunnel" in layer.columns:  # OpenMapTiles' word for both
            out[flag] |= layer["brunnel"] == flag
    lines = out.geom_type.isin(["LineString", "MultiLineString"])
    kept = out[lines & out["width"].notna()].reset_index(drop=True)
    if kept.empty:
        raise DataError(
            f"{source.name} has no street of a known class in the box {params.box}",
            f"its classes there are {', '.join(sorted(set(out['class'])))}",
            f"known classes are {', '.join(STREET_WIDTH)}",
        )
    facts: dict[str, Any] = {
        "streets": len(kept),
        "street_classes": {str(k): int(v) for k, v in kept["class"].value_counts().items()},
        "tunnels": int(kept["tunnel"].sum()),
        "bridges": int(kept["bridge"].sum()),
        "lines_without_ues": int(len(out) - len(kept)),
    }
    return kept, facts
