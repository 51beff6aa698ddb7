"""Maps as their providers publish them: what their columns give, what was left out and what is said of the rest."""

import geopandas as gpd
import pandas as pd
import pytest
import trimesh
from shapely.geometry import LineString, box

from rfloc.city import build_city, osm
from rfloc.city.columns import affirmed
from rfloc.city.mesh import FOUNDATION
from rfloc.config import CityParams, check
from rfloc.errors import ConfigError, DataError
from tests.city.maps import FRAME, OsmMap, city, write


def squares(path, **columns):
    """A row of squares of 20 m with these columns."""
    shapes = [box(30 * k - 80, 0, 30 * k - 60, 20) for k in range(len(next(iter(columns.values()))))]
    return write(path, shapes, **columns)


def built(path, **changes):
    """Solids from west to east, and facts, of a city with these buildings."""
    write(path.parent / "s.parquet", [LineString([(-80, -60), (80, -60)])], highway=["residential"])
    made = build_city("t", city(buildings=path.name, streets="s.parquet", **changes), path.parent, path.parent / "c")
    rows = gpd.read_parquet(made.folder / "buildings.parquet")
    return rows.iloc[rows.centroid.x.argsort()], made.facts


def streets(path, lines, **columns):
    return osm.read_streets(city(streets=path.name), FRAME, write(path, lines, **columns).parent)


def test_overture(tmp_path):
    columns = {
        "class": ["apartments", None, None, None], "subtype": [None, "religious", None, None],
        "height": [None, None, 21.5, None], "num_floors": [6.0, None, None, 12.0],
        "min_height": [None, None, 9.0, None],
        "is_underground": [False, False, None, True], "has_parts": [False, True, None, False],
    }  # fmt: skip
    rows, facts = built(squares(tmp_path / "b.parquet", **columns))
    assert rows["height"].tolist() == [18.0, 18.5, 21.5] and rows["base"].tolist() == [0.0, 0.0, 9.0]
    assert rows["height_source"].tolist() == ["levels", "kind", "height"] and facts["left_out"] == {"underground": 1}
    assert facts["tags_unused"]["has_parts: not in this file"]["count"] == 1 and not facts["unused_columns"]
    assert facts["buildings_columns"]["levels"] == ["num_floors"]


def test_overture_flags_hold_where_they_say(tmp_path):
    flags = [
        None,
        [{"values": ["is_bridge"], "between": None}],
        [{"values": ["is_tunnel"], "between": [0.25, 0.75]}, {"values": ["is_bridge"], "between": [0.0, 0.25]}],
        [{"values": ["is_under_construction"], "between": None}],
    ]
    lines = [LineString([(-40, 10 * k), (40, 10 * k)]) for k in range(4)]
    found, facts = streets(tmp_path / "s.parquet", lines, **{"class": ["residential"] * 4, "road_flags": flags})
    cut = found[found.centroid.y > 15]
    assert cut.length.round().tolist() == [20.0, 40.0, 20.0]
    assert cut["tunnel"].tolist() == [False, True, False] and cut["bridge"].tolist() == [True, False, False]
    assert (facts["streets"], facts["bridges"], facts["tunnels"]) == (5, 2, 1)
    assert facts["classes_without_ues"] == {"is_under_construction": 1}


def test_geofabrik(tmp_path):
    columns = {"fclass": ["building", "building"], "type": ["apartments", "garage"], "code": [1500, 1500]}
    rows, _ = built(squares(tmp_path / "b.shp", **columns))
    assert rows["height"].tolist() == [18.5, 3.0] and set(rows["height_source"]) == {"kind"}
    lines = [LineString([(-40, 10 * k), (40, 10 * k)]) for k in range(3)]
    tags = {"fclass": ["residential", "track_grade2", "service"], "bridge": ["F", "T", "F"], "tunnel": ["F", "F", "T"]}
    for more in ({}, {"highway": tags["fclass"]}):
        found, _ = streets(tmp_path / "s.parquet", lines, **tags, **more)
        assert found["tunnel"].tolist() == [False, False, True] and found["bridge"].tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("words", "yes"),
    [
        (["no", "No", "N", "F", "false", "FALSE", "0", "", "-1", None, float("nan"), False, 0, 0.0, "none"], False),
        (["yes", "T", "true", "1", True, 1, "building_passage", "viaduct"], True),
    ],
)
def test_flags_in_every_spelling(words, yes):
    assert affirmed(pd.Series(words, dtype=object)).eq(yes).all()


def test_microsoft_says_minus_one_for_unknown_google_no_height_and_openmaptiles_hides_outlines(tmp_path):
    rows, facts = built(squares(tmp_path / "b.geojson", height=[-1.0, 12.5], confidence=[-1.0, 0.9]))
    assert rows["height"].tolist() == [13.0, 12.5] and rows["height_source"].tolist() == ["area", "height"]
    assert facts["tags_unused"] == {"height: no number": {"count": 1, "examples": ["-1.0"]}}
    _, facts = built(squares(tmp_path / "g.geojson", confidence=[0.7], area_in_meters=[400.0], full_plus_code=["8F"]))
    assert not facts["unused_columns"] and facts["height_sources"] == {"area": 1}
    columns = {"render_height": [40.0, 40.0, 5.0], "render_min_height": [0, 12, 0], "hide_3d": [True, None, None]}
    rows, facts = built(squares(tmp_path / "b.parquet", **columns))
    assert rows["base"].tolist() == [12.0, 0.0] and rows["height_source"].tolist() == ["render_height", "area"]
    assert facts["left_out"] == {"outlines whose parts are drawn": 1}
    assert facts["tags_unused"]["render_height: a filler"]["count"] == 1


def test_columns_that_look_like_heights_are_named_until_the_city_says_what_they_are(tmp_path):
    names = ["hoehe", "H_MAX", "z_max", "hauteur", "nb_etages", "measuredHeight", "b3_h_dak_50p", "RelH2", "NumStories"]
    others = {"cat": [1, 2, 3], "name": ["1", "2", "3"], "levels_underground": [1, 1, 1], "height_note": list("?ab")}
    path = squares(tmp_path / "b.geojson", **{key: [27.5, None, 8.0] for key in names}, **others)
    rows, facts = built(path)
    assert facts["unused_columns"] == {name: {"count": 2, "examples": ["27.5", "8.0"]} for name in names}
    assert set(rows["height_source"]) == {"area"} and not facts["buildings_columns"]
    assert any("'hoehe' with 2 numbers (27.5, 8.0, …) that looks like a height" in said for said in facts["warnings"])
    rows, facts = built(path, columns={"height": "hoehe", "levels": "nb_etages"})
    assert rows["height"].tolist() == [27.5, 13.0, 8.0] and "hoehe" not in facts["unused_columns"]
    assert facts["buildings_columns"] == {"height": ["hoehe"], "levels": ["nb_etages"]}
    assert built(path, columns={"height_ft": "hoehe"})[0]["height"].tolist() == pytest.approx([8.382, 13.0, 2.4384])


def test_names_in_other_cases_and_cut_are_read_and_one_that_is_not_there_is_an_error(tmp_path):
    columns = {"Height": [9.0, None, None], "building_l": [None, "6", None], "BUILDING": ["yes", "yes", "office"]}
    rows, facts = built(squares(tmp_path / "c.geojson", **columns))
    assert rows["height"].tolist() == [9.0, 18.0, 15.0]
    assert facts["buildings_columns"]["levels"] == ["building_l"]
    path = squares(tmp_path / "b.geojson", height_med=[27.5])
    with pytest.raises(DataError, match=r"no such column[\s\S]*did you mean 'height_med'"):
        built(path, columns={"height": "height_mde"})
    with pytest.raises(ConfigError, match="heigth"):
        check(CityParams, {"name": "a", "source": "overpass", "columns": {"heigth": "h"}})


def test_of_a_map_of_openstreetmap_parts_that_are_closed_ways_are_read(tmp_path):
    town = OsmMap()
    town.way(box(0, 0, 40, 20).exterior, building="church", height="60")
    town.way(box(0, 0, 30, 20).exterior, **{"building:part": "yes", "height": "20"})
    town.way(box(30, 0, 40, 20).exterior, **{"building:part": "yes", "height": "60", "building:min_level": "1"})
    rows, facts = built(town.write(tmp_path / "b.osm"))
    assert rows["height"].tolist() == [20.0, 60.0] and rows["base"].tolist() == [0.0, 3.0]
    assert rows.area.round().tolist() == [600.0, 200.0] and facts["outlines_with_parts"] == 1


def test_what_does_not_stand_above_ground_is_left_out_and_counted(tmp_path):
    tags = [
        {"building": "yes"}, {"building": "yes", "location": "underground"}, {"building": "garage", "layer": "-1"},
        {"building": "yes", "layer": "1"}, {"building": "demolished"}, {"demolished:building": "yes"},
        {"building": "house", "demolished:building": "yes"}, {"building": "No"},
    ]  # fmt: skip
    columns = {name: [of.get(name) for of in tags] for of in tags for name in of}
    rows, facts = built(squares(tmp_path / "b.geojson", **columns), margin=100.0)
    assert len(rows) == 3 and facts["left_out"] == {"denied": 1, "underground": 2, "gone or to come": 2}


def test_parts_and_stacks_are_read_from_a_map_and_closed(tmp_path):
    parts = {"building": ["church", None, None], "building:part": [None, "yes", "yes"]}
    heights = {"height": ["60", "20", "60"], "min_height": [None, None, "20"]}
    rows, facts = built(write(tmp_path / "b.gpkg", [box(0, 0, 20, 20)] * 3, **parts, **heights))
    assert sorted(zip(rows["base"], rows["height"], strict=True)) == [(0.0, 20.0), (20.0, 60.0)]
    assert (facts["parts"], facts["duplicates"]) == (2, 0)
    mesh = trimesh.load_mesh(tmp_path / "c" / "meshes" / "buildings.ply", process=False)
    assert mesh.is_watertight and mesh.volume == pytest.approx(400 * (20 + FOUNDATION) + 400 * 40, rel=1e-3)
