"""Numbers of results/<scale>: those that the book's prose shows, and how far another machine may end from them.

Prose holds no number of ours: it writes `{{ rows.C_A.unknown.text }}`, and `substitutions` fills that in from
results/<scale>/. A key that does not exist there stops the build, which takes warnings as errors. What results/<scale>
is expected to say stands in expected/<scale>.json.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rfloc import config, files
from rfloc.errors import BookError, DataError
from rfloc.evaluation.tables import STREETS, TRIVIAL, Row

#: The page whose sub-pages are the experiments of params.yaml.
TRAINING = "07-2-training"
REALITY = {
    "hidden": "a simulated reality, made with hidden parameters that no localizer is told",
    "nbiot": "published NB-IoT measurements",
    "table": "a table that this copy's maker brought",
}
Records = dict[str, dict[str, Any]]


def _rows(path: Path) -> dict[str, Row]:
    """Rows of table1.json by key."""
    rows = {}
    for row in files.load_json(path).get("rows", []):
        try:
            rows[row["key"]] = Row.from_json(row)
        except (KeyError, TypeError) as error:
            said = f"{path}: row {row.get('key')!r} is incomplete"
            raise BookError(said, str(error), "run `dvc repro --force results`") from None
    if not rows:
        raise BookError(f"{path} has no rows", "Table 1 has one a localizer", "run `dvc repro`")
    return rows


def _records(results: Path, params: config.Params) -> Records:
    """Records of one scale, by stage; of training, those of the experiments that params.yaml names."""
    read = {path.stem: files.load_json(path) for path in sorted((results / "provenance").glob("*.json"))}
    others = {stage for stage in read if stage.startswith("train-")} - {f"train-{key}" for key in params.experiments}
    found = {k: v for k, v in read.items() if k not in others and "packages" in v}  # not those recorded afterwards
    if not found:
        raise BookError(f"{results / 'provenance'} is empty", "every stage leaves a record there", "run `dvc repro`")
    return found


def revision(record: dict[str, Any]) -> str:
    """Short git revision of a record, marked where the code had changed since."""
    return (record["revision"] or "no git")[:7] + ("+changes" if record["dirty"] else "")


def page_of(record: dict[str, Any]) -> str:
    """Name of the page that a stage made: its notebook's, with the experiment where there is one."""
    stem, stage = Path(record["notebook"]).stem, record["stage"]
    return f"{stem}-{stage.removeprefix('train-')}" if stem == TRAINING else stem


def substitutions(root: Path) -> dict[str, Any]:
    """What prose may name in double braces; `best` leaves oracles out (BookError, DataError: a result is missing)."""
    params = config.read(root / "params.yaml")
    results = root / "results" / params.scale
    rows = _rows(results / "table1.json")
    contest = [row for row in rows.values() if not row.oracle]
    records = _records(results, params)
    benchmarks = sorted((root / "results/benchmarks").glob("*.json"))
    study = files.load_json(results / "seeds.json") if (results / "seeds.json").is_file() else {}
    return {
        "scale": params.scale, "params": params.model_dump(), "home": params.cities[params.campaign.cities[0]].name,
        "reality": REALITY[params.campaign.kind], "rows": rows, "study": study, "records": records,
        "best": {s: min(contest, key=lambda row: row.on(s).mean) for s in STREETS},
        "headline": files.load_json(results / "headline.json"),
        "departures": files.load_json(results / "departures.json"),
        "benchmarks": {path.stem: files.load_json(path) for path in benchmarks},
    }  # fmt: skip


def _toc(book: Path, experiments: list[str]) -> dict[str, Any]:
    """book/_toc.yml with the experiments of params.yaml as sub-pages of the training chapter."""
    toc = yaml.safe_load((book / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    for page in [*chapters, *(page for chapter in chapters for page in chapter.get("sections", []))]:
        if page["file"] == TRAINING:
            page["sections"] = [{"file": f"executed/{TRAINING}-{key}"} for key in experiments]
    named = re.findall(r"file: (\S+)", yaml.safe_dump(toc))
    missing = [name for name in named if not any((book / f"{name}{end}").exists() for end in (".md", ".ipynb"))]
    if missing:
        raise BookError(f"pages of the book are missing: {', '.join(missing)}", f"looked in {book}", "run `dvc repro`")
    return toc


def build_book(root: str | Path) -> Path:
    """Build the book, give its folder of pages (BookError or DataError: something is missing, or Sphinx warns)."""
    root = Path(root).resolve()
    book, build = root / "book", root / "book" / "_build"
    substitutions(root)
    toc = _toc(book, list(config.read(root / "params.yaml").experiments))
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
        raise BookError("the book did not build", "\n        ".join(lines or [said[-2000:]]), "mend the pages named")
    return build / "html"


#: Share of an error by which it may differ, by what made it. What is looked up in measurements is exact but for
#: rounding; levels that rays made move lookups a little, posteriors more; training ends elsewhere on other processors.
SHARE = {"measured": 1e-6, "lookup": 0.01, "model": 0.05, "network": 0.2}
#: By how much a correlation, or a ratio of residuals, may differ.
CORRELATION = 0.03


#: A number of results, what the paper prints for it, and by how much it may differ.
Number = tuple[float, float | None, float]


def _numbers(results: Path) -> Iterator[tuple[str, Number]]:
    """Mean errors and UEs of errors.json, correlations of calibration.json, ratios of levels.json, as far as made."""
    made = {path.stem: files.load_json(path) for path in results.glob("*.json")}
    cities = made.get("measurements", {})
    measured = {"oslo", "rome"} | {key for key, city in cities.items() if city["source"].startswith("measured")}
    for row in made.get("errors", {"rows": []})["rows"]:
        key = row["experiment"] or row["localizer"]
        lookup = "measured" if row["city"] in measured else "lookup"
        kind = "network" if row["experiment"] else lookup if key in TRIVIAL or key.startswith("knn") else "model"
        name = "/".join([*(row[part] for part in ("city", "split", "positions", "street")), key])
        yield name, (row["mean"], row["paper"], SHARE[kind] * row["mean"])
        yield f"{name}/UEs", (row["n_ue"], None, 0.0)
    for file, groups, value in (("calibration", "mean", "rho"), ("levels", "models", "ratio")):
        held = made.get(file, {groups: {}})[groups]
        for name, found in ((f"{file}/{k}", v) for k, v in held.items() if isinstance(v, dict)):
            told = {k: v[value] for k, v in found.items() if v[value] is not None}
            yield from ((f"{name}/{k}", (number, None, CORRELATION)) for k, number in told.items())


def expect(root: Path, scale: str) -> Path:
    """Write down what results/<scale> says now (raises DataError where it says nothing)."""
    found = {k: {"expected": n[0], "tolerance": n[2]} for k, n in _numbers(root / "results" / scale)}
    if not found:
        raise DataError(f"results/{scale} holds no numbers to expect", "no stage has run at this scale", "`dvc repro`")
    return files.save_json(found, root / "expected" / f"{scale}.json")


def compared(root: Path, scale: str) -> list[dict[str, Any]]:
    """Every number: `name scale paper expected ours tolerance verdict`, which is within, off, missing here, or new."""
    path = root / "expected" / f"{scale}.json"
    wanted, rows = files.load_json(path) if path.is_file() else {}, []
    found = dict(_numbers(root / "results" / scale))
    for name in wanted | found:
        ours, paper, _ = found.get(name, (None, None, None))
        want = wanted.get(name, {"expected": None, "tolerance": None})
        verdict = "missing" if ours is None else "new"
        if ours is not None and name in wanted:
            verdict = "within" if abs(ours - want["expected"]) <= want["tolerance"] else "off"
        rows.append({"name": name, "scale": scale, "paper": paper, "ours": ours, **want, "verdict": verdict})
    return rows


def require_expected(rows: list[dict[str, Any]]) -> str:
    """How many numbers are as expected, in words (else a DataError names those that are off or missing)."""
    wrong = [row for row in rows if row["verdict"] in ("off", "missing")]
    if wrong:
        text = "{name} {ours}, expected {expected} ± {tolerance}, paper {paper}"
        said, mend = "; ".join(text.format(**row) for row in wrong[:10]), "if that is meant, `rfloc verify --expect`"
        raise DataError(f"{len(wrong)} of {len(rows)} numbers are not as expected: {said}", "", mend)
    new = sum(row["verdict"] == "new" for row in rows)
    return f"{len(rows) - new} numbers within their tolerance; {new} of which nothing is expected"
