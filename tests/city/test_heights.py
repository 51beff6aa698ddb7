from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import box

from rfloc.city.heights import (
    HEIGHT_RANGE,
    KIND_HEIGHT,
    SOURCES,
    assign_heights,
    height_quantiles,
    parse_length,
    place_draws,
    prior_heights,
)
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from tests.toy import city_params

FRAME = LocalFrame(41.87, 12.46)
PRIOR = [8.5, 15.0, 18.0, 22.0, 28.5]


def params(**knobs):
    return city_params("toy").model_copy(update=knobs)


def footprints(*tags, edge=10.0, frame=FRAME):
    shapes = [box(100.0 * k, 0, 100.0 * k + edge, edge) for k in range(len(tags))]
    return gpd.GeoDataFrame(list(tags), geometry=shapes, crs=frame.crs)


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
        ({"height": "14", "building:levels": "9"}, 14.0, "height"),
        ({"building:height": "40 ft"}, 12.192, "height"),
        ({"height": "1400"}, 8.5, "area"),
        ({"height": "0.5", "building:levels": "3"}, 9.0, "levels"),
        ({"building:levels": "4", "building": "office"}, 14.0, "levels"),
        (
            {"building:levels": "2", "building": "warehouse", "render_height": 30.0, "height_tagged": True},
            9.0,
            "levels",
        ),
        ({"building:levels": "10 m", "building": "house"}, 7.0, "kind"),
        ({"building:levels": "99", "building": "house"}, 7.0, "kind"),
        ({"render_height": 21.96, "height_tagged": True}, 21.96, "render_height"),
        ({"render_height": 21.96, "height_tagged": True, "building": "church"}, 21.96, "render_height"),
        ({"render_height": 3.66, "height_tagged": False}, 8.5, "area"),
        ({"render_height": 3.66}, 8.5, "area"),
        ({"building": "apartments"}, 18.5, "kind"),
        ({"building": "yes", "amenity": "place_of_worship"}, 18.5, "kind"),
        ({"building": "church", "amenity": "place_of_worship"}, 25.0, "kind"),
        ({"building": "yes", "amenity": "parking"}, 8.5, "area"),
        ({"building": "yes"}, 8.5, "area"),
    ],
)
def test_rules(tags, height, source):
    got = assign_heights(footprints(tags), params()).iloc[0]
    assert (got["height"], got["height_source"]) == (pytest.approx(height), source)


@pytest.mark.parametrize(("edge", "height"), [(14.0, 8.5), (14.2, 13.0), (31.0, 13.0), (32.0, 18.5)])
def test_larger_footprints_are_higher(edge, height):
    assert assign_heights(footprints({}, edge=edge), params())["height"].item() == height


def test_a_prior_stands_in_for_the_area_rule_and_for_no_other():
    tags = [{"height": "9"}, {"building": "house"}, {"building": "yes"}]
    got = assign_heights(footprints(*tags, edge=50.0), params(height_prior=PRIOR))
    assert got["height"].tolist() == [9.0, 7.0, 18.0]
    assert got["height_source"].tolist() == ["height", "kind", "prior"]


def test_rules_apply_row_by_row():
    got = assign_heights(footprints({"height": "9"}, {"building": "shed"}), params())
    assert got["height"].tolist() == [9.0, 3.0] and got["kind"].tolist() == ["yes", "shed"]


@settings(max_examples=20)
@given(
    tags=st.lists(st.tuples(st.none() | st.floats(-1e3, 1e3), st.none() | st.floats(-100, 100)), min_size=1),
    prior=st.sampled_from([None, PRIOR, [1.0, 2.0, 90.0, 150.0, 199.0]]),
    draw=st.booleans(),
)
def test_any_tags_give_a_height_in_range(tags, prior, draw):
    rows = footprints(*({"height": height, "building:levels": levels} for height, levels in tags))
    got = assign_heights(rows, params(height_prior=prior, height_draw=draw), seed=5)
    assert got["height"].between(*HEIGHT_RANGE).all() and got["height_source"].isin(SOURCES).all()


@pytest.mark.parametrize("factor", [0.8, 1.2])
@pytest.mark.parametrize("draw", [False, True])
def test_one_factor_scales_every_height(factor, draw):
    rows = footprints({"height": "40 ft"}, {"building:levels": "7"}, {"building": "school"}, {})
    plain = assign_heights(rows, params(height_draw=draw), seed=1)
    scaled = assign_heights(rows, params(height_draw=draw, height_scale=factor), seed=1)
    assert np.array_equal(scaled["height"], plain["height"] * factor)
    assert scaled["height_source"].equals(plain["height_source"])


def lattice(n=2000, frame=FRAME, **tags):
    """`n` footprints 37 m apart."""
    corner = [box(37.0 * (k % 50), 37.0 * (k // 50), 37.0 * (k % 50) + 12, 37.0 * (k // 50) + 9) for k in range(n)]
    return gpd.GeoDataFrame({key: [value] * n for key, value in tags.items()}, geometry=corner, crs=frame.crs)


def test_draws_fill_the_range_of_their_rule_evenly():
    heights = assign_heights(lattice(building="hospital"), params(height_draw=True), seed=3)["height"]
    counts = np.histogram(heights, bins=10, range=KIND_HEIGHT["hospital"])[0]
    assert counts.sum() == 2000
    assert ((counts - 200.0) ** 2 / 200.0).sum() < 33.7  # chi-square, 9 degrees of freedom, 99.99 % point


def test_draws_from_a_prior_have_its_quantiles():
    heights = assign_heights(lattice(), params(height_draw=True, height_prior=PRIOR), seed=3)["height"]
    below = [(heights < q).mean() for q in PRIOR]
    assert below == pytest.approx([0.05, 0.25, 0.5, 0.75, 0.95], abs=4 * np.sqrt(0.25 / 2000))


def test_the_prior_is_linear_between_its_quantiles_and_past_them():
    assert prior_heights(PRIOR, [0.05, 0.15, 0.5, 0.95]) == pytest.approx([8.5, 11.75, 18.0, 28.5])
    assert prior_heights(PRIOR, [0.0, 1.0]) == pytest.approx([8.5 - 6.5 / 4, 28.5 + 6.5 / 4])


def test_a_draw_depends_on_the_seed_and_the_place_alone():
    rows = lattice(400)
    draws = place_draws(rows, seed=7)
    shuffled = rows.sample(frac=1.0, random_state=0)
    assert np.array_equal(place_draws(shuffled, 7), draws[shuffled.index])
    assert np.array_equal(place_draws(rows.iloc[100:150], 7), draws[100:150])
    assert abs(np.corrcoef(place_draws(rows, 8), draws)[0, 1]) < 0.2
    grown = rows.set_geometry([affinity.scale(shape, 1.5, 1.5) for shape in rows.geometry])
    assert place_draws(grown, 7) == pytest.approx(draws), "the place is the centroid"


def test_a_building_of_two_cities_is_equally_high_in_both(rome_sample):
    here, there = (rome_sample.to_crs(LocalFrame(lat, lon).crs) for lat, lon in ((41.87, 12.46), (41.80, 12.55)))
    same = place_draws(here, 7) == place_draws(there, 7)
    assert same.mean() > 0.999  # a centroid on the border of two places may fall to either


def test_quantiles_of_rome_are_those_of_its_configuration(rome_data):
    quantiles = height_quantiles(rome_data / "rome" / "centro_building_heights.geojson")
    assert quantiles == pytest.approx(city_params("rome").height_prior)
    assert city_params("rome_whole").height_prior == city_params("rome").height_prior


def test_what_holds_no_heights_is_refused(tmp_path):
    lattice(3, floors=2.0, name="a").to_file(tmp_path / "b.geojson")
    assert height_quantiles(tmp_path / "b.geojson", "floors") == [2.0] * 5
    with pytest.raises(DataError, match="its columns are"):
        height_quantiles(tmp_path / "b.geojson")
    with pytest.raises(DataError, match="no heights in a column 'name'"):
        height_quantiles(tmp_path / "b.geojson", "name")
    with pytest.raises(DataError, match="can't be read"):
        height_quantiles(tmp_path / "none.geojson")


def test_degrees_are_no_metres():
    with pytest.raises(DataError, match="square metres"):
        assign_heights(lattice(2).to_crs(4326), params())
    with pytest.raises(DataError, match="square metres"):
        assign_heights(gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)]), params())
