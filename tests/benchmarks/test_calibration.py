"""The benchmark of calibration: the truth is where it says, and what it prints is what is promised."""

import json
from pathlib import Path

import pytest

from benchmarks import calibration
from benchmarks.posing import world as posing
from benchmarks.posing.world import Sizes


def test_last_line_holds_what_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(posing.SIZES, "tiny", Sizes(3, 1, 1, 1, 11, 4, 16, 4_000, 8_000))
    races: list[dict] = []
    course = calibration.course
    monkeypatch.setattr(calibration, "course", lambda found: course(races.extend(found) or found))
    calibration.main(["--sizes", "tiny", "--output", str(tmp_path / "table.json")])
    printed = capsys.readouterr().out.strip().splitlines()
    last = json.loads(printed[-1])
    promised = "time_ratio traces_ratio heldout_spearman_ours heldout_spearman_paper coverage_90"
    assert {*promised.split(), "azimuth_within_10deg", "position_within_15m"} <= set(last)
    assert sum(line.endswith(("reached", "MISSED")) for line in printed) == len(calibration.GOALS)
    content = json.loads((tmp_path / "table.json").read_text())
    assert set(content) == {"revision", "sizes", "tables", "machine"}
    assert content["tables"]["races"]["ρ with RSSI, held-out UEs"]["ours"] == last["heldout_spearman_ours"]
    assert len((tmp_path / "table.json").read_text().splitlines()) <= 100  # a person can read it
    (race,) = races
    assert race["paper"]["calls"] == len(race["paper"]["finished"]) == len(race["paper"]["course"]["held_out"]) == 11
    assert len(race["ours"]["finished"]) == len(race["ours"]["course"]["held_out"]) == 4
    for part in ("train", "held_out"):
        goal, ours = race["paper"]["course"][part][-1], race["ours"]["course"][part]
        assert race[part]["reached"] == (ours[-1] >= goal) == (race[part]["time_ratio"] > 0)
        assert not race[part]["reached"] or all(rho >= goal for rho in ours[race[part]["traces"] - 1 :])


def test_shares_and_medians_are_of_the_stations_that_they_name() -> None:
    def row(position: float, azimuth: float, credibility: float, paper: float | None = None) -> dict:
        theirs = None if paper is None else {"off": {"position_m": paper, "azimuth_deg": azimuth}}
        mine = {"off": {"position_m": position, "azimuth_deg": azimuth}, "credibility": credibility, "seconds": 1.0}
        stated = {"off": {"position_m": position / 2, "azimuth_deg": azimuth / 2}, "credibility": 0.7}
        levels = {"offset_db_reports": position, "offset_db_silence": 0.0}
        return {
            "stated": stated, "ours": mine, "paper_same_traces": theirs, "nominal": {"position_m": 20.0},
            "levels_of_truth": levels,
        }  # fmt: skip

    def race(ours: float, paper: float, ratio: float) -> dict:
        line = {"time_ratio": ratio, "traces_ratio": ratio, "reached": ratio > 0, "traces": 1}
        course = {"held_out": [0.1, ours], "train": [0.2, 0.7]}
        return {
            "held_out": line, "train": line, "nominal_position_m": 20.0, "truth": {"held_out": 0.9, "train": 0.6},
            "ours": {"course": course, "seconds": 10.0, "position_m": 5.0},
            "paper": {
                "course": {"held_out": [paper], "train": [0.7]}, "overhead_s_a_call": 0.3, "seconds": 90.0,
                "off": {"position_m": 40.0},
            },
            "paper_settled": {"seconds": 50.0, "traces": 40}, "paper_at_our_time": {"held_out": 0.4, "train": 0.5},
        }  # fmt: skip

    races = [race(0.6, 0.5, 12.0), race(0.8, 0.9, 0.0), race(0.7, 0.4, 6.0)]
    stations = [row(5, 2, 0.5, 40), row(14, 20, 0.95, 10), row(40, 9, 0.2), row(15, 10, 0.9)]
    found = calibration.summary(stations, races)
    for r in races:
        r["ours"]["finished"], r["paper"]["finished"] = [1.0, 5.0], [4.0]
    lead = calibration.course(races, at=(2.0, 5.0))
    assert lead == {"ours": {"2": pytest.approx(0.1), "5": pytest.approx(0.7)}, "paper": {"5": pytest.approx(0.6)}}
    tables = calibration.tables(found, lead)
    assert tables["the same number of traces"]["position within 15 m"]["paper's search"] == 0.5
    rows = [row for table in tables.values() for row in table.values()]
    assert all(isinstance(value, float) for row in rows for value in row.values())
    assert {found[f"{key}_flat"] for key in ("position_within_15m", "azimuth_within_10deg", "coverage_90")} == {0.75}
    assert (found["position_within_15m"], found["azimuth_within_10deg"]) == (0.75, 1.0)
    assert (found["coverage_90"], found["coverage_50"], found["coverage_50_flat"]) == (1.0, 0.0, 0.5)
    assert (found["compared_position_within_15m_ours"], found["compared_position_within_15m_paper"]) == (1.0, 0.5)
    assert (found["compared_position_m_ours"], found["position_m_ours"]) == (9.5, 7.25)
    assert found["time_ratio"] == 6.0  # a race that is never finished counts as 0
    assert found["races_reached"] == pytest.approx(2 / 3)
    assert (found["heldout_spearman_ours"], found["heldout_gain_at_equal_time"]) == pytest.approx((0.7, 0.3))
    assert 0.19 < found["heldout_gain_low"] < 0.3 < found["heldout_gain_high"] < 0.41
    assert (found["time_ratio_whole"], found["time_ratio_settled"]) == (9.0, 5.0)
