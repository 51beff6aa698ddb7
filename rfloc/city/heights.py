"""Building heights: a rule table from tags to metres, and which rule gave each height.

The first rule that applies gives the height; the last two exclude each other.

====================  =================================================================================================
`height_source`       height
====================  =================================================================================================
height                tag `height` or `building:height` ("12", "12 m", "40 ft"), 2 to 200 m
levels                tag `building:levels`, 1 to 50, times the kind's :data:`FLOOR_HEIGHT`
render_height         OpenMapTiles' number, where it comes from a tag (elsewhere it is a filler)
kind                  usual height of the kind of building, :data:`KIND_HEIGHT`
prior                 median of measured heights, where the city has one (`height_prior`)
area                  usual height for the footprint's size, :data:`AREA_HEIGHT`
====================  =================================================================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import geopandas as gpd

#: Heights [m] and numbers of levels outside these ranges are taken for the mapper's errors.
HEIGHT_RANGE = (2.0, 200.0)
LEVEL_RANGE = (1.0, 50.0)

#: Floor height by kind of building [m]; every other kind has 3 m.
FLOOR_HEIGHT = {"industrial": 4.5, "warehouse": 4.5, "commercial": 3.5, "office": 3.5, "retail": 3.5}

#: Middle of the usual heights by kind of building [m]. A kind is the tag `building`, or `amenity` where that says more.
KIND_HEIGHT: dict[str, float] = {
    **dict.fromkeys(["house", "detached", "semi_detached", "semidetached_house", "terrace", "residential"], 7.0),
    **dict.fromkeys(["bungalow", "cabin"], 4.25),
    **dict.fromkeys(["apartments", "dormitory"], 18.5),
    **dict.fromkeys(["commercial", "office", "retail"], 15.0),
    **dict.fromkeys(["industrial", "warehouse", "manufacture"], 9.0),
    **dict.fromkeys(["church", "cathedral", "chapel"], 25.0),
    **dict.fromkeys(["school", "university"], 11.5),
    **dict.fromkeys(["garage", "garages", "carport", "shed", "hut", "kiosk"], 3.0),
    "hospital": 22.5,
    "place_of_worship": 18.5,
    "roof": 4.0,
}

#: (footprint larger than [m2], middle of the usual heights [m]), largest first.
AREA_HEIGHT = ((1000.0, 18.5), (200.0, 13.0), (0.0, 8.5))

#: The rules, in the order in which they are tried.
SOURCES = ("height", "levels", "render_height", "kind", "prior", "area")

_LENGTH = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(m|metres?|meters?|ft|feet|')?\s*", re.IGNORECASE)


def parse_length(text: object) -> float:
    """Length [m] of an OSM tag such as "12", "12.5 m" or "40 ft"; NaN where it says none."""
    match = None if pd.isna(text) else _LENGTH.fullmatch(str(text))
    if match is None:
        return float("nan")
    unit = (match.group(2) or "m").lower()
    return float(match.group(1).replace(",", ".")) * (0.3048 if unit in ("ft", "feet", "'") else 1.0)


def assign_heights(buildings: gpd.GeoDataFrame, prior: float | None) -> gpd.GeoDataFrame:
    """Geometry, `height` [m], `height_source` (one of :data:`SOURCES`) and `kind` of footprints, by the rule table.

    They are as :func:`rfloc.city.osm.read_buildings` gives them; `prior` is a median of measured heights [m].
    """
    amenity, kind = buildings["amenity"].fillna("").astype(str), buildings["kind"].fillna("yes").astype(str)
    kind = kind.where(kind.isin(list(KIND_HEIGHT)) | ~amenity.isin(list(KIND_HEIGHT)), amenity)
    height, render = (buildings[name].map(parse_length).astype(float) for name in ("height", "render_height"))
    levels = pd.to_numeric(buildings["levels"], errors="coerce").astype(float)
    floors, usual = kind.map(FLOOR_HEIGHT).fillna(3.0), kind.map(KIND_HEIGHT).astype(float)
    applies = [height.between(*HEIGHT_RANGE), levels.between(*LEVEL_RANGE), render.between(*HEIGHT_RANGE), usual > 0]
    by_area = np.select([buildings.area > limit for limit, _ in AREA_HEIGHT], [usual for _, usual in AREA_HEIGHT])
    rest, source = (by_area, "area") if prior is None else (prior, "prior")
    out = buildings[["geometry"]].copy()
    out["height"] = np.select(applies, [height, levels * floors, render, usual], rest)
    out["height_source"] = np.select(applies, SOURCES[:4], source)
    out["kind"] = kind.to_numpy()
    return out
