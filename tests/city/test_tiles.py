"""Cut at tile borders and united again: what comes out is what was cut."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from shapely.affinity import rotate, translate
from shapely.geometry import LineString, Polygon, box

from rfloc.city.formats import TOLERANCE, unite_pieces
from rfloc.frames import LocalFrame

ZOOM = 14


def border(zoom=ZOOM, lat=45.0, lon=10.0):
    """Corner of four tiles next to a place: lon, lat [deg]."""
    n = 2**zoom
    x = np.round((lon + 180) / 360 * n)
    y = np.round((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * n)
    return x / n * 360 - 180, np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y / n))))


LON, LAT = border()
CORNER = LocalFrame(float(LAT), float(LON))  # its axes run along the two borders


def cut(shapes, digits=6, **columns):
    """Pieces in the four tiles round the corner, of shapes in metres from it, rounded as published extracts are."""
    degrees = gpd.GeoSeries(list(shapes), crs=CORNER.crs).to_crs(4326)
    pieces, rows = [], []
    for x0, y0 in ((-1, -1), (-1, 0), (0, -1), (0, 0)):
        tile = box(LON + 0.02 * x0, LAT + 0.02 * y0, LON + 0.02 * (x0 + 1), LAT + 0.02 * (y0 + 1))
        for row, shape in enumerate(degrees):
            for part in shapely.get_parts(shape.intersection(tile)):
                if part.geom_type == "Polygon" and part.area > 0:
                    pieces.append(shapely.transform(part, lambda xy: np.round(xy, digits)))
                    rows.append(row)
    table = {name: np.array(values, dtype=object)[rows] for name, values in columns.items()}
    return gpd.GeoDataFrame(table, geometry=pieces, crs=4326)


def united(pieces, zoom=ZOOM):
    buildings, count = unite_pieces(pieces, zoom)
    assert count.sum() == len(pieces) and len(count) == len(buildings)
    return buildings.to_crs(CORNER.crs), count


@pytest.mark.parametrize("lon", [-180.0, 180.0])
def test_a_building_over_the_180th_meridian_is_one_again(lon):
    halves = [box(lon - 1e-4, -17.0001, lon, -17.0), box(lon, -17.0001, lon + 1e-4, -17.0)]
    buildings, count = unite_pieces(gpd.GeoDataFrame(geometry=halves, crs=4326), ZOOM)
    assert count.tolist() == [2] and buildings.total_bounds[[0, 2]] == pytest.approx([lon - 1e-4, lon + 1e-4], abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "pieces", "courtyards"),
    [
        (box(-20, 5, 20, 45).difference(box(-10, 15, 10, 35)), 2, 1),
        (Polygon([(-20, 0.5), (20, 0.5), (20, 10), (-5, 10), (-5, 30), (20, 30), (20, 40), (-20, 40)]), 3, 0),  # a U
    ],
)
def test_courtyards_across_a_border_come_back_and_a_u_shape_is_one(shape, pieces, courtyards):
    buildings, count = united(cut([shape]))
    assert count.tolist() == [pieces] and buildings.geometry[0].geom_type == "Polygon"
    assert len(buildings.geometry[0].interiors) == courtyards
    assert buildings.area[0] == pytest.approx(shape.area, rel=0.01)


def test_neighbours_stay_apart():
    row = [box(-20, 5, 20, 15), box(-20, 15, 20, 25), box(-20, 25, 20, 35)]  # a terrace, each house cut
    buildings, count = united(cut(row))
    assert sorted(count) == [2, 2, 2] and np.allclose(buildings.area, 400, rtol=0.02)
    apart = [box(30, 5, 40, 15), box(40, 5, 50, 15)]  # touch, but not at a border
    assert united(cut(apart))[1].tolist() == [1, 1]
    across = [box(-10, 50, 0, 60), box(0, 59.5, 10, 70)]  # touch at the border, on half a metre
    assert united(cut(across))[1].tolist() == [1, 1]


def test_pieces_with_other_tags_are_other_buildings():
    halves = [box(-10, 5, 0, 15), box(0, 5, 10, 15)]
    for alike in (["12", "12"], [None, None], [np.nan, None]):  # where neither says anything, too
        assert united(cut(halves, height=alike))[1].tolist() == [2]
    for other in (["12", "13"], ["12", None]):
        assert united(cut(halves, height=other))[1].tolist() == [1, 1]


def test_borders_belong_to_a_zoom_level():
    pieces = cut([box(-10, 5, 10, 15)])
    lon, _ = border(zoom=9)
    assert abs(lon - LON) > 1e-3  # no border of level 9 here
    assert united(pieces, zoom=9)[1].tolist() == [1, 1]
    assert united(pieces, zoom=15)[1].tolist() == [2], "a border of level 14 is one of level 15 too"


@given(st.integers(3, 9), st.floats(5, 60), st.floats(0, 360), *[st.floats(-40, 40)] * 2, st.integers(0, 999))
def test_any_polygon_is_itself_again(corners, radius, turn, x, y, seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = radius * rng.uniform(0.4, 1.0, corners)
    shape = translate(rotate(Polygon(np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None]), turn), x, y)
    assume(shape.is_valid and shape.area > 10)
    pieces = cut([shape], digits=9)
    buildings, count = united(pieces)
    moved = shapely.union_all(buildings.geometry.to_numpy()).symmetric_difference(shape)
    assert moved.area < TOLERANCE * shape.length, "vertices near a border moved onto it"
    assert buildings.is_valid.all()
    half_borders = [LineString([(0, 0), end]) for end in ((99, 0), (0, 99), (-99, 0), (0, -99))]
    cuts = [part.length for line in half_borders for part in shapely.get_parts(shape.intersection(line))]
    assert len(count) == 1 or min(cuts) < 0.5, "only a cut too short to count may part it"


def test_rome_is_cut_at_zoom_14(rome_footprints):
    layer = rome_footprints.cx[12.455:12.50, 41.855:41.875]
    layer = layer.explode(ignore_index=True)
    buildings, count = unite_pieces(layer, ZOOM)
    assert 50 < (count > 1).sum() < 500 and count.max() <= 8
    before, after = (shapes.to_crs(LocalFrame(41.865, 12.48).crs).area for shapes in (layer, buildings))
    assert after.sum() == pytest.approx(before.sum(), rel=1e-4)
    assert unite_pieces(buildings.explode(ignore_index=True), ZOOM)[1].max() == 1, "nothing is left to unite"
    assert (unite_pieces(layer, 13)[1] > 1).sum() < (count > 1).sum()
