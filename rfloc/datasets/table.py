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

from rfloc.datasets.rows import DECIMALS, check_numbers, reject
from rfloc.errors import DataError
from rfloc.schema import FEATURES

REQUIRED = ("ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", "nrsrp")
OPTIONAL = (*(name for name in FEATURES if name != "nrsrp"), "campaign", "bs_h", "bs_azimuth", "bs_power")


def read_table(path: Path) -> tuple[pd.DataFrame, dict[str, int], dict[str, int]]:
    """Read a table of the form above.

    Returns
    -------
    rows : DataFrame
        As :mod:`rfloc.datasets.rows` describes them.
    report : dict
        Count of rows read.
    rejected : dict
        Reason -> rows.

    Raises
    ------
    DataError
        If the file is unreadable or holds no measurement, or a column is missing, unknown, empty or out of range.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(f"{path.name} is neither .csv nor .parquet", "its suffix is " + repr(path.suffix), "convert it")
    try:
        rows = pd.read_csv(path, dtype={"bs_id": str}) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parser errors are ValueErrors or OSErrors
        raise DataError(f"{path.name} cannot be read as a table", str(error), "open and repair it") from None
    _check(rows, path.name)
    report, rejected = {"rows": len(rows)}, dict[str, int]()
    rows = reject(rows, rows["nrsrp"].isna(), "nrsrp empty", rejected)
    if rows.empty:
        raise DataError(f"{path.name} holds no measurement", "nrsrp is empty in all rows", "check the export")
    for name, value in (dict.fromkeys(FEATURES, np.nan) | {"campaign": 0}).items():
        if name not in rows:
            rows = rows.assign(**{name: value})
    rows = rows.round({"ue_lat": DECIMALS, "ue_lon": DECIMALS})
    return rows.assign(bs_id=rows["bs_id"].astype(str), bs_position_source="table"), report, rejected


def _check(rows: pd.DataFrame, file: str) -> None:
    missing = [name for name in REQUIRED if name not in rows]
    strange = [str(name) for name in rows if name not in (*REQUIRED, *OPTIONAL)]
    if missing or strange:
        raise DataError(
            f"{file} lacks columns {', '.join(missing)}" if missing else f"{file} has columns {', '.join(strange)}",
            f"it has {', '.join(map(str, rows))}; required: {', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}",
            "rename or drop columns, separate them by commas; rfloc.datasets.table explains each",
        )
    if rows.empty:
        raise DataError(f"{file} holds no measurement", "it has no rows", "check the export")
    for name in (n for n in (*REQUIRED, *OPTIONAL) if n != "bs_id" and n in rows):
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise DataError(
                f"column {name} of {file} holds text", "it must be a number or empty", "write a plain decimal point"
            )
    for name in ("ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", "campaign"):
        if name in rows and rows[name].isna().any():
            raise DataError(
                f"column {name} of {file} is empty in {int(rows[name].isna().sum())} rows",
                "every row needs it",
                "fill it in or drop these rows",
            )
    check_numbers(rows, file, whole=[name for name in ("campaign",) if name in rows])
