r"""Building heights: a rule table from tags to metres, and which rule gave each height.

The first rule that applies gives the height, `prior` or `area` where no other does.

====================  =================================================================================================
`height_source`       height
====================  =================================================================================================
height                tag `height` or `building:height` ("12", "12 m", "40 ft", "30'6\"", "~10", "10-12": its middle),
                      2 to 1,100 m, roof included
levels                tag `building:levels`, 1 to 250 with `roof:levels`, times the kind's floor height; a
                      `roof:height` stands in for the levels of the roof
render_height         OpenMapTiles' number, where it comes from a tag (elsewhere it is a filler)
kind                  usual height of the kind of building (`tags.yaml`)
prior                 median of measured heights, where the city has one (`height_prior`)
area                  usual height for the footprint's size (`tags.yaml`)
====================  =================================================================================================

A building begins at its `base` above ground: `min_height`, `building:min_level`, `render_min_height`, or, of a roof on
posts, :data:`ROOF_DEPTH` under its top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from rfloc.city.columns import KNOWN, affirmed, counted
from rfloc.city.parts import inherit, without_outlines

#: Heights [m] and numbers of levels outside are the mapper's errors. The tallest building has 828 m and 163 levels, the
#: tallest that is being built 1,008 m.
HEIGHT_RANGE = (2.0, 1100.0)
LEVEL_RANGE = (1.0, 250.0)

#: Depth of a roof on posts, which one can walk under [m].
ROOF_DEPTH = 0.5

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


def _numbers(column: pd.Series, units: Mapping[str, float]) -> pd.Series:
    """A column of tags as numbers, NaN where one says none."""
    said = column.dropna().astype(str)
    return said.map({text: parse_number(text, units) for text in said.unique()}).reindex(column.index).astype(float)


def assign_heights(buildings: gpd.GeoDataFrame, prior: float | None) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Geometry, `height` and `base` above ground [m], `height_source` (of :data:`SOURCES`) and `kind` of solids.

    Buildings are as :func:`rfloc.city.osm.read_buildings` gives them, `prior` is a median of measured heights [m]. A
    building that cannot begin above its top begins there (a guessed height), or on the ground (a tagged one). Outlines
    give way to their parts. Facts are those of the parts and `tags_unused`, by reason: how many, and examples.
    """
    tags, pairs = inherit(buildings)
    amenity, kind = tags["amenity"].fillna("").astype(str), tags["kind"].fillna("yes").astype(str)
    kind = kind.where(kind.isin(list(KNOWN["kind_height"])) | ~amenity.isin(list(KNOWN["kind_height"])), amenity)
    kind = kind.mask(affirmed(tags["ruins"]), "ruins")
    units = dict.fromkeys(KNOWN["lengths"], KNOWN["metres"]) | dict.fromkeys(KNOWN["numbers"], KNOWN["floors"])
    numbers = {name: _numbers(tags[name], of) for name, of in units.items()}
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
    out, facts = without_outlines(out, pairs)

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
