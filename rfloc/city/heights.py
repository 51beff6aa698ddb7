"""Building heights: a rule table from tags to metres, and which rule gave each height.

The first rule that applies gives the height; the last two exclude each other.

====================  =================================================================================================
`height_source`       height
====================  =================================================================================================
height                tag `height` or `building:height` ("12", "12 m", "40 ft"), 2 to 200 m
levels                tag `building:levels`, 1 to 50, times the kind's :data:`FLOOR_HEIGHT`
render_height         OpenMapTiles' number, where `height_tagged` is true (elsewhere it is a filler)
kind                  range of the kind of building, :data:`KIND_HEIGHT`
prior                 quantiles of measured heights, where the city has some (`height_prior`)
area                  range of the footprint's size, :data:`AREA_HEIGHT`
====================  =================================================================================================

The last three give the middle of their range (the median of the prior) or, with `height_draw`, a uniform draw from it
(from the prior's distribution). All heights are then multiplied by `height_scale`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rfloc.config import CityParams
from rfloc.errors import DataError

if TYPE_CHECKING:
    import geopandas as gpd

#: Heights [m] and numbers of levels outside these ranges are taken for slips of the mapper.
HEIGHT_RANGE = (2.0, 200.0)
LEVEL_RANGE = (1.0, 50.0)

#: Floor height by kind of building [m]; every other kind has 3 m.
FLOOR_HEIGHT = {"industrial": 4.5, "warehouse": 4.5, "commercial": 3.5, "office": 3.5, "retail": 3.5}
DEFAULT_FLOOR = 3.0

#: Lowest and highest height by kind of building [m]. A kind is the tag `building`, or `amenity` where that says more.
KIND_HEIGHT: dict[str, tuple[float, float]] = {
    **dict.fromkeys(["house", "detached", "semi_detached", "semidetached_house", "terrace", "residential"], (5.5, 8.5)),
    **dict.fromkeys(["bungalow", "cabin"], (3.5, 5.0)),
    **dict.fromkeys(["apartments", "dormitory"], (12.0, 25.0)),
    **dict.fromkeys(["commercial", "office", "retail"], (10.0, 20.0)),
    **dict.fromkeys(["industrial", "warehouse", "manufacture"], (6.0, 12.0)),
    **dict.fromkeys(["church", "cathedral", "chapel"], (15.0, 35.0)),
    **dict.fromkeys(["school", "university"], (8.0, 15.0)),
    **dict.fromkeys(["garage", "garages", "carport", "shed", "hut", "kiosk"], (2.5, 3.5)),
    "hospital": (15.0, 30.0),
    "place_of_worship": (12.0, 25.0),
    "roof": (3.0, 5.0),
}

#: (footprint larger than [m2], lowest height, highest height [m]), largest first.
AREA_HEIGHT = ((1000.0, 12.0, 25.0), (200.0, 8.0, 18.0), (0.0, 5.0, 12.0))

#: Probabilities of the five quantiles in `height_prior`.
PRIOR_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)

#: The rules, in the order in which they are tried.
SOURCES = ("height", "levels", "render_height", "kind", "prior", "area")

#: A draw belongs to a place on earth on this raster [deg], about 1 m.
PLACE = 1e-5

_LENGTH = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(m|metres?|meters?|ft|feet|')?\s*", re.IGNORECASE)


def parse_length(text: object) -> float:
    """Length [m] of an OSM tag such as "12", "12.5 m" or "40 ft"; NaN where it says none."""
    match = None if pd.isna(text) else _LENGTH.fullmatch(str(text))
    if match is None:
        return float("nan")
    unit = (match.group(2) or "m").lower()
    return float(match.group(1).replace(",", ".")) * (0.3048 if unit in ("ft", "feet", "'") else 1.0)


def assign_heights(buildings: gpd.GeoDataFrame, params: CityParams, seed: int = 0) -> gpd.GeoDataFrame:
    """Add `height` [m], `height_source` (one of :data:`SOURCES`) and `kind` to footprints, by the rule table.

    Parameters
    ----------
    buildings : GeoDataFrame
        Footprints in a city's frame, with whichever tag columns the source has.
    params : CityParams
        `height_prior`, `height_draw` and `height_scale` count.
    seed : int
        With the building's own place, all that a draw depends on: see :func:`place_draws`.

    Raises
    ------
    DataError
        If the coordinates are not metres.
    """
    if buildings.crs is None or buildings.crs.is_geographic:
        raise DataError(
            f"footprints have the coordinate system {buildings.crs}",
            "the area rule needs square metres",
            "bring them into the city's frame with `gdf.to_crs(frame.crs)`",
        )
    kind = _kinds(buildings)
    height, render = (_lengths(buildings, *names) for names in (("height", "building:height"), ("render_height",)))
    levels = pd.to_numeric(_tag(buildings, "levels", "building:levels"), errors="coerce").to_numpy(float)
    tagged = _tag(buildings, "height_tagged").isin([True]).to_numpy()
    floors = kind.map(FLOOR_HEIGHT).fillna(DEFAULT_FLOOR).to_numpy(float)

    share = place_draws(buildings, seed) if params.height_draw else np.full(len(buildings), 0.5)
    known = kind.isin(list(KIND_HEIGHT)).to_numpy()
    low, high = np.array([KIND_HEIGHT.get(name, (np.nan, np.nan)) for name in kind], float).reshape(-1, 2).T
    if params.height_prior is not None:
        last, rest = "prior", prior_heights(params.height_prior, share)
    else:
        last, rest = "area", _area_heights(buildings.area.to_numpy(), share)

    applies = [
        _within(height, HEIGHT_RANGE),
        _within(levels, LEVEL_RANGE),
        tagged & _within(render, HEIGHT_RANGE),
        known,
    ]
    values = [height, levels * floors, render, low + share * (high - low)]
    out = buildings.copy()
    out["height"] = np.select(applies, values, rest) * params.height_scale
    out["height_source"] = np.select(applies, SOURCES[:4], last)
    out["kind"] = kind.to_numpy()
    return out


def prior_heights(prior: list[float], share: ArrayLike) -> NDArray[np.float64]:
    """Heights [m] at which a share (0 to 1) of the buildings is lower.

    The inverse distribution function is linear between the five quantiles of `prior`; its outer pieces go on to 0 and
    to 1.
    """
    q, p = np.asarray(prior, float), np.asarray(PRIOR_LEVELS)
    first = q[0] - (q[1] - q[0]) * p[0] / (p[1] - p[0])
    last = q[-1] + (q[-1] - q[-2]) * (1.0 - p[-1]) / (p[-1] - p[-2])
    heights = np.interp(np.asarray(share, float), np.r_[0.0, p, 1.0], np.r_[first, q, last])
    return np.clip(heights, *HEIGHT_RANGE)


def place_draws(buildings: gpd.GeoDataFrame, seed: int) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), one a building, that its place on earth and the seed fix.

    Neither the order of the rows nor the box nor the frame matters, so a building of two overlapping cities is equally
    high in both. The place is the footprint's centroid on a raster of :data:`PLACE`; splitmix64 (Steele et al., 2014)
    turns it into a number.
    """
    import geopandas as gpd

    centre = gpd.GeoSeries(buildings.centroid, crs=buildings.crs).to_crs(4326)
    state = np.full(len(buildings), seed % 2**64, np.uint64)
    for degrees in (centre.y.to_numpy(), centre.x.to_numpy()):
        state = _splitmix64(state ^ np.rint(degrees / PLACE).astype(np.int64).view(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def height_quantiles(path: Path, column: str = "hei_median") -> list[float]:
    """5, 25, 50, 75 and 95 % quantiles of the measured heights in a vector file: a city's `height_prior`.

    Parameters
    ----------
    path : Path
        A file that GDAL reads.
    column : str
        Which of its columns holds heights [m]; rows without one don't count.

    Raises
    ------
    DataError
        If the file can't be read, or holds no height.
    """
    import geopandas as gpd
    import pyogrio

    try:
        table = gpd.read_file(path, ignore_geometry=True)
    except (pyogrio.errors.DataSourceError, OSError) as error:
        raise DataError(f"{path} can't be read", str(error), "is it whole, and a vector file?") from None
    if column not in table or not (values := pd.to_numeric(table[column], errors="coerce").dropna()).size:
        raise DataError(
            f"{path} holds no heights in a column {column!r}",
            f"its columns are {', '.join(table)}",
            "name another column",
        )
    return [float(q) for q in values.quantile(list(PRIOR_LEVELS))]


def _tag(buildings: gpd.GeoDataFrame, *names: str) -> pd.Series:
    """The first of several tags that a building has, None where it has none."""
    out = pd.Series([None] * len(buildings), index=buildings.index, dtype=object)
    for name in names:
        if name in buildings.columns:
            out = out.where(out.notna(), buildings[name].astype(object))
    return out


def _lengths(buildings: gpd.GeoDataFrame, *names: str) -> NDArray[np.float64]:
    return _tag(buildings, *names).map(parse_length).to_numpy(float)


def _kinds(buildings: gpd.GeoDataFrame) -> pd.Series:
    """Kind of every building: `building`, or `amenity` where only that has a rule; "yes" where nothing is known."""
    kind = _tag(buildings, "kind", "building").fillna("yes").astype(str)
    amenity = _tag(buildings, "amenity").fillna("").astype(str)
    return kind.where(kind.isin(list(KIND_HEIGHT)) | ~amenity.isin(list(KIND_HEIGHT)), amenity)


def _within(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])


def _area_heights(area: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    larger = [area > limit for limit, _, _ in AREA_HEIGHT[:-1]]
    low, high = (np.select(larger, [row[k] for row in AREA_HEIGHT[:-1]], AREA_HEIGHT[-1][k]) for k in (1, 2))
    return low + share * (high - low)


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The next number of the generator that every `state` stands for."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
