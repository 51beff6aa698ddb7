import pytest

from rfloc.city.raster import scene_file
from rfloc.errors import DataError
from rfloc.simulation.scene import HALF_SPACE, itu_parameters, load_radio_scene, load_scene


@pytest.mark.parametrize("carrier", [1e9, 2.6e9, 10e9])
def test_parity_with_sionna_where_its_table_reaches_and_with_the_formula_below(carrier):
    assert itu_parameters("concrete", 0.8e9) == pytest.approx((5.24, 0.0462 * 0.8**0.7822))
    from rfloc.backend import prepare

    prepare()
    import mitsuba as mi
    from sionna.rt.radio_materials.itu import itu_material

    for name in ("vacuum", "concrete", "brick", "wood", "glass", "metal", "medium_dry_ground"):
        eps_r, sigma = itu_material(name, mi.Float(carrier))
        assert itu_parameters(name, carrier) == pytest.approx((float(eps_r[0]), float(sigma[0])), rel=1e-5), name


@pytest.mark.parametrize(("carrier", "scattering"), [(0.8e9, 0.4), (3.5e9, 0.0)])
def test_every_material_of_a_scene_is_set(toy_city, carrier, scattering):
    scene = load_scene(toy_city, carrier, scattering)
    assert float(scene.frequency[0]) == pytest.approx(carrier)
    assert {material.itu_type for material in scene.radio_materials.values()} == {"concrete", "medium_dry_ground"}
    for material in scene.radio_materials.values():
        got = float(material.relative_permittivity[0]), float(material.conductivity[0])
        assert got == pytest.approx(itu_parameters(material.itu_type, carrier), rel=1e-5)
        assert float(material.scattering_coefficient[0]) == pytest.approx(scattering)
    scene.frequency = 0.7e9  # materials keep the values of the carrier that was asked for, and nothing raises
    assert float(scene.frequency[0]) == pytest.approx(0.7e9)


def test_the_scene_that_is_held_comes_empty_and_one_without_a_file_is_refused(toy_city, tmp_path):
    from sionna.rt import Receiver, Transmitter

    scene = load_scene(toy_city, 0.8e9, 0.4)
    scene.add([Transmitter("bs", position=[0.0, 0.0, 40.0]), Receiver("ue", position=[9.0, 0.0, 2.0])])
    again = load_scene(toy_city, 0.8e9, 0.4)
    assert again is scene and not again.transmitters and not again.receivers
    with pytest.raises(DataError, match="no scene"):
        load_radio_scene(tmp_path / "scene.xml", 0.8e9, 0.4)


@pytest.mark.parametrize("name", ["munich", "florence", "etoile", "floor_wall"])
def test_the_ground_of_sionnas_scenes_is_a_half_space_and_their_walls_are_not(name: str):
    scene = load_radio_scene(scene_file(name), 0.8e9, 0.4)
    thickness = {key: float(shape.radio_material.thickness[0]) for key, shape in scene.objects.items()}
    ground = [key for key, found in thickness.items() if found == HALF_SPACE]
    assert len(ground) == 1 and len(thickness) > 1
    assert all(found == pytest.approx(0.1) for key, found in thickness.items() if key not in ground)
    lowest = min(float(shape.mi_mesh.bbox().min.z) for shape in scene.objects.values())
    assert float(scene.objects[ground[0]].mi_mesh.bbox().min.z) == pytest.approx(lowest, abs=2.0)
