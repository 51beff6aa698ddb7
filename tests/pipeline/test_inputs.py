"""Files that neither git nor DVC holds: an edit reruns what uses them, and results of other files are refused."""

import json
import shutil

import pytest

from rfloc import config
from rfloc.city import osm
from rfloc.cli import main
from rfloc.config import compose
from rfloc.errors import ConfigError, DataError
from rfloc.pipeline import inputs, record
from tests.clone import make_clone, run
from tests.pipeline.conftest import write  # noqa: F401

MINE = ("city@cities.home=mine", "campaign.kind=table", "campaign.cities=[home]", "campaign.table=mine/walk.csv")


def add_a_city(root, toy):
    """data/mine: the toy city's files under names of their own, and the city in conf/."""
    shutil.copytree(toy, root / "data/mine")
    (root / "data/mine/campaign.csv").rename(root / "data/mine/walk.csv")
    text = (root / "conf/city/toy.yaml").read_text().replace("toy/", "mine/")
    (root / "conf/city/mine.yaml").write_text(text)


@pytest.fixture
def mine(project, project_root, monkeypatch):
    monkeypatch.delenv("RFLOC_DATA", raising=False)
    monkeypatch.chdir(project)
    add_a_city(project, project_root / "data/toy")
    shutil.copytree(project_root / "data/toy", project / "data/toy")
    compose(project, ["scale=smoke", *MINE])
    return project


def test_every_input_is_linked_and_hashed_under_its_name(mine, monkeypatch):
    inputs.gather(mine)
    read = {p.stem: json.loads(p.read_text()) for p in (mine / "build/inputs").rglob("*.json")}
    assert {name: set(held) for name, held in read.items()} == {
        "home": {"mine/buildings.geojson", "mine/streets.geojson"},
        "other": {"toy/buildings.geojson", "toy/streets.geojson"},
        "campaign": {"mine/walk.csv"}, "weights": set(), "oslo": set(),
    }  # fmt: skip
    link = mine / "build/inputs/links/campaign.0"
    assert link.is_symlink() and link.read_text() == (mine / "data/mine/walk.csv").read_text()
    shutil.move(mine / "data", mine / "elsewhere")  # the same files under another folder are the same inputs
    monkeypatch.setenv("RFLOC_DATA", str(mine / "elsewhere"))
    told = inputs.told(mine, ["build/inputs/maps", "build/inputs/campaign.json"])
    assert told == read["home"] | read["other"] | read["campaign"]


def test_a_stage_refuses_files_of_which_the_pipeline_was_not_told(mine):
    inputs.gather(mine)
    (mine / "data/mine/walk.csv").write_text("another")
    assert inputs.told(mine, ["build/inputs/maps"])
    with pytest.raises(DataError, match=r"mine/walk\.csv: not the files(?s:.*)rfloc inputs"):
        inputs.told(mine, ["build/inputs/campaign.json"])


def test_parts_of_a_shapefile_and_what_is_not_there(mine):
    folder, params = mine / "data/mine", config.read(mine / "params.yaml")
    for end in ("shp", "shx", "dbf", "prj", "txt"):
        (folder / f"town.{end}").write_text(end)
    city = params.cities["home"].model_copy(update={"buildings": "mine/town.shp"})
    params = params.model_copy(update={"cities": params.cities | {"home": city}})
    found = set(inputs.files_of("maps/home", params, mine))
    assert found == {"mine/streets.geojson", *(f"mine/town.{end}" for end in ("shp", "shx", "dbf", "prj"))}
    (folder / "walk.csv").unlink()
    with pytest.raises(DataError, match=r"no file mine/walk\.csv"):
        inputs.files_of("campaign", params, mine)
    with pytest.raises(ConfigError, match=r"no input 'map'(?s:.*)maps/home"):
        inputs.files_of("map", params, mine)


def test_a_kept_answer_of_overpass_is_an_input(mine, monkeypatch):
    def fetch(city, kind, *_):
        return mine / f"data/overpass/{kind.name}.parquet"

    monkeypatch.setattr(osm, "fetch", fetch)
    (mine / "data/overpass").mkdir()
    for name in ("buildings", "streets"):
        (mine / f"data/overpass/{name}.parquet").write_text(name)
    compose(mine, ["scale=smoke", "city@cities.home=oslo"])
    inputs.gather(mine)
    (mine / "data/overpass/streets.parquet").write_text("others")
    assert (mine / "build/inputs/links/maps/home.1").read_text() == "others"
    with pytest.raises(DataError, match=r"overpass/streets\.parquet: not the files"):
        inputs.told(mine, ["build/inputs/maps"])


def test_weights_are_inputs_where_they_are_used(mine, tmp_path, monkeypatch):
    compose(mine, ["scale=smoke", *MINE, "model.backbone=dinov2-small", "model.pretrained=true"])
    monkeypatch.setenv("RFLOC_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(DataError, match=r"dinov2-small/config\.json(?s:.*)RFLOC_WEIGHTS"):
        inputs.gather(mine, ["weights"])
    (tmp_path / "weights/dinov2-small").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "weights/dinov2-small" / name).write_text(name)
    inputs.gather(mine, ["weights"])
    names = {"dinov2-small/config.json", "dinov2-small/model.safetensors"}
    assert set(inputs.told(mine, ["build/inputs/weights.json"])) == names


def test_verify_refuses_results_of_another_file(mine, write, capsys):  # noqa: F811
    write("1")
    inputs.gather(mine)
    params = config.read(mine / "params.yaml")
    noted = record.begin(mine, "tiny", mine / "notebooks/tiny.ipynb", params, {})
    record.finish(mine, noted | {"inputs": inputs.told(mine, ["build/inputs"])})
    assert main(["verify"]) == 0
    (mine / "data/mine/buildings.geojson").write_text("{}")
    assert main(["verify"]) == 2
    assert "tiny.json: was made with another mine/buildings.geojson" in capsys.readouterr().err
    (mine / "data/mine/buildings.geojson").unlink()  # who reads results need not have what they were made of
    assert main(["verify"]) == 0
    assert "not compared: mine/buildings.geojson" in capsys.readouterr().out


@pytest.mark.slow
def test_an_edited_table_and_map_rerun_what_uses_them(project_root, tmp_path, monkeypatch):
    """As a user tries it: the pipeline on files of one's own, an edit, `dvc status`, `dvc repro`."""
    monkeypatch.delenv("RFLOC_DATA", raising=False)
    clone = make_clone(project_root, tmp_path / "clone")
    add_a_city(clone, project_root / "data/toy")
    run(clone, "rfloc", "params", "--scale", "smoke", *MINE)
    run(clone, "dvc", "repro", "measurements")
    table, buildings = clone / "data/mine/walk.csv", clone / "data/mine/buildings.geojson"
    first, *rows = table.read_text().splitlines()
    gone = rows[0].split(",")[first.split(",").index("bs_id")]
    table.write_text("\n".join([first, *(row for row in rows if f",{gone}," not in row)]) + "\n")
    city = json.loads(buildings.read_text())
    buildings.write_text(json.dumps(city | {"features": city["features"][:3]}))
    said = run(clone, "dvc", "status")
    assert "inputs@campaign" in said and "map@home" in said and "map@other" not in said
    before = json.loads((clone / "results/smoke/measurements.json").read_text())["home"]
    run(clone, "dvc", "repro", "measurements")
    after = json.loads((clone / "results/smoke/measurements.json").read_text())["home"]
    assert (before["stations"], after["stations"]) == (5, 4)
    assert json.loads((clone / "build/cities/home/city.json").read_text())["facts"]["buildings"] == 3
    assert "Data and pipelines are up to date." in run(clone, "dvc", "repro", "measurements")
