"""Rows of a campaign, one a measurement of one cell at one UE, to a links dataset: what every reader ends in.

Columns: `ue_lat ue_lon` [deg], `bs_id`, `bs_lat bs_lon` [deg, NaN: unknown], the radio features [dBm/dB, NaN: missing],
`campaign` (int), and, where known, `bs_h` [m], `bs_azimuth` [deg], `bs_power` [dBm], `bs_position_source`,
`bs_position_error` [m] and `interpolated`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfloc.datasets.faults import Fault
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.schema import FEATURES, links_dataset

#: Positions are compared after rounding to this many decimals of a degree (0.1 m).
DECIMALS = 6

#: Nominal antenna height above ground [m]: the height at which the paper's dataset C places its stations.
NOMINAL_HEIGHT = 40.0

#: What a row may do without: such a field that cannot be meant is emptied, where others have their row rejected.
OPTIONAL = {"rssi", "nsinr", "nrsrq", "bs_lat", "bs_lon", "bs_h", "bs_azimuth", "bs_power"}

#: What makes two rows measurements of the same link.
LINK = ["campaign", "ue_lat", "ue_lon", "bs_id"]

#: Two measurements of one link that differ by this much [dB] are hardly of one cell; positions of one cell that differ
#: by less than this [m] are one.
FAR_APART, SAME_MAST = 20.0, 1.0


@dataclass
class Rows:
    """Rows on their way to links: the table, counts of what was read, and how many rows were rejected, by reason."""

    table: pd.DataFrame
    report: dict[str, Any]
    rejected: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  #: what nobody who reads the counts should miss

    def reject(self, bad: pd.Series, reason: str) -> None:
        """Drop the rows that are `bad`, counted under their reason."""
        self.rejected[reason] = self.rejected.get(reason, 0) + int(bad.sum())
        self.table = self.table[~bad]

    def settle(self, faults: Iterable[Fault]) -> None:
        """Empty the :data:`OPTIONAL` fields that are at fault, reject the other rows that are; all are counted."""
        for values, why, _ in filter(lambda fault: len(fault.values), faults):
            bad, reason = self.table.index.isin(values.index), f"{' and '.join(values)}: {why}"
            if OPTIONAL.issuperset(values):
                self.table.loc[bad, list(values)] = np.nan
                self.report[f"emptied, {reason}"] = int(bad.sum())
            else:
                self.reject(pd.Series(bad, self.table.index), reason)

    def require(self, where: str, mend: str) -> None:
        """Raise DataError, with the reasons so far, if no row is left."""
        if self.table.empty:
            why = "; ".join(f"{reason}: {count} rows" for reason, count in self.rejected.items() if count)
            raise DataError(f"nothing of the campaign is left in {where}", why or "it has no rows", mend)


def links_from_rows(
    rows: pd.DataFrame, frame: LocalFrame, carrier_hz: float, city: str, *, source: str, power_dbm: float
) -> tuple[xr.Dataset, dict[str, int]]:
    """Turn rows into a links dataset; duplicates of a link are averaged in linear power.

    Every row has a UE, at a position rounded to `DECIMALS`, a cell and a level; `power_dbm` is that of cells for which
    the rows say none, the rest as of :func:`rfloc.schema.links_dataset`. UEs are sorted by campaign and position, cells
    by name; the report counts what became of the rows. Raises DataError if a cell has two positions, heights, azimuths
    or powers.
    """
    linear = rows[LINK].join(10.0 ** (rows[list(FEATURES)].astype(float) / 10.0))
    mean = 10.0 * np.log10(linear.groupby(LINK)[list(FEATURES)].mean())
    level, wide = rows.groupby(LINK)["nrsrp"], mean.unstack("bs_id")
    interpolated = None
    if "interpolated" in rows:
        interpolated = rows.groupby(LINK)["interpolated"].any().unstack("bs_id", fill_value=False).to_numpy(bool)
    ue = wide.index.to_frame(index=False)
    x, y = frame.to_local(ue["ue_lat"], ue["ue_lon"])
    stations, scattered = _stations(rows, frame, power_dbm)
    ds = links_dataset(
        {name: wide[name].to_numpy(float) for name in FEATURES},
        {"x": x, "y": y, "campaign": ue["campaign"].to_numpy(int)}, stations, frame,
        source=source, city=city, carrier_hz=carrier_hz, interpolated=interpolated,
    )  # fmt: skip
    report = {"rows_kept": len(rows), "rows_averaged_away": len(rows) - len(mean), "links": len(mean)}
    report["links_averaged_over_20_dB"] = int((level.max() - level.min() >= FAR_APART).sum())
    report |= {} if interpolated is None else {"links_interpolated": int(ds["interpolated"].sum())}
    return ds, report | {"ues": ds.sizes["ue"], "stations": ds.sizes["bs"], "stations_at_a_median_position": scattered}


def _stations(rows: pd.DataFrame, frame: LocalFrame, power_dbm: float) -> tuple[dict[str, Any], int]:
    """What :func:`rfloc.schema.links_dataset` wants to know of the cells, and how many have several positions.

    A field that is empty in some rows of a cell is what its other rows say.
    """
    stated = {"bs_h": NOMINAL_HEIGHT, "bs_azimuth": np.nan, "bs_power": power_dbm, "bs_position_error": np.nan}
    given = rows[["bs_id", "bs_lat", "bs_lon"]].dropna().drop_duplicates()
    xy = np.column_stack(frame.to_local(given["bs_lat"], given["bs_lon"]))
    at = pd.DataFrame(xy, given["bs_id"], columns=["x", "y"])
    place = at.groupby(level=0).median()
    off = np.hypot(*(xy - place.loc[at.index].to_numpy()).T)
    said = rows[["bs_id", *(name for name in stated if name in rows)]].assign(position=np.nan)
    far = rows["bs_id"].isin(at.index[off > SAME_MAST]) & rows["bs_lat"].notna()
    said["position"] = (rows["bs_lat"].astype(str) + " " + rows["bs_lon"].astype(str)).where(far)
    lines = []
    for name in said.columns[1:]:
        values = said.dropna(subset=name).groupby("bs_id")[name].unique()
        if len(values := values[values.map(len) > 1]):
            example = f"{values.index[0]!r} has {', '.join(map(str, values.iloc[0][:3]))}"
            lines.append(f"{len(values)} cells have more than one {name}: {example}")
    if lines:
        why = f"a cell stands in one place, within {SAME_MAST:g} m, with one height, azimuth and power"
        raise DataError("\n".join(lines), why, "give sectors and operators ids of their own, or settle on one value")
    first = rows.groupby("bs_id")[["bs_position_source", *said.columns[1:-1]]].first()
    others = first.reindex(columns=list(stated)).astype(float).fillna(stated)
    place = place.reindex(first.index)
    return {
        "x": place["x"].to_numpy(), "y": place["y"].to_numpy(), "id": first.index.to_numpy(str),
        "position_source": np.array(first["bs_position_source"].where(place["x"].notna(), "unknown").tolist()),
        **{name.removeprefix("bs_"): others[name].to_numpy() for name in stated},
    }, at.index[off > 0].nunique()  # fmt: skip
