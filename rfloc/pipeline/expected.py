"""What results/<scale> is expected to say, expected/<scale>.json, and how far another machine may end from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rfloc import files
from rfloc.errors import DataError
from rfloc.evaluation.tables import TRIVIAL

#: Share of an error by which it may differ, by what made it. What is looked up in measurements is exact but for
#: rounding; levels that rays made move lookups a little, posteriors more; training ends elsewhere on other processors.
SHARE = {"measured": 1e-6, "lookup": 0.01, "model": 0.05, "network": 0.2}
#: By how much a correlation, or a ratio of residuals, may differ.
CORRELATION = 0.03


class Number(NamedTuple):
    """One number of results, what the paper prints for it, and by how much it may differ."""

    ours: float
    paper: float | None
    tolerance: float


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
        yield name, Number(row["mean"], row["paper"], SHARE[kind] * row["mean"])
        yield f"{name}/UEs", Number(row["n_ue"], None, 0.0)
    for file, groups, value in (("calibration", "mean", "rho"), ("levels", "models", "ratio")):
        held = made.get(file, {groups: {}})[groups]
        for name, found in ((f"{file}/{k}", v) for k, v in held.items() if isinstance(v, dict)):
            told = {k: v[value] for k, v in found.items() if v[value] is not None}
            yield from ((f"{name}/{k}", Number(number, None, CORRELATION)) for k, number in told.items())


def expect(root: Path, scale: str) -> Path:
    """Write down what results/<scale> says now (raises DataError where it says nothing)."""
    found = {k: {"expected": n.ours, "tolerance": n.tolerance} for k, n in _numbers(root / "results" / scale)}
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
