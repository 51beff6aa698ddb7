"""A user's table: what is read, how duplicates are averaged, and how all that cannot be meant is named or counted."""

import re
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
    table = {
        "ue_lat": [41.8701, 41.8701, 41.8710, 41.8710], "ue_lon": [12.4601, 12.4601, 12.4620, 12.4620],
        "bs_lat": [41.8690, 41.8690, 41.8690, 41.8720], "bs_lon": [12.4590, 12.4590, 12.4590, 12.4610],
        "bs_id": ["007", "007", "007", "b"],
        "nrsrp": [-80.0, -90.0, -85.0, np.nan], "rssi": [-60.0, -60.0, np.nan, -70.0],
    }  # fmt: skip
    return pd.DataFrame(table).assign(**changes)


def written(tmp_path: Path, table: pd.DataFrame, suffix: str = ".csv") -> Path:
    path = tmp_path / f"campaign{suffix}"
    if suffix in (".parquet", ".xlsx"):
        table.to_parquet(path) if suffix == ".parquet" else table.to_excel(path, index=False)
    else:
        mark = {".tsv": "\t", ".txt": ";"}.get(suffix[:4], ",")
        table.to_csv(path, index=False, sep=mark, decimal="," if mark == ";" else ".")
    return path


def read(tmp_path: Path, table: pd.DataFrame, suffix: str = ".csv", *, reject: bool = False):
    read = read_table(written(tmp_path, table, suffix), 1, reject=reject)
    links, counts = links_from_rows(read.table, FRAME, 1.8e9, "home", source="test", power_dbm=43.0)
    return links, read.report | counts | {"rejected": read.rejected}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz", ".CSV", ".tsv", ".txt.bz2", ".xlsx"])
def test_reads_what_is_there(tmp_path, suffix):
    links, report = read(tmp_path, rows(bs_azimuth=[90.0, 90.0, 90.0, 0.0], bs_h=25.0), suffix)
    assert report == {
        "rows": 4, "rejected": {"nrsrp empty": 1}, "rows_kept": 3, "rows_averaged_away": 1, "links": 2, "ues": 2,
        "stations": 1, "links_averaged_over_20_dB": 0, "stations_at_a_median_position": 0,
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


def test_what_makes_a_ue_and_what_is_said_of_several_carriers_and_distant_levels(tmp_path):
    first, _ = read(tmp_path, rows())
    assert first.identical(read(tmp_path, rows().iloc[::-1])[0])  # whatever the order of the rows
    west, east = (read_table(written(tmp_path, rows(ue_lon=lon)), 1).table["ue_lon"] for lon in (-179.9, 180.1))
    assert west.equals(east)  # across the 180th meridian
    _, report = read(tmp_path, rows(ue_lat=[41.87010001, 41.87009999, 41.8710, 41.8710]))  # within a decimetre
    assert (report["ues"], report["rows_averaged_away"]) == (2, 1)
    links, _ = read(tmp_path, rows(campaign=[1, 2, 2, 2]))  # one place in two campaigns
    assert links["ue_campaign"].values.tolist() == [1, 2, 2]
    said = read_table(written(tmp_path, rows(EARFCN=[1300, 6300, 1300, 6300], band=20)), 1)
    assert said.report["values_of_EARFCN"] == 2 and "1300, 6300" in said.notes[0] and "1 cells" in said.notes[0]
    assert len(said.notes) == 1  # one band
    assert read(tmp_path, rows(nrsrp=[-65.0, -90.0, -85.0, np.nan]))[1]["links_averaged_over_20_dB"] == 1


def test_names_of_other_tools_are_read_where_they_mean_the_same(tmp_path):
    table = rows().rename(columns={"nrsrp": "RSRP [dBm]", "rssi": "LTERSSI", "ue_lat": "UE_Lat"})
    links, report = read(tmp_path, table.assign(speed=3.0, azimuth=90.0))
    assert links["nrsrp"].equals(read(tmp_path, rows())[0]["nrsrp"])
    assert report["columns_not_read"] == "speed, azimuth (bs_azimuth?)"
    assert read(tmp_path, rows(RSRP=-99.0))[0].identical(read(tmp_path, rows())[0])  # ours comes first
    strong = rows(rssi=np.nan, nrsrp=-40.0)
    assert read(tmp_path, strong.rename(columns={"nrsrp": "ss_rsrp"}))[0]["nrsrp"].max() == -40.0  # NR reports that
    with pytest.raises(DataError, match=r"nrsrp of campaign.csv is '-40' in line 2 and 3 more: over -44 dBm.*no RSSI"):
        read(tmp_path, strong)


def test_cells_may_have_no_position_or_nearly_one(tmp_path):
    links, _ = read(tmp_path, rows().drop(columns=["bs_lat", "bs_lon"]))
    assert links["bs_position_source"].values.tolist() == ["unknown"] and np.isnan(links["bs_x"].values).all()
    first, _ = read(tmp_path, rows())
    some, _ = read(tmp_path, rows(bs_lat=[np.nan, "-", 41.8690, 41.8720], bs_lon=["", "N/A", 12.4590, 12.4610]))
    assert some.identical(first)  # one row says where the cell stands
    near, report = read(tmp_path, rows(bs_lat=[41.869, 41.869003, 41.869, 41.872]))  # a third of a metre
    assert report["stations_at_a_median_position"] == 1 and abs(near["bs_y"] - first["bs_y"]).item() < 0.4
    with pytest.raises(DataError, match=r"one position: '007' has 41.869 12.459, 41.8691 12.459"):
        read(tmp_path, rows(bs_lat=[41.8690, 41.8691, 41.8690, 41.8720]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows().drop(columns="nrsrp"), "lacks columns nrsrp"),
        (rows().rename(columns={"ue_lat": "lat"}), r"lacks columns ue_lat\n.*it has lat, ue_lon[\s\S]*lat to ue_lat"),
        (
            rows(eNB=7).rename(columns={"nrsrp": "Level", "bs_id": "CellID"}),
            r"lacks columns bs_id, nrsrp\n[\s\S]*rename CellID or eNB to bs_id, Level to nrsrp",
        ),
        (rows(bs_azimut=90.0), "nearly ours: bs_azimut\n[\\s\\S]*rename bs_azimut to bs_azimuth"),
        (rows().iloc[:0], "nothing of the campaign is left in campaign.csv\n.*no rows"),
        (rows(campaign=[1, 1.5, 2, 2]), r"campaign of campaign.csv is '1.5' in line 3: not whole"),
        (
            rows(nrsrp=[-80, -340, -341, -999]),
            r"is '-999' in line 5: 'unknown'[\s\S]*is '-340' in line 3 and 1 more: under -156 dBm(?!.*lost)",
        ),
        (rows(nrsrp=80.0), r"nrsrp of campaign.csv is '80' in line 2 and 3 more: over[\s\S]*lost its sign"),
        (rows(nrsrp=-1), r"nrsrp of campaign.csv is '-1' in line 2 and 3 more: 'unknown'[\s\S]*leave the field empty"),
        (rows(nrsrp=-60.5), r"nrsrp and rssi of campaign.csv is '-60.5' and '-60' in line 2 and 2 more: NRSRQ = 10"),
        (rows(nrsrq=-15.0), r"nrsrp and rssi and nrsrq of campaign.csv is '-80' and '-60' and '-15' in line 2 and 1"),
        (rows(nrsrq=-3.0), r"set radio.resource_blocks, now 1, to the table's, 158 in the median row"),
        (rows(rssi=1e-7), r"rssi of campaign.csv is '1e-07'[\s\S]*in mW"),
        (rows(rssi="−60"), "is '−60' in line 2 and 2 more: text with a typographic minus"),
        (rows(rssi="-60 dBm"), "is '-60 dBm' in line 2 and 2 more: text, more than a number[\\s\\S]*without its unit"),
        (rows(rssi="-60,5"), "is '-60,5' in line 2 and 2 more: text with a decimal comma"),
        (rows(bs_azimuth="Omni"), "bs_azimuth of campaign.csv is 'Omni' in line 2 and 2 more: text; write a plain"),
        (rows(ue_lat=[np.nan, 41.8, 41.8, 41.8]), "ue_lat of campaign.csv is '' in line 2: every row needs it"),
        (rows(bs_h=0.0), r"bs_h of campaign.csv is '0' in line 2 and 2 more: 'unknown'[\s\S]*leave the field empty"),
        (rows(bs_azimuth=-1), r"bs_azimuth of campaign.csv is '-1'[\s\S]*leave the field empty"),
        (rows(bs_id=["a", "b", "c", "d"], bs_azimuth=0), r"bs_azimuth of campaign.csv is '0'[\s\S]*write 360 where"),
        (rows(bs_lat=0.0, bs_lon=0.0), r"bs_lat and bs_lon of campaign.csv is '0' and '0' in line 2 and 2 more"),
        (rows(ue_lat=-1.0, ue_lon=-1.0), r"ue_lat and ue_lon of campaign.csv is '-1' and '-1'"),
        (rows(bs_lon=np.nan), r"'41.869' and '' in line 2 and 2 more: half a position"),
        (rows(bs_h=[25.0, 26.0, 25.0, 25.0]), "1 cells have more than one bs_h: '007' has 25.0, 26.0"),
    ],
)
def test_refuses_what_it_cannot_mean(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, table)


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        *(([rounded, *"abc"], "a number that a spreadsheet rounded") for rounded in ("2.6201E+14", "2,6201e+14")),
        *(([day, *"abc"], "date") for day in ("Jan 2", "01. Mrz", "1-Feb-24", "1/2/2024", "2024-02-01 00:00:00")),
        (["12.0", "13.0", "12.0", "14.0"], "with decimals"),
        (["26201000000000100", "26201000000000200", "1", "2"], "15 digits"),
        (["#####", *"abc"], "could not show"),
        (["2147483647", *"abc"], "'unknown'"),
        (["007", "7", "b", "c"], "leading zeros"),
    ],
)
def test_names_that_a_spreadsheet_destroyed_are_refused(tmp_path, ids, why):
    with pytest.raises(DataError, match=rf"bs_id of campaign.csv is '{re.escape(ids[0])}' in line 2.*{why}.*as text"):
        read(tmp_path, rows(bs_id=ids))


@pytest.mark.parametrize("ids", [["300064.0", "300064.1", "3.2", "4"], ["4E12", "MAR-1", "1-2", "26201000000000101"]])
def test_names_that_only_look_destroyed_are_names(tmp_path, ids):
    assert read(tmp_path, rows(bs_id=ids))[0]["bs_id"].values.tolist() == sorted(ids[:3])


def test_one_run_tells_all_and_a_knob_counts_it(tmp_path):
    table = pd.concat([rows().iloc[:3].astype(str)] * 3, ignore_index=True)
    table.iloc[0] = table.columns  # names again
    table.loc[1, "nrsrp"], table.loc[2, "nrsrp"], table.loc[3, "nrsrp"] = "2147483647", "-340", "x"
    table.loc[4, "bs_id"], table.loc[5, "rssi"], table.loc[6, "rssi"] = "2.6E+14", "-60 dBm", "-"
    with pytest.raises(DataError, match=r"kinds of values that cannot be meant: 6[\s\S]*campaign.reject") as caught:
        read(tmp_path, table)
    told = [line.partition(" of ")[0] + re.search(r" in line \d+", line)[0] for line in caught.value.what.splitlines()]
    assert sorted(told) == [
        "column bs_id in line 6", "column nrsrp in line 3", "column nrsrp in line 4", "column nrsrp in line 5",
        "column rssi in line 7", "column ue_lat and ue_lon in line 2",
    ]  # fmt: skip
    _, report = read(tmp_path, table, reject=True)
    assert report["rows"] == 9 == sum(report["rejected"].values()) + report["rows_kept"]
    assert report["rows_kept"] == 4 and report["emptied, rssi: text, more than a number"] == 1
    assert report["rejected"]["nrsrp: under -156 dBm"] == 1
    with pytest.raises(DataError, match=r"nothing of the campaign is left[\s\S]*nrsrp: over -31 dBm: 4 rows"):
        read(tmp_path, rows(nrsrp=-24.0), reject=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.ods", "no table"), *((f"a{end}", "cannot be") for end in (".parquet", ".csv", ".csv.gz", ".xlsx"))],
)
def test_refuses_files_that_are_no_tables(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / name, 1)
