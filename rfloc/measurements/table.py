"""A user's own campaign: one CSV or Parquet table, a row a measurement, to a links dataset.

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
bs_h       m       optional, antenna height above ground
bs_azimuth deg     optional, clockwise from north; empty: unknown
bs_power   dBm     optional
========== ======= ====================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.schema import FEATURES, links_dataset

REQUIRED = ("ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", "nrsrp")
OPTIONAL = ("rssi", "nsinr", "nrsrq", "campaign", "bs_h", "bs_azimuth", "bs_power")

#: Positions are compared after rounding to this many decimals of a degree (0.1 m).
DECIMALS = 6

#: What each number may be [unit as above]; outside, a column was swapped or is in another unit.
_RANGES = {
    "ue_lat": (-85, 85), "ue_lon": (-180, 180), "bs_lat": (-85, 85), "bs_lon": (-180, 180),
    "rssi": (-160, 20), "nrsrp": (-200, 0), "nsinr": (-80, 80), "nrsrq": (-80, 10),
}  # fmt: skip


def read_table(
    path: str | Path,
    frame: LocalFrame,
    carrier_hz: float,
    city: str,
    *,
    power_dbm: float = 43.0,
    height: float = 40.0,
) -> tuple[xr.Dataset, dict[str, int]]:
    """Read a table of the form above.

    Returns
    -------
    links : xr.Dataset
        Kind `links`, source "measured: <file name>".
    report : dict
        Counts: rows, rows without nrsrp, rows averaged away, UEs, stations, links.

    Raises
    ------
    DataError
        If the file is missing or unreadable, a column is missing, unknown or out of range, or a cell has two positions.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no table at {path}", "a campaign is one CSV or Parquet file", "check the path")
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(f"{path.name} is neither .csv nor .parquet", "its suffix is " + repr(path.suffix), "convert it")
    try:
        rows = pd.read_csv(path, dtype={"bs_id": str}) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parser errors are ValueErrors or OSErrors
        raise DataError(f"{path.name} cannot be read as a table", str(error), "open and repair it") from None
    return links_from_rows(
        rows, frame, carrier_hz, city, source=f"measured: {path.name}", power_dbm=power_dbm, height=height
    )


def links_from_rows(
    rows: pd.DataFrame,
    frame: LocalFrame,
    carrier_hz: float,
    city: str,
    *,
    source: str,
    power_dbm: float,
    height: float,
) -> tuple[xr.Dataset, dict[str, int]]:
    """Turn rows into a links dataset; duplicates of a UE-cell pair are averaged in linear power.

    Parameters
    ----------
    rows : DataFrame
        Columns as documented in this module.
    power_dbm, height : float
        Nominal transmit power [dBm] and antenna height [m] of cells for which the table says none.
    """
    _check(rows)
    total = len(rows)
    rows = rows.dropna(subset=["nrsrp"]).copy()
    if rows.empty:
        raise DataError("the table holds no measurement", f"nrsrp is empty in all {total} rows", "check the export")
    for name, value in {"rssi": np.nan, "nsinr": np.nan, "nrsrq": np.nan, "campaign": 0}.items():
        if name not in rows:
            rows[name] = value
    rows["bs_id"] = rows["bs_id"].astype(str)
    for name in ("ue_lat", "ue_lon"):
        rows[name] = rows[name].round(DECIMALS)
    bs = _stations(rows, frame, power_dbm, height)
    # Equal keys are one UE and one cell; group_keys sort, so that the order of rows in a file changes nothing.
    ue_keys = ["campaign", "ue_lat", "ue_lon"]
    linear = rows[[*ue_keys, "bs_id"]].join(10.0 ** (rows[list(FEATURES)].astype(float) / 10.0))
    mean = 10.0 * np.log10(linear.groupby([*ue_keys, "bs_id"])[list(FEATURES)].mean())
    wide = mean.unstack("bs_id")
    ue = wide.index.to_frame(index=False)
    x, y = frame.to_local(ue["ue_lat"], ue["ue_lon"])
    features = {name: wide[name].reindex(columns=bs["id"]).to_numpy(float) for name in FEATURES}
    links = links_dataset(
        features, {"x": x, "y": y, "campaign": ue["campaign"].to_numpy(int)}, bs, frame,
        source=source, city=city, carrier_hz=carrier_hz,
    )  # fmt: skip
    report = {
        "rows": total,
        "rows_without_nrsrp": total - len(rows),
        "rows_averaged_away": len(rows) - len(mean),
        "links": len(mean),
        "ues": links.sizes["ue"],
        "stations": links.sizes["bs"],
    }
    return links, report


def _check(rows: pd.DataFrame) -> None:
    missing = [name for name in REQUIRED if name not in rows]
    strange = [str(name) for name in rows if name not in (*REQUIRED, *OPTIONAL)]
    if missing or strange:
        raise DataError(
            f"the table lacks columns {', '.join(missing)}" if missing else f"unknown columns {', '.join(strange)}",
            f"required: {', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}",
            "rename or drop columns; rfloc.measurements.table explains each",
        )
    for name in (n for n in (*REQUIRED, *OPTIONAL) if n != "bs_id" and n in rows):
        if not pd.api.types.is_numeric_dtype(rows[name]):
            raise DataError(f"column {name} holds text", "it must be a number or empty", "write a plain decimal point")
    for name in ("ue_lat", "ue_lon", "bs_id", "bs_lat", "bs_lon", "campaign"):
        if name in rows and rows[name].isna().any():
            raise DataError(f"column {name} is empty in {int(rows[name].isna().sum())} rows", "every row needs it")
    for name, (low, high) in _RANGES.items():
        if name in rows:
            outside = rows[name].notna() & ~rows[name].between(low, high)
            if outside.any():
                raise DataError(
                    f"column {name} is {rows[name][outside].iloc[0]} in row {int(np.flatnonzero(outside)[0])}",
                    f"it must lie in [{low}, {high}]: a number that stands for 'missing', or another unit?",
                    "leave missing values empty",
                )


def _stations(rows: pd.DataFrame, frame: LocalFrame, power_dbm: float, height: float) -> dict[str, Any]:
    columns = ["bs_lat", "bs_lon", *(n for n in ("bs_h", "bs_azimuth", "bs_power") if n in rows)]
    table = rows.groupby("bs_id")[columns]
    several = table.nunique(dropna=False).gt(1).any(axis=1)
    if several.any():
        raise DataError(
            f"cell {several.index[several][0]!r} has more than one position, height, azimuth or power",
            "a cell stands in one place",
            "give sectors and operators ids of their own, or settle on one value",
        )
    first = table.first()
    x, y = frame.to_local(first["bs_lat"], first["bs_lon"])

    def column(name: str, default: float) -> np.ndarray:
        return first[name].fillna(default).to_numpy(float) if name in first else np.full(len(first), default)

    return {
        "x": x, "y": y, "h": column("bs_h", height), "azimuth": column("bs_azimuth", np.nan),
        "power": column("bs_power", power_dbm), "id": first.index.to_numpy(str),
    }  # fmt: skip
