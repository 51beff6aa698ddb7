"""Footprints to a scene: watertight prisms with courtyards, a ground plane, and the scene file that Sionna RT reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rfloc.arrays import Floats, Ints
from rfloc.frames import Grid

FOUNDATION = 1.0  #: prisms reach this far below ground [m], so that no wall ends on the ground plane
APRON = 50.0  #: the ground plane reaches this far past everything else [m]
_SCENE = """<scene version="2.1.0">
  <boolean name="embree_use_robust_intersections" value="true"/>
{}</scene>
"""
_MATERIAL = """  <bsdf type="itu-radio-material" id="{0}">
    <string name="type" value="{0}"/>
    <float name="thickness" value="0.1"/>
  </bsdf>
"""
_SHAPE = """  <shape type="ply" id="mesh-{0}">
    <string name="filename" value="meshes/{0}.ply"/>
    <boolean name="face_normals" value="true"/>
    <ref id="{1}" name="bsdf"/>
  </shape>
"""


@dataclass(frozen=True)
class Mesh:
    """Triangles: `vertices` (n, 3) [m], `faces` (m, 3), counter-clockwise seen from outside."""

    vertices: Floats
    faces: Ints


def prisms(polygons: ArrayLike, top: ArrayLike, base: ArrayLike = -FOUNDATION) -> Mesh:
    """Polygons [m], shape (n,), extruded between z `base` and `top` [m]: roof, floor and walls, courtyards open.

    Roofs and floors are GEOS's, with every vertex of the outline (Mapbox's earcut drops those in line with their
    neighbours); walls stand where a roof's triangles end. A vertex belongs to the triangles that go round it side by
    side: where a courtyard touches the outline there are two, and no wall meets more than its neighbours. Prisms share
    no vertices, and keep their party walls, which no reflected or scattered ray meets.
    """
    outlines = np.atleast_1d(np.asarray(polygons, dtype=object))
    low, high = (np.broadcast_to(np.asarray(z, float), outlines.shape) for z in (base, top))
    outlines = shapely.remove_repeated_points(outlines)
    triangles, of = shapely.get_parts(shapely.constrained_delaunay_triangles(outlines), return_index=True)
    xy = shapely.get_coordinates(shapely.orient_polygons(triangles)).reshape(-1, 4, 2)[:, :3].reshape(-1, 2)
    owner = np.repeat(of, 3)

    # The edge of a corner leads to the next one of its triangle; across it lies the edge that leads back, if any does.
    corner = np.arange(len(xy))
    following = corner + np.where(corner % 3 == 2, -2, 1)
    keys = pd.DataFrame({"owner": owner, "x": xy[:, 0], "y": xy[:, 1]})
    place = keys.groupby(["owner", "x", "y"]).ngroup().to_numpy()
    there, back = place * len(xy) + place[following], place[following] * len(xy) + place
    order = np.argsort(there)
    across = order[np.searchsorted(there, back, sorter=order).clip(max=len(xy) - 1)]
    shared = there[across] == back
    links = coo_array((np.ones(shared.sum()), (corner[shared], following[across[shared]])), shape=(len(xy), len(xy)))
    keys = keys.assign(fan=connected_components(links, directed=False)[1])
    number = keys.groupby(["owner", "x", "y", "fan"]).ngroup().to_numpy()
    first = np.unique(number, return_index=True)[1]
    xy, owner, n = xy[first], owner[first], len(first)

    roof = number.reshape(-1, 3)
    a, b = number[~shared], number[following[~shared]]
    walls = np.concatenate([np.column_stack([a, b, b + n]), np.column_stack([a, b + n, a + n])])
    vertices = np.concatenate([np.column_stack([xy, z[owner]]) for z in (low, high)])
    return Mesh(vertices, np.concatenate([roof + n, roof[:, ::-1], walls]))


def plane(x_min: float, y_min: float, x_max: float, y_max: float, z: float = 0.0) -> Mesh:
    """A rectangle facing upwards."""
    corners = np.array([[x_min, y_min, z], [x_max, y_min, z], [x_max, y_max, z], [x_min, y_max, z]])
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write a mesh as binary PLY (float32 vertices: 0.1 mm at 1 km, 2 mm at 20 km)."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, mesh.faces
    path.write_bytes(header.encode() + mesh.vertices.astype("<f4").tobytes() + faces.tobytes())


def write_scene(meshes: dict[str, tuple[Mesh, str]], folder: Path) -> Path:
    """Write meshes, name -> (mesh, ITU material), to `meshes/<name>.ply` and `scene.xml` for Sionna RT: the latter.

    On a CPU the scene asks for Embree's robust intersections: by default a ray may slip between two triangles exactly
    on the edge that they share. The mesh has no gap there, and a GPU needs no such switch.
    """
    (folder / "meshes").mkdir(parents=True, exist_ok=True)
    for name, (mesh, _) in meshes.items():
        write_ply(mesh, folder / "meshes" / f"{name}.ply")
    parts = [_MATERIAL.format(material) for material in sorted({material for _, material in meshes.values()})]
    parts += [_SHAPE.format(name, material) for name, (_, material) in meshes.items()]
    path = folder / "scene.xml"
    path.write_text(_SCENE.format("".join(parts)))
    return path


def write_city(roofs: Mesh | None, grid: Grid, folder: Path) -> None:
    """Write a city's scene: roofs, if any, on a plane that reaches :data:`APRON` past them; the paper's is concrete."""
    at = np.vstack([np.reshape(grid.bounds, (2, 2)), *([] if roofs is None else [roofs.vertices[:, :2]])])
    ground = plane(*at.min(axis=0) - APRON, *at.max(axis=0) + APRON), "medium_dry_ground"
    write_scene({"ground": ground} if roofs is None else {"buildings": (roofs, "concrete"), "ground": ground}, folder)
