"""Positions that somebody corrected by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from rfloc import calibration
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from tests.calibration.analytic import measured, table


def test_the_published_station_moves_and_the_other_stays(tmp_path: Path) -> None:
    links = measured(two := table(2).replace(x=[0.0, 100.0], y=[0.0, 0.0]), two, n=20)
    frame, file = LocalFrame.from_attrs(links.attrs), tmp_path / "here.json"

    def write(*moves: tuple[float, float, float, float]) -> None:
        at = [[[float(v) for v in frame.to_geographic(*xy)] for xy in (move[:2], move[2:])] for move in moves]
        sites = [{"published": was, "corrected": now} for was, now in at]
        file.write_text(json.dumps({"tolerance_m": 2.0, "sites": sites}))

    write((1.0, 0.0, 30.0, -40.0), (500.0, 0.0, 0.0, 0.0))
    moved = calibration.corrected_stations(links, file)
    assert moved.x == pytest.approx([30.0, 100.0], abs=0.01)
    assert moved.y == pytest.approx([-40.0, 0.0], abs=0.01)
    write((5000.0, 0.0, 0.0, 0.0))
    with pytest.raises(DataError, match="none of 2 stations"):
        calibration.corrected_stations(links, file)


def test_romes_ten_positions_become_six(project_root: Path) -> None:
    content = json.loads((project_root / "conf" / "sites" / "rome.json").read_text())
    published, corrected = (np.array([site[key] for site in content["sites"]]) for key in ("published", "corrected"))
    assert (len(np.unique(published, axis=0)), len(np.unique(corrected, axis=0))) == (10, 6)
    frame = LocalFrame(41.8695, 12.4615)
    away = np.hypot(*np.subtract(frame.to_local(*published.T), frame.to_local(*corrected.T)))
    assert 50.0 < away.min() < away.max() < 340.0
    assert away.mean() == pytest.approx(147.0, abs=3.0)
