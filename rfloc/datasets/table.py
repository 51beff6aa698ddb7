"""A user's own campaign: one CSV or Parquet table, a row a measurement of one cell at one UE.

========== ======= ====================================================================
column     unit    meaning
========== ======= ====================================================================
ue_lat     deg     where the UE was, EPSG:4326
ue_lon     deg
bs_id              name of the cell; sectors and operators are different cells
bs_lat     deg     where the base station stands, EPSG:4326, one position a cell
bs_lon     deg
nrsrp      dBm     per resource element (3GPP TS 36.214); an empty field is no measurement
rssi       dBm     optional
nsinr      dB      optional
nrsrq      dB      optional
campaign           optional integer, default 0
bs_h       m       optional, antenna height above ground; empty: 40 m
bs_azimuth deg     optional, clockwise from north; empty: unknown
bs_power   dBm     optional; empty: radio.power_dbm
========== ======= ====================================================================

Rows of the same campaign, UE position and cell are averaged in linear power. `data/toy/campaign.csv` is an example.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rfloc.datasets.rows import DECIMALS, Rows, check_numbers, numbers
from rfloc.errors import DataError
from rfloc.schema import FEATURES

#: Columns that every row fills, and those that a table must and may have.
FILLED = ("ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", "campaign")
REQUIRED = ("ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", "nrsrp")
OPTIONAL = (*(name for name in FEATURES if name not in REQUIRED), "campaign", "bs_h", "bs_azimuth", "bs_power")


def read_table(path: Path) -> Rows:
    """Read a table of the form above (raises DataError if it is unreadable, or a column not as said there)."""
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(f"{path.name} is neither .csv nor .parquet", f"its suffix is {path.suffix!r}", "convert it")
    try:
        raw = pd.read_csv(path, dtype={"bs_id": str}) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parser errors are ValueErrors or OSErrors
        raise DataError(f"{path.name} cannot be read as a table", str(error), "open and repair it") from None
    missing = [name for name in REQUIRED if name not in raw]
    strange = [str(name) for name in raw if name not in (*REQUIRED, *OPTIONAL)]
    if missing or strange:
        what = f"lacks columns {', '.join(missing)}" if missing else f"has columns {', '.join(strange)}"
        why = f"it has {', '.join(map(str, raw))}; required: {', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}"
        mend = "rename or drop columns, separate them by commas; rfloc.datasets.table explains each"
        raise DataError(f"{path.name} {what}", why, mend)
    table = numbers(raw, {name: name for name in raw if name != "bs_id"}, path.name).assign(bs_id=raw["bs_id"])
    for name in FILLED:
        if name in table and (empty := int(table[name].isna().sum())):
            mend = "every row needs it: fill it in or drop these rows"
            raise DataError(f"column {name} of {path.name} is empty in {empty} rows", "", mend)
    check_numbers(table, path.name, whole=[name for name in ("campaign",) if name in table])
    rows = Rows(table, {"rows": len(table)})
    rows.reject(table["nrsrp"].isna(), "nrsrp empty")
    rows.require(path.name, "check the export")
    absent = {name: np.nan for name in FEATURES if name not in table} | ({} if "campaign" in table else {"campaign": 0})
    table = rows.table.round({"ue_lat": DECIMALS, "ue_lon": DECIMALS})
    rows.table = table.assign(bs_id=table["bs_id"].astype(str), bs_position_source="table", **absent)
    return rows
