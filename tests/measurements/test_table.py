"""A user's table: what is read, how duplicates are averaged, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.measurements.table import read_table
from rfloc.schema import load, save

FRAME = LocalFrame(41.87, 12.46)


def rows(**changes: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "ue_lat": [41.8701, 41.8701, 41.8710, 41.8710],
            "ue_lon": [12.4601, 12.4601, 12.4620, 12.4620],
            "bs_id": ["007", "007", "007", "b"],
            "bs_lat": [41.8690, 41.8690, 41.8690, 41.8720],
            "bs_lon": [12.4590, 12.4590, 12.4590, 12.4610],
            "nrsrp": [-80.0, -90.0, -85.0, np.nan],
            "rssi": [-60.0, -60.0, np.nan, -70.0],
        }
    )
    return table.assign(**changes)


def read(tmp_path: Path, table: pd.DataFrame, suffix: str = ".csv"):
    path = tmp_path / f"campaign{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    return read_table(path, FRAME, 1.8e9, "home")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_reads_what_is_there(tmp_path: Path, suffix: str) -> None:
    links, report = read(tmp_path, rows(bs_azimuth=[90.0, 90.0, 90.0, 0.0], bs_h=25.0), suffix)
    assert report == {
        "rows": 4, "rows_without_nrsrp": 1, "rows_averaged_away": 1, "links": 2, "ues": 2, "stations": 1,
    }  # fmt: skip
    assert links["bs_id"].values.tolist() == ["007"]  # digits stay a name
    assert links["nrsrp"].values[0, 0] == pytest.approx(10 * np.log10((1e-8 + 1e-9) / 2), abs=1e-4)  # linear mean
    assert links["rssi"].values[0, 0] == pytest.approx(-60.0) and np.isnan(links["rssi"].values[1, 0])
    assert np.isnan(links["nsinr"].values).all()
    assert (links["bs_azimuth"].item(), links["bs_h"].item(), links["bs_power"].item()) == (90.0, 25.0, 43.0)
    assert links["ue_lat"].values == pytest.approx([41.8701, 41.8710], abs=1e-9)
    # 0.001 deg of latitude is 111.07 m at 41.87 N on WGS84
    assert float(links["ue_y"][1] - links["ue_y"][0]) == pytest.approx(0.0009 * 111_070, abs=0.1)
    assert load(save(links, tmp_path / "links.zarr", "links"), "links").identical(links)


def test_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    first, _ = read(tmp_path, rows())
    again, _ = read(tmp_path, rows().iloc[::-1])
    assert first.identical(again)


def test_campaigns_at_one_place_are_two_ues(tmp_path: Path) -> None:
    links, _ = read(tmp_path, rows(campaign=[1, 2, 2, 2]))
    assert links["ue_campaign"].values.tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows().drop(columns="bs_lon"), "lacks columns bs_lon"),
        (rows(RSRP=-80.0), "unknown columns RSRP"),
        (rows(nrsrp=[-80, -140, -85, -999]), "nrsrp is -999"),
        (rows(nrsrp=np.nan), "no measurement"),
        (rows(nrsrp=["a", "b", "c", "d"]), "nrsrp holds text"),
        (rows(bs_lat=[41.8690, 41.8691, 41.8690, 41.8720]), "'007' has more than one position"),
        (rows(ue_lat=[np.nan, 41.8, 41.8, 41.8]), "ue_lat is empty in 1 rows"),
        (rows(ue_lat=112.46), "ue_lat is 112.46"),
    ],
)
def test_refuses_what_it_cannot_mean(tmp_path: Path, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, table)


def test_refuses_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table"):
        read_table(tmp_path / "none.csv", FRAME, 1e9, "home")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="neither"):
        read_table(tmp_path / "a.xlsx", FRAME, 1e9, "home")
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "a.parquet", FRAME, 1e9, "home")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "a.csv", FRAME, 1e9, "home")
