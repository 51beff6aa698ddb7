from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, Polygon, box

from rfloc.city.raster import blocks, rasterize, rasterize_city, write_raster
from rfloc.frames import Grid

GRID = Grid(-50.0, -20.0, 1.0, 100, 60)
EAST_WEST = LineString([(-50, 10), (50, 10)])


def features(buildings, streets):
    geometry, height = zip(*buildings, strict=True)
    lines, width, tunnel = zip(*streets, strict=True)
    return (
        gpd.GeoDataFrame({"height": height}, geometry=list(geometry)),
        gpd.GeoDataFrame({"width": width, "tunnel": tunnel}, geometry=list(lines)),
    )


def read(path):
    """Layers of a raster as arrays, by name."""
    with xr.open_zarr(path, consolidated=False, chunks=None) as ds:
        return {name: ds[name].values for name in ds}


@pytest.fixture
def layers(tmp_path):
    def make(buildings, streets, grid=GRID, **options):
        rasterize_city(*features(buildings, streets), grid, tmp_path / "raster.zarr", **options)
        return read(tmp_path / "raster.zarr")

    return make


@given(x=st.integers(-50, 40), y=st.integers(-20, 30), width=st.integers(1, 10), depth=st.integers(1, 10))
def test_cells_are_those_whose_centre_the_shape_holds(x, y, width, depth):
    got = rasterize([(box(x, y, x + width, y + depth), 1)], GRID, "uint8") == 1
    xs, ys = np.meshgrid(GRID.x, GRID.y)
    assert np.array_equal(got, (xs > x) & (xs < x + width) & (ys > y) & (ys < y + depth))


millimetres = st.integers(-20_000, 20_000).map(lambda n: n / 1000)
coordinates = st.tuples(millimetres, millimetres)


@settings(max_examples=50)
@given(st.lists(coordinates, min_size=3, max_size=9, unique=True), st.integers(5, 20))
def test_any_polygon_is_cut_at_cell_centres_whatever_the_block(corners, edge):
    shape = shapely.make_valid(Polygon(corners), method="structure")
    assume(shape.area > 1e-3)
    grid = Grid(-16.0, -12.0, 1.0, 31, 25)
    xs, ys = np.meshgrid(grid.x, grid.y)
    inside = shapely.contains_xy(shape, xs, ys)
    sure = shapely.distance(shape.boundary, shapely.points(xs, ys)) > 1e-9
    whole = rasterize([(shape, 1)], grid, "uint8")
    assert np.array_equal(whole[sure] == 1, inside[sure])
    parts = np.empty_like(whole)
    for rows, cols in blocks(grid, edge):
        parts[rows, cols] = rasterize([(shape, 1)], grid.part(rows, cols), "uint8")
    assert np.array_equal(parts[sure], whole[sure])


def test_row_0_is_south():
    got = rasterize([(box(-50, -20, 50, -18), 1)], GRID, "uint8")
    assert got[:2].all() and not got[2:].any()


def test_taller_building_wins_whatever_the_order(layers):
    low, high = (box(0, 0, 20, 20), 10.0), (box(10, 10, 30, 30), 25.0)
    for pair in ([low, high], [high, low]):
        height = layers(pair, [(EAST_WEST, 4.0, False)])["height"]
        row, col, _ = GRID.index([5.5, 15.5, 25.5], [5.5, 15.5, 25.5])
        assert height[row, col].tolist() == [10.0, 25.0, 25.0]


def test_street_strip_has_its_width_and_stops_at_buildings(layers):
    got = layers([(box(0, 0, 20, 20), 10.0)], [(EAST_WEST, 4.0, False)])
    road = got["road"] == 1
    assert road[:, 10].sum() == 4 and road[:, 60].sum() == 0
    assert not (road & (got["building"] == 1)).any()
    assert {name: str(v.dtype) for name, v in got.items()} == {
        "building": "uint8", "road": "uint8", "height": "float32", "ground": "float32"
    }  # fmt: skip
    assert not got["ground"].any()


def test_no_ue_stands_in_a_tunnel(layers):
    got = layers(
        [(box(0, 30, 5, 35), 10.0)], [(EAST_WEST, 4.0, True), (LineString([(-40, -20), (-40, 40)]), 4.0, False)]
    )
    assert got["road"].sum() == 4 * 60


@pytest.mark.parametrize("edge", [33, 4096])
def test_the_block_does_not_matter(layers, edge):
    """Random buildings with corners on half metres and streets of odd widths: ties at cell centres included."""
    rng = np.random.default_rng(4)
    at, span = rng.integers(-120, 100, (60, 2)) / 2, rng.integers(2, 60, (60, 2)) / 2
    buildings = [(box(*a, *(a + s)), float(h)) for a, s, h in zip(at, span, rng.integers(5, 40, 60), strict=True)]
    ends = rng.integers(-60, 60, (20, 2, 2))
    streets = [(LineString(e), float(w), False) for e, w in zip(ends, rng.integers(1, 12, 20), strict=True)]
    want = layers(buildings, streets, block=GRID.nx)
    got = layers(buildings, streets, block=edge)
    for name, values in want.items():
        assert np.array_equal(got[name], values), name
    assert 0.2 < want["building"].mean() < 0.9 and want["road"].any()


def test_counts_are_those_of_the_arrays(tmp_path):
    rng = np.random.default_rng(0)
    height = np.where(rng.random(GRID.shape) < 0.3, rng.uniform(3, 60, GRID.shape), 0).astype(np.float32)
    building = height > 0
    road = ~building & (rng.random(GRID.shape) < 0.5)
    whole = {"building": building, "road": road, "height": height}
    parts = [(r, c, {k: v[r, c] for k, v in whole.items()}) for r, c in blocks(GRID, 33)]
    facts = write_raster(tmp_path / "r.zarr", GRID, parts)
    assert facts["cells"] == [100, 60]
    assert facts["built_share"] == round(float(building.mean()), 4)
    assert facts["road_share"] == round(float(road.mean()), 4)
    assert facts["median_height"] == pytest.approx(np.median(height[building]), abs=0.006)
    got = read(tmp_path / "r.zarr")
    assert all(np.array_equal(got[name], values) for name, values in whole.items())
    empty = write_raster(tmp_path / "e.zarr", GRID, [])
    assert empty["median_height"] == 0.0 and not any(v.any() for v in read(tmp_path / "e.zarr").values())


def test_what_is_flat_takes_no_space(tmp_path):
    write_raster(tmp_path / "r.zarr", Grid(0, 0, 1, 9000, 9000), [])
    assert sum(f.stat().st_size for f in (tmp_path / "r.zarr").rglob("*") if f.is_file()) < 20_000
