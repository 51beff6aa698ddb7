import geopandas as gpd
import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, affinity
from shapely.geometry import box

from rfloc.city.mesh import FOUNDATION, Mesh, plane, prisms, write_ply, write_scene
from rfloc.frames import LocalFrame
from rfloc.simulation.scene import load_radio_scene

#: Two wings and a bar between them, a vertex in the middle of the bar's edges.
U_SHAPE = Polygon([(0, 0), (30, 0), (30, 20), (20, 20), (20, 10), (15, 10), (10, 10), (10, 20), (0, 20)])


@st.composite
def polygons(draw) -> Polygon:
    """Star-shaped outlines on a 1 cm grid, convex or not, up to 20 km from the origin, with or without courtyards."""
    n = draw(st.integers(3, 14))
    radius = np.array(draw(st.lists(st.floats(5.0, 40.0), min_size=n, max_size=n)))
    turn = draw(st.floats(0.0, 6.0))
    angle = turn + 2 * np.pi * np.arange(n) / n
    shell = Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    for courtyard in (box(-1.0, -1.0, 1.0, 1.0), Polygon([(2, -1), (4, 0), (2, 2)]))[: draw(st.integers(0, 2))]:
        if shell.contains(courtyard.buffer(0.1)):
            shell = shell.difference(courtyard)
    x, y = draw(st.tuples(st.integers(-20_000, 20_000), st.integers(-20_000, 20_000)))
    return shapely.set_precision(affinity.translate(shell, x, y), 0.01)


def solid(mesh: Mesh) -> trimesh.Trimesh:
    """A mesh by a judge that wants two faces at every edge: closed, its faces outwards where its volume is positive."""
    judged = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert judged.is_watertight and judged.is_winding_consistent, "the mesh has gaps"
    return judged


def roof_area(judged: trimesh.Trimesh) -> float:
    """Area of the faces that look up [m2]."""
    return float(judged.area_faces[judged.face_normals[:, 2] > 0.5].sum())


@settings(max_examples=100)
@given(polygon=polygons(), height=st.floats(2.0, 80.0))
def test_prism_is_watertight_and_has_the_area_and_volume_of_its_outline(polygon, height):
    prism = solid(prisms(polygon, height, -1.0))
    assert prism.volume == pytest.approx(polygon.area * (height + 1.0), rel=1e-9)
    assert roof_area(prism) == pytest.approx(polygon.area, rel=1e-9)


@pytest.mark.parametrize(
    "polygon",
    [
        box(0, 0, 10, 10).difference(box(2, 2, 4, 4)).difference(box(6, 2, 8, 4)),
        U_SHAPE,
        Polygon([(0, 0), (5, 0), (10, 0), (10, 10), (5, 10), (0, 10), (0, 5)]),  # vertices in line
        Polygon([(0, 0), (0, 0), (10, 0), (10, 10), (10, 10), (0, 10)]),  # points twice
        Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [[(0, 0), (5, 2), (2, 5)]]),  # courtyard touches a corner
        Polygon([(0, 0), (10, 0), (10, 10), (0, 10)][::-1]),  # clockwise
        Polygon([(0, 0, 3), (10, 0, 3), (10, 10, 4), (0, 10, 4)]),  # with z, which doesn't count
    ],
)
def test_awkward_outlines(polygon):
    prism = solid(prisms(polygon, 3.0, 0.0))
    assert prism.volume == pytest.approx(3.0 * polygon.area)
    assert roof_area(prism) == pytest.approx(polygon.area)


@pytest.mark.parametrize("corner", [[], [(0, 10)]])
@pytest.mark.parametrize(
    "courtyards", [[[(0, 10), (8, 6), (8, 14)]], [[(0, 10), (8, 6), (8, 12)], [(8, 12), (12, 9), (12, 15)]]]
)
def test_a_courtyard_that_touches_an_outline_or_another_leaves_a_closed_solid(corner, courtyards):
    """Whether or not the outline has a corner there."""
    polygon = Polygon([(0, 0), (20, 0), (20, 20), (0, 20), *corner], courtyards)
    two = solid(prisms([polygon, box(30, 0, 40, 10)], 10.0, -1.0))
    assert two.volume == pytest.approx(11.0 * (polygon.area + 100.0))


def test_buildings_are_one_mesh_that_others_read_and_a_scene_names_each_material_once(tmp_path):
    shapes = [box(0, 0, 10, 10), box(20, 0, 25, 10), affinity.translate(U_SHAPE, 0, 50)]
    rows = gpd.GeoDataFrame({"height": [5.0, 8.0, 3.0]}, geometry=shapes)
    mesh = prisms(rows.geometry, rows["height"])
    assert solid(mesh).volume == pytest.approx((rows.area * (rows["height"] + FOUNDATION)).sum())
    write_ply(mesh, tmp_path / "m.ply")
    read = trimesh.load_mesh(tmp_path / "m.ply")
    assert read.is_watertight and read.volume == pytest.approx(solid(mesh).volume)
    assert sorted(part.bounds[1, 2] for part in read.split()) == [3.0, 5.0, 8.0]
    cube = prisms(box(0, 0, 1, 1), 1.0)
    path = write_scene({"a": (cube, "brick"), "b": (cube, "brick"), "g": (plane(0, 0, 9, 9), "wet_ground")}, tmp_path)
    text = path.read_text()
    assert text.count('<bsdf type="itu-radio-material" id="brick">') == 1
    assert text.count('<ref id="brick" name="bsdf"/>') == 2
    assert (tmp_path / "meshes" / "g.ply").is_file()


def test_prisms_of_rome_are_closed_and_rays_meet_their_roofs_and_the_ground_of_courtyards(rome_footprints, tmp_path):
    """A sample of Rome [m] with heights of 5 to 30 m."""
    sample = rome_footprints.iloc[::100].explode(ignore_index=True).to_crs(LocalFrame(41.86575, 12.45325).crs)
    rows = sample.assign(height=np.random.default_rng(4).uniform(5.0, 30.0, len(sample)))
    mesh = prisms(rows.geometry, rows["height"])
    assert rows.interiors.map(len).sum() > 50, "the sample has courtyards"
    whole = (rows.area * (rows["height"] + FOUNDATION)).sum()
    assert solid(mesh).volume == pytest.approx(whole, rel=1e-9)
    low, high = mesh.vertices.min(axis=0) - 50, mesh.vertices.max(axis=0) + 50
    assert np.hypot(*high[:2]) > 15_000, "far from the origin too"
    ground = plane(low[0], low[1], high[0], high[1])
    path = write_scene({"b": (mesh, "concrete"), "g": (ground, "medium_dry_ground")}, tmp_path)
    scene = load_radio_scene(path, 0.8e9, 0.4).mi_scene
    import mitsuba as mi

    outlines = rows.geometry.to_numpy()
    x, y = np.random.default_rng(5).uniform(shapely.bounds(outlines)[:, :2], shapely.bounds(outlines)[:, 2:]).T
    expected = np.zeros(len(x))
    ray, building = shapely.STRtree(outlines).query(shapely.points(x, y), predicate="within")
    np.maximum.at(expected, ray, rows["height"].to_numpy()[building])
    origin, down = mi.Point3f(mi.Float(x), mi.Float(y), mi.Float(100.0)), mi.Vector3f(0.0, 0.0, -1.0)
    hit = 100.0 - np.array(scene.ray_intersect_preliminary(mi.Ray3f(origin, down)).t, dtype=float)
    edge = np.zeros(len(x), bool)
    edge[shapely.STRtree(shapely.boundary(outlines)).query(shapely.points(x, y), "dwithin", distance=0.01)[0]] = True
    assert edge.mean() < 0.01 and 0.3 < (expected > 0).mean() < 0.9
    assert hit[~edge] == pytest.approx(expected[~edge], abs=1e-3)


def test_rays_at_edges_between_triangles_do_not_slip_through(tmp_path):
    """Onto the middles of diagonals of 2,500 roofs, where Embree by default lets some pass."""
    rng = np.random.default_rng(6)
    corner, angle = rng.uniform(0, 2000, (2500, 2)), rng.uniform(0, np.pi / 2, 2500)
    turned = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    square = corner[:, None] + 20.0 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ turned
    roofs = prisms(shapely.polygons(square), 10.0)
    diagonal = roofs.vertices[roofs.faces[: 2 * 2500]].astype(np.float32)  # two triangles a roof
    longest = np.linalg.norm(diagonal - np.roll(diagonal, -1, axis=1), axis=2).argmax(axis=1)
    row = np.arange(len(diagonal))
    x, y, z = ((diagonal[row, longest] + diagonal[row, (longest + 1) % 3]) / 2).T
    assert (z == 10.0).all()
    scene = load_radio_scene(write_scene({"b": (roofs, "concrete")}, tmp_path), 0.8e9, 0.4).mi_scene
    import mitsuba as mi

    origin, down = mi.Point3f(mi.Float(x), mi.Float(y), mi.Float(100.0)), mi.Vector3f(0.0, 0.0, -1.0)
    hit = 100.0 - np.array(scene.ray_intersect_preliminary(mi.Ray3f(origin, down)).t, dtype=float)
    assert (hit > 9.99).all()
