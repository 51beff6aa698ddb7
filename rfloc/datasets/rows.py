"""Rows of a campaign, one a measurement of one cell at one UE, to a links dataset: what every reader ends in.

Columns: `ue_lat ue_lon` [deg], `bs_id`, `bs_lat bs_lon` [deg, NaN: unknown], the radio features [dBm/dB, NaN: missing],
`campaign` (int), and, where known, `bs_h` [m], `bs_azimuth` [deg], `bs_power` [dBm], `bs_position_source`,
`bs_position_error` [m] and `interpolated`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.schema import FEATURES, links_dataset

#: Positions are compared after rounding to this many decimals of a degree (0.1 m).
DECIMALS = 6

#: Nominal antenna height above ground [m]: the height at which the paper's dataset C places its stations.
NOMINAL_HEIGHT = 40.0

#: What makes two rows measurements of the same link.
LINK = ["campaign", "ue_lat", "ue_lon", "bs_id"]

_DEGREES = ("deg", "write decimal degrees, latitude and longitude not exchanged")
_LEVELS = {
    "dBm": "a positive power is in mW or W, or lost its sign: dBm is 10 log10 of mW",
    "dB": "10 log10 of a ratio",
}

#: What each number of a row may be [unit], and how to mend it.
RANGES: dict[str, tuple[float, float, str, str]] = {
    "ue_lat": (-85, 85, *_DEGREES), "ue_lon": (-180, 180, *_DEGREES),
    "bs_lat": (-85, 85, *_DEGREES), "bs_lon": (-180, 180, *_DEGREES),
    **{name: (about.low, about.high, about.unit, _LEVELS[about.unit]) for name, about in FEATURES.items()},
    "bs_h": (0.5, 1000, "m", "write metres above ground"),
    "bs_azimuth": (-360, 360, "deg", "write degrees clockwise from north"),
    "bs_power": (-60, 90, "dBm", "10 log10 of mW is dBm"),
}  # fmt: skip


@dataclass
class Rows:
    """Rows on their way to links: the table, counts of what was read, and how many rows were rejected, by reason."""

    table: pd.DataFrame
    report: dict[str, Any]
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, bad: pd.Series, reason: str) -> None:
        """Drop the rows that are `bad`, counted under their reason."""
        self.rejected[reason] = self.rejected.get(reason, 0) + int(bad.sum())
        self.table = self.table[~bad]

    def require(self, where: str, mend: str) -> None:
        """Raise DataError, with the reasons so far, if no row is left."""
        if self.table.empty:
            why = "; ".join(f"{reason}: {count} rows" for reason, count in self.rejected.items() if count)
            raise DataError(f"nothing of the campaign is left in {where}", why or "it has no rows", mend)


def numbers(raw: pd.DataFrame, names: Mapping[str, str], file: str) -> pd.DataFrame:
    """Columns of a file as floats under our names (`names`: ours -> the file's); raises DataError where one is text."""
    found = {ours: pd.to_numeric(raw[theirs], errors="coerce").astype(float) for ours, theirs in names.items()}
    for ours, theirs in names.items():
        text = raw[theirs][found[ours].isna() & raw[theirs].notna()]
        if len(text):
            said = f"for instance {str(text.iloc[0])!r}"
            raise DataError(f"column {theirs} of {file} holds text", said, "write a plain number, or leave it empty")
    return pd.DataFrame(found, index=raw.index)


def check_numbers(
    rows: pd.DataFrame, file: str, whole: Iterable[str] = (), called: Mapping[str, str] | None = None
) -> None:
    """Raise DataError where a number is outside :data:`RANGES`, or not whole in the columns `whole`.

    `called` says what columns are called in the file, where it is not what they are called here.
    """
    checks = [
        (name, ~rows[name].between(low, high), f"it must lie in [{low}, {high}] {unit}", mend)
        for name, (low, high, unit, mend) in RANGES.items()
        if name in rows
    ]
    why, mend = "it numbers things, so it must be a whole number", "check that columns are not exchanged"
    checks += [(name, rows[name] % 1 != 0, why, mend) for name in whole]
    for name, wrong, why, mend in checks:
        for row in rows.index[wrong & rows[name].notna()]:
            what = f"column {(called or {}).get(name, name)} of {file} is {rows[name][row]} in row {row + 1}"
            raise DataError(what, why, f"{mend}; leave missing values empty instead of writing a number for them")


def links_from_rows(
    rows: pd.DataFrame, frame: LocalFrame, carrier_hz: float, city: str, *, source: str, power_dbm: float
) -> tuple[xr.Dataset, dict[str, int]]:
    """Turn rows into a links dataset; duplicates of a link are averaged in linear power.

    Every row has a UE, at a position rounded to `DECIMALS`, a cell and a level; `power_dbm` is that of cells for which
    the rows say none, the rest as of :func:`rfloc.schema.links_dataset`. UEs are sorted by campaign and position, cells
    by name; the report counts what became of the rows. Raises DataError if a cell has two positions, heights, azimuths
    or powers, stated or not.
    """
    linear = rows[LINK].join(10.0 ** (rows[list(FEATURES)].astype(float) / 10.0))
    mean = 10.0 * np.log10(linear.groupby(LINK)[list(FEATURES)].mean())
    wide = mean.unstack("bs_id")
    interpolated = None
    if "interpolated" in rows:
        interpolated = rows.groupby(LINK)["interpolated"].any().unstack("bs_id", fill_value=False).to_numpy(bool)
    ue = wide.index.to_frame(index=False)
    x, y = frame.to_local(ue["ue_lat"], ue["ue_lon"])
    ds = links_dataset(
        {name: wide[name].to_numpy(float) for name in FEATURES},
        {"x": x, "y": y, "campaign": ue["campaign"].to_numpy(int)}, _stations(rows, frame, power_dbm), frame,
        source=source, city=city, carrier_hz=carrier_hz, interpolated=interpolated,
    )  # fmt: skip
    report = {"rows_kept": len(rows), "rows_averaged_away": len(rows) - len(mean), "links": len(mean)}
    report |= {} if interpolated is None else {"links_interpolated": int(ds["interpolated"].sum())}
    return ds, report | {"ues": ds.sizes["ue"], "stations": ds.sizes["bs"]}


def _stations(rows: pd.DataFrame, frame: LocalFrame, power_dbm: float) -> dict[str, Any]:
    """What :func:`rfloc.schema.links_dataset` wants to know of the cells."""
    stated = {"bs_h": NOMINAL_HEIGHT, "bs_azimuth": np.nan, "bs_power": power_dbm, "bs_position_error": np.nan}
    names = ["bs_lat", "bs_lon", "bs_position_source", *(name for name in stated if name in rows)]
    table = rows.groupby("bs_id")[names]
    several = table.nunique(dropna=False).gt(1)
    for cell, name in several.stack().loc[lambda more: more].index:
        raise DataError(
            f"cell {cell!r} has more than one {name}: "
            + ", ".join(map(str, rows.loc[rows["bs_id"] == cell, name].unique()[:3])),
            "a cell stands in one place, with one height, azimuth and power; an empty field is a value of its own",
            "give sectors and operators ids of their own, or settle on one value",
        )
    first = table.first()
    x, y = frame.to_local(first["bs_lat"], first["bs_lon"])
    placed = first["bs_lat"].notna() & first["bs_lon"].notna()
    others = first.reindex(columns=list(stated)).astype(float).fillna(stated)
    return {
        "x": np.where(placed, x, np.nan), "y": np.where(placed, y, np.nan), "id": first.index.to_numpy(str),
        "position_source": np.array(first["bs_position_source"].where(placed, "unknown").tolist()),
        **{name.removeprefix("bs_"): others[name].to_numpy() for name in stated},
    }  # fmt: skip
