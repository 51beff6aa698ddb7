"""The benchmark of tracing: its two ways agree where the answer is known, and what it prints is what is promised."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import simulation
from benchmarks.tracing import growth, links, maps, released, scene
from benchmarks.tracing.side_by_side import distance, time_at
from rfloc.simulation.paths import Ends, sector, trace_gain
from rfloc.simulation.plane import Rays
from rfloc.studies.released import DIPOLES
from tests.simulation.scenes import one_station, small_city


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


def test_last_line_holds_the_ratios_and_a_missed_goal_is_told(tmp_path, monkeypatch, capsys):
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
