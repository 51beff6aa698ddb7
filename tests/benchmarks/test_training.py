"""The benchmark of training: what it takes for the released formulation, and what it prints."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import training
from rfloc.config import CropParams


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


def test_the_last_line_is_what_is_promised(tmp_path, monkeypatch, capsys):
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
