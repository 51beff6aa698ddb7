"""The book: the numbers its prose shows, the build with warnings as errors, and the check of the finished pages.

Prose holds no number of ours: it writes `{{ rows.C_A.unknown.text }}`, and `substitutions` fills that in from
results/<scale>/. A key that does not exist there stops the build.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rfloc import config
from rfloc.errors import BookError
from rfloc.evaluation.tables import STREETS, Row, metres
from rfloc.pipeline.pages import book_problems

#: What of a provenance record the book prints.
RECORD = ("stage", "notebook", "revision", "dirty", "packages", "machine", "wall_time_s", "peak_memory_mib")
#: The page whose sub-pages are the experiments of params.yaml.
TRAINING = "07-2-training"
_INDENT = "\n        "
REALITY = {
    "hidden": "a simulated reality, made with hidden parameters that no localizer is told",
    "nbiot": "published NB-IoT measurements",
    "table": "a table that this copy's maker brought",
}


def read_json(path: Path) -> Any:
    """Read one results file (raises BookError if it is missing or no JSON)."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise BookError(f"{path} is missing", "the book's prose takes its numbers from it", "run `dvc repro`") from None
    except json.JSONDecodeError as error:
        raise BookError(f"{path} is not valid JSON", str(error), "run `dvc repro --force` for its stage") from None


def _rows(path: Path) -> dict[str, Row]:
    """Rows of table1.json by key."""
    rows = {}
    for row in read_json(path).get("rows", []):
        try:
            rows[row["key"]] = Row.from_json(row)
        except (KeyError, TypeError) as error:
            raise BookError(
                f"{path}: row {row.get('key')!r} is incomplete", str(error), "run `dvc repro --force results`"
            ) from None
    if not rows:
        raise BookError(f"{path} has no rows", "Table 1 has one a localizer", "run `dvc repro`")
    return rows


def _markdown(header: list[str], rows: list[list[str]], caption: str, name: str, left: int = 1) -> str:
    """A captioned MyST table, its first `left` columns left-aligned."""
    rule = [":--"] * left + ["--:"] * (len(header) - left)
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]
    return "\n".join(["```{table} " + caption, f":name: {name}", "", *lines, "```"])


def _table1(rows: dict[str, Row], level: float) -> str:
    cells = [
        [row.label, *(metres(s.mean, s.lo, s.hi) for s in (row.known, row.unknown)),
         metres(row.paper_known), metres(row.paper_unknown)]
        for row in rows.values()
    ]  # fmt: skip
    header = ["localizer", "known streets", "unknown streets", "paper, known", "paper, unknown"]
    what = f"Mean error [m] with its {100 * level:g} % interval"
    caption = f"{what}, every row on the same crops; the paper's, on its own crops."
    return _markdown(header, cells, caption, "tab-front")


def _experiments(params: config.Params) -> str:
    names = {"init": "untrained", **{key: item.label for key, item in params.experiments.items()}}
    data, schedules = {"Bp": "B′"}, {"wsd": "warm-up, stable, decay", "linear": "linear decay"}
    rows = [
        [item.label, names[item.start], data.get(item.data, item.data), f"{item.samples:,}", schedules[item.schedule]]
        for item in params.experiments.values()
    ]
    header = ["experiment", "starts from", "trains on", "samples", "schedule"]
    return _markdown(header, rows, "Experiments at this scale", "tab-experiments", left=3)


def provenance(results: Path) -> dict[str, dict[str, Any]]:
    """Provenance records of one scale, by stage (raises BookError if there are none)."""
    found = {path.stem: read_json(path) for path in sorted((results / "provenance").glob("*.json"))}
    if not found:
        raise BookError(f"{results / 'provenance'} is empty", "every stage leaves a record there", "run `dvc repro`")
    for stage, record in found.items():
        missing = [key for key in RECORD if key not in record]
        if missing:
            raise BookError(f"provenance of stage {stage!r} lacks {', '.join(missing)}", "the book prints them")
    return found


def revision(record: dict[str, Any]) -> str:
    """Short git revision of a record, marked where the code had changed since."""
    return (record["revision"] or "no git")[:7] + ("+changes" if record["dirty"] else "")


def page_of(record: dict[str, Any]) -> str:
    """Name of the page that a stage made: its notebook's, with the experiment where there is one."""
    stem, stage = Path(record["notebook"]).stem, record["stage"]
    return f"{stem}-{stage.removeprefix('train-')}" if stem == TRAINING else stem


def _stages(records: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            f"[{stage}](executed/{page_of(r)})",
            f"`{revision(r)}`",
            f"{r['wall_time_s']:.1f}",
            f"{r['peak_memory_mib']:.0f}",
        ]
        for stage, r in sorted(records.items(), key=lambda item: page_of(item[1]))
    ]
    header = ["stage", "revision", "time [s]", "peak memory [MiB]"]
    return _markdown(header, rows, "Stages that made this book", "tab-provenance", left=2)


def _packages(records: dict[str, dict[str, Any]]) -> str:
    """Versions (several where stages differ), and the machines, as a paragraph."""
    found: dict[str, set[str]] = {}
    for record in records.values():
        for name, version in record["packages"].items():
            found.setdefault(name, set()).add(version)
    places = [record["machine"] for record in records.values()]
    machines = {f"{place['cpu']}, {place['cores']} cores, {place['system']}" for place in places}
    versions = ", ".join(f"{name} {' and '.join(sorted(versions))}" for name, versions in found.items())
    return f"Packages: {versions}. Machine: {'; '.join(sorted(machines))}."


def substitutions(root: Path) -> dict[str, Any]:
    """Everything that the book's prose may name in double braces.

    Returns
    -------
    dict
        `scale`, `params` (as in params.yaml), `home`, `reality`, `rows` (Table 1 by key), `best` (by street, the row
        with the lowest mean; oracles left out), `headline`, `departures` (departures.json), `benchmarks`
        (results/benchmarks by name), `records` (provenance by stage), and the rendered blocks `table1`, `experiments`,
        `provenance` and `packages`.

    Raises
    ------
    BookError
        If a results file, or a key that every book needs, is missing.
    """
    params = config.read(root / "params.yaml")
    results = root / "results" / params.scale
    rows = _rows(results / "table1.json")
    contest = [row for row in rows.values() if not row.oracle]
    records = {
        stage: record
        for stage, record in provenance(results).items()
        if not stage.startswith("train-") or stage.removeprefix("train-") in params.experiments
    }
    return {
        "scale": params.scale,
        "params": params.model_dump(),
        "home": params.cities[params.campaign.cities[0]].name,
        "reality": REALITY[params.campaign.kind],
        "rows": rows,
        "best": {s: min(contest, key=lambda row: getattr(row, s).mean) for s in STREETS},
        "headline": read_json(results / "headline.json"),
        "departures": read_json(results / "departures.json"),
        "benchmarks": {path.stem: read_json(path) for path in sorted((root / "results/benchmarks").glob("*.json"))},
        "table1": _table1(rows, params.evaluation.level),
        "experiments": _experiments(params),
        "records": records,
        "provenance": _stages(records),
        "packages": _packages(records),
    }


def _toc(book: Path, experiments: list[str]) -> dict[str, Any]:
    """book/_toc.yml with the experiments of params.yaml as sub-pages of the training chapter."""
    toc = yaml.safe_load((book / "_toc.yml").read_text())

    def pages(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for item in items:
            yield item
            yield from pages(item.get("sections", []))

    every = [item for part in toc["parts"] for item in pages(part["chapters"])]
    for item in every:
        if item["file"] == TRAINING:
            item["sections"] = [{"file": f"executed/{TRAINING}-{key}"} for key in experiments]
    files = [item["file"] for part in toc["parts"] for item in pages(part["chapters"])]
    missing = [name for name in files if not any((book / f"{name}{suffix}").exists() for suffix in (".md", ".ipynb"))]
    if missing:
        raise BookError(f"pages of the book are missing: {', '.join(missing)}", f"looked in {book}", "run `dvc repro`")
    return toc


def build_book(root: str | Path) -> Path:
    """Build the book of a project in which the pipeline has run, and check it.

    Parameters
    ----------
    root : str or Path
        Project folder; book/executed/ and results/<scale>/ are filled.

    Returns
    -------
    Path
        Folder of the pages, book/_build/html; the first is index.html.

    Raises
    ------
    BookError
        If a page or a number is missing, Sphinx warns of anything, or the finished pages have a defect.
    """
    root = Path(root).resolve()
    book, build = root / "book", root / "book" / "_build"
    params = config.read(root / "params.yaml")
    substitutions(root)
    toc = _toc(book, list(params.experiments))
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    (build / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False, allow_unicode=True))
    main = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["-W", "-n", "--keep-going", "-q", "--toc", str(build / "_toc.yml")]
    command = [sys.executable, "-c", main, "build", str(book), *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).replace(f"{root}/", "")
        lines = [line for line in said.splitlines() if re.search(r"WARNING|ERROR|CRITICAL", line)]
        raise BookError("the book did not build", _INDENT.join(lines or [said[-2000:]]), "mend the pages named")
    html = build / "html"
    check_book(html)
    return html


def check_book(html: str | Path) -> None:
    """Raise BookError that lists every defect which `book_problems` finds."""
    problems = book_problems(html)
    if problems:
        many = "s" * (len(problems) > 1)
        raise BookError(f"the book has {len(problems)} defect{many}", _INDENT.join(problems), "mend the pages named")
