"""The page on Oslo, with files of the published form made by hand, and the commands that it prints."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.io import savemat

from rfloc import config, schema
from rfloc.cli import compose
from rfloc.evaluation.tables import TRIVIAL, Row
from rfloc.files import content_hash
from rfloc.pipeline.run import run

#: South, north, west, east [deg]; the paper's boxes lie inside.
AREA = (59.9180, 59.9300, 10.7480, 10.7670)
MNC = 2


def write_campaign(folder: Path, n: int = 700) -> tuple[pd.DataFrame, np.ndarray]:
    """Files in the layout of Oslo's, with one run of test points: where UEs are, and which are test points."""
    rng = np.random.default_rng(0)
    ues = pd.DataFrame({"lat": rng.uniform(*AREA[:2], n).round(6), "lon": rng.uniform(*AREA[2:], n).round(6)})
    masts = np.column_stack([5001 + np.arange(12), rng.uniform(*AREA[:2], 12), rng.uniform(*AREA[2:], 12)])
    rows = np.empty((n, 12), object)
    for i, (lat, lon) in enumerate(ues.itertuples(index=False)):
        far = np.hypot((masts[:, 1] - lat) * 111e3, (masts[:, 2] - lon) * 56e3)
        level = -60.0 - 30.0 * np.log10((far + 20.0) / 100.0) + rng.normal(0, 4.0, 12)
        near = np.flatnonzero(far < 600)
        heard = [[k, masts[k, 0], level[k] + 11, 5.0, level[k], -11.0, 100.0, MNC, 1] for k in near]
        heard.append([99, 6000, -70.0, 5.0, -90.0, -20.0, 100.0, MNC, 1])  # an eNodeB that the table does not list
        heard.append([98, 0, -70.0, 5.0, -90.0, -20.0, 100.0, MNC, 1])  # not decoded
        rows[i, :] = [np.zeros((1, 1))] * 12
        rows[i, :3] = [np.array([[lat]]), np.array([[lon]]), np.array(heard)]
    folder.mkdir(parents=True)
    savemat(folder / "Oslo_NBIoT_data.mat", {"dataSet": rows, "eNodeB_best_pos_estimates": masts})
    drawn = 1 + (rng.uniform(size=(n, 1)) < 0.3)
    savemat(folder / "TP_RP_allocation_Oslo.mat", {"TP_RP_allocation": drawn.astype(float)})
    return ues, drawn[:, 0] == 2


@pytest.fixture
def project(project: Path, project_root: Path) -> Path:
    """A project of this notebook alone, which runs as a stage."""
    (project / "notebooks").mkdir()
    shutil.copy(project_root / "notebooks/A-oslo.ipynb", project / "notebooks")
    params = (project_root / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("scale: demo", "scale: rome"))  # where every row is made
    return project


def test_the_page_reads_divides_and_scores_the_measurements(project):
    ues, held = write_campaign(project / "data/oslo")
    manifest = json.loads((project / "conf/data/oslo.json").read_text())
    manifest["files"][0]["sha256"] = content_hash(project / "data/oslo/Oslo_NBIoT_data.mat")
    (project / "conf/data/oslo.json").write_text(json.dumps(manifest))
    sets = ["allocation_run=1", "campaign_ues=60", "evaluation_bootstrap=20"]
    sets.append(f"data_root={project / 'data'}")
    page = nbformat.read(run("notebooks/A-oslo.ipynb", "out.ipynb", stage="oslo", given=sets, root=project), 4)

    links = schema.load(project / "build/links/oslo/oslo.zarr", "links")
    assert links.sizes == {"ue": len(ues), "bs": 12} and set(links["bs_position_source"].values) == {"published"}
    split = schema.load(project / "build/links/oslo/split.zarr", "split")
    boxes = yaml.safe_load((project / "conf/splits/oslo_paper.yaml").read_text())
    inside = {}
    for role, name in (("unknown", "test_box"), ("val", "val_box")):
        south, north, west, east = boxes[name]
        inside[role] = ues["lat"].between(south, north) & ues["lon"].between(west, east)
        assert (split["role"] == role).sum() == inside[role].sum() > 0
    assert (split["role"] == "known").sum() == (held & ~inside["unknown"] & ~inside["val"]).sum() > 0
    made = json.loads((project / "results/rome/oslo.json").read_text())
    rows = {(row["key"], row["positions"]): Row.from_json(row) for row in made["rows"]}
    assert {row.city for row in rows.values()} == {"oslo"} and made["trivial"]["oslo"] in TRIVIAL
    assert {key for key, _ in rows} == {
        "centre", "centroid", "centroid_mix", "strongest", "knn_square", "knn_square_plain", "posterior_distance",
        "kriged", "pooled",
    }  # fmt: skip
    assert rows["knn_square", "stated"].paper_known == 19.9
    for positions in ("stated", "training"):  # levels follow the law that the posterior assumes
        assert rows["posterior_distance", positions].known.mean < 0.8 * rows["centre", positions].known.mean
        assert rows["kriged", positions].known.mean < rows["posterior_distance", positions].known.mean
    gain = next(g for g in made["gains"] if (g["row"], g["positions"], g["street"]) == ("kriged", "stated", "known"))
    means = {key: rows[key, "stated"].known.mean for key in ("centroid", "kriged")}
    assert gain["gain"] == pytest.approx(means["centroid"] - means["kriged"])
    chosen = {a["positions"] for a in made["attempts"] if a["option"] == "temper" and a["chosen"]}
    assert chosen == {"stated", "training"}
    assert made["eligible"]["oslo, stated"]["unknown"] <= inside["unknown"].sum()
    said = "".join(output.get("text", "") for cell in page.cells for output in cell.get("outputs", []))
    assert "made with oslo/Oslo_NBIoT_data.mat; the city's map: none" in said
    shown = [output.data for cell in page.cells for output in cell.get("outputs", []) if "data" in output]
    assert any("image/png" in data for data in shown)
    assert any("389,124" in data.get("text/plain", "") for data in shown)


def test_the_command_that_the_page_prints_can_be_composed(project_root, tmp_path):
    prose = "\n".join(cell.source for cell in nbformat.read(project_root / "notebooks/A-oslo.ipynb", 4).cells)
    block = re.search(r"dvc exp run .*?```", prose, re.S).group()
    overrides = re.findall(r"-S (\S+)", block)
    params = config.read(compose(project_root, overrides, tmp_path / "params.yaml"))
    assert params.cities["home"].name == "Oslo" and params.campaign.manifest == "oslo"
    assert params.campaign.published == "oslo/Oslo_NBIoT_data.mat" and params.splits.test_box[0] == 59.9217
