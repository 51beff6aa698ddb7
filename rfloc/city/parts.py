"""Building parts as in Simple 3D Buildings: an outline that has parts is no volume, its parts are.

An outline's height is the maximum of its parts. Mappers often draw but the tower; the rest of the outline then stands
beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray

from rfloc.city.raster import CLEARANCE

if TYPE_CHECKING:
    import geopandas as gpd

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows of parts, and of the outline round each

#: Parts that cover this share of an outline are all of it, what floats included.
COVERED = 0.9

#: What parts leave of an outline is drawn inexactly where it is, on average, narrower [m].
MIN_REST = 1.0


def pairs_of(buildings: gpd.GeoDataFrame) -> Pairs:
    """Which part lies in which outlines, smaller outlines last."""
    shapes, part = buildings.geometry.to_numpy(), buildings["part"].to_numpy(bool)
    parts, outlines = np.flatnonzero(part), np.flatnonzero(~part)
    tree = shapely.STRtree(shapes[outlines])
    i, j = tree.query(shapely.point_on_surface(shapes[parts]), predicate="within")
    order = np.argsort(-shapely.area(shapes[outlines[j]]), kind="stable")
    return parts[i[order]], outlines[j[order]]


def inherit(buildings: gpd.GeoDataFrame, pairs: Pairs) -> pd.DataFrame:
    """The tags of buildings; a part that says no kind, or no height, has that of the smallest outline round it."""
    tags = pd.DataFrame(buildings.drop(columns="geometry"))
    own = pd.Series(pairs[1], index=pairs[0]).groupby(level=0).last()
    for names, silent in (
        (["kind", "amenity"], tags["kind"].fillna("yes") == "yes"),
        (["height", "levels", "roof_height", "roof_levels"], tags[["height", "levels"]].isna().all(axis=1)),
    ):
        of = own[silent.to_numpy()[own.index]]
        tags.iloc[of.index, tags.columns.get_indexer(names)] = tags[names].to_numpy()[of]
    return tags


def without_outlines(
    solids: gpd.GeoDataFrame, usual: ArrayLike, pairs: Pairs
) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Solids (`height`, `base` [m], `part`) without what of outlines their parts replace; `usual` heights [m], (n,).

    What is left of an outline has its own height if that is lower than a part; else it is the maximum of the parts, and
    what is left has the height of the lowest one, or, of parts of one height, the usual one. Facts: `parts`,
    `outlines_with_parts`, `floating` (one can walk under them).
    """
    shapes, top, base = solids.geometry.to_numpy().copy(), solids["height"].to_numpy().copy(), solids["base"].to_numpy()
    usual, with_parts = np.broadcast_to(usual, top.shape), pd.Series(pairs[0]).groupby(pairs[1])
    for outline, rows in with_parts:
        parts = rows.to_numpy()
        left = shapely.difference(shapes[outline], shapely.union_all(shapes[parts]))
        if left.area > (1 - COVERED) * shapes[outline].area:  # what floats stands on the outline
            left = shapely.difference(shapes[outline], shapely.union_all(shapes[parts[base[parts] < CLEARANCE]]))
        low, high = top[parts].min(), top[parts].max()
        if top[outline] >= high:
            top[outline] = low if low < high else min(usual[outline], high)
        shapes[outline] = left
    out = solids.assign(height=top, outline=False).set_geometry(shapes, crs=solids.crs)
    out.loc[out.index[list(with_parts.groups)], "outline"] = True
    out = out.explode(index_parts=False, ignore_index=True)
    narrow = out["outline"] & (2.0 * out.area < MIN_REST * out.length)
    out = out[(out.geom_type == "Polygon") & ~out.is_empty & ~narrow].reset_index(drop=True)
    facts = {
        "parts": int(solids["part"].sum()),
        "outlines_with_parts": with_parts.ngroups,
        "floating": int((out["base"] >= CLEARANCE).sum()),
    }
    return out.drop(columns=["part", "outline"]), facts
