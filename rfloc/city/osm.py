"""Footprints and streets from a file (GeoParquet, GeoPackage, GeoJSON) to a city's frame."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rfloc.city import box_bounds
from rfloc.city.heights import assign_heights
from rfloc.config import project_root
from rfloc.errors import ConfigError, DataError
from rfloc.frames import LocalFrame

if TYPE_CHECKING:
    import geopandas as gpd

#: Footprints smaller than this are noise [m2].
MIN_AREA = 1.0

#: Full width [m] of the strip along a street's centre line where a UE may be, by class (OpenMapTiles or OSM `highway`).
#: Other classes (rail, subway, construction, ...) carry no UEs.
STREET_WIDTH = {
    "motorway": 14.0, "trunk": 14.0, "primary": 12.0, "secondary": 10.0, "tertiary": 9.0, "minor": 8.0,
    "unclassified": 8.0, "residential": 8.0, "living_street": 7.0, "service": 6.0, "pedestrian": 7.0, "path": 4.0,
    "footway": 4.0, "cycleway": 4.0, "steps": 4.0, "track": 5.0,
}  # fmt: skip


def resolve(name: str, data_root: Path) -> Path:
    """The input file `name`: under `data_root`, else under the project's `data/` (raises DataError naming both)."""
    folders = [Path(data_root)]
    with contextlib.suppress(ConfigError):  # outside a project there is only data_root
        folders.append(project_root() / "data")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"there is no file {name}",
        "looked for " + " and ".join(str(folder / name) for folder in dict.fromkeys(folders)),
        "fetch Rome's with `rfloc fetch rome`, or point data.root (or RFLOC_DATA) at the folder that holds the file",
    )


def read_layer(path: Path, box: list[float], margin: float, frame: LocalFrame) -> gpd.GeoDataFrame:
    """Features of a vector file that touch a box, in a city's frame.

    Parameters
    ----------
    path : Path
        GeoParquet where the suffix is `.parquet`, else anything that GDAL reads.
    box : list of float
        lat_min, lat_max, lon_min, lon_max [deg].
    margin : float
        The box is widened by this on each side [m].
    frame : LocalFrame
        Frame of the result [m].

    Raises
    ------
    DataError
        If the file is missing or unreadable, says no coordinate system, or has nothing in the box.
    """
    import geopandas as gpd
    import pyarrow
    import pyogrio

    if not path.is_file():
        raise DataError(f"there is no file {path}", "", "check the city's `buildings` and `streets`")
    try:
        layer = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
    except (pyarrow.ArrowException, pyogrio.errors.DataSourceError, OSError, ValueError) as error:
        raise DataError(
            f"{path} can't be read", f"{type(error).__name__}: {error}", "is it whole, and a vector file?"
        ) from None
    if layer.crs is None:
        raise DataError(
            f"{path} says no coordinate system",
            "degrees or metres, and which datum, would be a guess",
            "write it again with a CRS, e.g. `gdf.set_crs(4326)` before saving",
        )
    lat_min, lat_max, lon_min, lon_max = box
    local = shapely.box(*box_bounds(frame, box, margin))
    if len(layer):
        extent = layer.to_crs(4326).total_bounds  # lon_min, lat_min, lon_max, lat_max
        if not shapely.box(*extent).intersects(shapely.box(lon_min, lat_min, lon_max, lat_max)):
            swapped = shapely.box(*extent).intersects(shapely.box(lat_min, lon_min, lat_max, lon_max))
            raise DataError(
                f"the box {box} lies outside {path.name}",
                f"the file covers lat {extent[1]:.4f}..{extent[3]:.4f}, lon {extent[0]:.4f}..{extent[2]:.4f}",
                "latitude and longitude are swapped: the order is lat_min, lat_max, lon_min, lon_max"
                if swapped
                else "move the box, or use an extract that covers it",
            )
    x_min, y_min, x_max, y_max = gpd.GeoSeries([local.buffer(10.0)], crs=frame.crs).to_crs(layer.crs).total_bounds
    layer = layer.cx[x_min:x_max, y_min:y_max].to_crs(frame.crs)  # few features, then exactly
    layer = layer[layer.intersects(local)].reset_index(drop=True)
    if layer.empty:
        raise DataError(
            f"{path.name} has nothing in the box {box}",
            "the file's extent covers the box, but no feature lies in it",
            "check the order lat_min, lat_max, lon_min, lon_max, or choose another box",
        )
    return layer


def read_buildings(
    path: Path, box: list[float], margin: float, frame: LocalFrame, default_height: float
) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Building footprints in a box: valid polygons with `height` [m], `height_source` and `kind`, in the frame.

    Pieces of a building that was cut (at tile borders, say) are united again, see :func:`unite`.

    Returns
    -------
    footprints : GeoDataFrame
        Columns geometry (Polygon, holes are courtyards), height, height_source, kind.
    facts : dict
        What was read, repaired, dropped and united, and how many heights each rule gave, before uniting. `in_box_*`
        count polygons whose centroid lies in the box without its margin.
    """
    layer = assign_heights(read_layer(path, box, margin, frame), default_height)
    core = shapely.box(*box_bounds(frame, box))
    in_box = layer.centroid.within(core)
    facts: dict[str, Any] = {
        "polygons": len(layer),
        "in_box_polygons": int(in_box.sum()),
        "in_box_tagged": int((in_box & ~layer["height_source"].isin(["kind", "default"])).sum()),
        "height_sources": {str(k): int(v) for k, v in layer["height_source"].value_counts().items()},
    }
    bad = ~layer.is_valid
    layer.loc[bad, "geometry"] = layer.loc[bad, "geometry"].make_valid()
    facts["repaired"] = int(bad.sum())
    layer = layer[["geometry", "height", "height_source", "kind"]].explode(index_parts=False, ignore_index=True)
    layer = layer.explode(index_parts=False, ignore_index=True)  # a repaired polygon may be a collection of collections
    keep = (layer.geom_type == "Polygon") & (layer.area >= MIN_AREA)
    facts["dropped"] = int((~keep).sum())
    inside = layer[keep].intersection(core)
    facts["in_box_built_share"] = round(float(inside.area.sum() / core.area), 4)
    footprints = unite(layer[keep])
    facts["footprints"] = len(footprints)
    return footprints, facts


def unite(footprints: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Unite polygons that touch or overlap and agree in height, its source and kind; the others stay apart.

    Coordinates snap to 1 cm first, so that two halves of a cut building share their edge exactly.
    """
    import geopandas as gpd

    rows: list[dict[str, Any]] = []
    for (height, source, kind), group in footprints.groupby(["height", "height_source", "kind"], sort=True):
        merged = shapely.union_all(group.geometry.values, grid_size=0.01)
        for part in shapely.get_parts(merged):
            if isinstance(part, shapely.Polygon) and part.area >= MIN_AREA:
                rows.append({"geometry": part, "height": height, "height_source": source, "kind": kind})
    return gpd.GeoDataFrame(rows, columns=["geometry", "height", "height_source", "kind"], crs=footprints.crs)


def read_streets(
    path: Path, box: list[float], margin: float, frame: LocalFrame
) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Street centre lines in a box where a UE may be: columns geometry, class, width [m], tunnel, bridge.

    Tunnels are kept in the table (`tunnel` true) and left out of the raster.

    Raises
    ------
    DataError
        If the file names no street class, or has no street of a known class in the box.
    """
    layer = read_layer(path, box, margin, frame)
    name = next((c for c in ("class", "highway") if c in layer.columns), None)
    if name is None:
        raise DataError(
            f"{path.name} has no column `class` or `highway`",
            f"it has {', '.join(map(str, layer.columns))}",
            "streets are buffered by the width of their class: add the column",
        )
    out = layer[["geometry"]].copy()
    out["class"] = layer[name].astype(str)
    out["width"] = out["class"].map(STREET_WIDTH).astype(float)
    for flag in ("tunnel", "bridge"):
        out[flag] = np.zeros(len(layer), bool)
        if flag in layer.columns:
            out[flag] |= layer[flag].astype(str).str.lower().isin(["true", "yes", "1"])
        if "brunnel" in layer.columns:  # OpenMapTiles' word for both
            out[flag] |= layer["brunnel"] == flag
    lines = out.geom_type.isin(["LineString", "MultiLineString"])
    kept = out[lines & out["width"].notna()].reset_index(drop=True)
    if kept.empty:
        raise DataError(
            f"{path.name} has no street of a known class in the box {box}",
            f"its classes there are {', '.join(sorted(set(out['class'])))}",
            f"known classes are {', '.join(STREET_WIDTH)}",
        )
    facts = {"streets": len(kept), "lines_without_ues": int(len(out) - len(kept)), "tunnels": int(kept["tunnel"].sum())}
    return kept, facts
