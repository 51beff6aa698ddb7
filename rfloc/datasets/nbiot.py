"""NB-IoT campaigns as published for Rome and Oslo: a .mat file of levels at locations, to rows.

The file holds cell arrays with a row a location: latitude, longitude, and a matrix with a row a cell that was detected
there. `dataSet` is what was measured; Rome's `dataSet_interp` has the same rows, their gaps filled from neighbouring
locations. Rome's does not say where the cells stand, Oslo's has estimates (see :mod:`.cells`).
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rfloc.datasets.faults import KNOWN, at_odds, beyond, refuse
from rfloc.datasets.rows import DECIMALS, LINK, Rows
from rfloc.errors import DataError

#: Columns of a location's matrix: identity of the cell, levels [dBm, dB, dBm, dB], time of arrival [us], operator.
COLUMNS = ["npci", "enodeb", "rssi", "nsinr", "nrsrp", "nrsrq", "toa", "mnc", "campaign"]

#: What tells cells apart, operators included.
CELL = ["mnc", "enodeb", "npci"]

#: Variables of the file: levels, levels with gaps filled, eNodeB and where the authors estimate that it stands.
MEASURED, INTERPOLATED, PLACES = "dataSet", "dataSet_interp", "eNodeB_best_pos_estimates"


def read_mat(path: Path, *, interpolated: bool = False) -> Rows:
    """Every row of a .mat file that has a level, a cell of known identity and a position, whatever its time of arrival.

    Where `interpolated`, rows of links that were not measured are added, marked in the column of that name. Besides the
    columns of :mod:`.rows` there are enodeb npci mnc (int) and toa [us]; bs_id is "mnc-enodeb-npci". Raises DataError
    if the file is damaged or of another form, or a number of it is out of range.
    """
    table, locations = _table(path, MEASURED)
    level = table["nrsrp"].notna()
    complete = table[level & table["toa"].notna()]
    report = {
        "locations": locations,
        "rows": len(table),
        "rows_without_toa": int(level.sum()) - len(complete),
        "rows_complete": len(complete),
        "locations_complete": int(complete.groupby(["ue_lat", "ue_lon"]).ngroups),
        "cells": int(complete.groupby(CELL).ngroups),
        "rows_at_odds": sum(len(fault.values) for fault in at_odds(table, 1)),
    }
    if interpolated:
        more, _ = _table(path, INTERPOLATED)
        table = pd.concat([table.assign(interpolated=False), more.assign(interpolated=True)], ignore_index=True)
        report |= {"rows": len(table), "rows_interpolated": len(more)}
    rows = Rows(table, report)
    rows.reject(table["nrsrp"].isna(), "cell detected, not measured")
    rows.reject(rows.table["mnc"].isna(), "operator missing")
    # All operators have cells of eNodeB 0 and reuse NPCIs within a few kilometres: such a cell could be any of several.
    rows.reject(rows.table["enodeb"].isna() | (rows.table["enodeb"] == 0), "eNodeB not decoded")
    rows.reject(rows.table["npci"].isna(), "NPCI missing")
    at = rows.table[["ue_lat", "ue_lon"]]
    rows.reject(at.isna().any(axis=1) | (at == 0).all(axis=1), "UE without position")
    table = rows.table.fillna({"campaign": 0}).astype(dict.fromkeys([*CELL, "campaign"], int))
    table["bs_id"] = [f"{m}-{e}-{n}" for m, e, n in table[CELL].itertuples(index=False)]
    rows.table = table
    if interpolated:
        measured = pd.MultiIndex.from_frame(table.loc[~table["interpolated"], LINK])
        again = table["interpolated"] & pd.MultiIndex.from_frame(table[LINK]).isin(measured)
        rows.reject(again, "interpolated, but measured as well")
    rows.table = rows.table.reset_index(drop=True)
    return rows


def allocated_tests(path: Path, allocation: Path, run: int) -> NDArray[np.float64]:
    """Positions (lat, lon) [deg], (n, 2), that the authors' `run`, from 1, holds out as test points of a .mat file.

    `TP_RP_allocation` of the other file has a row a location and a column a run, 2 where it is one. Raises DataError if
    the files do not belong together or there is no such run.
    """
    cells, drawn = variable(path, MEASURED), variable(allocation, "TP_RP_allocation")
    if len(drawn) != len(cells) or not 1 <= run <= drawn.shape[1]:
        why = f"it has {drawn.shape[0]} locations and {drawn.shape[1]} runs, {path.name} has {len(cells)} locations"
        raise DataError(f"{allocation.name} allocates no run {run} of {path.name}", why, "check file and run")
    held = cells[drawn[:, run - 1] == 2]
    return np.array([[np.asarray(row[k], float).item() for k in (0, 1)] for row in held]).reshape(-1, 2).round(DECIMALS)


def _table(path: Path, name: str) -> tuple[pd.DataFrame, int]:
    """All rows of one cell array, and the number of its locations."""
    cells = variable(path, name)
    try:
        positions = np.array([[np.asarray(row[k], float).item() for k in (0, 1)] for row in cells])
        levels = [np.asarray(row[2], float) for row in cells]
        levels = [level.reshape(-1, len(COLUMNS)) if level.ndim < 2 or not level.size else level for level in levels]
        rows = pd.DataFrame(np.vstack(levels), columns=COLUMNS)
    except (ValueError, TypeError, IndexError) as error:
        why = f"{error}; a row is a location: latitude, longitude, and a matrix of {len(COLUMNS)} columns {COLUMNS}"
        mend = "check which file campaign.mat names"
        raise DataError(f"{name} in {path.name} is not a campaign", why, mend) from None
    rows[["ue_lat", "ue_lon"]] = np.repeat(positions, [len(level) for level in levels], axis=0).round(DECIMALS)
    found = beyond(rows, [*CELL, "campaign"], {}, KNOWN["ranges"] | KNOWN["scanner"])
    refuse(found, f"{path.name} ({name})", "check which file campaign.mat names, or fetch it again", {}, ("row", 1))
    return rows, len(cells)


def variable(path: Path, name: str) -> np.ndarray:
    """One variable of a .mat file (raises DataError if the file is damaged or does not hold it)."""
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        held = [variable for variable, *_ in whosmat(path)]
        cells = loadmat(path, variable_names=[name]).get(name)
    except (MatReadError, NotImplementedError, ValueError, TypeError, IndexError, OSError, zlib.error) as error:
        mend = "fetch it again (`rfloc fetch`, where a manifest names it); one of version 7.3 save in MATLAB with -v7"
        raise DataError(f"{path.name} is damaged or no .mat file of versions 5 to 7", repr(error), mend) from None
    if cells is None:
        mend = "check which file campaign.mat or campaign.published names"
        mend = "set campaign.interpolated to false" if name == INTERPOLATED else mend
        raise DataError(f"{path.name} holds no {name}", f"it holds {', '.join(held) or 'nothing'}", mend)
    return cells
