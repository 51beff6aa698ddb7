"""Positions that somebody corrected by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rfloc.datasets.corrections import corrected_positions
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from tests.calibration.analytic import measured, table


@pytest.fixture
def links():
    return measured(table(n=2).replace(x=[0.0, 100.0]), table(n=2).replace(x=[0.0, 100.0]), n=20)


def write(project: Path, links, moves: list[tuple[float, float, float, float]]) -> Path:
    frame = LocalFrame.from_attrs(links.attrs)
    sites = []
    for x, y, u, w in moves:
        published, corrected = ([float(v) for v in frame.to_geographic(*at)] for at in ((x, y), (u, w)))
        sites.append({"published": published, "corrected": corrected})
    file = project / "conf" / "sites" / "here.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"tolerance_m": 2.0, "sites": sites}))
    return file


def test_the_published_station_moves_and_the_other_stays(links, tmp_path: Path) -> None:
    write(tmp_path, links, [(1.0, 0.0, 30.0, -40.0), (500.0, 0.0, 0.0, 0.0)])
    moved = corrected_positions(links, "here", tmp_path)
    assert moved.bs_x.values == pytest.approx([30.0, 100.0], abs=0.01)
    assert moved.bs_y.values == pytest.approx([-40.0, 0.0], abs=0.01)
    assert moved.bs_x.attrs["units"] == "m"
    assert links.bs_x.values.tolist() == [0.0, 100.0]


def test_without_corrections_there_is_nothing(links, tmp_path: Path) -> None:
    assert corrected_positions(links, "here", tmp_path) is None
    assert corrected_positions(links, None, tmp_path) is None


def test_corrections_of_another_place_and_damage_are_errors(links, tmp_path: Path) -> None:
    file = write(tmp_path, links, [(5000.0, 0.0, 0.0, 0.0)])
    with pytest.raises(DataError, match="none of 2 stations"):
        corrected_positions(links, "here", tmp_path)
    file.write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        corrected_positions(links, "here", tmp_path)


def test_romes_ten_positions_become_six(project_root: Path) -> None:
    content = json.loads((project_root / "conf" / "sites" / "rome.json").read_text())
    published, corrected = (np.array([site[key] for site in content["sites"]]) for key in ("published", "corrected"))
    assert (len(np.unique(published, axis=0)), len(np.unique(corrected, axis=0))) == (10, 6)
    frame = LocalFrame(41.8695, 12.4615)
    away = np.hypot(*np.subtract(frame.to_local(*published.T), frame.to_local(*corrected.T)))
    assert 50.0 < away.min() < away.max() < 340.0
    assert away.mean() == pytest.approx(147.0, abs=3.0)
