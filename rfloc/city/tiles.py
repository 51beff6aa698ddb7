"""Buildings that a tiled source cut at the borders of its tiles, made whole again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    import geopandas as gpd

#: Coordinates this close to a border lie on it [m]: sources round to 1e-6 deg.
TOLERANCE = 0.1

#: Edges on a border shorter than this say nothing [m].
MIN_LENGTH = 0.2

#: Two pieces belong together where their edges on a border share this much of the shorter one.
MIN_SHARE = 0.5

#: Equator of Web Mercator's sphere [m].
_EQUATOR = 2 * np.pi * 6378137.0


def unite_pieces(pieces: gpd.GeoDataFrame, zoom: int) -> tuple[gpd.GeoDataFrame, NDArray[np.int64]]:
    """Unite pieces of buildings that were cut at the borders of Web Mercator tiles of a zoom level.

    Two pieces belong together where each has an edge on the same border, one on either side, the edges overlap, and all
    their other columns agree. Neighbours that only touch elsewhere stay apart.

    Takes valid Polygons, EPSG:4326, with columns of tags; gives what no border cut, then what was united (MultiPolygons
    where rounding parts a piece from the rest), and of how many pieces each consists.
    """
    tags = pieces.drop(columns="geometry")
    said = tags.astype(str).where(tags.notna(), "")  # None and NaN are both silence
    label = pd.factorize(pd.util.hash_pandas_object(said, index=False))[0]
    shapes, n = pieces.geometry.to_numpy(), len(pieces)
    a, b = _facing(_edges_on_borders(shapes, zoom))
    same = label[a] == label[b]
    links = coo_array((np.ones(same.sum()), (a[same], b[same])), shape=(n, n))
    building = connected_components(links, directed=False)[1]
    count = np.bincount(building)
    cut = count[building] > 1
    if not cut.any():
        return pieces, count
    united = pieces[cut].set_geometry(_snap(shapes[cut], zoom), crs=pieces.crs).dissolve(building[cut])
    out = pd.concat([pieces[~cut], united], ignore_index=True)
    return out, np.concatenate([count[building[~cut]], count[united.index]])


def _to_tiles(lonlat: NDArray[np.float64], zoom: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude, latitude [deg], (n, 2), to tile numbers x, y (southwards), and the width of a tile there [m], (n,)."""
    lat = np.radians(lonlat[:, 1])
    y = (1.0 - np.arcsinh(np.tan(lat)) / np.pi) / 2.0
    xy = np.column_stack([(lonlat[:, 0] + 180.0) / 360.0, y]) * 2.0**zoom
    return xy, _EQUATOR / 2.0**zoom * np.cos(lat)


def _edges_on_borders(shapes: NDArray[np.object_], zoom: int) -> pd.DataFrame:
    """Edges of polygons that lie on a tile border: a row each.

    `axis` (0: a meridian), `border` (its tile number), `after` (the polygon lies on its side of higher numbers), `low`,
    `high` (along the border, in tiles), `piece` (row of the polygon).
    """
    rings, piece = shapely.get_rings(shapes, return_index=True)
    lonlat, ring = shapely.get_coordinates(rings, return_index=True)
    xy, size = _to_tiles(lonlat, zoom)
    middle, _ = _to_tiles(shapely.bounds(shapes).reshape(-1, 2, 2).mean(axis=1), zoom)
    tables = []
    for axis in (0, 1):
        border = np.round(xy[:, axis])
        on = np.abs(xy[:, axis] - border) * size < TOLERANCE
        k = np.flatnonzero(on[1:] & on[:-1] & (border[1:] == border[:-1]) & (ring[1:] == ring[:-1]))
        along = np.column_stack([xy[k, 1 - axis], xy[k + 1, 1 - axis]])
        k, along = (values[np.ptp(along, axis=1) * size[k] >= MIN_LENGTH] for values in (k, along))
        owner = piece[ring[k]]
        edges = {
            "axis": axis, "border": border[k], "after": middle[owner, axis] > border[k],
            "low": along.min(axis=1), "high": along.max(axis=1), "piece": owner,
        }  # fmt: skip
        tables.append(pd.DataFrame(edges))
    return pd.concat(tables, ignore_index=True)


def _facing(edges: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces that face each other across a border: two arrays of rows."""
    low, high, after = edges["low"].to_numpy(), edges["high"].to_numpy(), edges["after"].to_numpy()
    line = edges.groupby(["axis", "border"]).ngroup().to_numpy(float)
    strips = shapely.linestrings(np.stack([np.column_stack([low, line]), np.column_stack([high, line])], axis=1))
    i, j = shapely.STRtree(strips).query(strips)
    across = after[j] > after[i]
    i, j = i[across], j[across]
    overlap = np.minimum(high[i], high[j]) - np.maximum(low[i], low[j])
    shorter = np.minimum(high[i] - low[i], high[j] - low[j])
    one = overlap >= MIN_SHARE * shorter
    piece = edges["piece"].to_numpy()
    return piece[i[one]], piece[j[one]]


def _snap(shapes: NDArray[np.object_], zoom: int) -> NDArray[np.object_]:
    """Move vertices that lie on a border exactly onto it, so that pieces share their edges; mend what that breaks."""

    def onto(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        xy, size = _to_tiles(lonlat, zoom)
        border = np.round(xy)
        n = 2.0**zoom
        lat = np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * border[:, 1] / n))))
        exact = np.column_stack([border[:, 0] / n * 360.0 - 180.0, lat])
        return np.where(np.abs(xy - border) * size[:, None] < TOLERANCE, exact, lonlat)

    moved = shapely.transform(shapes, onto)
    bad = ~shapely.is_valid(moved)
    moved[bad] = shapely.make_valid(moved[bad])
    return moved
