"""The .mat file: which rows are taken, why the others are not, and files that are none."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from rfloc.datasets.nbiot import allocated_tests, read_mat
from rfloc.errors import DataError
from tests.datasets.files import MAT, cell_array, matrices, write_mat


def test_rows_are_taken_or_counted_by_reason(tmp_path: Path) -> None:
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


def test_what_has_no_identity_or_place_is_rejected(tmp_path: Path) -> None:
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


def test_measured_wins_over_interpolated(tmp_path: Path) -> None:
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


def test_truncated_and_foreign_files_say_what_they_are(tmp_path: Path) -> None:
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


def test_the_authors_test_points_of_a_run(tmp_path: Path) -> None:
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
