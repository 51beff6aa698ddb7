"""What maps call things (`tags.yaml`): their columns by meaning, the words that deny, and what was not used.

Known are OpenStreetMap's tags with Simple 3D Buildings, OpenMapTiles (`render_height`, `height_tagged`, `hide_3d`,
`brunnel`), Geofabrik's layers (`fclass`, `type`), Overture (`num_floors`, `is_underground`, `road_flags`), EUBUCCO
(`floors`), Microsoft (`height`, -1 where unknown), New York (`height_roof`, in feet). A city's `columns` names others.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

import geopandas as gpd
import pandas as pd
import yaml
from shapely.ops import substring

from rfloc.errors import DataError, nearest

#: Columns of kinds of features, words and usual sizes.
KNOWN: dict[str, Any] = yaml.safe_load(files("rfloc.city").joinpath("tags.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Kind:
    """What a map may hold, and what it may be called there."""

    name: str  #: of the parameter that names its file
    marks: dict[str, str | None]  #: OSM's tags that mark it, the first above all, and their values where only one does
    geometry: str
    layers: list[str]  #: names of its layer where a file has several of this geometry
    columns: dict[str, list[str]]  #: meaning -> columns or tags that may say it; the first that does counts


BUILDINGS, STREETS = (Kind(name=name, **KNOWN[name]) for name in ("buildings", "streets"))
#: Names of columns that look as if they held heights or storeys.
_LIKE, _UNLIKE = ("|".join(KNOWN[words]) for words in ("like_heights", "unlike_heights"))
_LIKE_HEIGHTS = re.compile(f"(?!.*(?:{_UNLIKE})).*(?:{_LIKE})", re.IGNORECASE)
OTHER_TAGS = "other_tags"  #: GDAL's column of the tags that have none of their own, as `"key"=>"value"`
_TAG = re.compile(r'"((?:[^"\\]|\\.)*)"=>"((?:[^"\\]|\\.)*)"')


def affirmed(flag: pd.Series) -> pd.Series:
    """Where a flag says anything but no, in whatever spelling: a boolean a row."""
    return flag.notna() & ~flag.astype(str).str.strip().str.lower().isin(KNOWN["denied"])


def counted(values: Mapping[str, pd.Series] | pd.DataFrame) -> dict[str, Any]:
    """Values by what is to be said of them -> their `count` and up to three `examples`; what has none is left out."""
    found = {what: said.dropna().astype(str).str[:40] for what, said in values.items()}
    return {what: {"count": len(of), "examples": of.unique()[:3].tolist()} for what, of in found.items() if len(of)}


def by_meaning(layer: gpd.GeoDataFrame, kind: Kind, named: Mapping[Any, str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A column for each meaning of a kind, None where nothing says it, and which of the layer's columns were used.

    `named`, meaning -> column, goes before known names. Names count in any case, with `_` for `:`, and as the ten
    characters that a shapefile keeps. Facts: `<kind>_columns` (meaning -> columns) and, of buildings, `unused_columns`
    that look like heights. Raises DataError for a named column that is not there.
    """
    if OTHER_TAGS in layer.columns:
        known = {name for names in kind.columns.values() for name in names} | set(named.values())
        tags = [_TAG.findall(text) for text in layer[OTHER_TAGS].fillna("")]
        rows = [{key: value for key, value in of if key in known or _LIKE_HEIGHTS.match(key)} for of in tags]
        more = pd.DataFrame(rows, index=layer.index, dtype=object)
        layer = layer.assign(**{k: layer[k].where(layer[k].notna(), v) if k in layer else v for k, v in more.items()})
    there = {str(name).lower(): str(name) for name in layer.columns if name != layer.geometry.name}
    out, used = pd.DataFrame(index=layer.index), dict[str, list[str]]()
    for meaning, names in kind.columns.items():
        said, own = pd.Series(None, index=layer.index, dtype=object), named.get(meaning)
        if own is not None and own.lower() not in there:
            raise DataError(
                f"the city's `columns` names {own!r} for {meaning}, and its {kind.name} have no such column",
                f"they have {', '.join(there.values())}",
                nearest(own, there.values()),
            )
        for name in names if own is None else [own, *names]:
            flat = name.lower().replace(":", "_")
            for spelt in [there[s] for s in (name.lower(), flat, name.lower()[:10], flat[:10]) if s in there][:1]:
                values = layer[spelt].astype(object).replace(r"^\s*$", None, regex=True)
                if (values.notna() & said.isna()).any():
                    used.setdefault(meaning, []).append(spelt)
                said = said.where(said.notna(), values)
        out[meaning] = said
    facts: dict[str, Any] = {f"{kind.name}_columns": used}
    if "height" in kind.columns:
        taken = {name for names in used.values() for name in names}
        left = [name for name in there.values() if name not in taken and _LIKE_HEIGHTS.match(name)]
        numbers = layer[left].apply(pd.to_numeric, errors="coerce").notna()
        facts["unused_columns"] = counted({name: layer[name].where(numbers[name]) for name in left})
    return out, facts


def standing(layer: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    """Buildings that stand above ground, `part` where one is a part of another; counted: what was left out."""
    kind, was, level = layer["kind"], layer["was"].notna(), pd.to_numeric(layer["layer"], errors="coerce")
    part = (affirmed(layer["part"]) & ~affirmed(layer["building"])) | (kind == "building_part")
    layer["part"], layer["kind"] = part, kind.mask(part & ~affirmed(kind), layer["part"])
    reasons = {
        "denied": kind.notna() & ~affirmed(kind) & ~part,
        "underground": (layer["location"] == "underground") | (level < 0) | affirmed(layer["underground"]),
        "gone or to come": kind.isin(KNOWN["gone"]) | affirmed(layer["gone"]) | (was & kind.isna() & ~part),
        "outlines whose parts are drawn": affirmed(layer["hide_3d"]),
    }
    out = pd.DataFrame(reasons).any(axis=1)
    layer["height"] = layer["height"].fillna(layer.pop("height_ft").map("{} ft".format, na_action="ignore"))
    render, tagged = layer["render_height"], layer["height_tagged"]
    filler = (tagged.notna() & ~affirmed(tagged)) | (tagged.isna() & render.isin(KNOWN["fillers"]))
    unused = {
        "render_height: a filler": render.where(filler),
        "has_parts: not in this file": layer["has_parts"].where(affirmed(layer["has_parts"])),
    }
    layer["render_height"] = render.mask(filler)
    left_out = {reason: int(which.sum()) for reason, which in reasons.items() if which.any()}
    said = ["building", "location", "layer", "underground", "gone", "was", "hide_3d", "height_tagged", "has_parts"]
    return layer[~out].drop(columns=said), {"left_out": left_out, "tags_unused": counted(unused)}


def along_flags(lines: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Lines cut and flagged where Overture's `road_flags`, {values, between: [share, share] of the length}, say so."""
    flagged = lines[lines["road_flags"].notna() & (lines.geom_type == "LineString")]
    rows = []
    for row in flagged.to_dict("records"):
        flags = json.loads(row["road_flags"]) if isinstance(row["road_flags"], str) else list(row["road_flags"])
        reach = [(0.0, 1.0) if flag.get("between") is None else tuple(flag["between"]) for flag in flags]
        cuts = sorted({0.0, 1.0, *(float(end) for ends in reach for end in ends)})
        for low, high in pairwise(cuts):
            on = [set(flag["values"]) for flag, (a, b) in zip(flags, reach, strict=True) if a <= low and high <= b]
            words = set[str]().union(*on)
            said = {flag: f"is_{flag}" in words or row[flag] for flag in ("tunnel", "bridge")}
            said["class"] = next(iter(words & {"is_under_construction", "is_abandoned"}), row["class"])
            rows.append(row | said | {"geometry": substring(row["geometry"], low, high, normalized=True)})
    pieces = gpd.GeoDataFrame(rows, columns=lines.columns, crs=lines.crs)
    return pd.concat([lines.drop(flagged.index), pieces], ignore_index=True) if rows else lines
