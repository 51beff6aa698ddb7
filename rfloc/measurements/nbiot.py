"""Dataset A: the Rome NB-IoT campaigns of 2021 as published, to a links dataset.

The .mat file holds the measurements of 2,670 locations but no base-station position; the published crop
(`rome_crop_knn_ready.csv`) holds ten positions but no cell identity. A row of the crop carries the same numbers as its
row in the .mat file, which tells which cell each position belongs to: eleven cells, two of them on one mast.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.measurements.table import DECIMALS, links_from_rows
from rfloc.schema import FEATURES

MAT = "Campaign_data_NBIoT_1_2_3_4_5_6_interpolated.mat"
CSV = "rome_crop_knn_ready.csv"

#: Nominal antenna height above ground [m]: the height at which the paper's dataset C places its stations.
NOMINAL_HEIGHT = 40.0

_CELL = ["enodeb", "npci", "mnc"]
_COLUMNS = ["npci", "enodeb", *FEATURES, "toa", "mnc", "campaign"]


def read_rows(root: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Every complete row of the measured (not interpolated) part of the .mat file.

    Parameters
    ----------
    root : Path
        Folder that holds `rome/`, or that folder itself.

    Returns
    -------
    rows : DataFrame
        ue_lat ue_lon [deg], enodeb npci mnc (identity of the cell), rssi nrsrp [dBm], nsinr nrsrq [dB], toa [us],
        campaign.
    report : dict
        Rows and locations, in all and complete; rows rejected: cell detected but not measured, no time of arrival.
    """
    cells = _load(_file(root, MAT))
    parts, lengths = [np.atleast_2d(row[2]).astype(float) for row in cells], [len(row[2]) for row in cells]
    rows = pd.DataFrame(np.vstack(parts), columns=_COLUMNS)
    for column, name in enumerate(("ue_lat", "ue_lon")):
        rows[name] = np.repeat([float(np.squeeze(row[column])) for row in cells], lengths).round(DECIMALS)
    unmeasured = rows[list(FEATURES)].isna().any(axis=1)
    untimed = rows["toa"].isna() & ~unmeasured
    complete = rows[~unmeasured & ~untimed].astype({"enodeb": int, "npci": int, "mnc": int, "campaign": int})
    report = {
        "locations": len(cells),
        "rows": len(rows),
        "rows_not_measured": int(unmeasured.sum()),
        "rows_without_toa": int(untimed.sum()),
        "rows_complete": len(complete),
        "locations_complete": _count(complete, ["ue_lat", "ue_lon"]),
        "cells": _count(complete, _CELL),
        "duplicate_rows": int(complete.duplicated(["ue_lat", "ue_lon", *_CELL]).sum()),
    }
    return complete.reset_index(drop=True), report


def published_rows(root: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of the published crop, each with the identity of its cell and the position of its base station.

    Parameters
    ----------
    root : Path
        As in :func:`read_rows`.
    rows : DataFrame
        What :func:`read_rows` returned.

    Returns
    -------
    crop : DataFrame
        The columns of `rows`, and bs_lat bs_lon [deg].
    report : dict
        Rows, locations, positions and cells of the crop; rows that share UE and position (two cells on one mast).

    Raises
    ------
    DataError
        If a row of the crop is not in `rows`, or a cell stands at two positions: the two files do not belong together.
    """
    names = {"UELatitude": "ue_lat", "UELongitude": "ue_lon", "BSLatitude": "bs_lat", "BSLongitude": "bs_lon"}
    path = _file(root, CSV)
    try:
        csv = pd.read_csv(path, usecols=[*names, "RSSI", "NRSRP"])
    except ValueError as error:  # columns missing, or no CSV at all
        raise DataError(f"{path.name} is not the published crop", str(error), "run `rfloc fetch rome`") from None
    csv = csv.rename(columns=names | {"RSSI": "rssi", "NRSRP": "nrsrp"})
    key = ["ue_lat", "ue_lon", "rssi", "nrsrp"]
    crop = csv.round(DECIMALS).merge(rows.round(dict.fromkeys(key, DECIMALS)), on=key, how="left")
    positions = crop[[*_CELL, "bs_lat", "bs_lon"]].drop_duplicates()
    if len(crop) != len(csv) or crop["enodeb"].isna().any() or positions.duplicated(_CELL).any():
        raise DataError(
            f"{CSV} and {MAT} do not belong together",
            f"{int(crop['enodeb'].isna().sum())} of {len(csv)} rows of the crop have no equal in the .mat file",
            "run `rfloc fetch rome`, which checks both",
        )
    report = {
        "crop_rows": len(crop),
        "crop_locations": _count(crop, ["ue_lat", "ue_lon"]),
        "crop_positions": _count(crop, ["bs_lat", "bs_lon"]),
        "crop_cells": len(positions),
        "crop_rows_sharing_ue_and_position": int(crop.duplicated(["ue_lat", "ue_lon", "bs_lat", "bs_lon"]).sum()),
        "locations_hearing_these_cells_outside_crop": _count(rows.merge(positions, on=_CELL), ["ue_lat", "ue_lon"])
        - _count(crop, ["ue_lat", "ue_lon"]),
    }
    return crop.astype(dict.fromkeys([*_CELL, "campaign"], int)), report


def read_rome(
    root: Path,
    frame: LocalFrame,
    carrier_hz: float,
    city: str = "home",
    max_ues: int | None = None,
    max_bs: int | None = None,
    seed: int = 0,
    *,
    power_dbm: float = 43.0,
) -> tuple[xr.Dataset, dict[str, int]]:
    """The published crop of Rome as links: operators apart, azimuth unknown, height and power nominal.

    Parameters
    ----------
    root : Path
        Folder that holds `rome/` (the data root), or that folder itself.
    frame : LocalFrame
        The home city's frame.
    carrier_hz : float
        Carrier of the scenario [Hz]; the files do not say it.
    city : str
        Key of the city whose raster belongs to these links.
    max_ues : int, optional
        Keep a random subset of this many UE locations.
    max_bs : int, optional
        Keep only the cells heard at most locations.
    seed : int
        Of the random subset.
    power_dbm : float
        Nominal transmit power [dBm].

    Returns
    -------
    links : xr.Dataset
        Kind `links`; bs_id is "mnc-enodeb-npci".
    report : dict
        Counts of every step, those of :func:`read_rows` and :func:`published_rows` included.

    Raises
    ------
    DataError
        If a file is missing or damaged.
    """
    rows, report = read_rows(root)
    crop, more = published_rows(root, rows)
    crop = crop.assign(bs_id=[f"{m}-{e}-{n}" for m, e, n in zip(crop.mnc, crop.enodeb, crop.npci, strict=True)])
    if max_bs is not None:
        crop = crop[crop["bs_id"].isin(crop["bs_id"].value_counts(sort=True).index[:max_bs])]
    ues = crop[["ue_lat", "ue_lon"]].drop_duplicates().sort_values(["ue_lat", "ue_lon"])
    if max_ues is not None and max_ues < len(ues):
        chosen = np.random.default_rng(seed).choice(len(ues), max_ues, replace=False)
        crop = crop.merge(ues.iloc[np.sort(chosen)], on=["ue_lat", "ue_lon"])
    links, counts = links_from_rows(
        crop[["ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", *FEATURES, "campaign"]], frame, carrier_hz, city,
        source="measured: Rome NB-IoT campaigns 2021, published crop", power_dbm=power_dbm, height=NOMINAL_HEIGHT,
    )  # fmt: skip
    return links, report | more | {name: counts[name] for name in ("links", "ues", "stations")}


def _count(rows: pd.DataFrame, keys: list[str]) -> int:
    return int(rows.groupby(keys).ngroups)


def _file(root: Path, name: str) -> Path:
    for folder in (Path(root) / "rome", Path(root)):
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"there is no {name} in {Path(root) / 'rome'}",
        "the real measurements are not part of the repository",
        "run `rfloc fetch rome`, or point RFLOC_DATA at the folder that holds rome/",
    )


def _load(path: Path) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    damaged = DataError(f"{path.name} is damaged", "it is not the published file", "run `rfloc fetch rome`")
    try:
        cells = loadmat(path, variable_names=["dataSet"])["dataSet"]
    except (MatReadError, ValueError, TypeError, NotImplementedError, KeyError, OSError, zlib.error) as error:
        damaged.why = f"{type(error).__name__}: {error}"
        raise damaged from None
    if cells.ndim != 2 or cells.shape[1] < 3 or any(np.atleast_2d(row[2]).shape[1] != len(_COLUMNS) for row in cells):
        raise damaged
    return cells
