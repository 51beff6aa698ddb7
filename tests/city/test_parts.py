"""Simple 3D Buildings: what an outline is where it has parts, in numbers of solids and in the raster."""

import numpy as np
import pytest
from shapely.geometry import box

from rfloc.city.heights import assign_heights
from rfloc.city.raster import city_layers
from rfloc.frames import Grid
from tests.city.test_heights import footprints

CHURCH = box(0, 0, 60, 20)  # its nave, and its tower
NAVE, TOWER = box(0, 0, 50, 20), box(50, 0, 60, 20)


def solids(*of):
    """(base, height, area) of what stands, from (shape, tags), and the facts."""
    shapes, tags = zip(*of, strict=True)
    rows, facts = assign_heights(footprints(*tags, shapes=list(shapes)), None)
    found = zip(rows["base"].round(3), rows["height"].round(3), rows.area.round(3), strict=True)
    return sorted(found), facts


def part(**tags):
    return {"part": True, "kind": "yes"} | tags


OUTLINE = {"kind": "church", "height": "80"}


def test_parts_stand_for_their_outline_and_drawn_inexactly_leave_no_thin_walls():
    got, facts = solids((CHURCH, OUTLINE), (NAVE, part(height="20")), (TOWER, part(height="80")))
    assert got == [(0, 20, 1000), (0, 80, 200)]
    assert (facts["parts"], facts["outlines_with_parts"], facts["floating"]) == (2, 1, 0)
    got, _ = solids((CHURCH, OUTLINE), (box(0.3, 0, 50, 20), part(height="20")), (TOWER, part(height="80")))
    assert [of[:2] for of in got] == [(0, 20), (0, 80)]


@pytest.mark.parametrize(
    ("outline", "height"),
    [
        ({"height": "15"}, 15.0),  # lower than the tower: its own
        ({"height": "80"}, 25.0),  # the tower's, of which the outline's is the maximum: that of a church
        ({}, 25.0),
    ],
)
def test_a_tower_alone_leaves_the_rest_of_its_outline(outline, height):
    got, _ = solids((CHURCH, {"kind": "church"} | outline), (TOWER, part(height="80")))
    assert got == [(0, height, 1000), (0, 80, 200)]


def test_the_rest_is_as_high_as_the_lowest_part():
    aisle = box(0, 0, 25, 20)
    got, _ = solids((CHURCH, OUTLINE), (aisle, part(height="12")), (TOWER, part(height="80")))
    assert got == [(0, 12, 500), (0, 12, 500), (0, 80, 200)]


def test_stacked_parts_and_a_dome_over_an_outline():
    got, _ = solids((TOWER, OUTLINE), (TOWER, part(height="30")), (TOWER, part(height="80", min_height="30")))
    assert got == [(0, 30, 200), (30, 80, 200)]
    got, facts = solids((CHURCH, {"height": "20"}), (TOWER, part(height="30", min_height="20")))
    assert got == [(0, 20, 1200), (20, 30, 200)] and facts["floating"] == 1, "the outline carries what floats"


def test_a_part_has_what_it_does_not_say_from_its_outline():
    outline = {"kind": "office", "levels": "10"}
    got, _ = solids((CHURCH, outline), (NAVE, part(min_level="4")), (TOWER, part(levels="2")))
    assert got == [(0, 7, 200), (14, 35, 1000)]


def test_a_part_without_an_outline_stands_by_itself_and_one_beside_changes_nothing():
    assert solids((NAVE, part(height="9")))[0] == [(0, 9, 1000)]
    got, facts = solids((NAVE, {"height": "9"}), (TOWER, part(height="30")))
    assert got == [(0, 9, 1000), (0, 30, 200)] and facts["outlines_with_parts"] == 0


def test_one_walks_under_what_floats():
    parts = footprints(part(height="9"), part(height="30", min_height="20"), shapes=[NAVE, CHURCH])
    rows, _ = assign_heights(parts, None)
    streets = rows.iloc[:1].assign(width=8.0, tunnel=False).set_geometry([box(-10, 9, 70, 11).boundary], crs=rows.crs)
    layers = city_layers(rows, streets, Grid.covering(-10, -10, 70, 30, 1.0))
    assert layers["building"].sum() == 1000 and set(np.unique(layers["height"])) == {0.0, 30.0}
    assert layers["road"][20, 65] == 1 and layers["road"][20, 30] == 0
