"""Buildings that a tiled source cut at the borders of its tiles, made whole again."""

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rfloc.arrays import Floats, Ints

TOLERANCE = 0.1  #: coordinates this close to a border lie on it [m]: sources round to 1e-6 deg
MIN_LENGTH = 0.2  #: edges on a border shorter than this say nothing [m]
MIN_SHARE = 0.5  #: two pieces belong together where their edges on a border share this much of the shorter one
_EQUATOR = 2 * np.pi * 6378137.0  #: of Web Mercator's sphere [m]


def unite_pieces(pieces: gpd.GeoDataFrame, zoom: int) -> tuple[gpd.GeoDataFrame, Ints]:
    """Unite pieces of buildings that were cut at the borders of Web Mercator tiles of a zoom level.

    Two pieces belong together where each has an edge on the same border, one on either side, the edges overlap, and all
    their other columns agree. Neighbours that only touch elsewhere stay apart. Takes valid Polygons, EPSG:4326, with
    columns of tags; gives what no border cut, then what was united (MultiPolygons where rounding parts one), and each
    one's pieces.
    """
    tags = pieces.drop(columns="geometry")
    said = tags.astype(str).where(tags.notna(), "")  # None and NaN are both silence
    label = pd.factorize(pd.util.hash_pandas_object(said, index=False))[0]
    middle, tile = _EQUATOR / 2, _EQUATOR / 2**zoom  # Web Mercator, a tile its unit: borders lie at whole numbers
    in_tiles = f"+proj=webmerc +datum=WGS84 +over +x_0={middle} +y_0={middle} +to_meter={tile}"  # over the 180th, too
    flat = pieces.to_crs(CRS(in_tiles))
    a, b = _facing(flat.geometry.to_numpy(), zoom)
    same = label[a] == label[b]
    links = coo_array((np.ones(same.sum()), (a[same], b[same])), shape=(len(pieces), len(pieces)))
    building = connected_components(links, directed=False)[1]
    count = np.bincount(building)
    cut = count[building] > 1
    if not cut.any():
        return pieces, count
    snapped = flat[cut].set_geometry(flat.geometry[cut].transform(lambda xy: _on_borders(xy, zoom)[0]).make_valid())
    united = snapped.dissolve(building[cut]).to_crs(pieces.crs)
    out = pd.concat([pieces[~cut], united], ignore_index=True)
    return out, np.concatenate([count[building[~cut]], count[united.index]])


def _on_borders(xy: Floats, zoom: int) -> tuple[Floats, Floats]:
    """Coordinates [tiles] (n, 2), moved exactly onto the borders they lie on, and a tile's width there [m], (n,)."""
    border, width = np.round(xy), _EQUATOR / 2**zoom / np.cosh(2 * np.pi * (xy[:, 1] / 2**zoom - 0.5))
    return np.where(np.abs(xy - border) * width[:, None] < TOLERANCE, border, xy), width


def _facing(shapes: NDArray[np.object_], zoom: int) -> Ints:
    """Pairs of polygons [tiles] with edges on one border that overlap, one on either side: their rows, (2, n)."""
    rings, piece = shapely.get_rings(shapes, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    middle = shapely.bounds(shapes).reshape(-1, 2, 2).mean(axis=1)
    xy, width = _on_borders(corners, zoom)
    found = []
    for axis in (0, 1):
        on = xy[:, axis] == np.round(xy[:, axis])
        k = np.flatnonzero(on[1:] & on[:-1] & (xy[1:, axis] == xy[:-1, axis]) & (ring[1:] == ring[:-1]))
        along = np.sort(np.column_stack([corners[k, 1 - axis], corners[k + 1, 1 - axis]]))
        long = np.ptp(along, axis=1) * width[k] >= MIN_LENGTH
        (low, high), border, owner = along[long].T, xy[k[long], axis], piece[ring[k[long]]]
        after = middle[owner, axis] > border
        i, j = shapely.STRtree(shapely.box(low, border, high, border)).query(shapely.box(low, border, high, border))
        overlap = np.minimum(high[i], high[j]) - np.maximum(low[i], low[j])
        enough = overlap >= MIN_SHARE * np.minimum(high[i] - low[i], high[j] - low[j])
        found.append(owner[np.stack([i, j])[:, enough & (after[j] > after[i])]])
    return np.concatenate(found, axis=1)
