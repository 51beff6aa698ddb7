"""The .mat file: which rows are taken, why the others are not, and files that are none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from rfloc.datasets import nbiot
from rfloc.datasets.nbiot import allocated_tests, positions_by_crop, positions_by_enodeb, read_cell_table, read_mat
from rfloc.errors import DataError
from tests.datasets.files import CELLS, CROP, MAT, cell_array, cell_table, matrices, write_crop, write_mat


def test_rows_are_taken_or_counted_by_reason(tmp_path):
    read = read_mat(write_mat(tmp_path) / MAT)
    rows, rejected = read.table, read.rejected
    assert read.report == {
        "locations": 8, "rows": 40, "rows_without_toa": 1, "rows_complete": 31, "locations_complete": 8, "cells": 4,
        "rows_at_odds": 0,
    }  # fmt: skip
    assert rejected["cell detected, not measured"] == 8 and sum(rejected.values()) + len(rows) == 40
    assert sorted(rows["bs_id"].unique()) == ["1-300064-33", "1-300064-34", "1-300064-35", "10-1-7"]
    assert rows["toa"].isna().sum() == 1  # no time of arrival is no reason: nothing here uses it
    assert rows["ue_lat"].tolist()[:1] == [41.865]  # to 0.1 m, not to the last bit


def test_what_has_no_identity_or_place_is_rejected(tmp_path):
    places, levels = matrices(8)
    levels[0][0, 7] = np.nan
    levels[1][0, 1] = 0
    levels[2][0, 1] = np.nan
    levels[3][0, 0] = np.nan
    places[4][:], places[5][:] = np.nan, 0.0
    levels[6] = np.empty((0, 0))  # a location that heard nothing
    levels[7][0, 3] = np.nan  # one feature of four is missing: the row is there
    savemat(tmp_path / "c.mat", {"dataSet": cell_array(places, levels)})
    read = read_mat(tmp_path / "c.mat")
    assert read.report["locations"] == 8 and read.report["rows"] == 35
    assert read.rejected == {
        "cell detected, not measured": 7, "operator missing": 1, "eNodeB not decoded": 2, "NPCI missing": 1,
        "UE without position": 8,
    }  # fmt: skip
    assert len(read.table) == 35 - 19 and read.table["nsinr"].isna().sum() == 1


def test_measured_wins_over_interpolated(tmp_path):
    path = write_mat(tmp_path) / MAT
    measured, read = read_mat(path).table, read_mat(path, interpolated=True)
    rows, report, rejected = read.table, read.report, read.rejected
    assert report["rows"] == 80 and report["rows_interpolated"] == 40
    assert rejected["interpolated, but measured as well"] == 32 and sum(rejected.values()) + len(rows) == 80
    filled = rows[rows["interpolated"]]
    assert filled["bs_id"].unique().tolist() == ["10-1-8"] and (filled["nrsrp"] == -75.0).all() and len(filled) == 8
    assert rows[~rows["interpolated"]].drop(columns="interpolated").reset_index(drop=True).equals(measured)
    with pytest.raises(DataError, match=r"no dataSet_interp[\s\S]*interpolated to false"):
        read_mat(write_mat(tmp_path / "oslo", interpolated=False) / MAT, interpolated=True)


def test_truncated_and_foreign_files_say_what_they_are(tmp_path):
    path = write_mat(tmp_path) / MAT
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:100], b"", b"<html>not found</html>" * 20):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"damaged or no \.mat[\s\S]*fetch it again"):
            read_mat(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\x00\x02IM" + b"\x00" * 512)
    with pytest.raises(DataError, match=r"v7\.3[\s\S]*-v7"):
        read_mat(path)
    places, levels = matrices(2)

    def changed(column: int, value: float) -> list[np.ndarray]:
        return [np.where(np.arange(9) == column, value, level) for level in levels]

    for held, message in (
        ({"other": np.zeros(3)}, "holds no dataSet[\\s\\S]*it holds other"),
        ({"dataSet": np.zeros((2, 3))}, "not a campaign"),
        ({"dataSet": cell_array(places, [level[:, :8] for level in levels])}, "[\\s\\S]*9 columns"),
        ({"dataSet": cell_array([np.zeros((2, 3))] * 2, levels)}, "latitude, longitude"),
        ({"dataSet": cell_array(places, changed(7, 1.5))}, "mnc of campaign.mat .* is '1.5' in row 1[\\s\\S]*whole"),
        ({"dataSet": cell_array(places, changed(4, -999.0))}, "nrsrp of campaign.mat .* is '-999' in row 1"),
        ({"dataSet": cell_array(places, changed(2, 1e-7))}, "rssi of campaign.mat .* is '1e-07'[\\s\\S]*in mW"),
    ):
        savemat(path, held)
        with pytest.raises(DataError, match=message):
            read_mat(path)


def test_the_authors_test_points_of_a_run(tmp_path):
    path, allocation = write_mat(tmp_path, interpolated=False) / MAT, tmp_path / "allocation.mat"
    drawn = np.ones((8, 3))
    drawn[[2, 5], 1] = 2
    savemat(allocation, {"TP_RP_allocation": drawn})
    places = np.array([np.ravel(place) for place in matrices(8)[0]])
    assert allocated_tests(path, allocation, 2) == pytest.approx(places[[2, 5]], abs=1e-6)
    assert allocated_tests(path, allocation, 1).shape == (0, 2)
    for rows, run in ((drawn, 4), (drawn, 0), (drawn[:7], 1)):
        savemat(allocation, {"TP_RP_allocation": rows})
        with pytest.raises(DataError, match=rf"no run {run} of campaign\.mat(?s:.*)8 locations"):
            allocated_tests(path, allocation, run)


def written(tmp_path: Path, table: pd.DataFrame) -> Path:
    table.to_excel(tmp_path / "cells.xlsx", index=False)
    return tmp_path / "cells.xlsx"


@pytest.mark.parametrize("enodeb", ["eNodeBID", "eNodeID", "eNode ID"])
def test_cell_tables_of_both_cities(tmp_path, enodeb):
    cells, report = read_cell_table(written(tmp_path, cell_table(enodeb)))
    assert list(zip(cells.npci, cells.enodeb, cells.mnc, cells.bs_lat, cells.bs_lon, strict=True)) == CELLS
    assert cells["bs_position_error"].tolist() == pytest.approx([np.sqrt((30**2 + 40**2) / 2)] * 3)
    assert set(cells["bs_position_source"]) == {"table"} and report["cells"] == report["listed"] == 3


def test_entries_without_use_are_counted(tmp_path):
    table = pd.concat([cell_table()] * 3, ignore_index=True).iloc[:8]
    table.loc[3, "Name"] = "no such thing"
    table.loc[4, "MNC"] = np.nan
    table.loc[5, "Latitude"] = 0.0
    table.loc[6, ["PosErrorLambda1", "Latitude"]] = [90.0, 41.9]  # cell 33 again, elsewhere, less certain
    table.loc[[1, 7], "PosErrorLambda1"] = 0.0  # cell 34 twice, no ellipse, same place
    cells, report = read_cell_table(written(tmp_path, table))
    assert report == {
        "listed": 8, "cells": 3,
        "rejected": {
            "no NPCI in its name": 1, "no eNodeB or operator": 1, "no position": 1,
            "listed again with a larger error ellipse": 2,
        },
    }  # fmt: skip
    assert cells["bs_lat"].tolist() == [cell[3] for cell in CELLS]
    assert np.isnan(cells["bs_position_error"].tolist()[1])


def test_cell_tables_that_are_refused(tmp_path):
    twice = pd.concat([cell_table(), cell_table().assign(Latitude=41.9)], ignore_index=True)
    for table, message in (
        (cell_table().drop(columns=["MNC", "eNodeBID"]), "lacks columns MNC, eNodeBID or eNodeID"),
        (cell_table().assign(Longitude="12,46 E"), "column Longitude[\\s\\S]*12,46 E"),
        (cell_table().assign(Latitude=41871200.0), "Latitude of cells.xlsx is '41871200' in row 2[\\s\\S]*degrees"),
        (cell_table().assign(eNodeBID=300064.5), "column eNodeBID of cells.xlsx is '300064.5' in row 2[\\s\\S]*whole"),
        (cell_table().assign(Name="PCI 33"), "nothing of the campaign is left[\\s\\S]*no NPCI in its name: 3 rows"),
        (cell_table().iloc[:0], "nothing of the campaign is left[\\s\\S]*no rows"),
        (twice, "eNodeB 300064, NPCI 33 at two places"),
    ):
        with pytest.raises(DataError, match=message):
            read_cell_table(written(tmp_path, table))
    whole = (tmp_path / "cells.xlsx").read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"Name;eNodeBID"):
        (tmp_path / "cells.xlsx").write_bytes(broken)
        with pytest.raises(DataError, match=r"no \.xlsx table"):
            read_cell_table(tmp_path / "cells.xlsx")


def test_equal_numbers_tell_the_cell_of_a_position(tmp_path):
    rows = read_mat(write_crop(write_mat(tmp_path)) / MAT).table
    cells, report = positions_by_crop(tmp_path / CROP, rows)
    assert sorted(zip(cells.npci, cells.enodeb, cells.mnc, cells.bs_lat, cells.bs_lon, strict=True)) == CELLS
    assert report == {"rows": 24, "locations": 8, "positions": 2, "cells": 3, "rows_of_these_cells": 24}
    crop = pd.read_csv(tmp_path / CROP)
    for spoilt, fault in (
        (crop.assign(RSSI=crop["RSSI"] + 0.5), "do not belong together[\\s\\S]*24 rows of the crop have no equal"),
        (crop.assign(BSLatitude=crop["BSLatitude"] + crop["RSSI"]), "together[\\s\\S]*21 cells stand at more than one"),
        (crop.drop(columns="NRSRP"), "not the published crop[\\s\\S]*NRSRP"),
        (crop.assign(BSLatitude=np.nan), "not the published crop[\\s\\S]*missing"),
        (crop.iloc[:0], "not the published crop[\\s\\S]*no rows"),
    ):
        spoilt.to_csv(tmp_path / CROP, index=False)
        with pytest.raises(DataError, match=fault):
            positions_by_crop(tmp_path / CROP, rows)
    crop.to_csv(tmp_path / CROP, index=False)
    twins = pd.concat([rows, rows.iloc[:1].assign(npci=99)])  # two cells with the very same levels at one UE
    with pytest.raises(DataError, match=r"1 rows of the crop have more than one"):
        positions_by_crop(tmp_path / CROP, twins)


def test_all_cells_of_an_enodeb_stand_where_its_table_says(tmp_path):
    listed = [[300064, 41.87, 12.46], [300065, 41.88, 12.47], [300066, np.nan, np.nan]]
    path = write_mat(tmp_path, places=listed) / MAT
    rows = read_mat(path).table
    cells, report = positions_by_enodeb(path, rows)
    heard = rows.loc[rows["enodeb"] == 300064, nbiot.CELL].drop_duplicates()
    there = cells[(cells["bs_lat"] == 41.87) & (cells["bs_lon"] == 12.46)]
    assert len(heard.merge(there, on=nbiot.CELL)) == len(cells) == 3
    assert set(cells["bs_position_source"]) == {"published"} and cells["bs_position_error"].isna().all()
    own = int((rows["enodeb"] == 300064).sum())
    assert report == {"listed": 2, "enodebs_heard": 2, "enodebs": 1, "cells": 3, "rows_of_these_cells": own}
    for spoilt, fault in (
        ([[300064, 41.87]], "is no table of positions[\\s\\S]*id, latitude, longitude"),
        ([*listed, [300064, 41.9, 12.46]], "lists eNodeB 300064 at two places"),
        ([[300064, 12.46, 410.87]], "bs_lon of campaign.mat"),
        ([[300064.5, 41.87, 12.46]], "enodeb of campaign.mat[\\s\\S]*whole"),
    ):
        with pytest.raises(DataError, match=fault):
            positions_by_enodeb(write_mat(tmp_path, places=spoilt) / MAT, rows)
    with pytest.raises(DataError, match=r"holds no eNodeB_best_pos_estimates(?s:.*)campaign\.published"):
        positions_by_enodeb(write_mat(tmp_path) / MAT, rows)
