"""The real city's blocks: from what results/rome holds, and saying what it does not."""

import importlib
import json
import re
import shutil
import sys

import pytest


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
            path = results.parent / f"{name}.json" if "/" in name else results / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
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
    tables = [f"table{n}" for n in ("1", "2", "3a", "3b", "4")]
    assert missing == {
        f"rome_{name}" for name in ("findings", "levels", "calibration", "errors", "trunk", "oslo", "verdicts", *tables)
    }
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


def test_rows_with_a_larger_trunk_stand_beside_the_same_with_a_small_one(city, project_root):
    run = json.loads((project_root / "results/rome/experiments/A.json").read_text())
    larger = run | {"history": run["history"] | {"wall_s": 1800.0, "samples": [6000.0]}}
    blocks = city("errors", **{"rome/experiments/A": run, "rome_dinov2/experiments/A": larger})
    row = next(row for row in run["rows"]["home"] if row["key"] == "A")
    lines = [line for line in blocks["rome_trunk"].splitlines() if line.startswith("| A")]
    assert len(lines) == 2 and "| small |" in lines[0] and "| DINOv2-S/14 | 6,000 | 30 |" in lines[1]
    crops, unknown = (f"{row[street][of]:.0f}" for street, of in (("known", "crops"), ("unknown", "mean")))
    assert all(crops in line.split("|")[5] and unknown in line.split("|")[7] for line in lines)


def test_a_network_that_was_asked_in_oslo_stands_in_the_tables_of_oslo(city):
    rows = [record("map_radioformer", s, m, experiment="C_A", city="oslo") for s, m in (("known", 90), ("unknown", 80))]
    rows += [record("pair", "unknown", m, experiment=k, city="oslo") for k, m in (("A_oslo", 70), ("C_A_oslo", 75))]
    rows += [record(key, "unknown", mean, city="oslo") for key, mean in (("centroid", 72), ("centre", 206))]
    blocks = city("measurements", errors={"rows": rows})
    assert "the 2 networks" in blocks["rome_oslo"] and "70.0 to 75.0 m" in blocks["rome_oslo"]
    assert "nothing, by 72.0 m, and the crop's centre by 206 m" in blocks["rome_oslo"]
    assert "80.0 [70.0, 90.0]" in blocks["rome_table2"] and "80.0 [70.0, 90.0]" in blocks["rome_table3a"]
    assert "90.0 [80.0, 100]" in blocks["rome_table3b"] and "not run" in blocks["rome_table4"]
