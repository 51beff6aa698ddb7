"""The benchmark of calibration: the truth is where it says, and what it prints is what is promised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks.posing import world as posing
from benchmarks.posing.world import Sizes


def test_last_line_holds_what_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(posing.SIZES, "tiny", Sizes(3, 1, 1, 1, 11, 4, 16, 4_000, 8_000))
    calibration.main(["--sizes", "tiny", "--output", str(tmp_path / "table.json")])
    printed = capsys.readouterr().out.strip().splitlines()
    last = json.loads(printed[-1])
    promised = {
        "time_ratio", "traces_ratio", "heldout_spearman_ours", "heldout_spearman_paper", "azimuth_within_10deg",
        "position_within_15m", "coverage_90",
    }  # fmt: skip
    assert promised <= set(last)
    told = [line for line in printed if line.endswith(("reached", "MISSED"))]
    assert len(told) == len(calibration.GOALS)
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["summary"] == last
    (station,) = content["stations"]
    assert station["ours"]["traces"] == 4
    assert 0.0 <= station["ours"]["credibility"] <= 1.0
    assert (content["races"][0]["paper"]["calls"], content["races"][0]["train"]["traces"]) <= (11, 4)


def test_shares_and_medians_are_of_all_stations() -> None:
    def row(position: float, azimuth: float, credibility: float) -> dict:
        off = {"position_m": position, "azimuth_deg": azimuth}
        return {"ours": {"off": off, "credibility": credibility, "seconds": 1.0}, "paper_same_traces": {"off": off}}

    line = {"time_ratio": 12.0, "traces_ratio": 4.0, "reached": True}
    race = {
        "heldout_spearman": 0.6, "ceiling": 0.7, "paper_at_our_time": 0.4,
        **dict.fromkeys(("train", "held_out", "position"), line),
        "paper": {"course": {"held_out": [0.5], "train": [0.7]}, "overhead_s_a_call": 0.3, "seconds": 90.0},
    }  # fmt: skip
    found = calibration.summary([row(5, 2, 0.5), row(14, 20, 0.95), row(40, 9, 0.2), row(15, 10, 0.9)], [race])
    assert found["position_within_15m"] == 0.75
    assert found["azimuth_within_10deg"] == 0.75
    assert found["coverage_90"] == 0.75
    assert found["heldout_spearman_ours"] > found["heldout_spearman_paper"]
    assert np.isclose(found["position_m_ours"], 14.5)
