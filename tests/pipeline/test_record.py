import hashlib
import json
import socket
import subprocess
from pathlib import Path

import pytest

from rfloc import config
from rfloc.errors import DataError
from rfloc.pipeline import record
from rfloc.pipeline.record import verify


def git(project: Path, *args: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *identity, *args], cwd=project, text=True).strip()


@pytest.fixture
def repository(project, write):
    write("from rfloc import config\nP = config.load(globals())", "P.crops.size")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "all")
    return project


def made(project, **given) -> Path:
    params = config.overlay(config.read(project / "params.yaml"), given)
    record.finish(project, record.begin(project, "tiny", project / "notebooks/tiny.ipynb", params, {"note": "x"}))
    return project / "results/smoke/provenance/tiny.json"


def test_a_record_says_who_made_it_and_nothing_that_names_the_machine(repository):
    path = made(repository)
    found = json.loads(path.read_text())
    assert set(found) == set(record.FIELDS)
    assert (found["revision"], found["dirty"]) == (git(repository, "rev-parse", "HEAD"), False)
    md5 = hashlib.md5((repository / "notebooks/tiny.ipynb").read_bytes()).hexdigest()
    assert found["inputs"] == {"notebooks/tiny.ipynb": md5}
    assert {"python", "torch", "sionna-rt", "mitsuba", "drjit", "numpy", "xarray"} <= set(found["packages"])
    assert found["machine"]["cores"] >= 1 and socket.gethostname() not in json.dumps(found["machine"])
    assert str(repository) not in path.read_text()
    assert verify(repository).startswith("1 checks: results/ is what the pipeline wrote")


def test_parameters_are_what_the_page_reads_the_one_experiment_and_nothing_else(repository):
    changes = ({}, {"training_lr": 1.0}, {"crops_size": 300.0})
    first, lr, size = (json.loads(made(repository, **given).read_text())["parameters"] for given in changes)
    assert first == lr != size
    page = repository / "notebooks/tiny.ipynb"
    page.write_text(page.read_text().replace("P.crops.size", "P.experiments[experiment]"))
    found = record.parameters_of(page, config.read(repository / "params.yaml"), {"experiment": "A"})
    assert set(found) == {"experiment", "experiments"} and set(found["experiments"]) == {"A"}


def test_only_changes_of_code_make_a_revision_dirty(repository):
    (repository / "params.yaml").write_text("changed: true\n")
    (repository / "results").mkdir()
    (repository / "results/x.json").write_text("{}")
    assert record.revision_of(repository)[1] is False
    (repository / "dvc.yaml").write_text("stages: {a: {cmd: 'true'}}\n")
    assert record.revision_of(repository)[1] is True


def test_outside_git_there_is_no_revision_and_nothing_to_verify(project):
    assert record.revision_of(project) == (None, True)
    with pytest.raises(DataError, match="holds nothing"):
        verify(project)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("provenance/tiny.json", None, r"made with crops_size=201\.0"),
        ("provenance/other.json", "{}", "stage, scale, notebook"),
        ("table1.json", '{"mean": NaN}', "no valid JSON"),
        ("table1.json", "{", "no valid JSON"),
    ],
)
def test_verify_names_what_is_wrong(repository, name, content, said):
    content = content or made(repository).read_text().replace("200.0", "201.0")
    (repository / "results/smoke/provenance").mkdir(parents=True, exist_ok=True)
    (repository / "results/smoke" / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{said}"):
        verify(repository)


def test_verify_sees_other_parameters_edited_and_missing_results(repository):
    made(repository, crops_size=300.0)
    (repository / "results/smoke/table1.json").write_text("{}")
    md5 = hashlib.md5(b"{ }").hexdigest()
    (repository / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n"
        f"    - {{path: results/smoke/table1.json, md5: {md5}}}\n    - {{path: results/smoke/gone.json, md5: abc}}\n"
    )
    with pytest.raises(DataError, match=r"made with crops_size=300\.0, params\.yaml holds 200\.0") as caught:
        verify(repository)
    assert "table1.json differs from what its stage wrote" in caught.value.what
    assert "gone.json is missing" in caught.value.what


def test_what_moved_against_git_is_named_but_for_times(repository):
    made(repository)
    found = repository / "results/smoke/found.json"
    found.write_text(json.dumps({"error": [1.0, 2.0], "tracing_s": 3.0}))
    assert record.moved(repository, "smoke") is None  # git holds none yet
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "results")
    found.write_text(json.dumps({"error": [1.0, 2.0], "tracing_s": 4.0}))
    assert record.moved(repository, "smoke") == []
    found.write_text(json.dumps({"error": [1.0, 2.5], "tracing_s": 4.0}))
    assert record.moved(repository, "smoke") == ["results/smoke/found.json: error.1 (2.0 there, 2.5 here)"]
    made(repository, crops_size=300.0)
    assert record.moved(repository, "smoke") is None  # other parameters, other numbers
