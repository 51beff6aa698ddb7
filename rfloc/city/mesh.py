"""Footprints to a scene: watertight prisms with courtyards, a ground plane, and the scene file that Sionna RT reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import shapely
from numpy.typing import NDArray

from rfloc.errors import DataError

#: Prisms reach this far below ground [m], so that no wall ends on the ground plane.
FOUNDATION = 1.0

#: The ground plane reaches this far past everything else [m].
APRON = 50.0


@dataclass(frozen=True)
class Mesh:
    """Triangles: `vertices` (n, 3) [m], `faces` (m, 3), counter-clockwise seen from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    @property
    def volume(self) -> float:
        """Enclosed volume [m3] by the divergence theorem."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    @property
    def is_watertight(self) -> bool:
        """Whether every directed edge is met by as many in the other direction."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        code = edges[:, 0] * len(self.vertices) + edges[:, 1]
        back = edges[:, 1] * len(self.vertices) + edges[:, 0]
        return bool(np.array_equal(np.sort(code), np.sort(back)))

    @classmethod
    def merge(cls, meshes: Iterable[Mesh]) -> Mesh:
        """Several meshes as one."""
        parts = list(meshes)
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        return cls(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        )


def prism(polygon: shapely.Polygon, base: float, top: float) -> Mesh:
    """A polygon extruded between two heights [m]: roof, floor and walls, courtyards open.

    Roof and floor are a constrained Delaunay triangulation that uses every vertex of the outline, so walls and roof
    share their edges exactly.

    Raises
    ------
    DataError
        If the polygon is invalid or empty, or `top` isn't above `base`.
    """
    if polygon.is_empty or not polygon.is_valid:
        raise DataError(
            "a footprint is empty or invalid", shapely.is_valid_reason(polygon), "repair it with make_valid"
        )
    if not top > base:
        raise DataError(f"a building of height {top - base:g} m has no volume", "its roof must lie above its base")
    polygon = shapely.geometry.polygon.orient(polygon)  # shell counter-clockwise, holes clockwise
    rings = [np.asarray(ring.coords)[:-1, :2] for ring in (polygon.exterior, *polygon.interiors)]
    points, index = np.unique(np.concatenate(rings), axis=0, return_inverse=True)
    index = index.ravel()
    n = len(points)

    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(polygon))
    corners = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3]
    rows = {tuple(point): k for k, point in enumerate(points.tolist())}
    roof = np.array([[rows[tuple(corner)] for corner in triangle] for triangle in corners.tolist()], dtype=np.int64)
    a, b, c = (points[roof[:, k]] for k in range(3))
    u, v = b - a, c - a
    clockwise = u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0]
    roof[clockwise] = roof[clockwise][:, ::-1]

    walls, start = [], 0
    for ring in rings:
        low = index[start : start + len(ring)]
        nxt = np.roll(low, -1)
        walls += [np.column_stack([low, nxt, nxt + n]), np.column_stack([low, nxt + n, low + n])]
        start += len(ring)
    vertices = np.concatenate([np.column_stack([points, np.full(n, z)]) for z in (base, top)])
    return Mesh(vertices, np.concatenate([roof + n, roof[:, ::-1], *walls]))


def plane(x_min: float, y_min: float, x_max: float, y_max: float, z: float = 0.0) -> Mesh:
    """A rectangle facing upwards."""
    corners = np.array([[x_min, y_min, z], [x_max, y_min, z], [x_max, y_max, z], [x_min, y_max, z]])
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write a mesh as binary PLY (float32 vertices: 0.1 mm at 1 km)."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, mesh.faces
    path.write_bytes(header.encode() + mesh.vertices.astype("<f4").tobytes() + faces.tobytes())


def write_scene(meshes: dict[str, tuple[Mesh, str]], folder: Path) -> Path:
    """Write `meshes/<name>.ply` and `scene.xml` for Sionna RT.

    Parameters
    ----------
    meshes : dict
        name -> (mesh, ITU material).
    folder : Path
        Where to.

    Returns
    -------
    Path
        The scene file.
    """
    (folder / "meshes").mkdir(parents=True, exist_ok=True)
    lines = ['<scene version="2.1.0">']
    for material in sorted({material for _, material in meshes.values()}):
        lines += [
            f'  <bsdf type="itu-radio-material" id={quoteattr(material)}>',
            f'    <string name="type" value={quoteattr(material)}/>',
            '    <float name="thickness" value="0.1"/>',
            "  </bsdf>",
        ]
    for name, (mesh, material) in meshes.items():
        write_ply(mesh, folder / "meshes" / f"{name}.ply")
        lines += [
            f'  <shape type="ply" id={quoteattr("mesh-" + name)}>',
            f'    <string name="filename" value={quoteattr(f"meshes/{name}.ply")}/>',
            '    <boolean name="face_normals" value="true"/>',
            f'    <ref id={quoteattr(material)} name="bsdf"/>',
            "  </shape>",
        ]
    path = folder / "scene.xml"
    path.write_text("\n".join([*lines, "</scene>", ""]))
    return path
