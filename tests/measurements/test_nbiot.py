"""The Rome files: the published counts on the real ones, behaviour on a miniature of the same form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from rfloc import config
from rfloc.cli import compose
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.measurements import nbiot

FRAME = LocalFrame(41.8695, 12.4615)
#: npci, eNodeB, mnc and the published position; the last two share a mast.
CELLS = [(33, 300064, 1, 41.8712, 12.4643), (34, 300064, 1, 41.8717, 12.4619), (35, 300064, 1, 41.8717, 12.4619)]


def miniature(root: Path, n: int = 8) -> Path:
    """The two files with `n` locations that hear three cells, a cell without position and an unmeasured one."""
    rng = np.random.default_rng(0)
    folder = root / "rome"
    folder.mkdir(parents=True)
    cells = np.empty((n, 16), object)
    published = []
    for i in range(n):
        lat, lon = 41.865 + 1e-4 * i, 12.462 + 1e-4 * i
        rf = np.column_stack(
            [rng.uniform(-80, -50, 3), rng.uniform(-5, 20, 3), rng.uniform(-110, -70, 3), rng.uniform(-20, -5, 3)]
        )
        rows = [[npci, enodeb, *rf[k], 100.0, mnc, 1 + i % 2] for k, (npci, enodeb, mnc, *_) in enumerate(CELLS)]
        rows.append([7, 1, -70, 1, -90, -10, np.nan if i == 0 else 5.0, 10, 1 + i % 2])  # has no published position
        rows.append([8, 1, np.nan, np.nan, np.nan, np.nan, 5.0, 10, 1 + i % 2])  # detected, not measured
        cells[i, 3:] = [np.zeros((1, 1))] * 13  # counts and masks, which nobody reads
        cells[i, :3] = [np.array([[lat + 4e-15]]), np.array([[lon]]), np.array(rows)]
        for k, (*_, bs_lat, bs_lon) in enumerate(CELLS):
            published.append([*rf[k], bs_lat, bs_lon, lat, lon])
    savemat(folder / nbiot.MAT, {"dataSet": cells, "dataSet_interp": cells})
    names = ["RSSI", "NSINR", "NRSRP", "NRSRQ", "BSLatitude", "BSLongitude", "UELatitude", "UELongitude"]
    pd.DataFrame(published, columns=names).to_csv(folder / nbiot.CSV, index=False)
    return root


def test_miniature_is_read_whole(tmp_path: Path) -> None:
    links, report = nbiot.read_rome(miniature(tmp_path), FRAME, 0.8e9)
    assert links.sizes == {"ue": 8, "bs": 3}
    assert links["bs_id"].values.tolist() == ["1-300064-33", "1-300064-34", "1-300064-35"]
    assert bool(links["heard"].all()) and np.isnan(links["bs_azimuth"]).all() and (links["bs_h"] == 40.0).all()
    assert sorted(links["ue_campaign"].values.tolist()) == [1] * 4 + [2] * 4
    wanted = {
        "locations": 8, "rows": 40, "rows_not_measured": 8, "rows_without_toa": 1, "rows_complete": 31, "cells": 4,
        "crop_rows": 24, "crop_positions": 2, "crop_cells": 3, "crop_rows_sharing_ue_and_position": 8, "links": 24,
    }  # fmt: skip
    assert {name: report[name] for name in wanted} == wanted
    csv = pd.read_csv(tmp_path / "rome" / nbiot.CSV)
    assert np.sort(links["nrsrp"].values.ravel()) == pytest.approx(np.sort(csv["NRSRP"]), abs=1e-4)
    same, _ = nbiot.read_rome(tmp_path / "rome", FRAME, 0.8e9)
    assert same.identical(links)


def test_subsets_are_seeded(tmp_path: Path) -> None:
    root = miniature(tmp_path)
    some, _ = nbiot.read_rome(root, FRAME, 0.8e9, max_ues=4, seed=1)
    again, _ = nbiot.read_rome(root, FRAME, 0.8e9, max_ues=4, seed=1)
    other, _ = nbiot.read_rome(root, FRAME, 0.8e9, max_ues=4, seed=2)
    assert some.sizes["ue"] == 4 and some.identical(again) and not some["ue_x"].equals(other["ue_x"])
    assert nbiot.read_rome(root, FRAME, 0.8e9, max_bs=2)[0].sizes["bs"] == 2


def test_missing_and_damaged_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rfloc fetch rome.*RFLOC_DATA") as error:
        nbiot.read_rome(tmp_path, FRAME, 0.8e9)
    assert nbiot.MAT in str(error.value)
    root = miniature(tmp_path)
    mat = root / "rome" / nbiot.MAT
    whole = mat.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"<html>not found</html>" * 20):
        mat.write_bytes(broken)
        with pytest.raises(DataError, match="damaged"):
            nbiot.read_rome(root, FRAME, 0.8e9)
    savemat(mat, {"dataSet": np.zeros((2, 2))})
    with pytest.raises(DataError, match="damaged"):
        nbiot.read_rome(root, FRAME, 0.8e9)


def test_files_of_two_campaigns_are_refused(tmp_path: Path) -> None:
    root = miniature(tmp_path)
    path = root / "rome" / nbiot.CSV
    csv = pd.read_csv(path)
    csv.assign(RSSI=csv["RSSI"] + 0.5).to_csv(path, index=False)
    with pytest.raises(DataError, match="do not belong together"):
        nbiot.read_rome(root, FRAME, 0.8e9)
    csv.drop(columns="NRSRP").to_csv(path, index=False)
    with pytest.raises(DataError, match="not the published crop"):
        nbiot.read_rome(root, FRAME, 0.8e9)


def test_published_counts(rome_data: Path) -> None:
    links, report = nbiot.read_rome(rome_data, FRAME, 0.8e9)
    assert report == {
        "locations": 2670,
        "rows": 40100,
        "rows_not_measured": 12512,
        "rows_without_toa": 119,
        "rows_complete": 27469,
        "locations_complete": 2668,
        "cells": 237,
        "duplicate_rows": 0,
        "crop_rows": 7307,
        "crop_locations": 1664,
        "crop_positions": 10,
        "crop_cells": 11,
        "crop_rows_sharing_ue_and_position": 345,
        "locations_hearing_these_cells_outside_crop": 26,
        "links": 7307,
        "ues": 1664,
        "stations": 11,
    }
    counts = dict(zip(links["bs_id"].values.tolist(), links["heard"].sum("ue").values.tolist(), strict=True))
    assert sum(counts.values()) == 7307 and counts["10-67589-334"] == 902 and counts["1-300064-35"] == 368


def test_derived_cell_identities_are_the_tabulated_ones(rome_data: Path) -> None:
    table = next((f for f in (rome_data / "rome", rome_data) if (f / "published_bs_to_cell.csv").is_file()), None)
    if table is None:
        pytest.skip("published_bs_to_cell.csv, a table derived elsewhere, is not in the data folder")
    rows, _ = nbiot.read_rows(rome_data)
    crop, _ = nbiot.published_rows(rome_data, rows)
    want = pd.read_csv(table / "published_bs_to_cell.csv")
    got = crop.groupby(["enodeb", "npci", "mnc", "bs_lat", "bs_lon"]).size().reset_index(name="rows")
    assert np.allclose(got.sort_values(["enodeb", "npci"]), want.sort_values(["enodeb_id", "npci"]))


def test_nrsrq_follows_from_the_resource_blocks_of_the_scale(
    rome_data: Path, project_root: Path, tmp_path: Path
) -> None:
    """NRSRQ = N_RB * NRSRP / RSSI (TS 36.214): the measured features tell N_RB, and scale rome must have the same."""
    params = config.load(compose(project_root, ["scale=rome_tiny"], tmp_path / "params.yaml"))
    links, _ = nbiot.read_rome(rome_data, FRAME, params.radio.carrier_hz)
    gap = (links["nrsrq"] - (links["nrsrp"] - links["rssi"])).values
    blocks = 10 ** (np.nanmedian(gap) / 10)
    assert blocks == pytest.approx(params.radio.resource_blocks, rel=0.05)
