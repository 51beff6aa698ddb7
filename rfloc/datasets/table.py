"""A user's own campaign: one table, a row a measurement of one cell at one UE.

`columns.json` says what each column means, and what else it may be called: names count without case, unit and
underscores, RSRP is NRSRP. What is not read is named in the report; -, N/A and the like are empty fields. A file is
Parquet, .xlsx, or text with comma, semicolon (decimals with a point or comma), tab or bar, packed or not. Rows of the
same campaign, UE position and cell are averaged in linear power. `data/toy/campaign.csv` is an example.
"""

from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from rfloc.datasets.rows import (
    DECIMALS,
    KNOWN,
    OPTIONAL,
    Fault,
    Rows,
    at_odds,
    beyond,
    blank,
    destroyed,
    numbers,
    plain,
    refuse,
    unknown_poses,
)
from rfloc.errors import DataError
from rfloc.files import DAMAGED

#: Columns that a table must have; what a text may be packed as.
REQUIRED = ("ue_lat", "ue_lon", "bs_id", "nrsrp")
PACKED = (".gz", ".bz2", ".xz", ".zip")


def _open(path: Path) -> tuple[pd.DataFrame, tuple[str, int]]:
    """A file's table, of a text as it is written, and what its first row is called in the file."""
    packed = next(filter(path.name.lower().endswith, PACKED), "")
    kind = Path(path.name.lower().removesuffix(packed)).suffix
    try:
        if kind in (".csv", ".tsv", ".txt"):
            mark = max(",;\t|", key=lambda mark: pd.read_csv(path, sep=mark, nrows=0).shape[1])
            raw = pd.read_csv(path, sep=mark, dtype=str, index_col=False, skip_blank_lines=False).dropna(how="all")
            return raw.replace(r"^([-+]?\d*),(\d+)$", r"\1.\2", regex=True) if mark == ";" else raw, ("line", 2)
        if kind == ".xlsx" and not packed:
            return pd.read_excel(path, dtype=str), ("row", 2)
        if kind == ".parquet" and not packed:
            return pd.read_parquet(path).reset_index(drop=True), ("row", 1)
    except DAMAGED as error:
        mend = "open and repair it; a text is UTF-8, and its first line names the columns"
        raise DataError(f"{path.name} cannot be read as a table", str(error), mend) from None
    known = f".csv, .tsv and .txt (or packed: {', '.join(PACKED)}), .xlsx and .parquet are"
    raise DataError(f"{path.name} is no table that is read here", known, "unpack it, or convert it to .csv")


def _columns(path: Path, raw: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    """What our columns are called in a file, and its others; DataError if one is missing, or nearly ours."""
    ours = KNOWN["columns"]
    means = {name: one for one, names in KNOWN["same"].items() for name in names} | {plain(one): one for one in ours}
    called: dict[str, str] = {}
    for column in sorted(raw, key=lambda column: column not in ours):  # names as we write them come first
        called.setdefault(means.get(plain(column), ""), column)
    called.pop("", None)
    other = [column for column in raw if column not in called.values()]
    absent = {plain(one): one for one in ours if one not in called}
    likely = {name: one for one in absent.values() for name in KNOWN["likely"].get(one, ())}
    maybe = {column: likely[plain(column)] for column in other if plain(column) in likely}
    found = {column: get_close_matches(plain(column), absent, 1, 0.8) for column in other if column not in maybe}
    near = {column: absent[names[0]] for column, names in found.items() if names}
    missing = [one for one in REQUIRED if one not in called]
    if missing or near:
        what = f"lacks columns {', '.join(missing)}" if missing else f"has columns nearly ours: {', '.join(near)}"
        why = f"it has {', '.join(raw)}; required: {', '.join(REQUIRED)}; ours: {', '.join(ours)}"
        guess = pd.Series(maybe | near, dtype=object)
        renames = ", ".join(f"{' or '.join(guess.index[guess == one])} to {one}" for one in guess.unique()) or "columns"
        if_so = "if that is what they hold (Level and Signal are RSRP in rows of LTE and NR alone; MNC-eNodeB-PCI makes"
        mend = f"rename {renames}, {if_so} a bs_id), or drop them; rfloc/datasets/columns.json explains each"
        raise DataError(f"{path.name} {what}", why, mend)
    return called, [f"{column} ({maybe[column]}?)" if column in maybe else column for column in other]


def read_table(path: Path, resource_blocks: int, *, reject: bool = False) -> Rows:
    """Read a table of the form above, whose NRSRQ is over so many resource blocks.

    Raises DataError if it is unreadable or lacks a column, and one that names all values that cannot be meant. Where
    `reject`, rows with such a value are dropped instead, or an optional field that holds it emptied; both are counted.
    """
    raw, at = _open(path)
    raw.columns = raw.columns.map(str)
    called, other = _columns(path, raw)
    ours = raw[list(called.values())].set_axis(list(called), axis=1)
    rows = Rows(ours, {"rows": len(ours)})
    rows.reject(blank(ours["nrsrp"]), "nrsrp empty")
    rows.require(path.name, "check the export")
    place = rows.table[["ue_lat", "ue_lon"]]
    words = place.apply(lambda said: said.astype(str).str.fullmatch(r"\D+") & ~blank(said)).all(axis=1)
    ours = rows.table[~words]
    table, found = numbers(ours, {name: name for name in ours if name != "bs_id"})
    ids = ours["bs_id"].astype(str).str.strip().mask(blank(ours["bs_id"]))
    table = table.reindex(columns=list(KNOWN["columns"])).assign(bs_id=ids)
    for name in ours.columns.difference([*OPTIONAL]):
        found.append(Fault(ours.loc[blank(ours[name]), [name]], "every row needs it", "fill it in or drop the row"))
    found.append(Fault(place[words], "the columns' names or units again", "delete the line"))
    found += [*beyond(table, ["campaign"], called), *destroyed(table["bs_id"].dropna())]
    for values, *_ in found:  # what is told is not told again
        table.loc[table.index.isin(values.index), list(values)] = np.nan
    nr = plain(called["nrsrp"]).startswith("ss")
    found += [*unknown_poses(table), *at_odds(table, resource_blocks, nr=nr)]
    if not reject:
        mend = "mend the file, or set campaign.reject to true: such rows are dropped, such optional fields emptied"
        refuse(found, path.name, mend, called, at)
    rows.table = table.reindex(rows.table.index)
    rows.settle(found)
    rows.require(path.name, "mend what was rejected")
    lon = rows.table[["ue_lon", "bs_lon"]]
    table = rows.table.assign(**lon.where(lon <= 180, lon - 360)).round({"ue_lat": DECIMALS, "ue_lon": DECIMALS})
    mast = ["bs_lat", "bs_lon"]
    table[mast] = table[mast].fillna(table.groupby("bs_id")[mast].transform("first"))
    rows.table = table.assign(bs_position_source="table", campaign=table["campaign"].fillna(0))
    rows.report |= {"columns_not_read": ", ".join(other)} if other else {}
    for column in (name for name in raw if name not in called.values() and plain(name) in KNOWN["carriers"]):
        mine = raw.loc[table.index, column]
        if (several := mine.nunique()) > 1:
            cells = (mine.groupby(table["bs_id"]).nunique() > 1).sum()
            rows.report[f"values_of_{column}"] = several
            said = f"column {column} has {several} values, like {', '.join(map(str, mine.dropna().unique()[:3]))}"
            mend = "one carrier is simulated, and cells of other carriers and operators want ids of their own"
            rows.notes.append(f"{said}, and {cells} cells have several: {mend}")
    return rows
