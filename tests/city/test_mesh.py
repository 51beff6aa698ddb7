from __future__ import annotations

import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon
from shapely.geometry import box

from rfloc.city.mesh import Mesh, plane, prism, write_ply, write_scene
from rfloc.errors import DataError


@st.composite
def polygons(draw) -> Polygon:
    """Star-shaped outlines round the origin on a 1 cm grid, with or without a courtyard."""
    n = draw(st.integers(3, 14))
    radius = np.array(draw(st.lists(st.floats(5.0, 40.0), min_size=n, max_size=n)))
    turn = draw(st.floats(0.0, 6.0))
    angle = turn + 2 * np.pi * np.arange(n) / n
    shell = Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    if draw(st.booleans()):
        courtyard = box(-1.0, -1.0, 1.0, 1.0)
        if shell.contains(courtyard.buffer(0.1)):
            shell = shell.difference(courtyard)
    return shapely.set_precision(shell, 0.01)


def roof_area(mesh: Mesh, top: float) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a) / 2
    flat = (a[:, 2] == top) & (b[:, 2] == top) & (c[:, 2] == top)
    assert (normal[flat, 2] > 0).all(), "roof faces must look up"
    return float(normal[flat, 2].sum())


@settings(max_examples=150, deadline=None)
@given(polygon=polygons(), height=st.floats(2.0, 80.0))
def test_prism_is_watertight_and_has_the_area_and_volume_of_its_outline(polygon, height):
    mesh = prism(polygon, -1.0, height)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(polygon.area * (height + 1.0), rel=1e-9)
    assert roof_area(mesh, height) == pytest.approx(polygon.area, rel=1e-9)


@pytest.mark.parametrize(
    "polygon",
    [
        box(0, 0, 10, 10).difference(box(2, 2, 4, 4)).difference(box(6, 2, 8, 4)),
        Polygon([(0, 0), (5, 0), (10, 0), (10, 10), (5, 10), (0, 10), (0, 5)]),  # vertices in line
        Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [[(0, 0), (5, 2), (2, 5)]]),  # courtyard touches a corner
        Polygon([(0, 0), (10, 0), (10, 10), (0, 10)][::-1]),  # clockwise
    ],
)
def test_awkward_outlines(polygon):
    mesh = prism(polygon, 0.0, 3.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(3.0 * polygon.area)
    assert roof_area(mesh, 3.0) == pytest.approx(polygon.area)


def test_an_open_mesh_is_not_watertight():
    assert not plane(0, 0, 1, 1).is_watertight
    cube = prism(box(0, 0, 1, 1), 0.0, 1.0)
    assert not Mesh(cube.vertices, cube.faces[1:]).is_watertight


def test_no_prism_from_nonsense():
    with pytest.raises(DataError, match="invalid"):
        prism(Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), 0.0, 3.0)
    with pytest.raises(DataError, match="no volume"):
        prism(box(0, 0, 1, 1), 0.0, 0.0)


def test_merging_adds_volumes_and_ply_is_read_by_others(tmp_path):
    mesh = Mesh.merge([prism(box(0, 0, 10, 10), 0.0, 5.0), prism(box(20, 0, 25, 10), 0.0, 8.0)])
    assert mesh.volume == pytest.approx(500.0 + 400.0)
    write_ply(mesh, tmp_path / "m.ply")
    read = trimesh.load_mesh(tmp_path / "m.ply")
    assert read.is_watertight and read.volume == pytest.approx(900.0)
    assert read.body_count == 2


def test_scene_file_names_each_material_once(tmp_path):
    cube = prism(box(0, 0, 1, 1), 0.0, 1.0)
    path = write_scene({"a": (cube, "brick"), "b": (cube, "brick"), "g": (plane(0, 0, 9, 9), "wet_ground")}, tmp_path)
    text = path.read_text()
    assert text.count('<bsdf type="itu-radio-material" id="brick">') == 1
    assert text.count('<ref id="brick" name="bsdf"/>') == 2
    assert (tmp_path / "meshes" / "g.ply").is_file()
