import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from rfloc.city.heights import HEIGHT_RANGE, SOURCES, assign_heights, parse_length
from rfloc.city.osm import BUILDINGS
from rfloc.frames import LocalFrame
from tests.toy import city_params

FRAME = LocalFrame(41.87, 12.46)


def footprints(*tags, edge=10.0):
    """Squares with tags, in the columns that the reader of maps gives."""
    shapes = [box(100.0 * k, 0, 100.0 * k + edge, edge) for k in range(len(tags))]
    columns = {name: [of.get(name) for of in tags] for name in BUILDINGS.columns}
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=FRAME.crs)


@pytest.mark.parametrize(
    ("tag", "metres"),
    [("12", 12.0), ("12.5 m", 12.5), ("12,5", 12.5), ("40 ft", 12.192), ("40'", 12.192), (7, 7.0), (7.5, 7.5)],
)
def test_lengths_are_read(tag, metres):
    assert parse_length(tag) == pytest.approx(metres)


@pytest.mark.parametrize("tag", [None, float("nan"), "", "tall", "12 storeys", "-3", "1;2"])
def test_what_is_no_length_is_nan(tag):
    assert np.isnan(parse_length(tag))


@pytest.mark.parametrize(
    ("tags", "height", "source"),
    [
        ({"height": "14", "levels": "9"}, 14.0, "height"),
        ({"height": "40 ft"}, 12.192, "height"),
        ({"height": "1400"}, 8.5, "area"),
        ({"height": "0.5", "levels": "3"}, 9.0, "levels"),
        ({"levels": "4", "kind": "office"}, 14.0, "levels"),
        ({"levels": "2", "kind": "warehouse", "render_height": 30.0}, 9.0, "levels"),
        ({"levels": "10 m", "kind": "house"}, 7.0, "kind"),
        ({"levels": "99", "kind": "house"}, 7.0, "kind"),
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
    got = assign_heights(footprints(tags), None).iloc[0]
    assert (got["height"], got["height_source"]) == (pytest.approx(height), source)


@pytest.mark.parametrize(("edge", "height"), [(14.0, 8.5), (14.2, 13.0), (31.0, 13.0), (32.0, 18.5)])
def test_larger_footprints_are_higher(edge, height):
    assert assign_heights(footprints({}, edge=edge), None)["height"].item() == height


def test_a_prior_stands_in_for_the_area_rule_and_for_no_other():
    tags = [{"height": "9"}, {"kind": "house"}, {"kind": "yes"}]
    got = assign_heights(footprints(*tags, edge=50.0), 18.0)
    assert got["height"].tolist() == [9.0, 7.0, 18.0]
    assert got["height_source"].tolist() == ["height", "kind", "prior"]


def test_rules_apply_row_by_row():
    got = assign_heights(footprints({"height": "9"}, {"kind": "shed"}), None)
    assert got["height"].tolist() == [9.0, 3.0] and got["kind"].tolist() == ["yes", "shed"]


@settings(max_examples=20)
@given(
    tags=st.lists(st.tuples(st.none() | st.floats(-1e3, 1e3), st.none() | st.floats(-100, 100)), min_size=1),
    prior=st.sampled_from([None, 18.0]),
)
def test_any_tags_give_a_height_in_range(tags, prior):
    rows = footprints(*({"height": height, "levels": levels} for height, levels in tags))
    got = assign_heights(rows, prior)
    assert got["height"].between(*HEIGHT_RANGE).all() and got["height_source"].isin(SOURCES).all()


def test_the_prior_of_rome_is_the_median_of_its_measured_heights(rome_data):
    measured = gpd.read_file(rome_data / "rome" / "centro_building_heights.geojson", ignore_geometry=True)
    assert measured["hei_median"].astype(float).median() == city_params("rome").height_prior
    assert city_params("rome_whole").height_prior == city_params("rome").height_prior
