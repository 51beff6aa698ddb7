"""Patches tile their region, each in its own frame and with its own buildings."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rfloc.city import build_patch, cut, neighbours, open_any
from rfloc.errors import ConfigError, DataError
from tests.conftest import PROJECT
from tests.toy import FRAME, city_params

REGION = city_params("rome_whole")


def boxes(patches):
    south, north, west, east = np.array([patch.params.box for patch in patches]).T
    return shapely.box(west, south, east, north)


@given(st.integers(1, 6), st.integers(1, 6))
def test_patches_tile_the_region(rows, cols):
    if rows == cols == 1:
        return
    patches = cut("r", REGION, [rows, cols], 500.0)
    south, north, west, east = REGION.box
    assert len({patch.key for patch in patches}) == rows * cols
    areas = shapely.area(boxes(patches))
    np.testing.assert_allclose(areas, (north - south) * (east - west) / (rows * cols), rtol=1e-9)
    assert shapely.equals(shapely.union_all(boxes(patches), grid_size=1e-9), shapely.box(west, south, east, north))
    first, last = patches[0].params, patches[-1].params
    assert (first.box[0], first.box[2], last.box[1], last.box[3]) == (south, west, north, east)
    assert all(patch.params.margin == 500.0 and not patch.params.patches_only for patch in patches)
    np.testing.assert_allclose(patches[0].params.centre, [np.mean(first.box[:2]), np.mean(first.box[2:])])


def test_neighbours_touch():
    patches = cut("r", REGION, [4, 5], 0.0)
    for patch, own in zip(patches, boxes(patches), strict=True):
        touching = [p.key for p, box in zip(patches, boxes(patches), strict=True) if box.intersects(own) and p != patch]
        assert [p.key for p in neighbours(patch, patches)] == touching
        assert len(touching) in (3, 5, 8)


def test_one_patch_is_the_city_as_it_is(tmp_path, toy_city):
    (patch,) = cut("munich", city_params("munich"), [1, 1], 500.0)
    assert patch.key == "munich" and patch.params == city_params("munich")
    with pytest.raises(DataError, match="there is no"):
        build_patch(patch, PROJECT / "data", tmp_path)
    (toy,) = cut("toy", city_params("toy"), [1, 1], 500.0)
    (tmp_path / "cities").mkdir()
    (tmp_path / "cities/toy").symlink_to(toy_city.folder)
    assert build_patch(toy, PROJECT / "data", tmp_path).grid == open_any(tmp_path, "toy").grid == toy_city.grid
    with pytest.raises(DataError, match="neither a city nor a patch called 'toy-00-00'"):
        open_any(tmp_path, "toy-00-00")


def test_a_patch_has_its_own_frame_and_the_buildings_that_stand_there(tmp_path, toy_city):
    patches = cut("toy", city_params("toy"), [2, 2], 30.0)
    for patch in patches:
        city = build_patch(patch, PROJECT / "data", tmp_path)
        assert city.folder == tmp_path / "patches" / patch.key and open_any(tmp_path, patch.key).key == patch.key
        assert city.frame != toy_city.frame
        x_min, y_min, x_max, y_max = city.bounds
        assert x_max + x_min == pytest.approx(0, abs=0.01) and y_max + y_min == pytest.approx(0, abs=0.01)
        assert city.grid.bounds == pytest.approx((x_min - 30, y_min - 30, x_max + 30, y_max + 30), abs=1.0)
        lat, lon = FRAME.to_geographic(*np.random.default_rng(0).uniform(-179, 179, (2, 2000)))
        x, y = city.frame.to_local(lat, lon)
        np.testing.assert_allclose(city.frame.to_geographic(x, y), (lat, lon), atol=1e-10)
        here = city.grid.index(x, y)[2]
        same = city.height_at(x, y)[here] == toy_city.height_at(*toy_city.frame.to_local(lat, lon))[here]
        assert here.sum() > 500 and same.mean() > 0.97, "but for cells that a wall crosses"


def test_a_scene_of_sionna_is_not_cut():
    with pytest.raises(ConfigError, match="can't be cut into 2 x 1"):
        cut("home", city_params("munich"), [2, 1], 0.0)


def test_a_patch_of_rome(rome_data, tmp_path):
    patch = cut("rome", REGION, [80, 80], 100.0)[40 * 80 + 40]
    city = build_patch(patch, rome_data, tmp_path)
    assert city.facts["buildings"] > 50
    x_min, y_min, x_max, y_max = city.bounds
    assert (x_max - x_min, y_max - y_min) == pytest.approx((33_000 / 80, 25_000 / 80), rel=0.01)
    x, y = city.street_points(100, np.random.default_rng(0))
    assert not city.height_at(x, y).any()
