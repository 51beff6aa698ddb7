"""Numbers against what is expected of them, each within a tolerance of its kind."""

import json
from pathlib import Path

import pytest

from rfloc.errors import DataError
from rfloc.pipeline.expected import compared, expect, require_expected

KEYS = {"name", "scale", "paper", "expected", "ours", "tolerance", "verdict"}


def record(localizer, mean, experiment=None, **more):
    where = {"city": "home", "split": "fixed", "positions": "stated", "street": "unknown"}
    return where | {"localizer": localizer, "experiment": experiment, "mean": mean, "n_ue": 40, "paper": None} | more


def write(root: Path, rows, source="measured: a campaign"):
    results = root / "results/rome"
    results.mkdir(parents=True, exist_ok=True)
    correlations = {"bs_id": "mean", "rssi_held_out": {"paper": {"rho": 0.3}, "nominal": {"rho": 0.25}}}
    ratios = {"hybrid": {"blocks of 300 m": {"ratio": 0.9}}}
    contents = {"errors": {"rows": rows}, "measurements": {"home": {"source": source}}}
    contents |= {"calibration": {"mean": correlations}, "levels": {"models": ratios}}
    for name, content in contents.items():
        (results / f"{name}.json").write_text(json.dumps(content))


ROWS = [record("centre", 200.0), record("knn_square", 100.0, paper=200.2), record("map_radioformer", 150.0, "A")]


def verdicts(root):
    return {row["name"]: row["verdict"] for row in compared(root, "rome") if row["verdict"] != "within"}


def test_what_was_written_down_is_what_comes_out(tmp_path):
    with pytest.raises(DataError, match=r"results/rome holds no numbers to expect"):
        expect(tmp_path, "rome")
    write(tmp_path, ROWS)
    assert {row["verdict"] for row in compared(tmp_path, "rome")} == {"new"}
    assert expect(tmp_path, "rome") == tmp_path / "expected/rome.json"
    rows = compared(tmp_path, "rome")
    assert len(rows) == 2 * len(ROWS) + 3 and all(row.keys() == KEYS for row in rows)
    assert require_expected(rows).startswith("9 numbers within their tolerance")
    found = {row["name"]: row for row in rows}["home/fixed/stated/unknown/knn_square"]
    assert (found["paper"], found["expected"], found["ours"], found["verdict"]) == (200.2, 100.0, 100.0, "within")


@pytest.mark.parametrize(
    ("source", "row", "off"),
    [
        ("measured: a campaign", record("knn_square", 100.1), True),
        ("simulated reality", record("knn_square", 100.9), False),
        ("simulated reality", record("knn_square", 101.1), True),
        ("measured: a campaign", record("map_radioformer", 175.0, "A"), False),
        ("measured: a campaign", record("map_radioformer", 185.0, "A"), True),
        ("measured: a campaign", record("centre", 200.0, n_ue=41), True),
    ],
)
def test_tolerances_go_by_kind(tmp_path, source, row, off):
    write(tmp_path, ROWS, source)
    expect(tmp_path, "rome")
    write(tmp_path, [row if one["localizer"] == row["localizer"] else one for one in ROWS], source)
    assert set(verdicts(tmp_path).values()) == ({"off"} if off else set())


def test_what_is_missing_or_off_is_named_and_what_is_new_is_counted(tmp_path):
    write(tmp_path, ROWS)
    expect(tmp_path, "rome")
    write(tmp_path, [record("centre", 250.0), ROWS[1], record("posterior", 90.0)])
    at = "home/fixed/stated/unknown/"
    wanted = {"centre": "off", "A": "missing", "A/UEs": "missing", "posterior": "new", "posterior/UEs": "new"}
    assert verdicts(tmp_path) == {at + name: verdict for name, verdict in wanted.items()}
    with pytest.raises(DataError, match=r"3 of 11 numbers are not as expected: .*centre 250\.0, expected 200\.0"):
        require_expected(compared(tmp_path, "rome"))
    write(tmp_path, [*ROWS, record("posterior", 90.0)])
    assert require_expected(compared(tmp_path, "rome")).endswith("2 of which nothing is expected")
