"""Who made this: a JSON file a stage, written after its notebook ran, and the line under a figure that points to it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from rfloc import backend, files
from rfloc.config import project_root
from rfloc.errors import DataError

#: Environment variable by which the runner tells a notebook its stamp.
STAMP = "RFLOC_STAMP"

#: Packages whose version can change a number in results/.
PACKAGES = (
    "rfloc", "torch", "lightning", "transformers", "sionna-rt", "mitsuba", "drjit", "karellen-llvm-core", "numpy",
    "scipy", "xarray", "zarr", "scikit-learn", "shapely", "geopandas", "rasterio", "dvc", "papermill", "nbclient",
)  # fmt: skip

#: What makes the code: a change here, and the revision no longer tells what ran.
_CODE = ("rfloc", "notebooks", "dvc.yaml", "constraints.txt", "pyproject.toml")


@dataclass
class Record:
    """The provenance of one run of a stage."""

    root: Path
    stage: str
    scale: str
    content: dict[str, Any]
    wall_time: float = 0.0  #: [s]
    peak_memory: int = 0  #: [KiB]
    _start: float = field(default_factory=time.monotonic)

    @property
    def stamp(self) -> str:
        """Stage, parameters and revision in one line."""
        return _line(self.content)

    def finish(self) -> Path:
        """Add time and memory, and write results/<scale>/provenance/<stage>.json."""
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.wall_time = time.monotonic() - self._start
        self.peak_memory = peak // 1024 if sys.platform == "darwin" else peak
        self.content |= {"wall_time_s": round(self.wall_time, 1), "peak_memory_mib": round(self.peak_memory / 1024)}
        return files.save_json(self.content, path_of(self.root, self.scale, self.stage))


def path_of(root: Path, scale: str, stage: str) -> Path:
    """Where a stage's provenance lies."""
    return root / "results" / scale / "provenance" / f"{stage}.json"


def begin(
    root: Path, stage: str, notebook: Path, scale: str, parameters: Mapping[str, Any], deps: Sequence[str] = ()
) -> Record:
    """Note what is about to run: parameters, revision, inputs by hash, versions, machine.

    Raises
    ------
    DataError
        If an input named in `deps` does not exist.
    """
    revision, dirty = revision_of(root)
    content = {
        "stage": stage,
        "scale": scale,
        "notebook": notebook.relative_to(root).as_posix(),
        "parameters": dict(parameters),
        "parameters_hash": parameters_hash(parameters),
        "revision": revision,
        "dirty": dirty,
        "inputs": {notebook.relative_to(root).as_posix(): _md5(notebook)} | input_hashes(root, deps),
        "packages": versions(),
        "backend": {k: v for k, v in backend.describe().items() if k in ("backend", "llvm")},
        "machine": machine(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Record(root, stage, scale, json.loads(json.dumps(content, default=str)))


def stamp(scale: str, stage: str) -> str:
    """The line under a figure: stage, hash of its parameters, git revision.

    In a notebook that the runner executes, this run; elsewhere, the last recorded run of that stage, or a plain
    statement that there is none.
    """
    own = os.environ.get(STAMP, "")
    if own.startswith(f"{stage} "):
        return own
    path = path_of(project_root(), scale, stage)
    return _line(files.load_json(path)) if path.exists() else f"{stage} · scale {scale} · run by hand, not recorded"


def figure_caption(text: str, scale: str, stage: str) -> str:
    """A caption with the stamp of the stage that made the figure."""
    return f"{text.rstrip()} [{stamp(scale, stage)}]"


def _line(content: Mapping[str, Any]) -> str:
    revision = (content["revision"] or "no git")[:7] + ("+changes" if content["dirty"] else "")
    return (
        f"{content['stage']} · scale {content['scale']} · parameters {content['parameters_hash']} · revision {revision}"
    )


def parameters_hash(parameters: Mapping[str, Any]) -> str:
    """First 10 hex digits of the SHA-256 of the parameters as canonical JSON."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:10]


def revision_of(root: Path) -> tuple[str | None, bool]:
    """Git revision of the project and whether its code differs from it; (None, True) outside git."""
    try:
        done = [
            subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
            for args in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", *_CODE))
        ]
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None, True
    return done[0], bool(done[1])


def input_hashes(root: Path, deps: Sequence[str] = ()) -> dict[str, str]:
    """MD5 of the inputs, as DVC recorded them (folders end in `.dir`).

    The inputs are `deps` and, where DVC runs the stage, the stage's dependencies that DVC holds: what earlier stages
    made, and the published files that data.dvc tracks. Code is told by the revision.
    """
    known = dict(_tracked(root))
    hashes: dict[str, str] = {}
    for dep in dict.fromkeys([*deps, *_stage_deps(root)]):
        inside = {path: md5 for path, md5 in known.items() if path == dep or path.startswith(dep.rstrip("/") + "/")}
        if inside:
            hashes |= inside
        elif dep in deps:
            if not (root / dep).is_file():
                raise DataError(
                    f"there is no input {dep}", "its hash belongs in the provenance", "run `dvc repro`, which makes it"
                )
            hashes[dep] = _md5(root / dep)
    return hashes


def _tracked(root: Path) -> Iterator[tuple[str, str]]:
    """(path, md5) of every output that dvc.lock and *.dvc files hold."""
    for file in [*sorted(root.glob("*.dvc")), root / "dvc.lock"]:
        if file.is_file():
            content = yaml.safe_load(file.read_text())
            for stage in content.get("stages", {"": content}).values():
                for out in stage.get("outs", []):
                    if "md5" in out:
                        yield out["path"], out["md5"]


def _stage_deps(root: Path) -> list[str]:
    """Dependencies of the DVC stage that is running this process; none outside DVC."""
    name = os.environ.get("DVC_STAGE", "")
    if not name or Path(os.environ.get("DVC_ROOT", "")).resolve() != root.resolve():
        return []
    from dvc.repo import Repo

    path, _, stage = name.rpartition(":")
    with Repo(root) as repo:
        return [dep.def_path for dep in repo.stage.load_one(path or None, stage).deps]


def versions() -> dict[str, str]:
    """Version of Python and of every installed package in PACKAGES."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """System, CPU model and number of usable cores; nothing that names the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": cores,
    }


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
