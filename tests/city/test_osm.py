from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from shapely import Polygon
from shapely.geometry import LineString, box

from rfloc.city import osm
from rfloc.errors import DataError
from rfloc.frames import LocalFrame

FRAME = LocalFrame(45.0, 10.0)
BOX = [44.999, 45.001, 9.999, 10.001]  # about 222 m x 158 m round the origin


def write(path, shapes, crs=FRAME.crs, **columns):
    gdf = gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)
    if crs is not None:
        gdf = gdf.to_crs(4326)
    gdf.to_parquet(path) if path.suffix == ".parquet" else gdf.to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson"])
def test_formats_give_the_same_footprint(tmp_path, suffix):
    path = write(tmp_path / f"b{suffix}", [box(10, 20, 30, 50)], height=["12"])
    footprints, facts = osm.read_buildings(path, BOX, 0.0, FRAME, 18.0)
    assert footprints.geometry[0].equals_exact(box(10, 20, 30, 50), 0.02, normalize=True)
    assert footprints.columns.tolist() == ["geometry", "height", "height_source", "kind"]
    assert facts["polygons"] == facts["in_box_tagged"] == 1


def test_halves_of_a_cut_building_are_united_and_neighbours_of_other_height_are_not(tmp_path):
    halves = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)]
    path = write(tmp_path / "b.parquet", halves, height=["12", "12", "20", "12"])
    footprints, facts = osm.read_buildings(path, BOX, 0.0, FRAME, 18.0)
    assert sorted(footprints.area.round()) == [100.0, 100.0, 200.0]
    assert (facts["polygons"], facts["footprints"]) == (4, 3)


def test_invalid_polygons_are_repaired_and_counted(tmp_path):
    bow_tie = Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
    footprints, facts = osm.read_buildings(write(tmp_path / "b.parquet", [bow_tie]), BOX, 0.0, FRAME, 18.0)
    assert facts["repaired"] == 1 and footprints.is_valid.all()
    assert footprints.area.sum() == pytest.approx(200.0, rel=1e-3)


def test_margin_reaches_past_the_box(tmp_path):
    path = write(tmp_path / "b.parquet", [box(0, 0, 10, 10), box(120, 0, 130, 10)])
    assert len(osm.read_buildings(path, BOX, 0.0, FRAME, 18.0)[0]) == 1
    assert len(osm.read_buildings(path, BOX, 50.0, FRAME, 18.0)[0]) == 2


def test_built_share_counts_only_what_lies_in_the_box(tmp_path):
    path = write(tmp_path / "b.parquet", [box(-500, -500, 500, 0)])
    facts = osm.read_buildings(path, BOX, 0.0, FRAME, 18.0)[1]
    assert facts["in_box_built_share"] == pytest.approx(0.5, abs=0.001)


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="no file"):
        osm.read_layer(tmp_path / "none.parquet", BOX, 0.0, FRAME)
    broken = tmp_path / "broken.geojson"
    broken.write_text("{")
    with pytest.raises(DataError, match="can't be read"):
        osm.read_layer(broken, BOX, 0.0, FRAME)
    with pytest.raises(DataError, match="no coordinate system"):
        osm.read_layer(write(tmp_path / "n.parquet", [box(0, 0, 1, 1)], crs=None), BOX, 0.0, FRAME)
    path = write(tmp_path / "b.parquet", [box(-500, -500, -400, -400), box(400, 400, 500, 500)])
    with pytest.raises(DataError, match="nothing in the box"):
        osm.read_layer(path, BOX, 0.0, FRAME)
    swapped = [9.999, 10.001, 44.999, 45.001]
    with pytest.raises(DataError, match="swapped"):
        osm.read_layer(path, swapped, 0.0, LocalFrame(10.0, 45.0))
    with pytest.raises(DataError, match="move the box"):
        osm.read_layer(path, [60.0, 60.1, 20.0, 20.1], 0.0, LocalFrame(60.0, 20.0))


def test_resolve_names_every_place_it_looked(tmp_path):
    (tmp_path / "rome").mkdir()
    (tmp_path / "rome" / "b.parquet").touch()
    assert osm.resolve("rome/b.parquet", tmp_path) == tmp_path / "rome" / "b.parquet"
    with pytest.raises(DataError, match=f"{tmp_path}/rome/none.parquet"):
        osm.resolve("rome/none.parquet", tmp_path)


def test_resolve_falls_back_to_the_project_data(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "data" / "toy").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "data/toy/b.geojson"):
        (project / name).touch()
    monkeypatch.chdir(project)
    assert osm.resolve("toy/b.geojson", tmp_path) == project / "data" / "toy" / "b.geojson"


def test_streets_know_their_width_tunnels_and_bridges(tmp_path):
    lines = [LineString([(0, y), (50, y)]) for y in (0, 10, 20, 30)]
    path = write(
        tmp_path / "s.parquet",
        lines,
        **{"class": ["primary", "minor", "path", "rail"], "brunnel": [None, "tunnel", "bridge", None]},
    )
    streets, facts = osm.read_streets(path, BOX, 0.0, FRAME)
    assert streets["width"].tolist() == [12.0, 8.0, 4.0]
    assert np.array_equal(streets["tunnel"], [False, True, False])
    assert np.array_equal(streets["bridge"], [False, False, True])
    assert facts == {"streets": 3, "lines_without_ues": 1, "tunnels": 1}


def test_streets_without_class_or_of_unknown_classes_are_errors(tmp_path):
    line = [LineString([(0, 0), (50, 0)])]
    with pytest.raises(DataError, match="no column `class`"):
        osm.read_streets(write(tmp_path / "a.parquet", line), BOX, 0.0, FRAME)
    with pytest.raises(DataError, match="rail"):
        osm.read_streets(write(tmp_path / "b.parquet", line, highway=["rail"]), BOX, 0.0, FRAME)
