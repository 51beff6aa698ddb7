"""NB-IoT campaigns as published for Rome and Oslo: a .mat file of levels at locations, to rows.

The file holds cell arrays with a row a location: latitude, longitude, and a matrix with a row a cell that was detected
there. `dataSet` is what was measured; Rome's `dataSet_interp` has the same rows, gaps filled from neighbours. Where the
cells stand say an operator-style table (.xlsx), rows of measurements that hold positions (.csv, Rome), or the authors'
estimates of eNodeBs (.mat, Oslo). Each gives a table of cells: `mnc enodeb npci` (int), `bs_lat bs_lon` [deg],
`bs_position_source`, and `bs_position_error` [m], the standard deviation per axis, NaN if unstated.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rfloc.arrays import Floats
from rfloc.datasets.rows import DECIMALS, KNOWN, LINK, Rows, at_odds, beyond, numbers, refuse
from rfloc.errors import DataError
from rfloc.files import DAMAGED

#: Columns of a location's matrix: identity of the cell, levels [dBm, dB, dBm, dB], time of arrival [us], operator.
COLUMNS = ["npci", "enodeb", "rssi", "nsinr", "nrsrp", "nrsrq", "toa", "mnc", "campaign"]
#: What tells cells apart, operators included.
CELL = ["mnc", "enodeb", "npci"]
#: Variables of the file: levels, levels with gaps filled, eNodeB and where the authors estimate that it stands.
MEASURED, INTERPOLATED, PLACES = "dataSet", "dataSet_interp", "eNodeB_best_pos_estimates"
#: Columns that a cell table must have; the eNodeB's stands under either name (Rome, Oslo). Columns of what is read.
TABLE = ("Name", "Latitude", "Longitude", "PosErrorLambda1", "PosErrorLambda2", "MNC")
ENODEB = ("eNodeBID", "eNodeID")
PLACED = [*CELL, "bs_lat", "bs_lon", "bs_position_source", "bs_position_error"]


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


def allocated_tests(path: Path, allocation: Path, run: int) -> Floats:
    """Positions (lat, lon) [deg], (n, 2), that `TP_RP_allocation` holds out (2) in the authors' `run`, from 1.

    Raises DataError if the files do not belong together or there is no such run.
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
    except (*DAMAGED, MatReadError, TypeError, IndexError) as error:
        mend = "fetch it again (`rfloc fetch`, where a manifest names it); one of version 7.3 save in MATLAB with -v7"
        raise DataError(f"{path.name} is damaged or no .mat file of versions 5 to 7", repr(error), mend) from None
    if cells is None:
        mend = "check which file campaign.mat or campaign.published names"
        mend = "set campaign.interpolated to false" if name == INTERPOLATED else mend
        raise DataError(f"{path.name} holds no {name}", f"it holds {', '.join(held) or 'nothing'}", mend)
    return cells


def read_cell_table(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a cell table: a row a cell, its NPCI in its name (`NPCI:<digits>`), and an error ellipse.

    `PosErrorLambda1` and `PosErrorLambda2` are taken as the half axes of a one-sigma ellipse [m], unknown where one is
    not positive; its direction is not used. A cell that is listed more than once counts with its smallest ellipse; with
    two places and no smallest, it is a DataError. The report says `listed`, `cells`, and `rejected`, entries by reason.
    """
    try:
        raw = pd.read_excel(path, engine="openpyxl")
    except DAMAGED as error:
        raise DataError(f"{path.name} is no .xlsx table", str(error), "open and save it as .xlsx") from None
    raw.columns = [str(name).replace(" ", "") for name in raw.columns]
    enodeb = next((name for name in ENODEB if name in raw), " or ".join(ENODEB))
    missing = [name for name in (*TABLE, enodeb) if name not in raw]
    if missing:
        mend = "campaign.cell_table names the table of cells that belongs to the .mat file"
        has = f"it has {', '.join(raw.columns) or 'none'}"
        raise DataError(f"{path.name} lacks columns {', '.join(missing)}", has, mend)
    names = {"mnc": "MNC", "enodeb": enodeb, "bs_lat": "Latitude", "bs_lon": "Longitude"}
    names |= {f"axis{k}": f"PosErrorLambda{k}" for k in (1, 2)}
    cells, found = numbers(raw, names)
    axes = cells[["axis1", "axis2"]].to_numpy()
    sd = np.sqrt((axes**2).mean(axis=1))
    cells["npci"] = raw["Name"].astype(str).str.extract(r"NPCI:\s*(\d+)", expand=False).astype(float)
    cells["bs_position_error"] = np.where((axes > 0).all(axis=1), sd, np.nan)
    cells["bs_position_source"] = "table"
    refuse([*found, *beyond(cells, CELL, names)], path.name, "mend the table", names, ("row", 2))

    rows = Rows(cells, {"listed": len(cells)})
    rows.reject(cells["npci"].isna(), "no NPCI in its name")
    rows.reject(rows.table[["mnc", "enodeb"]].isna().any(axis=1), "no eNodeB or operator")
    rows.reject(rows.table[["bs_lat", "bs_lon"]].replace(0, np.nan).isna().any(axis=1), "no position")
    rows.require(path.name, "an entry has its cell as NPCI:<digits> in Name, eNodeB, MNC, and decimal degrees")
    rows.table = rows.table.astype(dict.fromkeys(CELL, int))
    ranked = rows.table.sort_values([*CELL, "bs_position_error"], na_position="last", kind="stable")
    smallest = ranked.groupby(CELL)["bs_position_error"].rank(method="min", na_option="bottom") == 1
    places = ranked[smallest].groupby(CELL)[["bs_lat", "bs_lon"]].nunique()
    best, apart = ranked.drop_duplicates(CELL), places.index[(places > 1).any(axis=1)]
    if len(apart):
        mnc, enodeb, npci = apart[0]
        what = f"{path.name} lists the cell with MNC {mnc}, eNodeB {enodeb}, NPCI {npci} at two places"
        raise DataError(what, "neither entry has the smaller error ellipse", "keep one of them")
    rows.rejected["listed again with a larger error ellipse"] = len(ranked) - len(best)
    return best[PLACED], rows.report | {"cells": len(best), "rejected": rows.rejected}


def positions_by_enodeb(path: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Positions by the .mat file's own table (eNodeB, latitude, longitude [deg]), estimates of the authors."""
    try:
        listed = pd.DataFrame(np.asarray(variable(path, PLACES), float), columns=["enodeb", "bs_lat", "bs_lon"])
    except ValueError as error:
        why = f"{error}; a row is an eNodeB: its id, latitude, longitude"
        raise DataError(f"{PLACES} in {path.name} is no table of positions", why, "check the file") from None
    where, mend = f"{path.name} ({PLACES})", "fetch it again, or let campaign.published name another file"
    refuse(beyond(listed, ["enodeb"], {}), where, mend, {}, ("row", 1))
    listed = listed.dropna().astype({"enodeb": int}).drop_duplicates()
    if twice := listed["enodeb"][listed["enodeb"].duplicated()].tolist():
        raise DataError(f"{where} lists eNodeB {twice[0]} at two places", f"and {len(twice) - 1} more", "keep one each")
    cells = rows[CELL].drop_duplicates().merge(listed, on="enodeb")
    report = {"listed": len(listed), "enodebs_heard": rows["enodeb"].nunique(), "enodebs": cells["enodeb"].nunique()}
    report |= {"cells": len(cells), "rows_of_these_cells": len(rows.merge(cells[CELL], on=CELL))}
    return cells.assign(bs_position_source="published", bs_position_error=np.nan)[PLACED], report


def positions_by_crop(path: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Which cells the positions of a published crop (.csv) belong to: equal numbers of a row tell, or a DataError."""
    names = {"UELatitude": "ue_lat", "UELongitude": "ue_lon", "BSLatitude": "bs_lat", "BSLongitude": "bs_lon"}
    try:
        crop = pd.read_csv(path, usecols=[*names, "RSSI", "NRSRP"]).astype(float)
        if crop.empty or crop.isna().any(axis=None):
            raise ValueError("it has no rows" if crop.empty else "a number is missing in it")
    except ValueError as error:  # columns missing, text in them, or no CSV at all
        raise DataError(f"{path.name} is not the published crop", str(error), "run `rfloc fetch rome`") from None
    crop = crop.rename(columns=names | {"RSSI": "rssi", "NRSRP": "nrsrp"}).round(DECIMALS)
    if "interpolated" in rows:
        rows = rows[~rows["interpolated"]]
    key = ["ue_lat", "ue_lon", "rssi", "nrsrp"]
    joined = crop.merge(rows.round(dict.fromkeys(key, DECIMALS)), on=key, how="left")
    cells = joined[[*CELL, "bs_lat", "bs_lon"]].drop_duplicates()
    faults = {
        "rows of the crop have no equal in it": int(joined["enodeb"].isna().sum()),
        "rows of the crop have more than one": len(joined) - len(crop),
        "cells stand at more than one position": int(cells.dropna()[CELL].duplicated().sum()),
    }
    if any(faults.values()):
        why = f"of {len(crop)} rows: " + "; ".join(f"{count} {fault}" for fault, count in faults.items() if count)
        raise DataError(f"{path.name} and the .mat file do not belong together", why, "run `rfloc fetch rome`")
    cells = cells.astype(dict.fromkeys(CELL, int)).assign(bs_position_source="published", bs_position_error=np.nan)
    places = {"locations": ["ue_lat", "ue_lon"], "positions": ["bs_lat", "bs_lon"]}
    report = {"rows": len(crop)} | {name: int(crop.groupby(at).ngroups) for name, at in places.items()}
    report |= {"cells": len(cells), "rows_of_these_cells": len(rows.merge(cells[CELL], on=CELL))}
    return cells[PLACED].reset_index(drop=True), report
