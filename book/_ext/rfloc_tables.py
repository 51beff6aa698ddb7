"""Tables of the book that are made when it is built: the paper's, verdicts, experiments, seeds, cost, provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from rfloc import config, files
from rfloc.evaluation.paper import paper_says
from rfloc.evaluation.tables import STREETS, Row, metres
from rfloc.evaluation.verdicts import verdicts
from rfloc.pipeline import book

NOT_RUN = "not run"
NETWORKS = {"map_radioformer": "MapRadioFormer+", "pair": "pair score", "mlp_unet": "MLP+UNet"}


def markdown(header: list[str], rows: list[list[str]], caption: str, name: str, left: int = 1) -> str:
    """A captioned MyST table, its first `left` columns left-aligned."""
    rule = [":--"] * left + ["--:"] * (len(header) - left)
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]
    return "\n".join(["```{table} " + caption, f":name: {name}", "", *lines, "```"])


def front_table(rows: dict[str, Row], level: float) -> str:
    """Mean errors of every row of Table 1."""
    lines = [[row.label, *(metres(s.mean, s.lo, s.hi) for s in map(row.on, STREETS))] for row in rows.values()]
    caption = f"Mean error [m], {100 * level:g} % interval, every row on the same crops"
    return markdown(["localizer", "known streets", "unknown streets"], lines, caption, "tab-front")


def runs(results: Path, params: config.Params) -> dict[str, Any]:
    """What training left of every experiment that ran, its curves as those of a study of one seed.

    Curves have the middle of the streets on their own crops; of measured ones nothing is said of that.
    """
    found = {}
    for key, row in params.experiments.items():
        path = results / "experiments" / f"{key}.json"
        if path.is_file():
            run = files.load_json(path)
            streets = None if row.data in ("A", "oslo") else run["plateau"].get("streets")
            found[key] = run | {"curves": [curve | {"streets": streets} for curve in run["curves"]]}
    return found


def experiments_table(params: config.Params, found: dict[str, Any]) -> str:
    """What is trained on what, at what cost, and what came of it on simulated validation crops."""
    names = {"init": "untrained", **{key: item.label for key, item in params.experiments.items()}}
    rows = []
    for key, row in params.experiments.items():
        network = NETWORKS.get(row.model, row.model)
        data = f"{row.data}, inputs of {row.adapt}" if row.adapt else row.data
        told, run = [network, names[row.start], data.replace("Bp", "B′"), f"{row.samples:,}"], found.get(key)
        if run is None:
            rows.append([row.label, *told, NOT_RUN, "–", "–"])
            continue
        judged = " / ".join(metres(run["plateau"][name]) for name in ("error", "streets")) if run["plateau"] else "–"
        left = {True: "yes", False: "no", None: "not judged"}[run["left_plateau"][0]]
        rows.append([row.label, *told, f"{run['history']['wall_s']:.0f}", judged, left])
    header = ["experiment", "network", "starts from", "trains on", "samples", "time [s]", "error / streets [m]", "left"]
    caption = (
        "Experiments at this scale: time of training; mean error on simulated validation crops and that of the middle"
        " of the streets there; whether the run has left that plateau"
    )
    return markdown(header, rows, caption, "tab-experiments", left=4)


def seeds_table(study: dict[str, Any]) -> str:
    """The study over seeds: how many left the plateau, and errors over seeds, differences from the first row paired."""
    if not study:
        return "*The study over seeds (`make seeds`) has not been run at this scale.*"
    rows, first = [], np.array(next(iter(study.values()))["unknown"])
    for row in study.values():
        left, unknown = row["left_plateau"], np.array(row["unknown"])
        gap = unknown[: len(first)] - first[: len(unknown)]
        differs = len(gap) >= 3 and gap.std() > 0
        paired = metres(gap.mean(), *ttest_1samp(gap, 0).confidence_interval()) if differs else "–"
        errors = [f"{metres(np.mean(v))} ({metres(min(v))} to {metres(max(v))})" for v in (row["known"], unknown)]
        beyond = "not judged" if None in left else f"{left.count(True)} of {len(left)}"
        rows.append([row["label"], beyond, *errors, paired])
    header = ["experiment", "left the plateau", "known streets [m]", "unknown streets [m]", "minus first row"]
    caption = "Mean errors over seeds (lowest to highest); unknown streets minus the first row, paired, 95 % interval"
    return markdown(header, rows, caption, "tab-seeds")


def stages_table(records: book.Records) -> str:
    """Stages by their pages, with revision, time and memory."""
    rows = []
    for stage, r in sorted(records.items(), key=lambda item: book.page_of(item[1])):
        spent = f"{r['wall_time_s']:.1f}", f"{r['peak_memory_mib']}"
        rows.append([f"[{stage}](executed/{book.page_of(r)})", f"`{book.revision(r)}`", *spent])
    header = ["stage", "revision", "time [s]", "peak memory [MiB]"]
    return markdown(header, rows, "Stages that made this book", "tab-provenance", left=2)


def packages_said(records: book.Records) -> str:
    """Versions (several where stages differ), and the machines, as a paragraph."""
    found: dict[str, set[str]] = {}
    for name, version in (item for record in records.values() for item in record["packages"].items()):
        found.setdefault(name, set()).add(version)
    machines = {"{cpu}, {cores} cores, {system}".format(**record["machine"]) for record in records.values()}
    versions = ", ".join(f"{name} {' and '.join(sorted(versions))}" for name, versions in found.items())
    return f"Packages: {versions}. Machine: {'; '.join(sorted(machines))}."


def made(results: Path, stage: str) -> str:
    """`scale demo, revision 1234567, 28 November`: what made the numbers of a stage; empty where nothing says so."""
    path = results / "provenance" / f"{stage}.json"
    if not path.is_file():
        return f"scale {results.name}"
    record = files.load_json(path)
    when = f", {record['started_at'][:10]}" if "started_at" in record else ""
    return f"scale {results.name}, revision {book.revision({'dirty': False} | record)}{when}"


def _ours(rows: list[dict[str, Any]], cell: dict[str, Any]) -> str:
    """Our mean error for a printed cell; Table 2 names no streets, so that unknown ones stand for it."""
    wanted = {"city": cell["city"], "street": cell["street"] or "unknown", "split": "fixed", "positions": "stated"}
    for row in rows:
        if (row["experiment"] or row["localizer"]) == cell["key"] and wanted.items() <= row.items():
            return metres(row["mean"], row["lo"], row["hi"])
    return NOT_RUN


def printed_table(results: Path, table: str, name: str) -> str:
    """A table of the paper as printed, ours beside every number."""
    path = results / "errors.json"
    rows = files.load_json(path)["rows"] if path.is_file() else []
    cells = [cell for cell in paper_says()["cells"] if cell["table"] == table]
    columns = list(dict.fromkeys(cell["column"] for cell in cells))
    if len(columns) > 2:  # too wide: a line a cell
        header = ["pretraining", "real data", "paper", "here"]
        lines = [[c["row"], c["column"], f"{c['error']:.1f}", _ours(rows, c)] for c in cells]
        left = 2
    else:
        short = [column.removesuffix(" streets") for column in columns]
        header = ["row", *(f"{column}, {who}" for column in short for who in ("paper", "here"))]
        lines, left = [], 1
        for label in dict.fromkeys(cell["row"] for cell in cells):
            mine = {c["column"]: [f"{c['error']:,.1f}", _ours(rows, c)] for c in cells if c["row"] == label}
            lines.append([label, *(text for column in columns for text in mine.get(column, ["–", "–"]))])
    title = f"Table {table} of the paper: {paper_says()['captions'][table]}"
    caption = f"{title}. Mean error [m]; here: {made(results, 'results')}; *not run*: not run at this scale"
    return markdown(header, lines, caption, name, left)


def verdict_table(results: Path, name: str) -> str:
    """Every claim, what the paper and we have, and what that says."""
    lines = [[v.where, v.claim, v.paper, v.ours, f"**{v.verdict}**", v.why] for v in verdicts(results)]
    header = ["section", "claim", "paper", "here", "verdict", "why"]
    count = {said: sum(line[4] == f"**{said}**" for line in lines) for said in ("reproduced", "not reproduced")}
    counted = f"{count['reproduced']} reproduced, {count['not reproduced']} not, of {len(lines)}"
    return markdown(header, lines, f"Claims of the paper: {counted}; {made(results, 'results')}", name, len(header))


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
    return markdown(header, lines, f"Cost of simulation; {made(results, 'simulation')}", name)


def tables(root: Path, values: dict[str, Any]) -> dict[str, Any]:
    """All tables of this copy's own scale, by the name that prose calls them; `values` are the book's numbers."""
    own, params = root / "results" / values["scale"], config.read(root / "params.yaml")
    trained = runs(own, params)
    cells = [cell for cell in paper_says()["cells"] if (cell["city"], cell["street"]) == ("home", "unknown")]
    found = {f"paper{table}": printed_table(own, table, f"tab-paper-{table}") for table in paper_says()["captions"]}
    return found | {
        "printed": {cell["key"]: cell["error"] for cell in cells},
        "table1": front_table(values["rows"], params.evaluation.level),
        "runs": trained,
        "experiments": experiments_table(params, trained),
        "seeds": seeds_table(values["study"]),
        "simulation_cost": cost_table(own, "tab-simulation-cost"),
        "verdicts": verdict_table(own, "tab-verdicts"),
        "provenance": stages_table(values["records"]),
        "packages": packages_said(values["records"]),
    }
