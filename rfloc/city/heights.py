"""Building heights: a rule table from tags to metres, and which rule gave each height.

Rules, first that applies: `height` (a tag `height` or `building:height`, "12", "12 m" or "40 ft", 2 to 200 m); `levels`
(`building:levels`, 1 to 50, times the floor height of the kind of building); `render_height` of OpenMapTiles where
`height_tagged` is true (where it is false, OSM gives nothing and the number is a filler); `kind` (the tag `building`);
`default`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import geopandas as gpd

#: Heights [m] and numbers of levels outside these ranges are taken for slips of the mapper.
HEIGHT_RANGE = (2.0, 200.0)
LEVEL_RANGE = (1.0, 50.0)

#: Floor height by kind of building [m]; every other kind has 3 m.
FLOOR_HEIGHT = {"industrial": 4.5, "warehouse": 4.5, "commercial": 3.5, "office": 3.5, "retail": 3.5}
DEFAULT_FLOOR = 3.0

#: Height by kind of building [m], for buildings whose height and levels nobody tagged.
KIND_HEIGHT = {
    "apartments": 20.0, "commercial": 15.0, "office": 15.0, "industrial": 12.0, "warehouse": 12.0, "house": 8.0,
    "detached": 8.0, "residential": 8.0, "garage": 3.0, "garages": 3.0, "shed": 3.0, "kiosk": 3.0, "roof": 4.0,
}  # fmt: skip

#: The rules, in the order in which they are tried.
SOURCES = ("height", "levels", "render_height", "kind", "default")

_LENGTH = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(m|metres?|meters?|ft|feet|')?\s*", re.IGNORECASE)


def parse_length(text: object) -> float:
    """Length [m] of an OSM tag such as "12", "12.5 m" or "40 ft"; NaN where it says none."""
    match = None if pd.isna(text) else _LENGTH.fullmatch(str(text))
    if match is None:
        return float("nan")
    unit = (match.group(2) or "m").lower()
    return float(match.group(1).replace(",", ".")) * (0.3048 if unit in ("ft", "feet", "'") else 1.0)


def assign_heights(buildings: gpd.GeoDataFrame, default: float) -> gpd.GeoDataFrame:
    """Add `height` [m], `height_source` (one of :data:`SOURCES`) and `kind` to footprints, by the rule table.

    Parameters
    ----------
    buildings : GeoDataFrame
        Footprints with whichever tag columns the file has.
    default : float
        Height where no rule applies [m].
    """
    n = len(buildings)

    def column(*names: str) -> pd.Series:
        found = [buildings[name] for name in names if name in buildings.columns]
        out = pd.Series([None] * n, index=buildings.index, dtype=object)
        for series in found:
            out = out.where(out.notna(), series.astype(object))
        return out

    kind = column("kind", "building").where(lambda s: s.notna(), "yes").astype(str)
    height = column("height", "building:height").map(parse_length).to_numpy(float)
    levels = column("levels", "building:levels").map(parse_length).to_numpy(float)
    render = column("render_height").map(parse_length).to_numpy(float)
    tagged = column("height_tagged").map(lambda v: v is True or v == 1).to_numpy(bool)
    floors = kind.map(FLOOR_HEIGHT).fillna(DEFAULT_FLOOR).to_numpy(float)

    in_range = [
        (height >= HEIGHT_RANGE[0]) & (height <= HEIGHT_RANGE[1]),
        (levels >= LEVEL_RANGE[0]) & (levels <= LEVEL_RANGE[1]),
        tagged & (render >= HEIGHT_RANGE[0]) & (render <= HEIGHT_RANGE[1]),
        kind.isin(list(KIND_HEIGHT)).to_numpy(),
    ]
    values = [height, levels * floors, render, kind.map(KIND_HEIGHT).to_numpy(float)]
    out = buildings.copy()
    out["height"] = np.select(in_range, values, default)
    out["height_source"] = np.select(in_range, SOURCES[:4], SOURCES[4])
    out["kind"] = kind.to_numpy()
    return out
