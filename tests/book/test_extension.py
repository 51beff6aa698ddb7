"""Tables and curves of the chapter on training, and the blocks of the real city, from what runs left or did not."""

import importlib
import json
import re
import shutil
import sys
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


@pytest.fixture
def city(project_root, tmp_path, monkeypatch):
    """Maker of the blocks of a project that has some of the committed results of Rome and some made-up files."""
    monkeypatch.syspath_prepend(str(project_root / "book/_ext"))
    rome = importlib.import_module("rfloc_rome")

    def make(*names, **more):
        results = tmp_path / "results/rome"
        results.mkdir(parents=True)
        for name in names:
            shutil.copy(project_root / f"results/rome/{name}.json", results)
        for name, content in more.items():
            (results / f"{name}.json").write_text(json.dumps(content))
        return rome.substitutions(tmp_path)

    yield make
    sys.modules.pop("rfloc_rome")


def record(key, street, mean, **more):
    base = {
        "localizer": key, "experiment": None, "label": key, "city": "home", "split": "fixed", "positions": "stated",
        "oracle": False, "street": street, "mean": mean, "lo": mean - 10, "hi": mean + 10, "gain": 200 - mean,
        "gain_lo": 190 - mean, "gain_hi": 210 - mean, "n_ue": 99, "trivial": {"key": "centroid", "mean": 150.0},
    }  # fmt: skip
    return base | more


def test_what_is_not_there_is_said_to_be_missing(city):
    blocks = city("measurements", "map")
    missing = {name for name, text in blocks.items() if "Not made yet at scale rome" in text}
    assert missing == {f"rome_{name}" for name in ("findings", "levels", "calibration", "errors", "verdicts", "table1")}
    assert "| places | 1,682 |" in blocks["rome_campaign"] and "`folds.json` | every block" in blocks["rome_files"]
    picture = blocks["rome_picture"]
    assert picture.count("<rect") > 300 and picture.count('class="mast"') == 12


def test_findings_name_what_validation_chose_on_the_folds_and_the_trivial_row(city):
    rows = [record(k, "unknown", m) for k, m in (("centre", 200.0), ("centroid", 150.0), ("knn_square", 190.0))]
    folds = (("centroid", 160.0), ("posterior", 130.0), ("knn", 120.0))
    rows += [record(k, "unknown", m, split="folds") for k, m in folds]
    learned = {f"learned_{street}": {"key": "posterior"} for street in ("known", "unknown")}
    rows += [record(row["localizer"], "known", row["mean"], split="folds") for row in rows[3:]]
    held = {"rows": [], "headline": {"trivial_key": "centroid"} | learned}
    blocks = city("measurements", errors={"rows": rows}, folds=held)
    said = blocks["rome_findings"]
    assert "130 [120, 140] m (posterior)" in said and "160 [150, 170] m (centroid)" in said and "99 places" in said
    assert re.search(
        r"\| posterior \| 130 \[120, 140\] \| 130 \[120, 140\] \| 70\.0 \[60\.0, 80\.0\] \|", blocks["rome_errors"]
    )
    assert "every block held out once" in blocks["rome_errors"] and "one fixed split" in blocks["rome_errors"]
    assert "not testable here" in blocks["rome_verdicts"] and "not run" in blocks["rome_table1"]


def test_findings_quote_calibration_and_levels(city, project_root):
    names = ("calibration", "levels")
    held = {name: json.loads((project_root / f"results/rome/{name}.json").read_text()) for name in names}
    said = city("calibration", "levels", "measurements")["rome_findings"]
    gain = held["calibration"]["mean"]["rssi_held_out"]["paper"]["gain"]
    assert f"by {gain:.2f} [" in said
    ratios = {name: one["blocks of 300 m"]["ratio"] for name, one in held["levels"]["models"].items()}
    best = min(ratios, key=ratios.get)
    assert f"best by *{best}*, whose residual is {ratios[best]:.2f} [" in said


def test_rows_of_the_folds_stand_before_any_network_is_trained(city, project_root):
    folds = json.loads((project_root / "results/smoke/folds.json").read_text())
    blocks = city("measurements", "oslo", folds=folds)
    best = min((r for r in folds["rows"] if r["key"].startswith("kriged")), key=lambda r: r["unknown"]["mean"])
    assert best["label"] in blocks["rome_errors"] and f"{best['unknown']['mean']:.1f}" in blocks["rome_errors"]
    assert "**On unknown streets**" in blocks["rome_findings"] and "Not made yet" in blocks["rome_verdicts"]
    oslo = blocks["rome_errors"].partition("Oslo's boxes without a map")[2]
    assert "every cell heard, stations placed |" in oslo and "| NRSRP centroid of heard stations |" in oslo
