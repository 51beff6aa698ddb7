"""Tables of the book that are made when it is built, of any scale that results/ holds: the paper's, and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rfloc import files
from rfloc.evaluation.paper import Cell, paper_says, printed_cells
from rfloc.evaluation.tables import metres
from rfloc.evaluation.verdicts import verdicts
from rfloc.pipeline import book

NOT_RUN = "not run"


def made(results: Path, stage: str) -> str:
    """`scale demo, revision 1234567, 28 November`: what made the numbers of a stage; empty where nothing says so."""
    path = results / "provenance" / f"{stage}.json"
    if not path.is_file():
        return f"scale {results.name}"
    record = files.load_json(path)
    when = f", {record['started_at'][:10]}" if "started_at" in record else ""
    return f"scale {results.name}, revision {book.revision({'dirty': False} | record)}{when}"


def _ours(rows: list[dict[str, Any]], cell: Cell) -> str:
    """Our mean error for a printed cell; Table 2 names no streets, so that unknown ones stand for it."""
    wanted = {"city": cell.city, "street": cell.street or "unknown", "split": "fixed", "positions": "stated"}
    for row in rows:
        if (row["experiment"] or row["localizer"]) == cell.key and wanted.items() <= row.items():
            return metres(row["mean"], row["lo"], row["hi"])
    return NOT_RUN


def printed_table(results: Path, table: str, name: str) -> str:
    """A table of the paper as printed, ours beside every number."""
    path = results / "errors.json"
    rows = files.load_json(path)["rows"] if path.is_file() else []
    cells = [cell for cell in printed_cells() if cell.table == table]
    columns = list(dict.fromkeys(cell.column for cell in cells))
    if len(columns) > 2:  # too wide: a line a cell
        header = ["pretraining", "real data", "paper", "here"]
        lines = [[c.row, c.column, f"{c.error:.1f}", _ours(rows, c)] for c in cells]
        left = 2
    else:
        header = [
            "row",
            *(f"{column.removesuffix(' streets')}, {who}" for column in columns for who in ("paper", "here")),
        ]
        lines, left = [], 1
        for label in dict.fromkeys(cell.row for cell in cells):
            mine = {c.column: [f"{c.error:,.1f}", _ours(rows, c)] for c in cells if c.row == label}
            lines.append([label, *(text for column in columns for text in mine.get(column, ["–", "–"]))])
    title = f"Table {table} of the paper: {paper_says()['captions'][table]}"
    caption = f"{title}. Mean error [m]; here: {made(results, 'results')}; *not run*: not run at this scale"
    return book.markdown(header, lines, caption, name, left)


def verdict_table(results: Path, name: str) -> str:
    """Every claim, what the paper and we have, and what that says."""
    lines = [[v.where, v.claim, v.paper, v.ours, f"**{v.verdict}**", v.why] for v in verdicts(results)]
    header = ["section", "claim", "paper", "here", "verdict", "why"]
    count = {said: sum(line[4] == f"**{said}**" for line in lines) for said in ("reproduced", "not reproduced")}
    counted = f"{count['reproduced']} reproduced, {count['not reproduced']} not, of {len(lines)}"
    return book.markdown(
        header, lines, f"Claims of the paper: {counted}; {made(results, 'results')}", name, len(header)
    )


def cost_table(results: Path, name: str) -> str:
    """What simulation and calibration cost here, in the paper's unit: jobs of 10,000 links of a station and a UE."""
    held = files.load_json(results / "simulation.json")
    links = {kind: [c["stations"] * c["ues"] for c in held[kind].values()] for kind in ("B", "C") if held.get(kind)}
    lines = []
    for stage, kinds in {"simulation": ("B", "C"), "calibration": ("B",)}.items():
        path = results / "provenance" / f"{stage}.json"
        record = files.load_json(path) if path.is_file() else {}
        if "wall_time_s" in record:
            many, minutes = sum(sum(links.get(kind, [])) for kind in kinds), record["wall_time_s"] / 60
            what = {"simulation": "B and C", "calibration": "poses, then B′"}[stage]
            cores, memory = record["machine"]["cores"], record["peak_memory_mib"] / 1024
            lines.append([what, f"{many:,}", f"{many / 10_000:.0f}", f"{minutes:.1f}", f"{memory:.1f}", f"{cores}"])
    header = ["datasets", "links", "jobs of 10,000", "time [min]", "memory [GiB]", "cores"]
    return book.markdown(header, lines, f"Cost of simulation; {made(results, 'simulation')}", name)
