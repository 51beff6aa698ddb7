"""Every format gives the same features, and a bad file says what is wrong with it."""

from __future__ import annotations

import geopandas as gpd
import pytest
import shapely
from shapely.geometry import LineString, box

from rfloc.city import osm
from rfloc.city.vector import read_layer, resolve
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from tests.city.maps import BLOCK, BOX, FRAME, HOUSE, STREETS, OsmMap, city, small_map


def write(path, shapes, crs=FRAME.crs, layer=None, **columns):
    gdf = gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    if crs == FRAME.crs:
        gdf = gdf.to_crs(4326)
    gdf.to_parquet(path, write_covering_bbox=True) if path.suffix == ".parquet" else gdf.to_file(path, layer=layer)
    return path


def write_map(path, kind):
    """The small map in any format."""
    if path.suffix in (".osm", ".pbf"):
        return small_map().write(path)
    if kind == "buildings":
        tags = {"building": ["house", "apartments"], "building:levels": ["2", None], "height": [None, "21 m"]}
        return write(path, [HOUSE, BLOCK], **tags)
    lines, tags = zip(*STREETS.values(), strict=True)
    columns = {"highway": list(STREETS)} | {k: [t.get(k) for t in tags] for k in ("tunnel", "bridge")}
    return write(path, lines, **columns)


def read(path, kind="buildings", frame=FRAME, box=BOX):
    return read_layer(path, kind, osm.BUILDING_COLUMNS, box, 0.0, frame)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson", ".osm", ".osm.pbf"])
class TestFormats:
    def test_buildings(self, tmp_path, suffix):
        footprints, facts = osm.read_buildings(city(), FRAME, write_map(tmp_path / f"b{suffix}", "buildings"))
        footprints = footprints.sort_values("building", ascending=False)
        for got, want in zip(footprints.geometry, (HOUSE, BLOCK), strict=True):
            assert got.symmetric_difference(want).area < 0.02 * want.length and len(got.interiors) == len(
                want.interiors
            )
        assert footprints.columns.tolist() == ["geometry", "building", "height", "building:levels"]
        assert footprints["building"].tolist() == ["house", "apartments"]
        assert footprints["building:levels"].fillna("").tolist() == ["2", ""]
        assert footprints["height"].fillna("").tolist() == ["", "21 m"]
        assert facts["polygons"] == facts["in_box_polygons"] == facts["buildings"] == 2

    def test_streets(self, tmp_path, suffix):
        streets, facts = osm.read_streets(city(), FRAME, write_map(tmp_path / f"s{suffix}", "streets"))
        streets = streets.set_index("class").loc[list(STREETS)]
        for got, (want, _) in zip(streets.geometry, STREETS.values(), strict=True):
            assert got.hausdorff_distance(want) < 0.02
        assert streets.columns.tolist() == ["geometry", "width", "tunnel", "bridge"]
        assert streets["width"].tolist() == [12.0, 8.0, 4.0]
        assert streets["tunnel"].tolist() == [False, False, True] and streets["bridge"].tolist() == [True, False, False]
        assert facts["street_classes"] == {"primary": 1, "residential": 1, "footway": 1}


def test_only_what_is_near_the_box_is_read(tmp_path):
    squares = [box(x, 0, x + 10, 10) for x in (0, 150, 1000)]
    for suffix in (".parquet", ".gpkg"):
        layer = read(write(tmp_path / f"b{suffix}", squares, height=["1", "2", "3"]))
        assert layer["height"].tolist() == ["1", "2"] and layer.crs == 4326


def test_other_coordinate_systems_are_converted(tmp_path):
    path = tmp_path / "utm.gpkg"
    gpd.GeoDataFrame(geometry=[HOUSE], crs=FRAME.crs).to_crs(32632).to_file(path)
    assert read(path).to_crs(FRAME.crs).geometry[0].hausdorff_distance(HOUSE) < 0.01


def test_tags_that_gdal_put_elsewhere_are_found(tmp_path):
    hstore = '"addr:height"=>"no, 7","building:levels"=>"3","name"=>"a \\"b\\", c","height"=>"12"'
    path = write(tmp_path / "b.gpkg", [HOUSE, BLOCK], building=["yes", None], other_tags=[hstore, None])
    layer = read(path)
    assert layer[["building", "height", "building:levels"]].to_numpy().tolist() == [["yes", "12", "3"]]
    path = write(tmp_path / "c.gpkg", [HOUSE], building_levels=["4"])
    assert read(path)["building:levels"].tolist() == ["4"]


class TestLayers:
    def test_geometry_and_then_the_name_choose(self, tmp_path):
        path = tmp_path / "city.gpkg"
        write(path, [BLOCK], layer="landuse", height=["1"])
        write(path, [HOUSE], layer="Buildings", height=["2"])
        write(path, [STREETS["primary"][0]], layer="anything", height=["3"])
        assert read(path)["height"].tolist() == ["2"]
        assert read(path, "streets")["height"].tolist() == ["3"]

    def test_a_choice_that_nothing_makes_is_an_error(self, tmp_path):
        path = tmp_path / "city.gpkg"
        write(path, [BLOCK], layer="a")
        write(path, [HOUSE], layer="b")
        with pytest.raises(DataError, match=r"2 layers that may hold buildings[\s\S]*a \(Polygon\), b \(Polygon\)"):
            read(path)
        with pytest.raises(DataError, match=r"0 layers that may hold streets[\s\S]*LineString"):
            read(path, "streets")


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson", ".osm", ".osm.pbf"])
def test_a_truncated_file_is_an_error(tmp_path, suffix):
    path = write_map(tmp_path / f"b{suffix}", "buildings")
    if suffix == ".gpkg":  # large enough that a page of features is cut off, not only free space
        write(path, [box(x, y, x + 1, y + 1) for x in range(-60, 60) for y in range(-60, 60)])
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
    with pytest.raises(DataError, match=r"can't be read as buildings[\s\S]*is it whole"):
        read(path)


@pytest.mark.filterwarnings("ignore:.crs. was not provided")
def test_bad_inputs_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="no coordinate system"):
        read(write(tmp_path / "n.parquet", [HOUSE], crs=None))
    with pytest.raises(DataError, match="no coordinate system"):
        read(write(tmp_path / "n.gpkg", [HOUSE], crs=None))
    with pytest.raises(DataError, match="no GeoParquet"):
        gpd.pd.DataFrame({"height": [1]}).to_parquet(tmp_path / "plain.parquet")
        read(tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="has no buildings\n"):
        read(write(tmp_path / "empty.parquet", []))
    with pytest.raises(DataError, match=r"says that its coordinates are degrees, and they are not[\s\S]*300000"):
        read(write(tmp_path / "metres.parquet", [box(3e5, 5e6, 3e5 + 10, 5e6 + 10)], crs=4326))


def test_a_box_outside_the_file_says_what_the_file_covers(tmp_path):
    for suffix in (".parquet", ".gpkg"):
        path = write(tmp_path / f"b{suffix}", [box(-900, -900, -800, -800), box(800, 800, 900, 900)])
        with pytest.raises(DataError, match=r"no buildings in the box[\s\S]*extent covers"):
            read(path)
        with pytest.raises(DataError, match=r"lies outside[\s\S]*lat 44\.99\d\d\.\.45\.00[\s\S]*are swapped"):
            read(path, frame=LocalFrame(10.0, 45.0), box=[9.999, 10.001, 44.999, 45.001])
        with pytest.raises(DataError, match="move the box"):
            read(path, frame=LocalFrame(60.05, 20.05), box=[60.0, 60.1, 20.0, 20.1])
    swapped = shapely.transform(shapely.box(9.99, 44.99, 9.995, 44.995), lambda xy: xy[:, ::-1])
    with pytest.raises(DataError, match="swapped, in the file or in the box"):
        read(write(tmp_path / "swapped.parquet", [swapped], crs=4326))


def test_resolve_names_every_place_it_looked(tmp_path):
    (tmp_path / "rome").mkdir()
    (tmp_path / "rome" / "b.parquet").touch()
    assert resolve("rome/b.parquet", tmp_path) == tmp_path / "rome" / "b.parquet"
    with pytest.raises(DataError, match=f"{tmp_path}/rome/none.parquet"):
        resolve("rome/none.parquet", tmp_path)


def test_resolve_falls_back_to_the_project_data(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "data" / "toy").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "data/toy/b.geojson"):
        (project / name).touch()
    monkeypatch.chdir(project)
    assert resolve("toy/b.geojson", tmp_path) == project / "data" / "toy" / "b.geojson"


def test_a_file_of_the_wrong_kind_has_no_such_layer(tmp_path):
    path = write(tmp_path / "s.geojson", [LineString([(0, 0), (50, 0)])])
    with pytest.raises(DataError, match=r"0 layers that may hold buildings[\s\S]*name a file with Polygons"):
        read(path)


@pytest.mark.parametrize("suffix", [".osm", ".osm.pbf"])
def test_a_map_without_the_kind_asked_for_says_so(tmp_path, suffix):
    bare = OsmMap()
    bare.way(HOUSE.exterior, building="house")
    path = bare.write(tmp_path / f"b{suffix}")
    assert len(read(path)) == 1
    with pytest.raises(DataError, match=r"has no streets\n[\s\S]*'highway'[\s\S]*another file as the city's `streets`"):
        read(path, "streets")


@pytest.mark.parametrize("suffix", [".geojson", ".parquet"])
def test_of_a_mixed_file_only_the_kind_asked_for_is_read(tmp_path, suffix):
    """As exports of OpenStreetMap's query sites are: squares and meadows are no buildings."""
    square, meadow = box(0, 0, 20, 20), box(60, 60, 70, 70)
    tags = {"building": ["yes", None, None, None], "highway": [None, "primary", "pedestrian", None]}
    path = write(tmp_path / f"m{suffix}", [HOUSE, STREETS["primary"][0], square, meadow], **tags)
    assert read(path)["building"].tolist() == ["yes"]
    streets, _ = osm.read_streets(city(), FRAME, path)
    assert streets["class"].tolist() == ["primary"]
