"""The benchmark of calibration: what it prints is what is promised, of the cities that it was asked for."""

import json

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks.calibration import SIZES, Sizes, credibility, summary
from tests.toy import PROJECT


def test_last_line_holds_what_is_promised(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SIZES, "tiny", Sizes(3, 3, 200, 2, 1, 11, 4, 4_000))
    monkeypatch.setattr(calibration, "FRONT_TO_BACK", (30.0,))
    monkeypatch.setenv("RFLOC_DATA", str(PROJECT / "data"))
    calibration.main(["--sizes", "tiny", "--cities", "toy", "--output", str(tmp_path / "table.json")])
    printed = capsys.readouterr().out.strip().splitlines()
    last = json.loads(printed[-1])
    promised = "time_ratio traces_ratio heldout_spearman_ours heldout_spearman_paper coverage_90 azimuth_stated_kept"
    assert {*promised.split(), "azimuth_within_10deg", "position_within_15m"} <= set(last)
    assert last["cities"] == ["toy"]
    assert sum(line.endswith(("reached", "MISSED")) for line in printed) == len(calibration.GOALS)
    content = json.loads((tmp_path / "table.json").read_text())
    assert set(content) == {"revision", "sizes", "cities", "tables", "machine"}
    how = ("stated", "not stated", "stated exactly")
    assert set(content["tables"]["azimuths"]) == {f"toy, 30 dB, {told}" for told in how}
    assert content["tables"]["held-out ρ with RSSI"]["toy"]["paper's search"] == last["heldout_spearman_paper"]
    assert len((tmp_path / "table.json").read_text().splitlines()) <= 100  # a person can read it


def test_shares_and_medians_are_of_what_they_name() -> None:
    def azimuths(off: list[float], sd: float, stated: list[float]) -> dict:
        return {"off_deg": off, "sd_deg": [sd] * len(off), "credibility": [0.4, 0.8, 0.95], "stated_deg": stated}

    race = {"levels": 0.5, "moved": 0.6, "paper": 0.55, "paper_at_our_time": 0.4, "truth": 0.7, "seconds": 1.0}
    race |= {"seconds_moved": 4.0, "seconds_paper": 50.0, "overhead_s": 0.1, "time_ratio": 10.0, "traces_ratio": 7.0}
    race |= {"paper_m": 30.0, "paper_deg": 90.0, "ours_m": 5.0, "ours_deg": 3.0}
    positions = {"stated_m": [10.0, 20.0], "off_m": [8.0, 16.0], "exact_moved_m": [0.0, 1.5]}
    city = {
        "azimuths": {
            "30 dB, stated": azimuths([2.0, 4.0, 6.0], 5.0, [20.0, 10.0, 30.0]),
            "30 dB, not stated": azimuths([20.0, 40.0, 60.0], 50.0, []),
            "30 dB, stated exactly": azimuths([1.0, 14.0, 16.0], 9.0, []),
        },
        "positions": positions | {"credibility": [0.3, 0.95]},
        "races": [race, race | {"moved": 0.3, "time_ratio": 0.0}],
    }
    found, tables = summary({"here": city})
    assert (found["azimuth_gain_deg"], found["sharp_azimuth_deg"], found["azimuth_within_10deg"]) == (16.0, 4.0, 0.5)
    assert found["azimuth_stated_kept"] == pytest.approx(2 / 3)
    assert (found["coverage_50"], found["coverage_90"]) == pytest.approx((1 / 3, 2 / 3))
    assert (found["position_gain_m"], found["position_within_15m"], found["exact_moved_m"]) == (3.0, 0.5, 1.5)
    assert (found["time_ratio"], found["races_reached"]) == (5.0, 0.5)  # a race that is never finished counts as 0
    assert found["heldout_gain_at_equal_time"] == pytest.approx(0.05)
    assert -0.11 <= found["heldout_gain_low"] <= 0.05 <= found["heldout_gain_high"] <= 0.2
    rows = [row for table in tables.values() for row in table.values()]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert "stated off by [°]" not in tables["azimuths"]["here, 30 dB, not stated"]


def test_a_truth_is_in_the_regions_of_levels_above_the_mass_that_is_likelier() -> None:
    weights = np.exp(-0.5 * ((np.arange(360.0) - 100.0) / 10.0) ** 2)
    weights /= weights.sum()
    assert credibility(weights, 100.0) < 0.05
    assert credibility(weights, 110.0) == pytest.approx(0.68, abs=0.05) == credibility(weights, 90.0)
