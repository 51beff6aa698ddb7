import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from rfloc.city.columns import BUILDINGS
from rfloc.city.heights import HEIGHT_RANGE, SOURCES, assign_heights, parse_number
from rfloc.city.raster import city_layers
from rfloc.frames import Grid, LocalFrame
from tests.toy import city_params

FRAME = LocalFrame(41.87, 12.46)
CHURCH = box(0, 0, 60, 20)  # its nave, and its tower
NAVE, TOWER = box(0, 0, 50, 20), box(50, 0, 60, 20)


def footprints(*tags, edge=10.0, shapes=None):
    """Squares, or shapes, with tags in the columns that the reader of maps gives."""
    shapes = shapes or [box(100.0 * k, 0, 100.0 * k + edge, edge) for k in range(len(tags))]
    columns = {name: [of.get(name) for of in tags] for name in BUILDINGS.columns}
    return gpd.GeoDataFrame(columns | {"part": [of.get("part", False) for of in tags]}, geometry=shapes, crs=FRAME.crs)


def assigned(*tags, prior=None, **of):
    return assign_heights(footprints(*tags, **of), prior)[0]


@pytest.mark.parametrize(
    ("tag", "metres"),
    [
        ("12", 12.0), ("12.5 m", 12.5), ("12,5", 12.5), ("40 ft", 12.192), ("40'", 12.192), (7, 7.0), (7.5, 7.5),
        ("30'6\"", 9.2964), ("30′ 6″", 9.2964), ("30'-6\"", 9.2964),
        ("30 ft 6 in", 9.2964), ("100ft", 30.48), ("10 m", 10.0), ("~10", 10.0),
        ("ca. 10 m", 10.0), ("10 meters", 10.0), ("10-12", 11.0), ("10 – 12 m", 11.0), ("3;4", 3.5),
        ("10 to 20 ft", 4.572),
        *((no_length, np.nan) for no_length in (None, np.nan, "", "tall", "12 storeys", "-3", -1.0, "12 m 5", "3;x")),
        ("1e-05", np.nan),
    ],
)  # fmt: skip
def test_lengths_are_read_and_what_is_none_is_nan(tag, metres):
    assert parse_number(tag) == pytest.approx(metres, nan_ok=True)


@pytest.mark.parametrize(
    ("tags", "height", "source"),
    [
        ({"height": "14", "levels": "9"}, 14.0, "height"),
        ({"height": "40 ft"}, 12.192, "height"),
        ({"height": "1400"}, 8.5, "area"),
        ({"height": "828 m", "levels": "163"}, 828.0, "height"),
        ({"levels": "163"}, 489.0, "levels"),
        ({"levels": "3-5"}, 12.0, "levels"),
        ({"levels": "4", "roof_levels": "1"}, 15.0, "levels"),
        ({"levels": "4", "roof_levels": "1", "roof_height": "2.5"}, 14.5, "levels"),
        ({"height": "12", "roof_height": "4"}, 12.0, "height"),
        ({"kind": "church", "ruins": "yes"}, 3.0, "kind"),
        ({"height": "0.5", "levels": "3"}, 9.0, "levels"),
        ({"levels": "4", "kind": "office"}, 14.0, "levels"),
        ({"levels": "2", "kind": "warehouse", "render_height": 30.0}, 9.0, "levels"),
        ({"levels": "10 m", "kind": "house"}, 7.0, "kind"),
        ({"levels": "999", "kind": "house"}, 7.0, "kind"),
        ({"render_height": 21.96}, 21.96, "render_height"),
        ({"render_height": 21.96, "kind": "church"}, 21.96, "render_height"),
        ({"kind": "apartments"}, 18.5, "kind"),
        ({"kind": "yes", "amenity": "place_of_worship"}, 18.5, "kind"),
        ({"kind": "church", "amenity": "place_of_worship"}, 25.0, "kind"),
        ({"kind": "yes", "amenity": "parking"}, 8.5, "area"),
        ({"kind": "yes"}, 8.5, "area"),
    ],
)
def test_rules(tags, height, source):
    got = assigned(tags).iloc[0]
    assert (got["height"], got["height_source"]) == (pytest.approx(height), source)


@pytest.mark.parametrize(("edge", "height"), [(14.0, 8.5), (14.2, 13.0), (31.0, 13.0), (32.0, 18.5)])
def test_larger_footprints_are_higher(edge, height):
    assert assigned({}, edge=edge)["height"].item() == height


def test_a_prior_stands_in_for_the_area_rule_and_for_no_other_and_rules_apply_row_by_row():
    got = assigned({"height": "9"}, {"kind": "house"}, {"kind": "yes"}, edge=50.0, prior=18.0)
    assert got["height"].tolist() == [9.0, 7.0, 18.0]
    assert got["height_source"].tolist() == ["height", "kind", "prior"]
    got = assigned({"height": "9"}, {"kind": "shed"})
    assert got["height"].tolist() == [9.0, 3.0] and got["kind"].tolist() == ["yes", "shed"]


@given(
    tags=st.lists(st.tuples(st.none() | st.floats(-1e3, 1e3), st.none() | st.floats(-100, 100)), min_size=1),
    prior=st.sampled_from([None, 18.0]),
)
def test_any_tags_give_a_height_in_range(tags, prior):
    got = assigned(*({"height": height, "levels": levels} for height, levels in tags), prior=prior)
    assert got["height"].between(*HEIGHT_RANGE).all() and got["height_source"].isin(SOURCES).all()


@pytest.mark.parametrize(
    ("tags", "base", "height"),
    [
        ({"height": "30", "min_height": "12 m"}, 12.0, 30.0),
        ({"levels": "8", "min_level": "2"}, 6.0, 24.0),
        ({"levels": "8", "min_level": "2", "kind": "office"}, 7.0, 28.0),
        ({"render_height": 20.0, "render_min_height": 5.0}, 5.0, 20.0),
        ({"kind": "roof"}, 3.5, 4.0),
        ({"kind": "roof", "height": "9", "min_height": "7"}, 7.0, 9.0),
        ({"min_height": "40"}, 40.0, 43.0),  # its height is a guess, so it gives way
        ({"height": "12", "min_height": "12"}, 0.0, 12.0),
        ({"height": "12", "min_height": "-3"}, 0.0, 12.0),
    ],
)
def test_what_begins_above_ground(tags, base, height):
    got = assigned(tags).iloc[0]
    assert (got["base"], got["height"]) == (base, height)


def test_every_tag_that_gave_nothing_is_counted_by_its_reason():
    tags = [{"height": "tall"}, {"height": "-1"}, {"height": "1400", "levels": "3"}, {"height": "9", "levels": "3"}]
    _, facts = assign_heights(footprints(*tags, {"height": "9", "min_height": "10"}, {"levels": "900"}), None)
    assert facts["tags_unused"] == {
        "height: no number": {"count": 2, "examples": ["tall", "-1"]},
        "height: outside 2 to 1100": {"count": 1, "examples": ["1400"]},
        "levels: an earlier rule applies": {"count": 1, "examples": ["3"]},
        "levels: outside 1 to 250": {"count": 1, "examples": ["900"]},
        "base: not under the roof": {"count": 1, "examples": ["10.0"]},
    }
    _, facts = assign_heights(footprints(*({"height": f"no {k}"} for k in range(50))), None)
    assert facts["tags_unused"]["height: no number"] == {"count": 50, "examples": ["no 0", "no 1", "no 2"]}


def test_the_prior_of_rome_is_the_median_of_its_measured_heights(rome_data):
    measured = gpd.read_file(rome_data / "rome" / "centro_building_heights.geojson", ignore_geometry=True)
    assert measured["hei_median"].astype(float).median() == city_params("rome").height_prior
    assert city_params("rome_whole").height_prior == city_params("rome").height_prior


def part(**tags):
    return {"part": True, "kind": "yes"} | tags


OUTLINE = {"kind": "church", "height": "80"}
HIGH = (TOWER, part(height="80"))


@pytest.mark.parametrize(
    ("of", "stands", "facts"),
    [
        ([(CHURCH, OUTLINE), (NAVE, part(height="20")), HIGH], [(0, 20, 1000), (0, 80, 200)],
         {"parts": 2, "outlines_with_parts": 1, "floating": 0}),
        # a tower alone leaves the rest: lower than the tower it has its own height; the tower's, of which the outline's
        # is the maximum, leaves that of a church; and so does none
        ([(CHURCH, OUTLINE | {"height": "15"}), HIGH], [(0, 15, 1000), (0, 80, 200)], {}),
        ([(CHURCH, OUTLINE), HIGH], [(0, 25, 1000), (0, 80, 200)], {}),
        ([(CHURCH, {"kind": "church"}), HIGH], [(0, 25, 1000), (0, 80, 200)], {}),
        # the rest is as high as the lowest part, an aisle
        ([(CHURCH, OUTLINE), (box(0, 0, 25, 20), part(height="12")), HIGH], [(0, 12, 500)] * 2 + [(0, 80, 200)], {}),
        # stacked parts; a dome over an outline, which carries what floats
        ([(TOWER, OUTLINE), (TOWER, part(height="30")), (TOWER, part(height="80", min_height="30"))],
         [(0, 30, 200), (30, 80, 200)], {}),
        ([(CHURCH, {"height": "20"}), (TOWER, part(height="30", min_height="20"))],
         [(0, 20, 1200), (20, 30, 200)], {"floating": 1}),
        # what a part does not say it has from its outline
        ([(CHURCH, {"kind": "office", "levels": "10"}), (NAVE, part(min_level="4")), (TOWER, part(levels="2"))],
         [(0, 7, 200), (14, 35, 1000)], {}),
        # without an outline it stands by itself; beside one it changes nothing
        ([(NAVE, part(height="9"))], [(0, 9, 1000)], {}),
        ([(NAVE, {"height": "9"}), (TOWER, part(height="30"))], [(0, 9, 1000), (0, 30, 200)],
         {"outlines_with_parts": 0}),
    ],
)  # fmt: skip
def test_parts_stand_for_their_outline(of, stands, facts):
    shapes, tags = zip(*of, strict=True)
    rows, found = assign_heights(footprints(*tags, shapes=list(shapes)), None)
    got = zip(rows["base"].round(3), rows["height"].round(3), rows.area.round(3), strict=True)
    assert sorted(got) == stands and facts.items() <= found.items()


def test_parts_drawn_inexactly_leave_no_thin_walls():
    shapes = [CHURCH, box(0.3, 0, 50, 20), TOWER]
    rows, _ = assign_heights(footprints(OUTLINE, part(height="20"), HIGH[1], shapes=shapes), None)
    assert sorted(zip(rows["base"], rows["height"], strict=True)) == [(0, 20), (0, 80)]


def test_one_walks_under_what_floats():
    parts = footprints(part(height="9"), part(height="30", min_height="20"), shapes=[NAVE, CHURCH])
    rows, _ = assign_heights(parts, None)
    streets = rows.iloc[:1].assign(width=8.0, tunnel=False).set_geometry([box(-10, 9, 70, 11).boundary], crs=rows.crs)
    layers = city_layers(rows, streets, Grid.covering(-10, -10, 70, 30, 1.0))
    assert layers["building"].sum() == 1000 and set(np.unique(layers["height"])) == {0.0, 30.0}
    assert layers["road"][20, 65] == 1 and layers["road"][20, 30] == 0
