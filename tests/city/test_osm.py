from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from shapely import Polygon
from shapely.geometry import LineString, Point, box

from rfloc.city import box_bounds, osm
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from tests.city.maps import FRAME, OsmMap, city
from tests.toy import city_params


def write(path, shapes, **columns):
    gpd.GeoDataFrame(columns, geometry=shapes, crs=FRAME.crs).to_crs(4326).to_parquet(path)
    return path


def buildings(tmp_path, shapes, params=None, **columns):
    return osm.read_buildings(params or city(), FRAME, write(tmp_path / "b.parquet", shapes, **columns))


class TestBuildings:
    def test_self_crossing_polygons_are_repaired_and_counted(self, tmp_path):
        bow_tie = Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
        footprints, facts = buildings(tmp_path, [bow_tie, box(40, 0, 50, 10)], height=["7", "9"])
        assert (facts["polygons"], facts["repaired"], facts["buildings"]) == (2, 1, 3)
        assert footprints.is_valid.all() and set(footprints.geom_type) == {"Polygon"}
        assert footprints.area.sum() == pytest.approx(300.0, rel=1e-3)
        assert footprints["height"].tolist() == ["7", "7", "9"]

    def test_multipolygons_are_taken_apart_and_other_geometries_left_out(self, tmp_path):
        shapes = [shapely.union(box(0, 0, 10, 10), box(20, 0, 30, 10)), Point(0, 40), LineString([(0, 50), (9, 50)])]
        footprints, facts = buildings(tmp_path, shapes)
        assert footprints.area.round().tolist() == [100.0, 100.0]
        assert (facts["polygons"], facts["buildings"]) == (3, 2)

    def test_slivers_are_dropped_and_counted(self, tmp_path):
        footprints, facts = buildings(tmp_path, [box(0, 0, 0.9, 0.9), box(0, 20, 50, 20.05), box(0, 40, 3, 42)])
        assert facts["dropped"] == 2 and footprints.area.round().tolist() == [6.0]

    def test_of_one_outline_the_courtyards_and_every_tag_are_kept(self, tmp_path):
        ring = Polygon(box(0, 0, 30, 30).exterior, [box(10, 10, 20, 20).exterior])
        shapes = [box(0, 0, 30, 30), ring, box(40, 0, 50, 10)]
        footprints, facts = buildings(tmp_path, shapes, building=["yes", None, "house"], height=["12", None, None])
        assert (facts["duplicates"], facts["buildings"]) == (1, 2)
        footprints = footprints.sort_values("building", ascending=False)
        assert footprints.area.round().tolist() == [800.0, 100.0]
        assert footprints["building"].tolist() == ["yes", "house"] and footprints["height"].tolist()[0] == "12"

    def test_a_filler_height_is_no_tag(self, tmp_path):
        columns = {"render_height": [3.66, 20.0, 3.66], "height_tagged": [False, True, False]}
        footprints, facts = buildings(tmp_path, [box(0, 0, 9, 9), box(0, 0, 9, 9), box(20, 0, 29, 9)], **columns)
        assert facts["duplicates"] == 1
        assert sorted(footprints["render_height"].fillna(-1)) == [-1.0, 20.0]
        assert footprints["height_tagged"].isin([True]).sum() == 1

    def test_touching_houses_stay_apart_where_no_tiles_were_cut(self, tmp_path):
        row = [box(10 * k, 0, 10 * k + 10, 10) for k in range(3)]
        footprints, facts = buildings(tmp_path, row, height=["12"] * 3)
        assert len(footprints) == 3 and "united" not in facts
        assert buildings(tmp_path, row, city(tile_zoom=14), height=["12"] * 3)[1]["united"] == 0

    def test_what_osm_denies_is_no_building(self, tmp_path):
        assert len(buildings(tmp_path, [box(0, 0, 9, 9), box(20, 0, 29, 9)], building=["yes", "no"])[0]) == 1

    def test_margin_reaches_past_the_box(self, tmp_path):
        shapes = [box(0, 0, 10, 10), box(120, 0, 130, 10)]
        assert len(buildings(tmp_path, shapes)[0]) == 1
        footprints, facts = buildings(tmp_path, shapes, city(margin=50.0))
        assert len(footprints) == 2 and (facts["polygons"], facts["in_box_polygons"]) == (2, 1)

    def test_a_file_without_footprints_is_an_error(self, tmp_path):
        with pytest.raises(DataError, match="no footprint in the box"):
            buildings(tmp_path, [Point(0, 0), LineString([(0, 0), (50, 0)])])
        with pytest.raises(DataError, match="no footprint in the box"):
            buildings(tmp_path, [box(150, 0, 160, 10)])  # near, but outside


class TestStreets:
    def test_width_tunnels_and_bridges_by_openmaptiles(self, tmp_path):
        lines = [LineString([(0, y), (50, y)]) for y in (0, 10, 20, 30)]
        columns = {"class": ["primary", "minor", "path", "rail"], "brunnel": [None, "tunnel", "bridge", None]}
        streets, facts = osm.read_streets(city(), FRAME, write(tmp_path / "s.parquet", lines, **columns))
        assert streets["width"].tolist() == [12.0, 8.0, 4.0]
        assert streets["tunnel"].tolist() == [False, True, False]
        assert streets["bridge"].tolist() == [False, False, True]
        assert facts == {
            "streets": 3, "street_classes": {"primary": 1, "minor": 1, "path": 1}, "tunnels": 1, "bridges": 1,
            "lines_without_ues": 1,
        }  # fmt: skip

    @pytest.mark.parametrize("value", ["yes", "building_passage", True, "1"])
    def test_values_of_tunnel(self, tmp_path, value):
        lines = [LineString([(0, y), (50, y)]) for y in (0, 10)]
        path = write(tmp_path / "s.parquet", lines, highway=["primary", "motorway_link"], tunnel=[value, None])
        streets, _ = osm.read_streets(city(), FRAME, path)
        assert streets["tunnel"].tolist() == [True, False] and streets["width"].tolist() == [12.0, 7.0]

    @pytest.mark.parametrize("suffix", [".osm", ".osm.pbf"])
    def test_squares_drawn_as_areas_are_no_centre_lines(self, tmp_path, suffix):
        square = OsmMap()
        square.way(box(0, 0, 20, 20).exterior, highway="pedestrian", area="yes")
        square.way(box(30, 30, 40, 40).exterior, highway="pedestrian")
        streets, facts = osm.read_streets(city(), FRAME, square.write(tmp_path / f"s{suffix}"))
        assert facts["streets"] == 1 and streets.geometry[0].hausdorff_distance(box(30, 30, 40, 40).exterior) < 0.02

    def test_streets_without_class_or_of_unknown_classes_are_errors(self, tmp_path):
        line = [LineString([(0, 0), (50, 0)])]
        with pytest.raises(DataError, match=r"in a column `class` or `highway`[\s\S]*it fills none"):
            osm.read_streets(city(), FRAME, write(tmp_path / "a.parquet", line, kind_of_road=["big"]))
        with pytest.raises(DataError, match="rail"):
            osm.read_streets(city(), FRAME, write(tmp_path / "b.parquet", line, highway=["rail"]))
        with pytest.raises(DataError, match="no street of a known class"):
            osm.read_streets(city(), FRAME, write(tmp_path / "c.parquet", [box(0, 0, 9, 9)], highway=["primary"]))


def test_the_cities_of_rome_lie_inside_its_extract(rome_data, project_root):
    spans = {}
    for name in ("buildings", "roads"):
        about = json.loads(pq.read_schema(rome_data / "rome" / f"{name}.parquet").metadata[b"geo"])
        extent = box(*about["columns"]["geometry"]["bbox"])
        for file in (project_root / "conf" / "city").glob("rome*.yaml"):
            params = city_params(file.stem)
            frame = LocalFrame(*params.centre)
            x, y = shapely.get_coordinates(box(*box_bounds(frame, params.box, params.margin))).T
            lat, lon = frame.to_geographic(x, y)
            assert extent.covers(shapely.MultiPoint(np.column_stack([lon, lat]))), file
            spans[file.stem] = np.ptp(x) / 1000, np.ptp(y) / 1000
    assert spans["rome_whole"] == pytest.approx((33, 25), abs=0.2), "the paper's region [km]"
