"""One map, one answer, whatever file it lies in; and what a file lacks, or does not reach, is said."""

import bz2
import gzip
import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import osmium
import pandas as pd
import pyogrio
import pytest
import shapely
from shapely import box
from shapely.geometry import LineString

from rfloc.city import City, build_city
from rfloc.errors import DataError
from tests.city.maps import BLOCK, BOX, FRAME, HOUSE, STREETS, OsmMap, city, small_map

#: A square with a fountain, and one that is only called a square.
MARKET, YARD = box(-60, 10, -20, 40) - box(-45, 20, -35, 30), box(20, -60, 50, -30)
SUFFIXES = ("osm.pbf", "osm.gz", "osm.bz2", "pbf.gz", "parquet", "geojson", "geojson.gz", "gpkg", "gdal.gpkg")


def town() -> OsmMap:
    """The small map with two squares."""
    osm = small_map()
    outer, inner = osm.way(MARKET.exterior), osm.way(MARKET.interiors[0])
    osm.relations.append(([(outer, "outer"), (inner, "inner")], {"type": "multipolygon", "highway": "pedestrian"}))
    osm.way(YARD.exterior, place="square")
    osm.way(box(60, -70, 75, -55).exterior, highway="footway", area="yes")
    return osm


def features() -> gpd.GeoDataFrame:
    """The town as one table, as exports of query sites are."""
    rows = [
        (HOUSE, {"building": "house", "building:levels": "2"}),
        (BLOCK, {"building": "apartments", "height": "21 m"}),
        *((line, {"highway": name, **tags}) for name, (line, tags) in STREETS.items()),
        (MARKET, {"highway": "pedestrian"}),
        (YARD, {"place": "square"}),
        (box(60, -70, 75, -55), {"highway": "footway", "area": "yes"}),
    ]
    table = pd.DataFrame([tags for _, tags in rows])
    return gpd.GeoDataFrame(table, geometry=[shape for shape, _ in rows], crs=FRAME.crs).to_crs(4326)


def write(path: Path, osm: OsmMap, table: gpd.GeoDataFrame) -> Path:
    """A map, which a table holds too, in any format; `.gdal.gpkg` is what GDAL's own converter makes of it."""
    if path.suffix in (".gz", ".bz2"):
        inner = write(path.with_suffix(""), osm, table)
        path.write_bytes((gzip if path.suffix == ".gz" else bz2).compress(inner.read_bytes()))
    elif path.suffix in (".osm", ".pbf"):
        osm.write(path)
    elif path.name.endswith(".gdal.gpkg"):
        plain = osm.write(path.with_name("plain.osm"))
        for layer in ("lines", "multipolygons"):
            pyogrio.write_dataframe(pyogrio.read_dataframe(plain, layer=layer), path, layer=layer)
    else:
        table.to_parquet(path) if path.suffix == ".parquet" else table.to_file(path)
    return path


def built(path: Path, key: str = "town", **changes: object) -> City:
    files = {"buildings": path.name, "streets": path.name}
    return build_city(key, city(**(files | changes)), path.parent, path.parent / "cities" / key)


def known(of: City) -> dict[str, str]:
    """Facts of a city, but for the name of its file and what that calls its columns."""
    file = str(of.params.streets)
    return {k: str(fact).replace(file, "") for k, fact in of.facts.items() if not k.endswith("_columns")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> City:
    return built(town().write(tmp_path_factory.mktemp("town") / "town.osm"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_map_one_answer(tmp_path, reference, suffix):
    found = built(write(tmp_path / f"town.{suffix}", town(), features()))
    assert found.raster.equals(reference.raster)
    assert known(found) == known(reference)


def test_squares_are_streets_but_for_what_stands_in_them(reference):
    facts = reference.facts
    assert [facts[kind] for kind in ("squares", "streets", "tunnels", "bridges")] == [3, 6, 1, 1]
    row, col, _ = reference.grid.index([-55.0, -40.0, 35.0, 70.0, 80.0], [15.0, 25.0, -45.0, -60.0, -60.0])
    assert reference.road[row, col].tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("suffix", ["osm", "osm.pbf"])
@pytest.mark.parametrize(
    ("without", "incomplete", "buildings"),
    [
        (("way 3",), {"a multipolygon lacks ways": 1}, 2),  # the courtyard: the outline is kept
        (("way 2",), {"a multipolygon lacks ways": 1}, 1),
        (("node 6",), {"a multipolygon lacks ways": 1}, 1),  # a corner of the block
        (("node 1", "node 2"), {"a way lacks nodes": 1}, 1),  # corners of the house
        (("node 1", "node 2", "node 3", "node 4"), {}, 1),  # nobody knows where it would be
    ],
)
def test_what_an_extract_cut_off_is_counted(tmp_path, suffix, without, incomplete, buildings):
    facts = built(small_map().write(tmp_path / f"map.{suffix}", without=without)).facts
    assert (facts["incomplete_buildings"], facts["buildings"]) == (incomplete, buildings)
    assert any("incomplete" in line for line in facts["warnings"]) == bool(incomplete)


def test_streets_that_lack_nodes_reach_as_far_as_they_are_known(tmp_path):
    osm = small_map()
    osm.way(LineString([(60, -80), (60, -40), (60, 40)]), highway="service")
    found = built(osm.write(tmp_path / "map.osm", without=(f"node {len(osm.nodes)}",)))
    assert found.facts["incomplete_streets"] == {"a way lacks nodes": 1}
    row, col, _ = found.grid.index([60.0, 60.0], [-60.0, 25.0])
    assert found.road[row, col].tolist() == [True, False]


def test_the_order_of_a_file_and_an_editors_own_numbers_do_not_matter(tmp_path, reference):
    assert built(town().write(tmp_path / "map.osm", turned=True)).raster.equals(reference.raster)


@pytest.mark.parametrize("suffix", ["osm", "osm.pbf"])
def test_a_map_whose_bounds_end_in_the_box_says_how_much_it_leaves(tmp_path, suffix, capsys):
    middle = (BOX[0] + BOX[1]) / 2
    path = small_map().write(tmp_path / f"map.{suffix}", bounds=osmium.osm.Box(9.9, 44.9, 10.1, middle))
    facts = built(path).facts
    assert facts["unmapped_streets"] == pytest.approx(0.5, abs=0.01)
    (said,) = (line for line in facts["warnings"] if "no streets" in line)
    assert re.search(r"50% of the box of Testville lies outside the bounds of .*the northern 111 m$", said)
    assert said in capsys.readouterr().err


def test_features_that_end_in_the_box_are_said_too_and_metres_that_a_file_calls_degrees_named(tmp_path):
    path, south = tmp_path / "half.geojson", features()
    south["geometry"] = south.intersection(shapely.box(9.9, 44.9, 10.1, 45.0))
    south[~south.is_empty].to_file(path)
    (streets,) = (line for line in built(path).facts["warnings"] if "streets" in line)
    assert re.search(r"lies outside the streets of half\.geojson: no streets in the northern 111 m$", streets)
    features().to_crs(32632).set_crs(4326, allow_override=True).to_file(tmp_path / "m.geojson")
    with pytest.raises(DataError, match=r"no buildings near[\s\S]*metres: write it with the coordinate system"):
        built(tmp_path / "m.geojson")


def test_holes_in_a_map_are_said(tmp_path):
    """A ring of blocks, 1.2 km wide, round a hole that one street crosses."""
    osm = OsmMap()
    for x in range(-600, 601, 100):
        for y in (-600, 500):
            osm.way(box(x, y, x + 50, y + 50).exterior, building="yes")
            osm.way(box(y, x, y + 50, x + 50).exterior, building="yes")
    osm.way(LineString([(-600, 40), (600, 40)]), highway="residential")
    warnings = built(osm.write(tmp_path / "ring.osm"), box=[44.9945, 45.0055, 9.9922, 10.0078]).facts["warnings"]
    holes = [line for line in warnings if line.startswith("no building")]
    at = r"(?:44\.99|45\.00)\d+, (?:9\.99|10\.00)\d+"
    assert len(holes) == 2 and re.search(rf"no building within 5\d\d m of {at}: .*hole", holes[0])
    assert re.search(r"no building or street within 2\d\d m", holes[1])


def test_exchanged_coordinates_and_a_city_without_a_place_to_stand_are_errors(tmp_path, reference):
    params = city(buildings="town.osm", streets="town.osm", box=BOX[2:] + BOX[:2])
    with pytest.raises(DataError, match=r"covers lat 44\.9[\s\S]*are exchanged, in the box or in the file"):
        build_city("town", params, reference.folder.parents[1], tmp_path)
    osm = OsmMap()
    osm.way(HOUSE.exterior, building="house")
    osm.way(LineString([(0, -80), (0, 80)]), highway="primary", tunnel="yes")
    with pytest.raises(DataError, match=r"no cell where a UE may stand[\s\S]*tunnels"):
        built(osm.write(tmp_path / "t.osm"))
    assert not (tmp_path / "cities" / "town").exists()


@pytest.mark.parametrize("suffix", ["osm", "geojson", "parquet", "east.geojson"])
def test_a_city_across_the_180th_meridian(tmp_path, reference, suffix):
    """The town moved there; in `east` its longitudes pass 180, elsewhere they come back from -180."""
    osm, moved = town(), features()
    osm.nodes = [((lon + 350) % 360 - 180, lat) for lon, lat in osm.nodes]

    def turn(at: np.ndarray) -> np.ndarray:
        lon = at[:, 0] + 170.0
        return np.column_stack([lon if suffix == "east.geojson" else (lon + 180) % 360 - 180, at[:, 1]])

    moved = moved.set_geometry(moved.geometry.map(lambda shape: shapely.transform(shape, turn)))
    path = write(tmp_path / f"town.{suffix}", osm, moved)
    found = built(path, box=[*BOX[:2], BOX[2] + 170, BOX[3] + 170])
    assert found.frame.lon0 == 180.0 and found.facts["in_box_polygons"] == 2
    assert known(found)["warnings"] == known(reference)["warnings"]
    for layer in ("building", "road"):
        assert np.array_equal(found.raster[layer], reference.raster[layer])
