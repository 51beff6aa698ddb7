import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from rfloc import config, doctor
from rfloc.cli import main
from rfloc.studies import cost


@pytest.fixture
def clone(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.mark.parametrize("group", ["scale", "variant"])
def test_every_scale_and_variant_composes_and_validates(clone, group):
    for path in (clone / "conf" / group).glob("*.yaml"):
        assert main(["params", f"{group}={path.stem}"]) == 0
        assert getattr(config.read(clone / "params.yaml"), group) == path.stem


def test_params_are_composed_where_there_are_none_yet_and_a_scale_that_builds_on_another_names_itself(clone, capsys):
    (clone / "params.yaml").unlink()
    assert main(["params", "--scale", "smoke", "training.lr=5e-4"]) == 0
    assert config.read(clone / "params.yaml").training.lr == 5e-4
    (clone / "conf/scale/mine.yaml").write_text("# @package _global_\ndefaults: [rome, _self_]\nseed: 3\n")
    assert main(["params", "--scale", "mine"]) == 2
    assert "says that its scale is 'rome'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["trainig.lr=1.0"], "did you mean 'training.lr'?"),
        (["training.lr=-1.0"], "training.lr: Input should be greater than 0 (got -1.0)"),
        (["--scale", "dmo"], "Could not find 'scale/dmo'"),
        (["campaign.cities=[home,paris]"], "names the city 'paris'"),
    ],
)
def test_params_that_cannot_be_leave_the_file_alone(clone, capsys, args, said):
    before = (clone / "params.yaml").read_text()
    assert main(["params", *args]) == 2
    error = capsys.readouterr().err
    assert said in error and str(clone) not in error
    assert (clone / "params.yaml").read_text() == before
    assert not list(clone.glob(".params-*"))


def test_cost_prints_both_datasets_at_this_scale_and_the_papers(clone, toy_city, monkeypatch, capsys):
    probed: list[Path] = []
    values = {"city [s]": 1.0, "map [s]": 1.0, "million rays [s]": 1.0, "1000 UEs [s]": 0.1, "map [MB]": 0.001}
    probe = pd.Series(values, name="toy")
    monkeypatch.setattr(cost, "probe_city", lambda folder, *_: probed.append(folder) or probe)
    asked = ("GFLOP a crop", "state [GB]", "activations [MB a crop]")
    monkeypatch.setattr(cost, "network_cost", lambda *_: dict.fromkeys(asked, 1.0))
    assert main(["cost"]) == 2
    assert "dvc repro" in capsys.readouterr().err and not probed, "which stage makes a city"
    built = clone / "build/cities/home"
    shutil.copytree(toy_city.folder, built)
    assert main(["cost"]) == 0
    out = capsys.readouterr().out
    assert probed == [built]
    named = [line.split()[:2] for line in out.splitlines() if " B " in line or " C " in line][:4]
    assert named == [[scale, name] for scale in ("smoke", "paper") for name in "BC"]
    assert next(line.split()[2] for line in out.splitlines() if line.startswith("smoke B")) == "6"  # maps
    training = out.partition("training")[2]
    assert "smoke S " in " ".join(training.split()) and "paper C_Bp_A" in " ".join(training.split())


@pytest.fixture
def whole(clone, project_root, monkeypatch):
    """A clone with git and data, as doctor wants it."""
    monkeypatch.delenv("RFLOC_DATA", raising=False)
    (clone / ".git").mkdir()
    shutil.copytree(project_root / "data/toy", clone / "data/toy")
    return clone


def test_a_study_over_seeds_keeps_what_was_found_of_other_experiments(clone, capsys, monkeypatch):
    monkeypatch.setattr("rfloc.studies.seeds.seeds_study", lambda build, params, keys, n: dict.fromkeys(keys, n))
    assert main(["seeds", "C", "--seeds", "3"]) == main(["seeds", "A", "--seeds", "2"]) == 0
    assert json.loads((clone / "results/smoke/seeds.json").read_text()) == {"A": 2, "C": 3}
    assert main(["seeds", "pairs_A"]) == 2 and "did you mean 'pair_A'" in capsys.readouterr().err


def test_doctor_reports_what_is_there(whole, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    names = "Python", "ray tracing", "torch", "sionna-rt", "jupyter-book", "dvc", "project", "Rome data", "weights"
    assert not [name for name in names if f" {name} " not in out]
    assert f"nothing at {whole}/data/rome" in out and "rfloc fetch rome" in out
    assert "The demo can run here." in out


def test_doctor_asks_what_the_commands_will_ask(whole, capsys):
    (whole / ".git").rmdir()
    (whole / "data/toy/streets.geojson").unlink()
    (whole / "conf/variant/default.yaml").write_text("# @package _global_\nvariant: default\nseed: 8\n")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    for said in ("git init", "there is no file toy/streets.geojson", "composed: seed", "rfloc params scale=smoke"):
        assert said in out
    (whole / "params.yaml").write_text("scale: demo\n")
    assert main(["doctor"]) == 1
    assert "parameter data: Field required" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("problem", "mend"),
    [("no usable LLVM\n  why:  too old\n  mend: install one", "install one"), ("no mitsuba", "make setup")],
)
def test_doctor_gives_the_mend_and_fails_where_the_demo_cannot_run(whole, capsys, monkeypatch, problem, mend):
    monkeypatch.setattr(doctor.backend, "describe", lambda: {"problem": problem})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert problem.splitlines()[0] in out and f"-> {mend}" in out
    assert "cannot run before this is mended: ray tracing." in out


def test_errors_made_on_purpose_print_what_why_mend_without_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["verify"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: ") and "why:" in error and "mend:" in error and "Traceback" not in error


def test_fetch_copies_from_the_named_folder_and_refuses_another_files_hash(clone, capsys, tmp_path_factory):
    assert main(["fetch", "paris"]) == 2
    assert "conf/data knows oslo, rome" in capsys.readouterr().err
    root, manifest = tmp_path_factory.mktemp("published"), clone / "conf/data/rome.json"
    content = json.loads(manifest.read_text())
    csv = next(entry for entry in content["files"] if entry["name"].endswith(".csv"))
    manifest.write_text(json.dumps(content | {"files": [csv]}))
    (root / "rome").mkdir()
    (root / "rome" / csv["name"]).write_text("not what was published\n")
    assert main(["fetch", "rome", "--data-root", str(root)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("DataError") and csv["name"] in error and csv["sha256"] in error
    assert not (clone / "data/rome" / csv["name"]).exists()
