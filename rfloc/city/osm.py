"""Footprints and streets of a city from OpenStreetMap, in files or by Overpass: one table of columns, in its frame.

What Overpass gave is kept as GeoParquet under the data folder, and is from then on a file like any other.
"""

import time
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import requests
import shapely

from rfloc import __version__
from rfloc.city import formats
from rfloc.city.city import box_bounds
from rfloc.city.columns import BUILDINGS, KNOWN, STREETS, Kind, affirmed, along_flags, by_meaning, counted, standing
from rfloc.config import CityParams, data_folders, input_file
from rfloc.errors import DataError
from rfloc.files import digest, write
from rfloc.frames import LocalFrame

REACH = 200.0  #: features this far outside a city are read too [m]: what a tile border cuts there is whole
MIN_AREA, MIN_WIDTH = 1.0, 0.1  #: footprints smaller, or on average narrower, are noise [m2], [m]
MAX_GAP = 0.2  #: where features end more than this share of a box's edge inside it, the rest may be unmapped, not empty
Found = tuple[gpd.GeoDataFrame, dict[str, Any]]  #: features, and counts taken while they were read


def read_buildings(params: CityParams, frame: LocalFrame, data_root: str | Path) -> Found:
    """Building footprints in a city's box and margin, before they have heights.

    Gives valid Polygons in `frame` [m] with a column for each meaning that is not used up here, None where the map says
    nothing, and counts: `polygons` (read near the box), `in_box_polygons` (with their centroid in it), `repaired`
    (self-crossing), `duplicates` of one outline, `pieces` of buildings cut at tile borders, the `united` made of them,
    `dropped` slivers, `buildings`, beside those of :func:`_read`. Raises DataError if none is left.
    """
    layer, facts = _read(params, BUILDINGS, frame, data_root)
    layer, more = standing(layer)
    lat_min, lat_max, lon_min, lon_max = params.box or []
    centre = shapely.get_coordinates(shapely.centroid(layer.geometry.to_numpy()))  # [n, 2] lon, lat
    lon, lat = (centre[:, 0] - lon_min) % 360 + lon_min, centre[:, 1]  # a box may pass the 180th meridian
    in_box = (lat >= lat_min) & (lat <= lat_max) & (lon <= lon_max)
    valid = layer.is_valid
    facts |= more | {"polygons": len(layer), "in_box_polygons": int(in_box.sum()), "repaired": int((~valid).sum())}
    layer.loc[~valid, "geometry"] = layer[~valid].make_valid()
    layer = _polygons(layer)
    whole = _without_doubles(layer)
    facts["duplicates"] = len(layer) - len(whole)
    if params.tile_zoom is not None:
        whole, count = formats.unite_pieces(whole, params.tile_zoom)
        facts |= {"pieces": int(count[count > 1].sum()), "united": int((count > 1).sum())}
    layer = _within(_polygons(whole.to_crs(frame.crs)), params, frame)
    sliver = (layer.area < MIN_AREA) | (2.0 * layer.area < MIN_WIDTH * layer.length)
    facts |= {"dropped": int(sliver.sum()), "buildings": int((~sliver).sum())}
    if sliver.all():
        raise DataError(
            f"{params.name} has no footprint in the box {params.box}",
            f"of {facts['polygons']} features near it none is a polygon of {MIN_AREA:g} m2 inside; left out before: "
            f"{facts['left_out'] or 'none'}",
            "footprints are polygons: check which file `buildings` names, or choose another box",
        )
    return layer[~sliver].reset_index(drop=True), facts


def read_streets(params: CityParams, frame: LocalFrame, data_root: str | Path) -> Found:
    """Street centre lines, and squares, in a city's box and margin where a UE may be; DataError if there is none.

    Lines and areas in `frame` [m]: class, width [m] (0: an area), tunnel (no UE stands there), bridge; more counts.
    """
    layer, facts = _read(params, STREETS, frame, data_root)
    area = (layer.geom_type == "LineString") & layer.is_closed & (layer.count_coordinates() > 3)
    area &= (layer["area"] == "yes") | (layer["class"] == "square")
    layer.loc[area, "geometry"] = layer.loc[area, "geometry"].map(shapely.Polygon)
    area = shapely.get_dimensions(layer.geometry.to_numpy()) == 2
    layer.loc[area, "geometry"] = layer[area].make_valid()
    layer = along_flags(_within(layer.to_crs(frame.crs), params, frame))
    out = layer[["geometry"]].copy()
    out["class"] = layer["class"].fillna("none").astype(str).str.lower()
    dimension = shapely.get_dimensions(out.geometry.to_numpy())
    square = (dimension == 2) & out["class"].isin(KNOWN["squares"])
    out["width"] = out["class"].map(KNOWN["street_width"]).where(dimension == 1).mask(square, 0.0).astype(float)
    for flag in ("tunnel", "bridge"):
        out[flag] = affirmed(layer[flag]) | (layer["brunnel"] == flag)  # OpenMapTiles' word for both
    walked = out["width"].notna()
    double = out.drop(columns="geometry").assign(shape=out.normalize().to_wkb()).duplicated()
    kept = out[walked & ~double].reset_index(drop=True)
    if kept.empty:
        raise DataError(
            f"{params.name} has no street of a known class in the box {params.box}",
            f"classes there, by {' or '.join(STREETS.columns['class'])}: {', '.join(sorted(set(out['class'])))}",
            f"known classes are {', '.join(KNOWN['street_width'])}; the city's `columns` may name another column",
        )
    said = layer[["tunnel", "bridge"]].add_suffix(": -1 is no yes")
    counts = {"squares": square & ~double, "duplicate_streets": walked & double, "lines_without_ues": ~walked}
    counts |= {"tunnels": kept["tunnel"], "bridges": kept["bridge"]}
    facts |= {name: int(which.sum()) for name, which in counts.items()}
    facts |= {
        "streets": len(kept), "street_classes": kept["class"].value_counts().to_dict(),
        "classes_without_ues": out.loc[~walked, "class"].value_counts().head(20).to_dict(),
        "tags_unused": counted(said.where(said.astype(str) == "-1")),
    }  # fmt: skip
    return kept, facts


def _within(layer: gpd.GeoDataFrame, params: CityParams, frame: LocalFrame) -> gpd.GeoDataFrame:
    """What comes into the box and its margin."""
    area = shapely.box(*box_bounds(frame, params.box or [], params.margin))
    return layer[layer.intersects(area)].reset_index(drop=True)


def _polygons(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Every polygon a row of its own, other geometries left out."""
    layer = layer.explode().explode()  # a repaired polygon may be a collection that holds multipolygons
    out = layer[layer.geom_type == "Polygon"].reset_index(drop=True)
    return out.set_geometry(out.remove_repeated_points(0.0))


def _without_doubles(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Of footprints with one outline and base, that with the largest courtyards; tags that it lacks others give."""
    rings = shapely.normalize(shapely.polygons(shapely.get_exterior_ring(layer.geometry.to_numpy())))
    begins = layer[["part", "min_height", "min_level", "render_min_height"]].fillna(0).astype(str).add_prefix("as_")
    some = layer.assign(outline=shapely.to_wkb(rings), size=shapely.area(layer.geometry.to_numpy()), **begins)
    same = ["outline", *begins.columns]
    double = some.duplicated(same, keep=False)
    groups = some[double].sort_values("size", kind="stable").groupby(same, sort=False)
    merged = groups.first().set_geometry(groups["geometry"].first(), crs=layer.crs)
    return pd.concat([layer[~double], merged[layer.columns]], ignore_index=True)


def _read(params: CityParams, kind: Kind, frame: LocalFrame, data_root: str | Path) -> Found:
    """Features of a kind near a city's box [deg], with a column for each of its meanings, and which columns said it.

    Counts, by `_buildings` or `_streets`: `incomplete` (reason -> features), `unmapped` (share of the box outside what
    the file covers), and `warnings`. DataError for a file that can't be read or has nothing here.
    """
    if params.source == "overpass":
        path = fetch(params, kind, frame, data_root)
    else:
        path = input_file(str(getattr(params, kind.name)), data_root)
    box = params.box or []
    area = gpd.GeoSeries([shapely.box(*box_bounds(frame, box, params.margin + REACH))], crs=frame.crs)
    try:
        held = formats.read(path, kind, area)
        reach = None if len(held.features) else formats.read(path, kind, None).features.total_bounds
    except formats.UNREADABLE as error:
        raise DataError(
            f"{path} can't be read as {kind.name}",
            f"{type(error).__name__}: {error}",
            "name a whole file of OpenStreetMap's formats (.osm, .osm.pbf) or GDAL's (.gpkg, .geojson, .shp), or a "
            "GeoParquet, with its CRS; it may be packed (.gz, .bz2)",
        ) from None
    if reach is not None:
        west, south, east, north = reach
        raise DataError(
            f"{path.name} has no {kind.name} near the box {box}",
            f"it covers lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}"
            if np.isfinite(reach).all()
            else f"it can be read, but holds none at all (OpenStreetMap's tag is {' or '.join(map(repr, kind.marks))})",
            "these are metres: write it with the coordinate system that they are in"
            if max(abs(south), abs(north)) > 90
            else "latitude and longitude are exchanged, in the box or in the file: a box is lat_min, lat_max, lon_min, "
            "lon_max, and in a file x is the longitude"
            if west <= frame.lat0 <= east and south <= frame.lon0 <= north
            else f"move the box, or name another file as the city's `{kind.name}`",
        )
    columns, facts = by_meaning(held.features, kind, params.columns)
    facts |= _unmapped(held, kind, params, frame, path.name)
    facts[f"warnings_{kind.name}"] += [
        f"{path.name} has a column {name!r} with {of['count']:,} numbers ({', '.join(of['examples'])}, …) that looks "
        "like a height and was not used: if it is one, name it in `columns`"
        for name, of in facts.get("unused_columns", {}).items()
    ]
    return gpd.GeoDataFrame(columns, geometry=held.features.geometry.array, crs=held.features.crs), facts


def _unmapped(held: formats.Held, kind: Kind, params: CityParams, frame: LocalFrame, file: str) -> dict[str, Any]:
    """What a map leaves out of a city's box or holds in part, as counts and as warnings (:func:`_read`)."""
    south, north, west, east = box = params.box or []
    edges = np.reshape(box_bounds(frame, box), (2, 2))  # (low or high, x or y) [m]
    size, reach = edges[1] - edges[0], {kind.name: held.features.to_crs(frame.crs).total_bounds}
    if held.stated and east <= 180:  # across the 180th meridian nobody knows which way round bounds are meant
        w, s, e, n = np.clip(held.stated, [west, south] * 2, [east, north] * 2)
        reach["bounds"] = np.array(box_bounds(frame, [s, n, w, e]))
    worst, warnings = 0.0, []
    for what, bounds in reach.items():
        gap = np.clip((bounds.reshape(2, 2) - edges) * [[1], [-1]] / size, 0, 1)
        gap[gap <= (0.01 if what == "bounds" else MAX_GAP)] = 0
        worst = max(worst, share := float(1 - np.prod(np.maximum(1 - gap.sum(axis=0), 0))))
        metres = zip(("western", "southern", "eastern", "northern"), (gap * size).flat, strict=True)
        if ends := [f"the {side} {m:.0f} m" for side, m in metres if m]:
            said = f"{share:.0%} of the box of {params.name} lies outside the {what} of {file}"
            warnings.append(f"{said}: no {kind.name} in {', '.join(ends)}")
    if held.incomplete:
        reasons = ", ".join(f"{n} because {reason}" for reason, n in held.incomplete.items())
        warnings.append(f"{held.incomplete.total()} {kind.name} of {params.name} are incomplete in {file}: {reasons}")
    found = {"incomplete": dict(held.incomplete), "unmapped": round(worst, 4), "warnings": warnings}
    return {f"{name}_{kind.name}": value for name, value in found.items()}


def fetch(
    params: CityParams, kind: Kind, frame: LocalFrame, data_root: str | Path, *, silence: float = 330, pause: float = 15
) -> Path:
    """What Overpass has of a kind in a city's box and margin on `osm_date`: a GeoParquet file with all its tags.

    It is looked for in `overpass/` of every data folder, else fetched into the last one, in at most three attempts that
    end after `silence` [s], `pause` [s] and four times that apart. DataError if no whole map could be had, or nothing.
    """
    import osmnx

    x_min, y_min, x_max, y_max = box_bounds(frame, params.box or [], params.margin)
    lat, lon = frame.to_geographic([x_min, x_min, x_max, x_max], [y_min, y_max, y_min, y_max])
    lon = np.where(abs(lon - frame.lon0) > 180, lon - 360 * np.sign(lon), lon)  # on the frame's side of the 180th
    west, south, east, north = (round(float(edge), 5) for edge in (lon.min(), lat.min(), lon.max(), lat.max()))
    world = shapely.box(-180, -90, 180, 90)
    parts = [world & shapely.box(west + turn, south, east + turn, north) for turn in (0, -360, 360)]
    key = digest(west, south, east, north, params.osm_date, list(kind.marks))[:16]
    name = f"{str(params.osm_date)[:10]}_{kind.name}_{key}.parquet"
    paths = [folder / "overpass" / name for folder in data_folders(data_root)]
    if kept := next(filter(Path.is_file, paths), None):
        return kept
    settings = osmnx.settings
    settings.overpass_url = params.overpass_url.removesuffix("/interpreter")
    settings.overpass_settings = f'[out:json][timeout:300][date:"{params.osm_date}"]{{maxsize}}'
    settings.overpass_memory, settings.requests_timeout = 2**30, silence
    settings.requests_kwargs = {"hooks": {"response": _refuse_partial}}
    settings.use_cache = settings.overpass_rate_limit = False
    settings.http_user_agent, settings.doh_url_template = f"rfloc/{__version__}", None
    for wait in (pause, 4 * pause, None):
        try:
            asked: dict[str, Any] = {mark: value or True for mark, value in kind.marks.items()}
            layer = osmnx.features_from_polygon(shapely.union_all(parts), asked)
            break
        except (requests.RequestException, ValueError) as error:  # ValueError: nothing there, in osmnx's words
            refused = not isinstance(error, requests.RequestException) or isinstance(error, requests.HTTPError)
            if wait is None or refused:
                raise DataError(
                    f"{params.overpass_url} gave no {kind.name} of {params.name} on {params.osm_date}",
                    f"{type(error).__name__}: {error}",
                    "try again later; check box, osm_date and overpass_url; or use an extract (source: file, .osm.pbf)",
                ) from None
        time.sleep(wait)
    with write(paths[-1]) as part:
        layer[layer.geom_type != "Point"].to_parquet(part)
    return paths[-1]


def _refuse_partial(answer: requests.Response, *_: Any, **__: Any) -> None:
    """Raise for servers that are busy, which osmnx would ask for ever, and that gave up, which it would overlook."""
    if answer.ok and not (remark := answer.json().get("remark")):
        return
    said = f"{answer.status_code} {answer.reason}: {remark if answer.ok else answer.text[:200]}"
    passing = answer.ok or answer.status_code >= 500 or answer.status_code == 429
    raise requests.ConnectionError(said) if passing else requests.HTTPError(said)
