import numpy as np
import pytest
from scipy import ndimage

from rfloc.city.sionna_scenes import raster_of_scene, scene_file, street_mask
from rfloc.errors import DataError


def test_street_mask_keeps_streets_and_leaves_out_courtyards_and_the_outside():
    building = np.zeros((100, 160), bool)
    building[20:80, 20:70] = building[20:80, 80:130] = True  # a street of 10 m between two blocks
    building[40:50, 30:42] = False  # a courtyard
    mask, facts = street_mask(building)
    assert (facts["hull_radius_m"], facts["street_regions"], facts["other_regions"]) == (25.0, 1, 1)
    assert mask[45, 75] and not mask[45, 35], "street in, courtyard out"
    assert not mask[10, 10] and not mask[50, 150], "empty ground round the city is out"
    assert not (mask & building).any()
    assert ndimage.label(mask)[1] == 1
    assert mask[25:75, 70:80].all()


def test_street_mask_of_nothing_is_empty():
    assert not street_mask(np.zeros((20, 20), bool))[0].any()
    assert not street_mask(np.ones((20, 20), bool))[0].any()


@pytest.mark.parametrize(("width", "radius", "regions"), [(80, 50.0, 1), (400, 100.0, 2)])
def test_squares_and_fields_wider_than_the_hull_do_not_cost_half_of_the_streets(width, radius, regions):
    """Two villages of four blocks, with their own streets, on either side of open ground."""
    building = np.zeros((200, 320 + width), bool)
    for x in (40, 105, 175 + width, 240 + width):
        building[40:95, x : x + 55] = building[105:160, x : x + 55] = True
    mask, facts = street_mask(building)
    assert mask[100, 50] and mask[100, -50] and mask[100, 160 + width // 2] == (regions == 1)
    assert (facts["hull_radius_m"], facts["street_regions"]) == (radius, regions)


def test_a_scene_on_a_slope_is_refused_when_it_is_built():
    with pytest.raises(DataError, match=r"'san_francisco' lie between[\s\S]*horizontal plane[\s\S]*flatter"):
        raster_of_scene("san_francisco")


def test_the_place_and_both_halves_of_etoile_are_streets():
    _, layers, facts = raster_of_scene("etoile")
    assert (facts["hull_radius_m"], facts["street_regions"]) == (50.0, 1) and facts["other_share"] < 0.15
    assert layers["road"].mean() == pytest.approx(0.325, abs=0.01)


def test_unknown_scene_names_the_known_ones():
    with pytest.raises(DataError, match="munich"):
        scene_file("atlantis")
    with pytest.raises(DataError, match="no scene 'load_scene'"):
        scene_file("load_scene")


@pytest.mark.parametrize(
    ("name", "size", "built", "landmark", "height"),
    [
        ("munich", (1475, 1206), 0.31, (-208.0, 50.0), 98.57),  # southern tower of the Frauenkirche
        ("florence", (1000, 1100), 0.43, (128.0, -27.0), 114.5),  # dome of Santa Maria del Fiore
    ],
)
def test_rasters_of_the_demo_cities(name, size, built, landmark, height):
    grid, layers, facts = raster_of_scene(name)
    assert tuple(facts["size_m"]) == size
    building, road = layers["building"] == 1, layers["road"] == 1
    assert building.mean() == pytest.approx(built, abs=0.01)
    assert 0.12 < road.mean() < 0.21 and not (road & building).any()
    assert (layers["height"][building] > 2.0).all() and (layers["height"][~building] == 0.0).all()
    row, col, _ = grid.index(*landmark)
    near = layers["height"][row - 15 : row + 16, col - 15 : col + 16]
    assert near.max() == pytest.approx(height, abs=1.0)
    assert layers["height"].max() == pytest.approx(height, abs=1.0)
