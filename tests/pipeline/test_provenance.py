from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from pathlib import Path

import pytest

from rfloc.errors import DataError
from rfloc.pipeline import provenance
from rfloc.pipeline.verify import FIELDS, verify


def git(project: Path, *args: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *args], cwd=project, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(project, write):
    write("x = 1")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "all")
    return project


def begin(project, **values):
    parameters = {"scale": "smoke", "crops_size": 200.0} | values
    return provenance.begin(project, "tiny", project / "notebooks/tiny.ipynb", "smoke", parameters)


def test_a_record_says_who_made_it_and_nothing_that_names_the_machine(repository):
    path = begin(repository).finish()
    record = json.loads(path.read_text())
    assert set(record) == set(FIELDS)
    assert record["revision"] == git(repository, "rev-parse", "HEAD")
    assert record["dirty"] is False
    md5 = hashlib.md5((repository / "notebooks/tiny.ipynb").read_bytes()).hexdigest()
    assert record["inputs"] == {"notebooks/tiny.ipynb": md5}
    assert {"python", "torch", "sionna-rt", "mitsuba", "drjit", "numpy", "xarray"} <= set(record["packages"])
    assert record["machine"]["cores"] >= 1
    assert socket.gethostname() not in json.dumps(record["machine"])
    assert str(repository) not in path.read_text()


def test_only_changes_of_code_make_a_revision_dirty(repository):
    (repository / "params.yaml").write_text("changed: true\n")
    (repository / "results").mkdir()
    (repository / "results/x.json").write_text("{}")
    assert provenance.revision_of(repository)[1] is False
    (repository / "dvc.yaml").write_text("stages: {a: {cmd: 'true'}}\n")
    assert provenance.revision_of(repository)[1] is True


def test_outside_git_there_is_no_revision(tmp_path):
    assert provenance.revision_of(tmp_path) == (None, True)


def test_the_hash_depends_on_values_not_on_their_order():
    first = provenance.parameters_hash({"a": 1, "b": [1.0, None]})
    assert first == provenance.parameters_hash({"b": [1.0, None], "a": 1})
    assert first != provenance.parameters_hash({"a": 1, "b": [1.5, None]})


def test_inputs_are_told_by_the_hashes_that_dvc_holds(project):
    (project / "data.dvc").write_text("outs:\n- md5: aaa.dir\n  path: data/rome\n")
    (project / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - {path: build/maps/true, md5: bbb.dir}\n"
        "    - {path: build/mapsother, md5: ccc}\n"
    )
    (project / "plain.csv").write_text("1")
    hashes = provenance.input_hashes(project, ["data/rome", "build/maps", "plain.csv"])
    assert hashes == {"data/rome": "aaa.dir", "build/maps/true": "bbb.dir", "plain.csv": hashlib.md5(b"1").hexdigest()}
    with pytest.raises(DataError, match=r"no input gone\.csv"):
        provenance.input_hashes(project, ["gone.csv"])


def test_the_stamp_is_of_this_run_else_of_the_recorded_one_else_says_that_there_is_none(repository, monkeypatch):
    monkeypatch.chdir(repository)
    monkeypatch.delenv(provenance.STAMP, raising=False)
    assert provenance.stamp("smoke", "tiny") == "tiny · scale smoke · run by hand, not recorded"
    record = begin(repository)
    record.finish()
    revision = git(repository, "rev-parse", "HEAD")[:7]
    hashed = provenance.parameters_hash({"scale": "smoke", "crops_size": 200.0})
    assert provenance.stamp("smoke", "tiny") == f"tiny · scale smoke · parameters {hashed} · revision {revision}"
    other = begin(repository, crops_size=300.0)
    monkeypatch.setenv(provenance.STAMP, other.stamp)
    assert provenance.stamp("smoke", "tiny") == other.stamp != record.stamp
    assert provenance.figure_caption("A map.", "smoke", "tiny") == f"A map. [{other.stamp}]"


def test_verify_accepts_what_a_stage_wrote(repository):
    begin(repository).finish()
    assert verify(repository) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("provenance/tiny.json", None, "its parameters are not those of its hash"),
        ("provenance/other.json", "{}", "stage, scale, notebook"),
        ("table1.json", '{"mean": NaN}', "NaN is no JSON number"),
        ("table1.json", "{", "no valid JSON"),
    ],
)
def test_verify_names_what_is_wrong(repository, name, content, said):
    path = begin(repository).finish()
    content = content or path.read_text().replace("200.0", "201.0")
    (repository / "results/smoke" / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{said}"):
        verify(repository)


def test_verify_sees_other_parameters_edited_and_missing_results(repository):
    begin(repository, crops_size=300.0).finish()
    (repository / "results/smoke/table1.json").write_text("{}")
    md5 = hashlib.md5(b"{ }").hexdigest()
    (repository / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n"
        f"    - {{path: results/smoke/table1.json, md5: {md5}}}\n    - {{path: results/smoke/gone.json, md5: abc}}\n"
    )
    with pytest.raises(DataError) as caught:
        verify(repository)
    assert "made with crops_size=300.0, params.yaml holds 200.0" in caught.value.what
    assert "table1.json differs from what its stage wrote" in caught.value.what
    assert "gone.json is missing" in caught.value.what


def test_verify_needs_something_to_verify(project):
    with pytest.raises(DataError, match="holds nothing"):
        verify(project)
