"""The whole pipeline on the published Rome files, where they are."""

import json

import pytest

from tests.clone import make_clone, run

pytestmark = pytest.mark.slow


def test_the_tiny_rome_run_is_on_real_measurements(rome_data, project_root, tmp_path, monkeypatch):
    monkeypatch.setenv("RFLOC_DATA", str(rome_data))
    clone = make_clone(project_root, tmp_path / "clone")
    # The stages that are left out do not touch Table 1 and run at scale smoke: oslo, departures, your-city.
    # One thread: other tests run beside it, and threads of a step wait for each other.
    stages = ("results", "variable-scale")
    run(clone, "dvc", "exp", "run", "-S", "scale=rome_tiny", *stages, OMP_NUM_THREADS="1")
    run(clone, "rfloc", "verify")
    records = [json.loads(p.read_text()) for p in (clone / "results/rome_tiny/provenance").glob("*.json")]
    kinds = {record["parameters"].get("campaign_kind", "nbiot") for record in records}
    assert kinds == {"nbiot"}
    assert max(record["peak_memory_mib"] for record in records) < 6 * 1024
    rows = json.loads((clone / "results/rome_tiny/table1.json").read_text())["rows"]
    assert {"centre", "A", "B", "Bp", "C", "Bp_A", "C_A"} <= {row["key"] for row in rows}


def test_without_the_files_the_error_says_how_to_get_them(project_root, tmp_path, monkeypatch):
    monkeypatch.delenv("RFLOC_DATA", raising=False)
    clone = make_clone(project_root, tmp_path / "clone")
    said = run(clone, "dvc", "exp", "run", "-S", "scale=rome_tiny", ok=False)
    assert "DataError" in said and "rfloc fetch rome" in said and "RFLOC_DATA" in said
