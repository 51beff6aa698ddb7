"""The table and the curves of the chapter on training, from what the pipeline's runs left."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from rfloc import config

CURVE = {"samples": [100, 200], "losses": [8.0, 7.0], "val_errors": [120.0, 90.0]}
RUN = {
    "curves": [CURVE], "label": "", "left_plateau": [True], "plateau": {"error": 75.9, "streets": 162.5},
    "history": {"wall_s": 10.4}, "seeds": [7],
}  # fmt: skip


@pytest.fixture
def extension(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(project_root / "book/_ext"))
    return importlib.import_module("rfloc_tables"), importlib.import_module("rfloc_book")


@pytest.fixture
def params(project_root: Path) -> config.Params:
    return config.read(project_root / "params.yaml")


def cells(table: str) -> dict[str, list[str]]:
    lines = (line.strip("| ").split("|") for line in table.splitlines() if line.startswith("|"))
    return {label.strip(): [cell.strip() for cell in told] for label, *told in lines}


def test_a_row_says_what_it_trains_on_what_that_cost_and_whether_it_has_learned(extension, params, tmp_path):
    tables, book = extension
    (tmp_path / "experiments").mkdir()
    unvalidated = RUN | {"curves": [CURVE | {"val_errors": [None, None]}], "left_plateau": [None], "plateau": {}}
    stuck = RUN | {"left_plateau": [False]}
    for key, run in {"B": stuck, "Bp_A": RUN, "C": unvalidated}.items():
        text = json.dumps(run | {"label": params.experiments[key].label})
        (tmp_path / "experiments" / f"{key}.json").write_text(text)
    found = tables.runs(tmp_path, params)
    told = cells(tables.experiments_table(params, found))
    samples = {key: f"{row.samples:,}" for key, row in params.experiments.items()}
    label = {key: row.label for key, row in params.experiments.items()}
    network = "MapRadioFormer+"
    assert told[label["B"]] == [network, "untrained", "B", samples["B"], "10", "75.9 / 162", "no"]
    assert told[label["Bp_A"]] == [network, label["Bp"], "A", samples["Bp_A"], "10", "75.9 / 162", "yes"]
    assert told[label["C"]][4:] == ["10", "–", "not judged"]
    assert told[label["pair_A"]] == ["pair score", "untrained", "A", samples["pair_A"], "not run", "–", "–"]
    assert told[label["Bp_A_adapt"]][2] == "B′, inputs of A"
    drawn = book.curves(found)
    # Of C nothing chose a pass; Bp_A was validated on measured crops, of which no plateau is known.
    assert (drawn.count('class="curve"'), drawn.count('class="guess"')) == (2, 1)
    assert book.curves({}) == ""
