import numpy as np
import pytest
from scipy import ndimage

from rfloc.city.sionna_scenes import raster_of_scene, scene_file, street_mask
from rfloc.errors import DataError


def test_street_mask_keeps_streets_and_leaves_out_courtyards_and_the_outside():
    building = np.zeros((100, 160), bool)
    building[20:80, 20:70] = building[20:80, 80:130] = True  # a street of 10 m between two blocks
    building[40:50, 30:45] = False  # a courtyard
    mask = street_mask(building)
    assert mask[45, 75] and not mask[45, 35], "street in, courtyard out"
    assert not mask[10, 10] and not mask[50, 150], "empty ground round the city is out"
    assert not (mask & building).any()
    assert ndimage.label(mask)[1] == 1
    assert mask[25:75, 70:80].all()


def test_street_mask_of_nothing_is_empty():
    assert not street_mask(np.zeros((20, 20), bool)).any()
    assert not street_mask(np.ones((20, 20), bool)).any()


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
