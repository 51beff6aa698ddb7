"""Rows of a campaign, one a measurement of one cell at one UE, to a links dataset: what every reader ends in.

Columns: `ue_lat ue_lon` [deg], `bs_id`, `bs_lat bs_lon` [deg, NaN: unknown], the radio features [dBm/dB, NaN: missing],
`campaign` (int), and, where known, `bs_h` [m], `bs_azimuth` [deg], `bs_power` [dBm], `bs_position_source`,
`bs_position_error` [m] and `interpolated`. Values that cannot be meant are all found, and told in one error or counted:
phones, drive-test tools and spreadsheets write numbers for "unknown" (-1, 0/0, 2147483647), units into fields, dates
for names. `columns.json` says what each quantity may be and what these look like.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple

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
#: What a row may do without: such a field that cannot be meant is emptied, where others have their row rejected.
OPTIONAL = {"rssi", "nsinr", "nrsrq", "bs_lat", "bs_lon", "bs_h", "bs_azimuth", "bs_power"}
#: What makes two rows measurements of the same link.
LINK = ["campaign", "ue_lat", "ue_lon", "bs_id"]
#: Measurements of a link so far apart [dB] are hardly of one cell; positions of a cell nearer than this [m] are one.
FAR_APART, SAME_MAST = 20.0, 1.0
#: Ranges of columns, their other names, words and numbers for "unknown", forms of text and of destroyed names.
KNOWN: dict[str, Any] = json.loads(files("rfloc.datasets").joinpath("columns.json").read_text(encoding="utf-8"))
LEAVE = "leave the field empty where it is unknown or was not measured"
#: Greatest NRSRQ, of a cell that sends one port's reference signals alone [dB], and NRSRP of LTE and NB-IoT [dBm]; what
#: reports in whole dB, RSSI in steps of two, differ by [dB] (none of 26,535 rows of Rome, three of 58,684 of Oslo do).
GREATEST_NRSRQ, GREATEST_NRSRP, ROUNDING = -10 * np.log10(2), -44.0, 2.0


class Fault(NamedTuple):
    """One kind of value that cannot be meant."""

    values: pd.DataFrame  #: the rows where it stands, and the columns, as they are called here; may be empty
    why: str
    mend: str


def plain(name: object) -> str:
    """A column's name as it is compared: `RSRP [dBm]` is rsrp."""
    return re.sub(r"[\[(].*?[\])]|[^a-z0-9]", "", str(name).lower())


def blank(column: pd.Series) -> pd.Series:
    """Whether fields are empty, or hold a word for that."""
    return column.isna() | column.astype(str).str.strip().str.lower().isin(KNOWN["empty"])


def refuse(faults: Iterable[Fault], file: str, mend: str, called: Mapping[str, str], at: tuple[str, int]) -> None:
    """Raise one DataError that names every fault: columns as `called` in the file, its row 0 as number `at[1]`."""
    lines = []
    for values, why, its_mend in faults:
        if len(values):
            row = values.iloc[0].astype(object).fillna("")
            first = [value if isinstance(value, str) else f"{value:.12g}" for value in row]
            column, value = " and ".join(called.get(name, name) for name in values), " and ".join(map(repr, first))
            where = f"{at[0]} {values.index[0] + at[1]}" + f" and {len(values) - 1} more" * (len(values) > 1)
            lines.append(f"column {column} of {file} is {value} in {where}: {why}; {its_mend}")
    if lines:
        raise DataError("\n".join(lines), f"kinds of values that cannot be meant: {len(lines)}", mend)


def numbers(raw: pd.DataFrame, names: Mapping[str, str]) -> tuple[pd.DataFrame, list[Fault]]:
    """Columns of a file as floats under our names (`names`: ours -> the file's), NaN where empty or text; such text."""
    found, faults = {}, []
    for ours, theirs in names.items():
        said = raw[theirs][~blank(raw[theirs])]
        value = pd.to_numeric(said, errors="coerce").astype(float)
        found[ours] = value.reindex(raw.index)
        text = said[value.isna()].astype(str).str.strip().to_frame(ours)
        for pattern, why, mend in KNOWN["texts"]:
            faults.append(Fault(text[text[ours].str.fullmatch(pattern)], why, f"{mend}; {LEAVE}"))
            text = text.drop(faults[-1].values.index)
    return pd.DataFrame(found, index=raw.index), faults


def beyond(
    table: pd.DataFrame, whole: Iterable[str], called: Mapping[str, str], ranges: Mapping[str, Any] = KNOWN["ranges"]
) -> Iterator[Fault]:
    """Numbers outside of what is ever reported, and fractions in the columns `whole`; `called` as of :func:`refuse`."""
    for name in filter(ranges.__contains__, table):
        low, high, unit, under, over = ranges.get(plain(called.get(name, name)), ranges[name])
        value = table[name]
        word = value.abs().isin(KNOWN["unknown"]) & ~value.between(low, high)
        yield Fault(table.loc[word, [name]], f"'unknown' as a number, not in [{low:g}, {high:g}] {unit}", LEAVE)
        yield Fault(table.loc[(value < low) & ~word, [name]], f"under {low:g} {unit}", f"{under}; {LEAVE}")
        yield Fault(table.loc[(value > high) & ~word, [name]], f"over {high:g} {unit}", f"{over}; {LEAVE}")
    mend = "write a whole number, and check that columns are not exchanged"
    for name in whole:
        yield Fault(table.loc[table[name] % 1 > 0, [name]], "not whole, but it numbers things", mend)


def at_odds(table: pd.DataFrame, resource_blocks: int, *, nr: bool = False) -> Iterator[Fault]:
    """Rows whose RSSI, NRSRP and NRSRQ [dBm, dBm, dB] contradict each other: NRSRQ = N_RB NRSRP / RSSI (TS 36.214).

    A level that only NR reports, too, unless it is `nr`, or RSSI bears it out.
    """
    levels = ["nrsrp", "rssi", "nrsrq"]
    nrsrp, rssi, nrsrq = (table[name] for name in levels)
    implied = 10 * np.log10(resource_blocks) + nrsrp - rssi
    least = KNOWN["ranges"]["ssrsrq" if nr else "nrsrq"][0]
    odd = implied.notna() & ~implied.between(least - ROUNDING, GREATEST_NRSRQ + ROUNDING)
    mend = f"leave empty what stands for unknown, or set radio.resource_blocks, now {resource_blocks}, to the table's"
    if np.isfinite(blocks := 10 ** ((nrsrq - nrsrp + rssi).median() / 10)):
        mend += f", {blocks:.0f} in the median row"
    said = f"10 lg({resource_blocks}) + NRSRP - RSSI"
    yield Fault(table.loc[odd, levels[:2]], f"NRSRQ = {said} lies in [{least}, -3] dB, -3 in an empty cell", mend)
    why = f"NRSRQ is not {said} within {ROUNDING:g} dB"
    yield Fault(table.loc[~odd & ((nrsrq - implied).abs() > ROUNDING), levels], why, mend)
    alone = rssi.isna() & (nrsrp > GREATEST_NRSRP) & (not nr)
    why = f"over {GREATEST_NRSRP:g} dBm, more than LTE and NB-IoT report, and no RSSI bears it out"
    yield Fault(table.loc[alone, ["nrsrp"]], why, f"{LEAVE}; call the column ss_rsrp where it is NR's")


def unknown_poses(table: pd.DataFrame) -> Iterator[Fault]:
    """Positions that are 0 or -1, or half there, and azimuths that are 0 in most cells."""
    for at in (table[["ue_lat", "ue_lon"]], table[["bs_lat", "bs_lon"]]):
        yield Fault(at[at.isin([0, -1]).all(axis=1)], "'unknown' as numbers", LEAVE)
        yield Fault(at[at.isna().sum(axis=1) == 1], "half a position", f"fill it in, or {LEAVE}")
    north = table["bs_azimuth"][~table["bs_id"].duplicated()].dropna() == 0
    if north.sum() > max(2, len(north) / 2):
        mend = f"write 360 where north is meant; {LEAVE}"
        yield Fault(table.loc[table["bs_azimuth"] == 0, ["bs_azimuth"]], "north in most cells, or 'unknown'", mend)


def destroyed(ids: pd.Series) -> Iterator[Fault]:
    """Names of cells that lost what told them apart, in a spreadsheet or as a float."""
    mend = "export again from the source, and format the column as text before a spreadsheet opens it"
    for pattern, among, why in KNOWN["destroyed"]:
        found = ids[ids.str.fullmatch(pattern)]
        if not among or len(found) == ids.str.fullmatch(among).sum():
            yield Fault(found.to_frame(), why, mend)
    digits = pd.Series(ids[ids.str.fullmatch(r"\d+")].unique(), dtype=object)
    twins = digits[digits.str.lstrip("0").duplicated(keep=False)]
    yield Fault(ids[ids.isin(twins)].to_frame(), "another cell's name but for leading zeros", mend)


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

    A row has a UE, at a position rounded to `DECIMALS`, a cell, a level; `power_dbm` is that of cells for which the
    rows say none, the rest as of :func:`rfloc.schema.links_dataset`. UEs are sorted by campaign and position, cells by
    name; the report counts rows. Raises DataError if a cell has two positions, heights, azimuths or powers.
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
    """What `links_dataset` asks of cells, a field from any row that says it; how many have several positions."""
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
