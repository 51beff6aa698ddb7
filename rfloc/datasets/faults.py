"""Values of a campaign's files that cannot be meant: all are found, and told in one error or counted.

Phones, drive-test tools and spreadsheets write numbers for "unknown" (-1, 0/0, 2147483647), units into fields, dates
for names. `columns.json` says what each quantity may be and what these look like.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from lzma import LZMAError
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from rfloc.errors import DataError

#: What readers raise at files that are damaged, or no tables.
BROKEN = (ValueError, OSError, EOFError, KeyError, NotImplementedError, BadZipFile, ParseError, zlib.error, LZMAError)
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
    """Raise one DataError that names every fault, if any: column, first value and where, number of rows, mend.

    `called` says what columns are called in the file, where otherwise; row 0 is `at[1]` there, counted in `at[0]`.
    """
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
