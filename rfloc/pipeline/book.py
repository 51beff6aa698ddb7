"""The book: the numbers that its prose shows, and the build with warnings as errors.

Prose holds no number of ours: it writes `{{ rows.C_A.unknown.text }}`, and `substitutions` fills that in from
results/<scale>/. A key that does not exist there stops the build.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from rfloc import config, files
from rfloc.errors import BookError
from rfloc.evaluation.tables import STREETS, Row

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
