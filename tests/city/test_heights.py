from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from rfloc.city.heights import SOURCES, assign_heights, parse_length


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
        ({"height": "1400"}, 18.0, "default"),
        ({"height": "0.5", "building:levels": "3"}, 9.0, "levels"),
        ({"building:levels": "4", "building": "office"}, 14.0, "levels"),
        ({"building:levels": "99", "building": "house"}, 8.0, "kind"),
        ({"render_height": 21.96, "height_tagged": True}, 21.96, "render_height"),
        ({"render_height": 3.66, "height_tagged": False}, 18.0, "default"),
        ({"render_height": 3.66}, 18.0, "default"),
        ({"building": "yes"}, 18.0, "default"),
    ],
)
def test_rules(tags, height, source):
    got = assign_heights(gpd.GeoDataFrame([tags], geometry=[box(0, 0, 1, 1)]), default=18.0).iloc[0]
    assert (got["height"], got["height_source"]) == (pytest.approx(height), source)


def test_rules_apply_row_by_row():
    frame = gpd.GeoDataFrame({"height": ["9", None], "building": [None, "shed"]}, geometry=[box(0, 0, 1, 1)] * 2)
    got = assign_heights(frame, 18.0)
    assert got["height"].tolist() == [9.0, 3.0] and got["kind"].tolist() == ["yes", "shed"]


@given(height=st.one_of(st.none(), st.floats(-1e3, 1e3)), levels=st.one_of(st.none(), st.floats(-100, 100)))
def test_any_tags_give_a_height_in_range(height, levels):
    row = gpd.GeoDataFrame([{"height": height, "levels": levels}], geometry=[box(0, 0, 1, 1)])
    got = assign_heights(row, 18.0).iloc[0]
    assert 2.0 <= got["height"] <= 200.0 and got["height_source"] in SOURCES
