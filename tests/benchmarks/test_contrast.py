"""The benchmark of contrast: who is scored, on whom, and what its means are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import contrast
from rfloc.calibration.tracing import World
from rfloc.city import City
from rfloc.config import CalibrationParams, CampaignParams, RadioParams, SimulationParams
from rfloc.datasets.hidden import hidden_campaign
from rfloc.errors import ConfigError

SIM = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)
RADIO = RadioParams(load=0.05)
PARAMS = CalibrationParams(radius=10.0, height=[20.0, 30.0], samples=4000, azimuth_step=30.0, min_ues=8)


def test_a_site_is_judged_by_ues_left_out(toy_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CANDIDATES", 4), ("WAYS", 2), ("FEWEST", 5), ("PRIORS", (1e-4, 0.3))):
        monkeypatch.setattr(contrast, name, value)
    monkeypatch.setattr(contrast, "HELD_OUT", contrast.HELD_OUT.model_copy(update={"block": 60.0, "buffer": 5.0}))
    asked = CampaignParams(kind="hidden", cities=["toy"], stations=2, height=[20.0, 30.0], ues=200, position_sd=4.0)
    links = hidden_campaign(toy_city, asked, SIM, RADIO, seed=3, progress=False).links
    rows = contrast.judge_site(links, np.array([1]), World(toy_city.folder, SIM, RADIO, 4000, 5), PARAMS)
    assert {row["bs_id"] for row in rows} == {str(links.bs_id.values[1])}
    assert {row["pose"] for row in rows} == {"as traced", "unmoved", "likeliest", "mean", "averaged"}
    assert all(-1 <= row[feature] <= 1 for row in rows for feature in ("nrsrp", "rssi"))
    traced = {(row["way"], row["nrsrp"], row["rms_db"]) for row in rows if row["pose"] == "as traced"}
    assert len(traced) == len({row["way"] for row in rows})  # whatever the prior
    fitted = [row["rms_db"] for row in rows if row["pose"] == "likeliest"]
    assert np.mean(fitted) < np.mean([rms for _, _, rms in traced])


def test_means_are_over_ways_and_then_stations() -> None:
    def row(way: int, bs: str, value: float) -> dict:
        return {"prior": 0.3, "way": way, "pose": "unmoved", "bs_id": bs, "nrsrp": value, "rssi": 0.0, "rms_db": 1.0}

    (found,) = contrast.summary([row(0, "a", 0.0), row(1, "a", 0.2), row(0, "b", 0.5)])
    assert found["nrsrp"] == pytest.approx(0.3)


def test_it_asks_for_measurements(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no measurements"):  # params.yaml is that of scale demo
        contrast.main(["--output", str(tmp_path / "table.json")])
