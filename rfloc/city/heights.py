"""Heights of buildings and of their parts, and which rule gave each of them.

The first of :data:`SOURCES` that applies gives the height, roof included: the tag `height`; `levels` times the kind's
floor height, `roof:levels` or `roof:height` included; OpenMapTiles' `render_height` where it comes from a tag; the
usual height of the `kind`; the city's `prior`, a median of measured heights; without one, what is usual for the `area`
of the footprint. Tables of usual heights stand in `tags.yaml`. A building begins at its `base` above ground:
`min_height`, `building:min_level`, `render_min_height`, or, of a roof on posts, :data:`ROOF_DEPTH` under its top. An
outline that has parts is no volume, its parts are, and its height is their maximum (Simple 3D Buildings). Mappers often
draw but the tower; the rest of the outline then stands beside it.
"""

import re
from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rfloc.city.columns import KNOWN, affirmed, counted
from rfloc.city.raster import CLEARANCE

#: Heights [m] and levels outside are mappers' errors: the tallest building has 828 m, 163 levels, one begun 1,008 m.
HEIGHT_RANGE = (2.0, 1100.0)
LEVEL_RANGE = (1.0, 250.0)
ROOF_DEPTH = 0.5  #: of a roof on posts, which one can walk under [m]
COVERED = 0.9  #: parts that cover this share of an outline are all of it, what floats included
MIN_REST = 1.0  #: what parts leave of an outline is drawn inexactly where it is, on average, narrower [m]
#: The rules, in the order in which they are tried.
SOURCES = ("height", "levels", "render_height", "kind", "prior", "area")
_FOOT, _INCH = 0.3048, 0.0254  # [m]
_ABOUT = re.compile(r"^(~|≈|<|>|\+|c\.|ca\.?|circa|approx\.?|about|around|etwa)\s*|\s*[?+]$")
_SEVERAL = re.compile(r"\s*(?:[;|]|(?<!')[–—-]|\bto\b|\bbis\b)\s*")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+|'(?!'))?\.?(?:[\s-]*(\d+(?:\.\d+)?)\s*(?:\"|''|in(?:ch(?:es)?)?)?)?")
_PRIMES = str.maketrans({"’": "'", "′": "'", "″": '"', "”": '"'})


def parse_number(text: object, units: Mapping[str, float] = KNOWN["metres"]) -> float:
    r"""Length [m] of a tag such as "12", "12,5 m", "40 ft", "30'6\"" or "~10", the middle of "10-12" and "3;4".

    NaN where it says none, or has a unit that is not among `units` (unit -> its factor).
    """
    several = _SEVERAL.split(_ABOUT.sub("", str(text).strip().lower().translate(_PRIMES)))
    found = [match.groups() for one in several if (match := _NUMBER.fullmatch(one.replace(",", ".")))]
    values = [np.nan] if len(found) < len(several) else []
    for number, unit, inches in found:
        factor = units.get(unit or found[-1][1] or "", np.nan)
        values.append(float(number) * factor + _INCH * float(inches or 0) if not inches or factor == _FOOT else np.nan)
    return float(np.min(values) + np.max(values)) / 2


def assign_heights(buildings: gpd.GeoDataFrame, prior: float | None) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Geometry, `height` and `base` above ground [m], `height_source` (of :data:`SOURCES`) and `kind` of solids.

    Buildings are as :func:`rfloc.city.osm.read_buildings` gives them, `prior` is a median of measured heights [m]. A
    building that cannot begin above its top begins there (a guessed height), or on the ground (a tagged one). Outlines
    give way to their parts. Facts are those of the parts and `tags_unused`, by reason: how many, and examples.
    """
    tags, pairs = _inherit(buildings)
    amenity, kind = tags["amenity"].fillna("").astype(str), tags["kind"].fillna("yes").astype(str)
    kind = kind.where(kind.isin(list(KNOWN["kind_height"])) | ~amenity.isin(list(KNOWN["kind_height"])), amenity)
    kind = kind.mask(affirmed(tags["ruins"]), "ruins")
    units = dict.fromkeys(KNOWN["lengths"], KNOWN["metres"]) | dict.fromkeys(KNOWN["numbers"], KNOWN["floors"])
    parsed = {name: tags[name].dropna().apply(parse_number, units=of) for name, of in units.items()}
    numbers = {name: of.reindex(tags.index).astype(float) for name, of in parsed.items()}
    floors, usual = kind.map(KNOWN["floor_height"]).fillna(3.0), kind.map(KNOWN["kind_height"]).astype(float)
    roof_levels = numbers["roof_levels"].fillna(0.0)
    tops = {
        "height": numbers["height"],
        "levels": numbers["levels"] * floors + numbers["roof_height"].fillna(roof_levels * floors),
        "render_height": numbers["render_height"],
        "kind": usual,
    }
    applies = {name: top.between(*HEIGHT_RANGE) for name, top in tops.items()}
    applies["levels"] = (numbers["levels"] + roof_levels).between(*LEVEL_RANGE)
    limits, by_size = zip(*KNOWN["area_height"], strict=True)
    by_area = np.select([buildings.area > limit for limit in limits], by_size)
    rest, source = (by_area, "area") if prior is None else (prior, "prior")
    masks = list(applies.values())
    out = buildings[["geometry"]].assign(height=np.select(masks, list(tops.values()), rest), kind=kind.to_numpy())
    out["height_source"] = np.select(masks, list(applies), source)
    out["usual"] = usual.fillna(pd.Series(rest, index=usual.index))
    base = numbers["min_height"].fillna(numbers["min_level"] * floors).fillna(numbers["render_min_height"])
    base = base.fillna((out["height"] - ROOF_DEPTH).where(kind == "roof", 0.0))
    inside = base < out["height"]
    guessed = ~inside & ~out["height_source"].isin(SOURCES[:3])
    out["height"] = out["height"].mask(guessed, base + floors)
    out["base"] = base.where(inside | guessed, 0.0)
    out, facts = _without_outlines(out, pairs)

    unused = {f"{name}: no number": buildings[name].where(values.isna()) for name, values in numbers.items()}
    before = pd.Series(False, index=buildings.index)
    for name in SOURCES[:3]:
        said = buildings[name].where(numbers[name].notna())
        limits = LEVEL_RANGE if name == "levels" else HEIGHT_RANGE
        unused[f"{name}: outside {limits[0]:g} to {limits[1]:g}"] = said.where(~applies[name])
        unused[f"{name}: an earlier rule applies"] = said.where(applies[name] & before)
        before |= applies[name]
    unused["base: not under the roof"] = base.where(~inside & ~guessed)
    return out, facts | {"parts": int(buildings["part"].sum()), "tags_unused": counted(unused)}


def _inherit(buildings: gpd.GeoDataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Tags, a silent part's from the smallest outline round it; parts (rows) by outline (index), smaller ones last."""
    shapes, part = buildings.geometry.to_numpy(), buildings["part"].to_numpy(bool)
    parts, outlines = np.flatnonzero(part), np.flatnonzero(~part)
    i, j = shapely.STRtree(shapes[outlines]).query(shapely.point_on_surface(shapes[parts]), predicate="within")
    order = np.argsort(-shapely.area(shapes[outlines[j]]), kind="stable")
    pairs = pd.Series(parts[i[order]], index=outlines[j[order]])
    tags, own = buildings.drop(columns="geometry"), pd.Series(pairs.index, index=pairs).groupby(level=0).last()
    kindless, flat = tags["kind"].fillna("yes") == "yes", tags[["height", "levels"]].isna().all(axis=1)
    taken = (["kind", "amenity"], kindless), (["height", "levels", "roof_height", "roof_levels"], flat)
    for names, silent in taken:
        of = own[silent.to_numpy()[own.index]]
        tags.iloc[of.index, tags.columns.get_indexer(names)] = tags[names].to_numpy()[of]
    return tags, pairs


def _without_outlines(solids: gpd.GeoDataFrame, pairs: pd.Series) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Solids (`height`, `usual` height, `base` [m]) without what of outlines their parts replace, and counts.

    What is left of an outline has its own height if that is lower than a part. Else it is the maximum of the parts, and
    what is left is as high as the lowest one, or, of parts of one height, as is usual.
    """
    shapes = solids.geometry.to_numpy().copy()
    top, usual, base = (solids[name].to_numpy().copy() for name in ("height", "usual", "base"))
    for outline, rows in pairs.groupby(level=0):
        parts = rows.to_numpy()
        left = shapely.difference(shapes[outline], shapely.union_all(shapes[parts]))
        if left.area > (1 - COVERED) * shapes[outline].area:  # what floats stands on the outline
            left = shapely.difference(shapes[outline], shapely.union_all(shapes[parts[base[parts] < CLEARANCE]]))
        low, high = top[parts].min(), top[parts].max()
        if top[outline] >= high:
            top[outline] = low if low < high else min(usual[outline], high)
        shapes[outline] = left
    out = solids.assign(height=top, cut=np.isin(np.arange(len(solids)), pairs.index)).set_geometry(shapes)
    out = out.explode(index_parts=False, ignore_index=True)
    narrow = out["cut"] & (2.0 * out.area < MIN_REST * out.length)
    out = out[(out.geom_type == "Polygon") & ~out.is_empty & ~narrow].reset_index(drop=True)
    facts = {"outlines_with_parts": pairs.index.nunique(), "floating": int((out["base"] >= CLEARANCE).sum())}
    return out.drop(columns=["usual", "cut"]), facts
