"""A user's table: what is read, how duplicates are averaged, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rfloc.datasets.rows import links_from_rows
from rfloc.datasets.table import read_table
from rfloc.errors import DataError
from rfloc.schema import load, save
from tests.datasets.files import FRAME


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
    read = read_table(path)
    links, counts = links_from_rows(read.table, FRAME, 1.8e9, "home", source="test", power_dbm=43.0)
    return links, read.report | counts | {"rejected": read.rejected}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_reads_what_is_there(tmp_path: Path, suffix: str) -> None:
    links, report = read(tmp_path, rows(bs_azimuth=[90.0, 90.0, 90.0, 0.0], bs_h=25.0), suffix)
    assert report == {
        "rows": 4, "rejected": {"nrsrp empty": 1}, "rows_kept": 3, "rows_averaged_away": 1, "links": 2, "ues": 2,
        "stations": 1,
    }  # fmt: skip
    assert links["bs_id"].values.tolist() == ["007"]  # digits stay a name
    assert links["nrsrp"].values[0, 0] == pytest.approx(10 * np.log10((1e-8 + 1e-9) / 2), abs=1e-4)  # linear mean
    assert links["rssi"].values[0, 0] == pytest.approx(-60.0) and np.isnan(links["rssi"].values[1, 0])
    assert np.isnan(links["nsinr"].values).all()
    assert (links["bs_azimuth"].item(), links["bs_h"].item(), links["bs_power"].item()) == (90.0, 25.0, 43.0)
    assert links["bs_position_source"].item() == "table" and np.isnan(links["bs_position_error"].item())
    assert links["ue_lat"].values == pytest.approx([41.8701, 41.8710], abs=1e-9)
    # 0.001 deg of latitude is 111.07 m at 41.87 N on WGS84
    assert float(links["ue_y"][1] - links["ue_y"][0]) == pytest.approx(0.0009 * 111_070, abs=0.1)
    assert load(save(links, tmp_path / "links.zarr", "links"), "links").identical(links)


def test_what_makes_a_ue(tmp_path: Path) -> None:
    first, _ = read(tmp_path, rows())
    assert first.identical(read(tmp_path, rows().iloc[::-1])[0])  # whatever the order of the rows
    _, report = read(tmp_path, rows(ue_lat=[41.87010001, 41.87009999, 41.8710, 41.8710]))  # within a decimetre
    assert (report["ues"], report["rows_averaged_away"]) == (2, 1)
    links, _ = read(tmp_path, rows(campaign=[1, 2, 2, 2]))  # one place in two campaigns
    assert links["ue_campaign"].values.tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows().drop(columns="bs_lon"), "lacks columns bs_lon"),
        (rows().rename(columns={"ue_lat": "lat"}), r"lacks columns ue_lat\n.*it has lat, ue_lon"),
        (rows().iloc[:0], "nothing of the campaign is left in campaign.csv\n.*no rows"),
        (rows(campaign=[1, 1.5, 2, 2]), r"campaign of campaign.csv is 1.5 in row 2"),
        (rows(RSRP=-80.0), "has columns RSRP"),
        (rows(nrsrp=[-80, -140, -85, -999]), r"nrsrp of campaign.csv is -999.0 in row 4[\s\S]*missing values empty"),
        (rows(nrsrp=80.0), r"nrsrp of campaign.csv is 80.0 in row 1[\s\S]*lost its sign"),
        (rows(rssi=1e-7), r"rssi of campaign.csv is 1e-07[\s\S]*in mW"),
        (rows(nrsrp=["a", "b", "c", "d"]), "nrsrp of campaign.csv holds text"),
        (rows(bs_lat=[41.8690, 41.8691, 41.8690, 41.8720]), r"'007' has more than one bs_lat: 41.869, 41.8691"),
        (rows(ue_lat=[np.nan, 41.8, 41.8, 41.8]), "ue_lat of campaign.csv is empty in 1 rows"),
        (rows(bs_h=0.0), r"bs_h of campaign.csv is 0.0[\s\S]*metres above ground"),
    ],
)
def test_refuses_what_it_cannot_mean(tmp_path: Path, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, table)


@pytest.mark.parametrize(("name", "said"), [("a.xlsx", "neither"), ("a.parquet", "cannot be"), ("a.csv", "cannot be")])
def test_refuses_files_that_are_no_tables(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / name)
