"""The benchmarks: two ways agree where the answer is known, and what is printed is what is promised."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import calibration, simulation, training
from benchmarks.calibration import SIZES, Sizes, credibility, summary
from benchmarks.tracing import growth, links, maps, released, scene
from benchmarks.tracing.side_by_side import distance, time_at
from rfloc.config import CropParams
from rfloc.simulation.paths import Ends, sector, trace_gain
from rfloc.simulation.plane import Rays
from rfloc.studies.released import DIPOLES
from tests.simulation.scenes import one_station, small_city
from tests.toy import PROJECT


def test_calibrations_last_line_holds_what_is_promised(tmp_path, monkeypatch, capsys):
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


def test_both_ways_see_the_same_antennas_in_free_space(tmp_path: Path) -> None:
    city, station = small_city(tmp_path), one_station(azimuth=70.0)
    x, y = np.array([60.0, 10.0, -70.0]), np.array([20.0, -50.0, 30.0])
    sim = scene.SIM.model_copy(update={"max_depth": 1})
    theirs = released.trace_gain(city, station, x, y, sim, scene.SECTOR, 200, batch=2)
    ends = Ends(sector(scene.SECTOR, "VH"), DIPOLES)
    found = distance(theirs, trace_gain(city, station, x, y, Rays(sim, scene.SECTOR, 200, 1), ends)[0] / 2)
    assert (found["links"], found["lost"]) == (3, 0)
    assert found["rms_db"] < 0.3  # elements up to 1.4 m from the middle of the array see UEs a little elsewhere


def test_distance_counts_missing_links_as_the_weakest() -> None:
    truth = np.array([[4.0], [3.0], [2.0], [1.0], [0.0]])
    gain = np.array([[40.0], [30.0], [0.0], [10.0], [0.0]])
    found = distance(gain, truth)
    assert found["lost"] == 0.25
    assert found["rms_db"] == pytest.approx(10.0)
    assert found["spearman"] == pytest.approx(np.corrcoef([5, 4, 1.5, 3, 1.5], [5, 4, 3, 2, 1])[0, 1])
    assert distance(np.zeros((5, 1)), truth)["spearman"] == 0.0


def test_time_is_read_off_a_curve_at_equal_accuracy() -> None:
    curve = [{"s": 1.0, "spearman": 0.5}, {"s": 100.0, "spearman": 0.9}, {"s": 10.0, "spearman": 0.4}]
    assert time_at(0.7, curve) == (pytest.approx(10.0), True)
    assert time_at(0.95, curve) == (pytest.approx(100.0), False)
    assert time_at(0.3, curve) == (pytest.approx(1.0), False)


def test_tracings_last_line_holds_the_ratios_and_a_missed_goal_is_told(tmp_path, monkeypatch, capsys):
    for room, name, ratio in (
        (links, "links", 25.0), (links, "azimuth", 600.0), (maps, "maps", 100.0), (links, "memory", 4.0)
    ):  # fmt: skip
        answer: dict[str, Any] = {"ratio": ratio, "links_per_s": {"ours": 50.0, "released": 2.0}}
        monkeypatch.setattr(room, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr(maps, "rays", lambda _: {"percent": 50.0})
    monkeypatch.setattr(growth, "growth", lambda *_: {})
    monkeypatch.setattr(simulation, "build_city", lambda *_: None)
    simulation.main(["--quick", "--output", str(tmp_path / "table.json")])
    lines = capsys.readouterr().out.splitlines()
    ratios = {"links_ratio": 25.0, "maps_ratio": 100.0, "azimuth_ratio": 600.0, "memory_ratio": 4.0}
    assert json.loads(lines[-1]) == ratios | {"rays_percent_of_backend": 50.0}
    assert ["MISSED" in line for line in lines[-5:-1]] == [False, True, False, False]
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["sizes"]["name"] == "quick" and table["machine"]["cores"] >= 1
    assert set(table["revision"]) == {"commit", "dirty"}


@pytest.mark.slow
def test_the_whole_of_it_at_the_smallest_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulation.main(["--sizes", "tiny", "--output", str(tmp_path / "table.json")])
    ratios = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(np.isfinite(ratio) and ratio > 0 for ratio in ratios.values())
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["maps"]["ratio"] == ratios["maps_ratio"]


def test_a_released_crop_read_back_shows_what_ours_shows(tmp_path: Path) -> None:
    size = {"size": training.RELEASED}
    ours = training.steps(training.source(training.section(CropParams, **size)), 1).numpy_batch(0)
    kept = training.write_crops(tmp_path)
    assert kept == len(ours) == len(list(tmp_path.glob("*.npz")))
    for k in range(kept):
        image, stations, ue = training.read_crop(tmp_path, k)
        assert np.corrcoef(image[0].flatten(), ours.image[k, 0].flatten())[0, 1] > 0.95  # blurred
        assert image.mean() == pytest.approx(ours.image[k, 0].mean(), abs=0.01)
        np.testing.assert_allclose(stations[:, :2], ours.bs_xy[k], rtol=1e-6)
        np.testing.assert_allclose(stations[:, 2:], ours.rf[k], rtol=1e-6)
        np.testing.assert_allclose(ue, ours.target_xy[k], rtol=1e-6)


def test_trainings_last_line_is_what_is_promised(tmp_path, monkeypatch, capsys):
    def elsewhere(seconds: float, threads: int, policy: str, neighbours: int) -> dict[str, float]:
        rate = {(1, "PASSIVE"): 90.0}.get((threads, policy), 30.0) / (3 if neighbours else 1)
        return {"crops_per_s": rate, "gflop_per_s": rate / 10, "peak_gflop_per_s": 36.0}

    monkeypatch.setattr(training, "elsewhere", elsewhere)
    monkeypatch.setattr(training, "crop_rates", lambda crops, n: {"ours": 2000.0, "released": 100.0})
    monkeypatch.setattr(training.os, "cpu_count", lambda: 2)
    training.main(["--quick", "--output", str(tmp_path / "training.json")])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said == {
        "crops_ratio": 20.0, "crops_per_second_per_core": 2000.0, "step_ratio": 3.0, "neighbour_ratio": 3.0,
        "step_ratio_beside_neighbours": 3.0, "fair_ratio": 1.5, "device": "cpu", "precision": "float32", "mfu": 0.25,
    }  # fmt: skip
    held = json.loads((tmp_path / "training.json").read_text())
    assert said.items() <= held.items() and held["revision"]["commit"] and held["machine"]["cores"] == 2
