"""Checks that results/ is what its stages wrote, with the parameters that params.yaml holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rfloc import config
from rfloc.errors import DataError, NotebookError
from rfloc.pipeline import parameters, provenance

#: What every provenance file says.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "stage": str,
    "scale": str,
    "notebook": str,
    "parameters": dict,
    "parameters_hash": str,
    "revision": (str, type(None)),
    "dirty": bool,
    "inputs": dict,
    "packages": dict,
    "backend": dict,
    "machine": dict,
    "started_at": str,
    "wall_time_s": (int, float),
    "peak_memory_mib": int,
}


def verify(root: Path) -> int:
    """Check results/<scale> against dvc.lock, its provenance against params.yaml; return the number of files checked.

    Raises
    ------
    DataError
        Naming every file that is missing, malformed, changed by hand or made with other parameters.
    """
    params = config.load(root / "params.yaml")
    folder = root / "results" / params.scale
    problems, seen = [], 0
    for path, md5 in _recorded(root, params.scale):
        seen += 1
        if not path.is_file():
            problems.append(f"{path.relative_to(root)} is missing")
        elif hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
            problems.append(f"{path.relative_to(root)} differs from what its stage wrote")
    for path in sorted(folder.rglob("*.json")):
        seen += 1
        try:
            content = json.loads(path.read_text(), parse_constant=_refuse)
        except ValueError as error:
            problems.append(f"{path.relative_to(root)} is no valid JSON: {error}")
            continue
        if path.parent.name == "provenance":
            problems += [f"{path.relative_to(root)}: {what}" for what in _provenance(content, root, params)]
    if not seen:
        problems.append(f"results/{params.scale} holds nothing")
    if problems:
        raise DataError(f"results/{params.scale} cannot be trusted: " + "; ".join(problems), "", "run `dvc repro`")
    return seen


def _recorded(root: Path, scale: str) -> Iterator[tuple[Path, str]]:
    """(path, md5) of the results that dvc.lock records at this scale."""
    lock = root / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.is_file() else {}
    for stage in stages.values():
        for out in stage.get("outs", []):
            if out["path"].startswith(f"results/{scale}/") and not out["md5"].endswith(".dir"):
                yield root / out["path"], out["md5"]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _provenance(content: Any, root: Path, params: config.Params) -> Iterator[str]:
    """What is wrong with one provenance file."""
    if not isinstance(content, dict):
        yield "is no mapping"
        return
    wrong = [name for name, kind in FIELDS.items() if not isinstance(content.get(name, ...), kind)]
    if wrong:
        yield f"{', '.join(wrong)} missing or ill-typed"
        return
    if provenance.parameters_hash(content["parameters"]) != content["parameters_hash"]:
        yield "its parameters are not those of its hash"
    raw = params.model_dump()
    for name, value in content["parameters"].items():
        try:
            source = parameters.source_of(name, raw)
        except NotebookError as error:
            yield error.what
            continue
        now: Any = raw
        for part in source or ():
            now = now[part]
        if source and now != value:
            yield f"was made with {name}={value!r}, params.yaml holds {now!r}"
