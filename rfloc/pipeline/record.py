"""Who made this: a JSON file a stage, written after its notebook ran, and the check that results/ is what they say."""

import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from flatten_dict import flatten
from pydantic_core import from_json

from rfloc import backend, config, files
from rfloc.config import require_composed
from rfloc.errors import DataError
from rfloc.pipeline import inputs

#: What every record says.
FIELDS = (
    "stage", "scale", "notebook", "parameters", "revision", "dirty", "inputs", "packages", "backend",
    "machine", "started_at", "wall_time_s", "peak_memory_mib",
)  # fmt: skip
#: Packages whose version can change a number in results/.
PACKAGES = (
    "rfloc", "torch", "lightning", "transformers", "sionna-rt", "mitsuba", "drjit", "karellen-llvm-core", "numpy",
    "scipy", "xarray", "zarr", "scikit-learn", "shapely", "geopandas", "rasterio", "dvc", "papermill", "nbclient",
)  # fmt: skip
#: What to do with a download that is no clone.
NO_GIT = "clone it, or in its folder: git init && git add -A && git commit -m start (DVC and provenance need git)"
#: Keys of results that say how long something took, or whether it was kept or resumed.
_TIME = re.compile(r"(^|_)(s|seconds)$|^ms_a_ue$|^traced_now$|^resumed_at$")
#: What makes the code: a change here, and the revision no longer tells what ran.
_CODE = ("rfloc", "notebooks", "dvc.yaml", "constraints.txt", "pyproject.toml")


def value_of(params: config.Params, name: str) -> Any:
    """The value of a knob, plain."""
    section, key = config.KNOBS[name]
    return (getattr(params, section) if section else params).model_dump()[key]


def read_by(notebook: Path) -> set[str]:
    """The sections that a page reads: every `P.section` in its code."""
    cells = json.loads(notebook.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return set(re.findall(r"\bP\.(\w+)", code)) & config.Params.model_fields.keys()


def parameters_of(notebook: Path, params: config.Params, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a page's results depend on: the sections that it reads, knob by knob, and what else it declares."""
    read, raw = read_by(notebook), params.model_dump()
    found = {name: value_of(params, name) for name, (section, key) in config.KNOBS.items() if (section or key) in read}
    found |= {name: raw[name] for name in read & {"cities", "experiments"}}
    if "experiment" in values and "experiments" in found:
        found["experiments"] = {values["experiment"]: raw["experiments"][values["experiment"]]}
    return found | {name: value for name, value in values.items() if name not in config.KNOBS}


def begin(root: Path, stage: str, notebook: Path, params: config.Params, values: Mapping[str, Any]) -> dict[str, Any]:
    """Note what is about to run: parameters, revision, inputs by hash, versions, machine."""
    revision, dirty = revision_of(root)
    installed = {found.name: found.version for found in metadata.distributions()}
    packages = {name: installed[name] for name in PACKAGES if name in installed}
    parameters, name = parameters_of(notebook, params, values), notebook.relative_to(root).as_posix()
    return {
        "stage": stage, "scale": params.scale, "notebook": name, "parameters": parameters, "revision": revision,
        "dirty": dirty, "inputs": {name: _md5(notebook)} | _inputs(root),
        "packages": {"python": platform.python_version()} | packages,
        "backend": {k: v for k, v in backend.describe().items() if k in ("backend", "llvm")}, "machine": _machine(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"), "wall_time_s": time.monotonic(),
    }  # fmt: skip


def finish(root: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Add time and memory to what `begin` noted, write results/<scale>/provenance/<stage>.json and return it."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    spent = round(time.monotonic() - content["wall_time_s"], 1)
    content = content | {"wall_time_s": spent, "peak_memory_mib": round(peak)}
    files.save_json(content, root / "results" / content["scale"] / "provenance" / f"{content['stage']}.json")
    return content


def revision_of(root: Path) -> tuple[str | None, bool]:
    """Git revision of the project and whether its code differs from it; (None, True) outside git."""
    revision = _git(root, "rev-parse", "HEAD")
    return revision, revision is None or _git(root, "status", "--porcelain", "--", *_CODE) != ""


def _git(root: Path, *args: str) -> str | None:
    """What git says; None outside of a repository, before its first commit and without git."""
    try:
        return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _inputs(root: Path) -> dict[str, str]:
    """MD5 of what DVC holds and the running stage depends on, SHA-256 of files outside of it; nothing outside DVC."""
    stage = os.environ.get("DVC_STAGE", "")
    if not stage or Path(os.environ.get("DVC_ROOT", "")).resolve() != root.resolve():
        return {}
    from dvc.repo import Repo

    with Repo(root) as repo:
        deps = [dep.def_path for dep in repo.stage.load_one(None, stage.rpartition(":")[2]).deps]
    held = {path: md5 for path, md5 in _held(root) if any(f"{path}/".startswith(f"{dep}/") for dep in deps)}
    return held | inputs.told(root, deps)


def _held(root: Path) -> Iterator[tuple[str, str]]:
    """(path, md5) of every output that dvc.lock and *.dvc files hold."""
    for file in [*sorted(root.glob("*.dvc")), root / "dvc.lock"]:
        content = yaml.safe_load(file.read_text()) if file.is_file() else {}
        for stage in content.get("stages", {"": content}).values():
            yield from ((out["path"], out["md5"]) for out in stage.get("outs", []) if "md5" in out)


def _machine() -> dict[str, Any]:
    """System, CPU model and number of usable cores; nothing that names the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.M)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = models[0].strip() if models else platform.processor()
    return {"system": f"{platform.system()} {platform.machine()}", "cpu": cpu, "cores": cores}


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def verify(root: Path) -> str:
    """Check results/<scale> against dvc.lock, git and params.yaml, say how (ConfigError: conf/ edited; DataError)."""
    params = config.read(root / "params.yaml")
    require_composed(root)
    within, problems, absent, seen = f"results/{params.scale}", list[str](), set[str](), 0
    for path, md5 in _held(root):
        if path.startswith(within + "/"):
            seen += 1
            there = (root / path).is_file()
            if not there or _md5(root / path) != md5:
                problems.append(f"{path} {'differs from what its stage wrote' if there else 'is missing'}")
    for file in sorted((root / within).rglob("*.json")):
        seen += 1
        try:
            content = from_json(file.read_bytes(), allow_inf_nan=False)
            found = _wrong(content, params, root, absent) if file.parent.name == "provenance" else ()
            problems += [f"{file.relative_to(root)}: {what}" for what in found]
        except ValueError as error:
            problems.append(f"{file.relative_to(root)} is no valid JSON: {error}")
    if problems or not seen:
        said = "; ".join(problems) or "it holds nothing"
        raise DataError(f"{within} cannot be trusted: {said}", "", "run `dvc repro`")
    if changed := moved(root, params.scale):
        said, count = "; ".join(changed[:10]), len(changed)
        mend = "commit the new results if a change of code was to move them, else find what did"
        raise DataError(f"{count} numbers of {within} are not those that git holds: {said}", "", mend)
    same = "its numbers are those that git holds"
    compared = "git holds none of these parameters, packages and processor" if changed is None else same
    gone = f"; not on this machine, so not compared: {', '.join(sorted(absent))}" if absent else ""
    return f"{seen} checks: results/ is what the pipeline wrote with these parameters; {compared}{gone}"


def _wrong(content: Any, params: config.Params, root: Path, absent: set[str]) -> Iterator[str]:
    """What is wrong with one record; files outside of git that are not here go to `absent`."""
    if missing := [name for name in FIELDS if not isinstance(content, dict) or name not in content]:
        yield f"{', '.join(missing)} missing"
        return
    for name, value in content["parameters"].items():
        if name in config.KNOBS and value_of(params, name) != value:
            yield f"was made with {name}={value!r}, params.yaml holds {value_of(params, name)!r}"
    for name, value in content["inputs"].items():
        if value.startswith("sha256:") and (now := inputs.hash_of(name, params, root)) != value:
            if now is None:
                absent.add(name)
            else:
                yield f"was made with another {name} ({value})"


def moved(root: Path, scale: str) -> list[str] | None:
    """What of results/<scale> differs from what git holds, times and provenance aside, as "file: key".

    None where git holds none, or stages had other parameters, packages or another processor, as their records say.
    """
    listed = (_git(root, "ls-tree", "-r", "--name-only", "HEAD", "--", f"results/{scale}") or "").split()
    held = {path: json.loads(_git(root, "show", f"HEAD:{path}") or "") for path in listed if path.endswith(".json")}
    here = {path: files.load_json(root / path) if (root / path).is_file() else {} for path in held}
    records = [path for path in held if "/provenance/" in path]
    if not records or any(_ran(held[path]) != _ran(here[path]) for path in records):
        return None
    pairs = ((path, held[path], here[path]) for path in held if path not in records)
    return [f"{path}: {key}" for path, old, new in pairs for key in _differences(old, new)]


def _ran(record: dict[str, Any]) -> tuple[Any, ...]:
    return record.get("parameters"), record.get("packages"), record.get("machine", {}).get("cpu")


def _differences(old: Any, new: Any) -> Iterator[str]:
    """Keys under which two JSON values differ, but for those that say how long something took."""
    there, here = (flatten(value, enumerate_types=(list,), keep_empty_types=(dict, list)) for value in (old, new))
    for path in there | here:
        if there.get(path) != here.get(path) and not any(_TIME.search(str(part)) for part in path):
            yield f"{'.'.join(map(str, path))} ({there.get(path)} there, {here.get(path)} here)"
