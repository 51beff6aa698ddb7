"""The whole pipeline at scale smoke, as a user runs it, in a copy of the project."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml

from rfloc import config
from rfloc.pipeline import record
from rfloc.pipeline.book import build_book
from tests.book import checks
from tests.book.pages import book_problems
from tests.clone import run

pytestmark = pytest.mark.slow

UP_TO_DATE = "Data and pipelines are up to date."


def test_every_stage_left_an_executed_notebook_and_its_provenance(smoke_project):
    stages = yaml.safe_load((smoke_project / "dvc.lock").read_text())["stages"]
    rows = {f"train@{key}" for key in config.read(smoke_project / "params.yaml").experiments}  # others are the demo's
    stages = {k: v for k, v in stages.items() if "notebooks/" in v["cmd"] and (k in rows or k[:6] != "train@")}
    executed = {o["path"] for s in stages.values() for o in s["outs"] if o["path"].startswith("book/executed/")}
    assert len(executed) == len(stages) >= 12
    for path in executed:
        cells = nbformat.read(smoke_project / path, as_version=4).cells
        assert all(cell.execution_count for cell in cells if cell.cell_type == "code" and cell.source.strip())
    records = {p.stem: json.loads(p.read_text()) for p in (smoke_project / "results/smoke/provenance").glob("*.json")}
    assert len(records) == len(stages)
    assert max(record["peak_memory_mib"] for record in records.values()) < 6 * 1024
    made = {name for name, of in records.items() if any(re.match("build/(?!inputs/)", path) for path in of["inputs"])}
    assert records.keys() - made == {"cities", "oslo", "your-city"}
    outside = {name for name, record in records.items() if any(v[:7] == "sha256:" for v in record["inputs"].values())}
    assert {"cities", "simulation"} <= outside <= {"cities", "simulation", "oslo"}
    assert not any(record["dirty"] for record in records.values())


def test_no_page_shows_nan_or_a_warning(smoke_project):
    """What is not known is a dash, and every warning that a page could raise is met before."""
    for path in sorted((smoke_project / "book/executed").glob("*.ipynb")):
        outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", [])]
        said = [out.get("text", "") + str(out.get("data", {}).get("text/plain", "")) for out in outputs]
        assert not re.findall(r"(?i)\bnan\b.*|.*Warning:.*", "\n".join(said)), path.name


def test_the_page_on_oslo_says_that_its_files_are_not_here(smoke_project):
    if (config.data_root(config.read(smoke_project / "params.yaml").data, smoke_project) / "oslo").exists():
        pytest.skip("the measurements of Oslo are here")
    cells = nbformat.read(smoke_project / "book/executed/A-oslo.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    said = json.dumps(outputs)
    assert all(text in said for text in ("WITHOUT the measurements of Oslo", "389,124", "image/png"))


def test_the_results_are_whole_and_of_the_scale_that_was_asked_for(smoke_project):
    params = config.read(smoke_project / "params.yaml")
    assert (params.scale, params.training.max_epochs) == ("smoke", 2)
    assert "results/ is what the pipeline wrote" in run(smoke_project, "rfloc", "verify")
    found = json.loads(run(smoke_project, "rfloc", "verify", "--json").splitlines()[0])
    assert {row["verdict"] for row in found} <= {"within", "new"} and len(found) > 100


def test_from_nothing_the_results_are_those_that_are_committed(project_root, smoke_project):
    def made_here() -> bool:
        path = "results/smoke/provenance/simulation.json"
        ran = [json.loads((root / path).read_text()) for root in (project_root, smoke_project)]
        return ran[0]["machine"]["cpu"] == ran[1]["machine"]["cpu"] and ran[0]["packages"] == ran[1]["packages"]

    assert record.moved(smoke_project, "smoke") == ([] if made_here() else None)


def test_the_book_of_the_smoke_pipeline(smoke_project, chromium):
    html = build_book(smoke_project)
    assert {"index.html", "executed/08-results.html"} <= {page.as_posix() for page in checks.pages(html)}
    assert book_problems(html) + checks.browser_problems(html, chromium) == []


def test_a_second_repro_does_no_work_nor_does_editing_prose(smoke_project):
    assert UP_TO_DATE in run(smoke_project, "dvc", "repro")
    index = smoke_project / "book/index.md"
    before = index.read_text()
    index.write_text(before + "\nOne more sentence.\n")
    run(smoke_project, "python", "-c", "import rfloc.city, rfloc.simulation.maps")
    assert UP_TO_DATE in run(smoke_project, "dvc", "repro")
    index.write_text(before)


def test_papermill_tries_a_notebook_and_leaves_the_pipeline_alone(smoke_project, tmp_path):
    out = tmp_path / "out.ipynb"
    run(smoke_project, "papermill", "notebooks/03-problem.ipynb", str(out), "-p", "crops_size", "150.0")
    page = nbformat.read(out, as_version=4)
    assert page.metadata.papermill.exception is None
    trial = next(smoke_project.glob("trial-*"))
    assert f"no stage of DVC: what this writes lies in {trial}" in json.dumps([c.get("outputs") for c in page.cells])
    assert (trial / "results/smoke/problem.json").is_file() and (trial / "build/crops/home.zarr").is_dir()
    shutil.rmtree(trial)
    assert UP_TO_DATE in run(smoke_project, "dvc", "repro")
    said = run(smoke_project, "papermill", "notebooks/03-problem.ipynb", str(out), "-p", "sizes", "1", ok=False)
    assert "this page has no parameter 'sizes'" in said and not list(smoke_project.glob("trial-*"))


def test_an_edit_of_conf_is_not_passed_over(smoke_project):
    path = smoke_project / "conf/config.yaml"
    before = path.read_text()
    path.write_text(before.replace("seed: 7", "seed: 8"))
    assert "conf" in run(smoke_project, "dvc", "status")
    said = run(smoke_project, "dvc", "repro", "measurements", ok=False)
    assert "conf/ was edited since params.yaml was composed: conf/config.yaml" in said
    path.write_text(before)


def test_an_edited_docstring_traces_nothing(smoke_project):
    def held() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (smoke_project / "build/cache").rglob("*.npz")}

    before = held()
    rooms = [smoke_project / "rfloc" / room for room in ("simulation", "datasets", "calibration")]
    edited = {path: path.read_text() for room in rooms for path in room.glob("*.py")}
    for path, text in edited.items():
        path.write_text(text.replace('"""', '"""In other words. ', 1))
    said = run(smoke_project, "dvc", "repro", "calibration")
    assert "Running stage 'simulation'" in said and "Running stage 'calibration'" in said
    assert held() == before
    for path, text in edited.items():
        path.write_text(text)
    run(smoke_project, "dvc", "repro")


def test_an_output_that_is_lost_comes_back_from_the_cache_with_the_same_bytes(smoke_project):
    out = smoke_project / "book/executed/04-1-cities.ipynb"
    before = out.read_bytes()
    out.unlink()
    shutil.rmtree(smoke_project / "build/cities")
    run(smoke_project, "dvc", "checkout", "cities")
    assert UP_TO_DATE in run(smoke_project, "dvc", "repro")
    assert out.read_bytes() == before
    assert (smoke_project / "build/cities/home/city.json").is_file()


@pytest.mark.parametrize(
    ("override", "said"),
    [("trainng.lr=1.0", "trainng"), ("scale=huge", "Could not find 'scale/huge'"), ("training.lr=fast", "training.lr")],
)
def test_an_experiment_with_a_slip_is_refused(smoke_project, override, said):
    before = (smoke_project / "params.yaml").read_text()
    output = run(smoke_project, "dvc", "exp", "run", "-S", "scale=smoke", "-S", override, ok=False)
    assert said in output
    (smoke_project / "params.yaml").write_text(before)
