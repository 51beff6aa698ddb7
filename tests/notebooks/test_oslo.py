"""The page on Oslo, with files of the published form made by hand, and the commands that it prints."""

import re
import shutil
from pathlib import Path

import geopandas as gpd
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.io import savemat
from shapely import LineString, box

from rfloc import config, schema
from rfloc.cli import compose
from rfloc.pipeline.run import run

#: South, north, west, east [deg]; the paper's boxes lie inside.
AREA = (59.9205, 59.9300, 10.7530, 10.7670)
#: NPCI of each cell, where the table puts it, and the half axes of its error ellipse [m].
CELLS = {11: (59.924, 10.756, (30.0, 40.0)), 12: (59.925, 10.760, (6.0, 8.0)), 13: (59.929, 10.764, (0.0, 0.0))}
ENODEB, MNC = 5001, 2


def write_campaign(folder: Path, n: int = 160) -> pd.DataFrame:
    """A .mat file and a cell table in the layout of Oslo; gives where the UEs are."""
    rng = np.random.default_rng(0)
    ues = pd.DataFrame({"lat": rng.uniform(*AREA[:2], n).round(6), "lon": rng.uniform(*AREA[2:], n).round(6)})
    rows = np.empty((n, 16), object)
    for i, (lat, lon) in enumerate(ues.itertuples(index=False)):
        heard = [[npci, ENODEB, -70.0, 5.0, -90.0 - k, -11.0, 100.0, MNC, 1] for k, npci in enumerate(CELLS)]
        heard.append([99, ENODEB, -70.0, 5.0, -90.0, -11.0, 100.0, MNC, 1])  # a cell that the table does not list
        heard.append([11, ENODEB + 1, np.nan, np.nan, np.nan, np.nan, 100.0, MNC, 1])  # detected, not measured
        rows[i, :] = [np.zeros((1, 1))] * 16
        rows[i, :3] = [np.array([[lat]]), np.array([[lon]]), np.array(heard)]
    folder.mkdir(parents=True)
    savemat(folder / "Oslo.mat", {"dataSet": rows})
    listed = [
        {"Name": f"cell NPCI:{npci}", "Latitude": lat, "Longitude": lon, "PosErrorLambda1": one, "PosErrorLambda2": two}
        for npci, (lat, lon, (one, two)) in CELLS.items()
    ]
    table = pd.DataFrame(listed).assign(eNodeID=ENODEB, MNC=MNC, PosErrorDirection=0.0, TowerID=1)
    table.to_excel(folder / "Oslo cells.xlsx", index=False)
    return ues


def write_city(folder: Path) -> dict[str, object]:
    """Two streets and two houses, and the configuration that names them."""
    south, north, west, east = AREA
    middle = ((south + north) / 2, (west + east) / 2)
    houses = [box(x, middle[0] + 2e-4, x + 4e-4, middle[0] + 6e-4) for x in (west + 1e-3, west + 2e-3)]
    lines = [LineString([(west, middle[0]), (east, middle[0])]), LineString([(middle[1], south), (middle[1], north)])]
    gpd.GeoDataFrame({"height": ["9", "12"]}, geometry=houses, crs=4326).to_file(folder / "buildings.geojson")
    gpd.GeoDataFrame({"highway": ["primary"] * 2}, geometry=lines, crs=4326).to_file(folder / "streets.geojson")
    files = {name: f"oslo/{name}.geojson" for name in ("buildings", "streets")}
    return {"name": "Little Oslo", "source": "file", "box": list(AREA), **files}


@pytest.fixture
def project(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of this notebook alone, which runs as a stage."""
    monkeypatch.setenv("DVC_STAGE", "oslo")
    monkeypatch.setenv("DVC_ROOT", "/nowhere")
    shutil.copytree(project_root / "conf", tmp_path / "conf")
    (tmp_path / "notebooks").mkdir()
    for name in ("notebooks/A-oslo.ipynb", "params.yaml"):
        shutil.copy(project_root / name, tmp_path / name)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path


def test_the_page_reads_places_and_divides_the_measurements(project):
    ues = write_campaign(project / "data/oslo")
    (project / "conf/city/little.yaml").write_text(yaml.safe_dump(write_city(project / "data/oslo")))
    sets = [f"data_root={project / 'data'}", "city_conf=conf/city/little.yaml"]
    page = nbformat.read(run("notebooks/A-oslo.ipynb", "out.ipynb", stage="oslo", given=sets, root=project), 4)

    links = schema.load(project / "build/oslo/links.zarr", "links")
    assert links["bs_id"].values.tolist() == [f"{MNC}-{ENODEB}-{npci}" for npci in CELLS]
    assert links.sizes["ue"] == len(ues) and bool(links["heard"].all())
    assert set(links["bs_position_source"].values) == {"table"}
    stated = [np.hypot(*axes) / np.sqrt(2) or np.nan for *_, axes in CELLS.values()]
    assert links["bs_position_error"].values == pytest.approx(stated, nan_ok=True)

    split = schema.load(project / "build/oslo/split.zarr", "split")
    boxes = yaml.safe_load((project / "conf/splits/oslo_paper.yaml").read_text())
    for role, name in (("unknown", "test_box"), ("val", "val_box")):
        south, north, west, east = boxes[name]
        inside = ues["lat"].between(south, north) & ues["lon"].between(west, east)
        assert (split["role"] == role).sum() == inside.sum() > 0
    said = "".join(output.get("text", "") for cell in page.cells for output in cell.get("outputs", []))
    assert "made with Oslo.mat and Oslo cells.xlsx" in said
    shown = [output.data for cell in page.cells for output in cell.get("outputs", []) if "data" in output]
    assert any("image/png" in data for data in shown)
    assert any(f"{3 * len(ues)}" in data.get("text/plain", "") and "389,124" in data["text/plain"] for data in shown)


def test_the_command_that_the_page_prints_can_be_composed(project_root, tmp_path):
    prose = "\n".join(cell.source for cell in nbformat.read(project_root / "notebooks/A-oslo.ipynb", 4).cells)
    block = re.search(r"dvc exp run .*?```", prose, re.S).group()
    overrides = re.findall(r"-S (\S+)", block)
    params = config.read(compose(project_root, overrides, tmp_path / "params.yaml"))
    assert params.cities["home"].name == "Oslo" and params.campaign.published is None
    assert params.campaign.cell_table == "oslo/NAME.xlsx" and params.splits.test_box[0] == 59.9217
