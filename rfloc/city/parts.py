"""Simple 3D Buildings: an outline that has parts is no volume, its parts are, and its height is their maximum.

Mappers often draw but the tower; the rest of the outline then stands beside it.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rfloc.city.raster import CLEARANCE

#: Parts that cover this share of an outline are all of it, what floats included.
COVERED = 0.9

#: What parts leave of an outline is drawn inexactly where it is, on average, narrower [m].
MIN_REST = 1.0


def inherit(buildings: gpd.GeoDataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Tags of buildings, and which part (a row) lies in which outlines (an index of rows), smaller outlines last.

    A part that says no kind, or no height, has that of the smallest outline round it.
    """
    shapes, part = buildings.geometry.to_numpy(), buildings["part"].to_numpy(bool)
    parts, outlines = np.flatnonzero(part), np.flatnonzero(~part)
    i, j = shapely.STRtree(shapes[outlines]).query(shapely.point_on_surface(shapes[parts]), predicate="within")
    order = np.argsort(-shapely.area(shapes[outlines[j]]), kind="stable")
    pairs = pd.Series(parts[i[order]], index=outlines[j[order]])
    tags, own = buildings.drop(columns="geometry"), pd.Series(pairs.index, index=pairs).groupby(level=0).last()
    silent = tags["kind"].fillna("yes") == "yes", tags[["height", "levels"]].isna().all(axis=1)
    for names, which in zip(
        (["kind", "amenity"], ["height", "levels", "roof_height", "roof_levels"]), silent, strict=True
    ):
        of = own[which.to_numpy()[own.index]]
        tags.iloc[of.index, tags.columns.get_indexer(names)] = tags[names].to_numpy()[of]
    return tags, pairs


def without_outlines(solids: gpd.GeoDataFrame, pairs: pd.Series) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
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
