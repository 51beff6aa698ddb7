"""Where the cells of a campaign stand: the operator-style cell table (.xlsx), or positions published with the levels.

Published are rows of measurements that hold them (.csv, Rome), or the authors' estimates of eNodeBs (.mat, Oslo).
Each gives a table of cells: `mnc enodeb npci` (int), `bs_lat bs_lon` [deg], `bs_position_source`, and
`bs_position_error` [m], the standard deviation per axis, NaN where nobody states one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rfloc.datasets.faults import BROKEN, beyond, numbers, refuse
from rfloc.datasets.nbiot import CELL, PLACES, variable
from rfloc.datasets.rows import DECIMALS, Rows
from rfloc.errors import DataError

#: Columns that a cell table must have; the eNodeB's stands under either name (Rome, Oslo).
TABLE = ("Name", "Latitude", "Longitude", "PosErrorLambda1", "PosErrorLambda2", "MNC")
ENODEB = ("eNodeBID", "eNodeID")

COLUMNS = [*CELL, "bs_lat", "bs_lon", "bs_position_source", "bs_position_error"]


def read_cell_table(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a cell table: a row a cell, its NPCI in its name (`NPCI:<digits>`), and an error ellipse.

    `PosErrorLambda1` and `PosErrorLambda2` are taken as the half axes of a one-sigma ellipse [m], unknown where one is
    not positive; its direction is not used. A cell that is listed more than once counts with its smallest ellipse; with
    two places and no smallest, it is a DataError. The report says `listed`, `cells`, and `rejected`, entries by reason.
    """
    try:
        raw = pd.read_excel(path, engine="openpyxl")
    except BROKEN as error:
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
    best = ranked.drop_duplicates(CELL)
    tied = ranked.merge(best, on=CELL, suffixes=("", "_best"))
    tied = tied[(tied["bs_position_error"] == tied["bs_position_error_best"]) | tied["bs_position_error_best"].isna()]
    apart = tied[(tied["bs_lat"] != tied["bs_lat_best"]) | (tied["bs_lon"] != tied["bs_lon_best"])]
    if len(apart):
        mnc, enodeb, npci = apart[CELL].iloc[0]
        what = f"{path.name} lists the cell with MNC {mnc}, eNodeB {enodeb}, NPCI {npci} at two places"
        raise DataError(what, "neither entry has the smaller error ellipse", "keep one of them")
    rows.rejected["listed again with a larger error ellipse"] = len(ranked) - len(best)
    return best[COLUMNS], rows.report | {"cells": len(best), "rejected": rows.rejected}


def published_positions(path: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Positions of the cells of `rows`, all of a campaign's, by a table of eNodeBs (.mat) or a crop (.csv)."""
    return (_of_enodebs if path.suffix == ".mat" else _of_crop)(path, rows)


def _of_enodebs(path: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Positions by the .mat file's own table: a row an eNodeB, its id, latitude and longitude [deg].

    The authors call them estimates; how far off they are is not said. The report counts eNodeBs that are listed, heard
    and both, and cells and measured rows of these.
    """
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
    report = {
        "listed": len(listed),
        "enodebs_heard": rows["enodeb"].nunique(),
        "enodebs": cells["enodeb"].nunique(),
        "cells": len(cells),
        "rows_of_these_cells": len(rows.merge(cells[CELL], on=CELL)),
    }
    return cells.assign(bs_position_source="published", bs_position_error=np.nan)[COLUMNS], report


def _of_crop(path: Path, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Which cells the positions of a published crop belong to.

    A row of the crop (.csv) holds the numbers of its row in the .mat file, of which `rows` are all, and a station's
    position, but no cell identity; equal numbers tell the cell, or it is a DataError. The report counts rows, locations
    and positions of the crop, cells, and measured rows of these cells.
    """
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
    report = {
        "rows": len(crop),
        "locations": int(crop.groupby(["ue_lat", "ue_lon"]).ngroups),
        "positions": int(crop.groupby(["bs_lat", "bs_lon"]).ngroups),
        "cells": len(cells),
        "rows_of_these_cells": len(rows.merge(cells[CELL], on=CELL)),
    }
    return cells[COLUMNS].reset_index(drop=True), report
