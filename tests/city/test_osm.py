"""Every format gives the same features, repaired and with one table of columns; a bad file says what is wrong."""

import geopandas as gpd
import pytest
import shapely
from shapely import Polygon
from shapely.geometry import LineString, Point, box

from rfloc.city import osm
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from tests.city.maps import BLOCK, FRAME, HOUSE, STREETS, OsmMap, city, small_map, write


def buildings(path, frame=FRAME, **params):
    return osm.read_buildings(city(buildings=str(path), **params), frame, path.parent)


def streets(path):
    return osm.read_streets(city(streets=str(path)), FRAME, path.parent)


class TestBuildings:
    def test_polygons_are_repaired_and_taken_apart_and_what_is_none_or_a_sliver_is_left_out(self, tmp_path):
        bow_tie = Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
        path = write(tmp_path / "b.parquet", [bow_tie, box(40, 0, 50, 10)], height=["7", "9"])
        footprints, facts = buildings(path)
        assert (facts["polygons"], facts["repaired"], facts["buildings"]) == (2, 1, 3)
        assert footprints.is_valid.all() and set(footprints.geom_type) == {"Polygon"}
        assert footprints.area.sum() == pytest.approx(300.0, rel=1e-3)
        assert footprints["height"].tolist() == ["7", "7", "9"]
        shapes = [shapely.union(box(0, 0, 10, 10), box(20, 0, 30, 10)), Point(0, 40), LineString([(0, 50), (9, 50)])]
        footprints, facts = buildings(write(path, shapes))
        assert footprints.area.round().tolist() == [100.0, 100.0]
        assert (facts["polygons"], facts["buildings"]) == (3, 2)
        footprints, facts = buildings(write(path, [box(0, 0, 0.9, 0.9), box(0, 20, 50, 20.05), box(0, 40, 3, 42)]))
        assert facts["dropped"] == 2 and footprints.area.round().tolist() == [6.0]

    def test_of_one_outline_the_courtyards_and_every_tag_are_kept(self, tmp_path):
        ring = Polygon(box(0, 0, 30, 30).exterior, [box(10, 10, 20, 20).exterior])
        tags = {"building": ["yes", None, "house"], "height": ["12", None, None]}
        footprints, facts = buildings(write(tmp_path / "b.gpkg", [box(0, 0, 30, 30), ring, box(40, 0, 50, 10)], **tags))
        assert (facts["duplicates"], facts["buildings"]) == (1, 2)
        footprints = footprints.sort_values("kind", ascending=False)
        assert footprints.area.round().tolist() == [800.0, 100.0]
        assert footprints["kind"].tolist() == ["yes", "house"] and footprints["height"].tolist()[0] == "12"

    def test_touching_houses_stay_apart_whether_or_not_tiles_were_cut(self, tmp_path):
        path = write(tmp_path / "b.parquet", [box(10 * k, 0, 10 * k + 10, 10) for k in range(3)], height=["12"] * 3)
        assert len(buildings(path)[0]) == 3 and "united" not in buildings(path)[1]
        assert buildings(path, tile_zoom=14)[1]["united"] == 0

    def test_only_what_is_near_the_box_is_read_and_the_margin_reaches_past_it(self, tmp_path):
        shapes = [box(0, 0, 10, 10), box(120, 0, 130, 10), box(1000, 0, 1010, 10)]
        for suffix in (".parquet", ".gpkg"):
            path = write(tmp_path / f"b{suffix}", shapes)
            footprints, facts = buildings(path, margin=50.0)
            assert len(footprints) == 2 and (facts["polygons"], facts["in_box_polygons"]) == (2, 1)
            assert len(buildings(path)[0]) == 1

    def test_a_file_without_footprints_is_an_error(self, tmp_path):
        for shapes in ([Point(0, 0), LineString([(0, 0), (50, 0)])], [box(150, 0, 160, 10)]):  # near, but outside
            with pytest.raises(DataError, match="no footprint in the box"):
                buildings(write(tmp_path / "b.parquet", shapes))

    def test_other_coordinate_systems_are_converted_and_tags_that_gdal_put_elsewhere_found(self, tmp_path):
        path = tmp_path / "utm.gpkg"
        gpd.GeoDataFrame(geometry=[HOUSE], crs=FRAME.crs).to_crs(32632).to_file(path)
        assert buildings(path)[0].geometry[0].hausdorff_distance(HOUSE) < 0.01
        hstore = '"addr:height"=>"no, 7","building:levels"=>"3","name"=>"a \\"b\\", c","height"=>"12"'
        path = write(tmp_path / "b.gpkg", [HOUSE, BLOCK], building=["yes", None], other_tags=[hstore, None])
        found = buildings(path)[0]
        assert found[["kind", "height", "levels"]].to_numpy().tolist() == [["yes", "12", "3"]]
        assert buildings(write(tmp_path / "c.gpkg", [HOUSE], building_levels=["4"]))[0]["levels"].tolist() == ["4"]

    def test_a_filler_height_is_no_tag_and_what_osm_denies_no_building(self, tmp_path):
        columns = {"render_height": [3.66, 20.0, 3.66], "height_tagged": [False, True, False]}
        shapes = [box(0, 0, 9, 9), box(0, 0, 9, 9), box(20, 0, 29, 9)]
        footprints, facts = buildings(write(tmp_path / "b.parquet", shapes, **columns))
        assert facts["duplicates"] == 1
        assert sorted(footprints["render_height"].fillna(-1)) == [-1.0, 20.0]
        assert len(buildings(write(tmp_path / "c.parquet", shapes[1:], building=["yes", "no"]))[0]) == 1


class TestStreets:
    def test_width_tunnels_and_bridges_by_openmaptiles(self, tmp_path):
        lines = [LineString([(0, y), (50, y)]) for y in (0, 10, 20, 30)]
        columns = {"class": ["primary", "minor", "path", "rail"], "brunnel": [None, "tunnel", "bridge", None]}
        found, facts = streets(write(tmp_path / "s.parquet", lines, **columns))
        assert found["width"].tolist() == [12.0, 8.0, 4.0]
        assert found["tunnel"].tolist() == [False, True, False]
        assert found["bridge"].tolist() == [False, False, True]
        assert facts.items() >= {
            "squares": 0, "duplicate_streets": 0, "streets": 3,
            "street_classes": {"primary": 1, "minor": 1, "path": 1}, "tunnels": 1, "bridges": 1,
            "lines_without_ues": 1, "classes_without_ues": {"rail": 1}, "tags_unused": {},
            "streets_columns": {"class": ["class"], "brunnel": ["brunnel"]},
        }.items()  # fmt: skip

    def test_a_way_round_is_an_area_only_where_it_says_so(self, tmp_path):
        square = OsmMap()
        square.way(LineString([(0, 0), (20, 20), (20, 0), (0, 20), (0, 0)]), highway="pedestrian", area="yes")
        square.way(box(30, 30, 40, 40).exterior, highway="pedestrian")
        square.way(box(50, 30, 60, 40).exterior, highway="services", area="yes")
        found, facts = streets(square.write(tmp_path / "s.osm"))
        assert found.area.round().tolist() == [200.0, 0.0] and found.is_valid.all()
        assert found["width"].tolist() == [0.0, 7.0]
        assert (facts["squares"], facts["classes_without_ues"]) == (1, {"services": 1})

    def test_a_street_that_two_extracts_share_counts_once(self, tmp_path):
        line = LineString([(0, 0), (50, 0)])
        tags = {"highway": ["primary"] * 3, "tunnel": [None, None, "yes"]}
        found, facts = streets(write(tmp_path / "s.parquet", [line, line.reverse(), line], **tags))
        assert found["tunnel"].tolist() == [False, True] and facts["duplicate_streets"] == 1

    def test_streets_without_class_or_of_unknown_classes_are_errors(self, tmp_path):
        path, line = tmp_path / "s.parquet", LineString([(0, 0), (50, 0)])
        with pytest.raises(DataError, match=r"known class[\s\S]*by highway or [^:]*: none"):
            streets(write(path, [line], kind_of_road=["big"]))
        with pytest.raises(DataError, match="rail"):
            streets(write(path, [line], highway=["rail"]))
        with pytest.raises(DataError, match="no street of a known class"):
            streets(write(path, [box(0, 0, 9, 9)], highway=["primary"]))


class TestLayers:
    def test_geometry_and_then_the_name_choose_and_a_choice_that_nothing_makes_is_an_error(self, tmp_path):
        path = tmp_path / "city.gpkg"
        write(path, [BLOCK], into="landuse", height=["1"])
        write(path, [HOUSE], into="Buildings", height=["2"])
        write(path, [STREETS["primary"][0]], into="anything", highway=["primary"])
        assert buildings(path)[0]["height"].tolist() == ["2"] and streets(path)[1]["streets"] == 1
        path = tmp_path / "town.gpkg"
        write(path, [BLOCK], into="a")
        write(path, [HOUSE], into="b")
        with pytest.raises(DataError, match=r"2 of its layers hold Polygons[\s\S]*a \(Polygon\), b \(Polygon\)"):
            buildings(path)
        with pytest.raises(DataError, match=r"0 of its layers hold LineStrings"):
            streets(path)

    @pytest.mark.parametrize("suffix", [".geojson", ".parquet"])
    def test_of_a_mixed_file_only_the_kind_asked_for_is_read(self, tmp_path, suffix):
        """As exports of OpenStreetMap's query sites are: squares and meadows are no buildings."""
        square, meadow = box(0, 0, 20, 20), box(60, 60, 70, 70)
        tags = {"building": ["yes", None, None, None], "highway": [None, "primary", "pedestrian", None]}
        path = write(tmp_path / f"m{suffix}", [HOUSE, STREETS["primary"][0], square, meadow], **tags)
        assert buildings(path)[0]["kind"].tolist() == ["yes"]
        assert streets(path)[0]["class"].tolist() == ["primary", "pedestrian"]

    def test_a_map_without_the_kind_asked_for_says_so(self, tmp_path):
        bare = OsmMap()
        bare.way(HOUSE.exterior, building="house")
        path = bare.write(tmp_path / "b.osm")
        assert len(buildings(path)[0]) == 1
        with pytest.raises(DataError, match=r"has no streets near[\s\S]*'highway'[\s\S]*another file as .*`streets`"):
            streets(path)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson", ".shp", ".osm", ".osm.pbf"])
def test_a_truncated_file_is_an_error(tmp_path, suffix):
    path = tmp_path / f"b{suffix}"
    if ".osm" in suffix:
        small_map().write(path)
    elif suffix == ".gpkg":  # large enough that a page of features is cut off, not only free space
        write(path, [box(x, y, x + 1, y + 1) for x in range(-60, 60) for y in range(-60, 60)])
    else:
        write(path, [HOUSE, BLOCK], height=[None, "21 m"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(DataError, match=r"can't be read as buildings[\s\S]*name a whole file"):
        buildings(path)


@pytest.mark.filterwarnings("ignore:.crs. was not provided")
def test_bad_inputs_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="no file"):
        buildings(tmp_path / "none.parquet")
    for name in ("n.parquet", "n.gpkg"):
        with pytest.raises(DataError, match=r"can't be read[\s\S]*no coordinate system[\s\S]*with its CRS"):
            buildings(write(tmp_path / name, [HOUSE], crs=None))
    gpd.pd.DataFrame({"height": [1]}).to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="no GeoParquet"):
        buildings(tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="holds none at all"):
        buildings(write(tmp_path / "empty.parquet", []))


def test_a_box_outside_the_file_says_what_the_file_covers(tmp_path):
    for suffix in (".parquet", ".gpkg"):
        path = write(tmp_path / f"b{suffix}", [box(-900, -900, -800, -800), box(800, 800, 900, 900)])
        with pytest.raises(DataError, match=r"no buildings near[\s\S]*lat 44\.99\d\d\.\.45\.00[\s\S]*move the box, or"):
            buildings(path)
        with pytest.raises(DataError, match="it covers lat 44"):
            buildings(path, LocalFrame(60.05, 20.05), box=[60.0, 60.1, 20.0, 20.1])
