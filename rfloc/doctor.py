"""`rfloc doctor`: what the project found on this machine, and for each missing thing the mend."""

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rfloc import backend, config
from rfloc.config import require_composed
from rfloc.errors import ConfigError, RFLocError
from rfloc.pipeline import inputs, record

#: Free space that a run at scale demo and its environment want [GiB].
DISK = 5
#: Programs by the names that they go by, the mend where there is none, and whether the demo needs it.
PROGRAMS = (
    ("rfloc", "source .venv/bin/activate (stages are started by that name)", True),
    ("git", "apt-get install git (DVC needs it)", True),
    ("chromium chromium-browser google-chrome chrome", "apt-get install chromium (to check pages)", False),
)


class Finding(NamedTuple):
    """One line of the report; without a `mend` all is well, and `needed` says whether the demo needs it."""

    name: str
    found: str
    mend: str = ""
    needed: bool = True


def findings() -> Iterator[Finding]:
    """Everything the report says, most basic first."""
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    facts = backend.describe()
    problem, _, mend = facts.get("problem", "").partition("mend:")
    tracer = " ".join(str(facts[key]) for key in ("backend", "llvm", "library") if facts.get(key))
    mend = (mend.strip() or "make setup") if problem else ""
    yield Finding("ray tracing", problem.partition("\n")[0] or tracer, mend)
    for package in ("sionna-rt", "mitsuba", "torch", "jupyter-book", "papermill", "dvc"):
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "not installed", "make setup")
    pip = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    yield Finding("packages", pip.stdout.strip().partition("\n")[0], "make setup" if pip.returncode else "")
    if importlib.util.find_spec("torch"):
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: training runs on the CPU"
        yield Finding("GPU for training", gpu)
    for names, mend, needed in PROGRAMS:
        found = next(filter(None, map(shutil.which, names.split())), None)
        yield Finding(names.split()[0], found or "not found", "" if found else mend, needed)
    try:
        yield from _found_in(config.project_root())
    except ConfigError as error:
        yield Finding("project", error.what, error.mend)


def _found_in(root: Path) -> Iterator[Finding]:
    """The project folder, its parameters, and the files that it does not hold."""
    yield Finding("git repository", str(root), "" if (root / ".git").exists() else record.NO_GIT)
    free = shutil.disk_usage(root).free / 2**30
    mend = "" if free > DISK else f"free {DISK} GiB: scale demo fills half of it"
    yield Finding("disk", f"{free:.0f} GiB free", mend)
    params = config.read(root / "params.yaml")
    yield Finding("project", f"{root}, scale {params.scale}")
    try:
        require_composed(root)
        yield Finding("params.yaml", "as conf/ composes it, or set by hand")
    except ConfigError as error:
        yield Finding("params.yaml", error.what, error.mend)
    rome, weights = config.data_root(params.data, root) / "rome", config.weights_root(params.data)
    for name, folder, mend in (
        ("Rome data", rome, "set data.root or RFLOC_DATA, or `rfloc fetch rome`"),
        ("weights", weights, "set data.weights or RFLOC_WEIGHTS (pretrained DINOv2 only)"),
    ):
        there = folder is not None and folder.is_dir() and any(folder.iterdir())
        yield Finding(name, str(folder) if there else f"nothing at {folder}", "" if there else mend, needed=False)
    maps = [f"maps/{key}" for key, city in params.cities.items() if city.source == "file"]
    for name in (*maps, "campaign", "weights"):
        try:
            held = inputs.hashes(name, params, root)
            yield Finding(f"files: {name}", ", ".join(f"{file} {said[7:15]}" for file, said in held.items()) or "none")
        except RFLocError as error:
            yield Finding(f"files: {name}", error.what, error.mend)


def report() -> int:
    """Print the findings; 0 if scale demo can run here, else 1."""
    lines = list(findings())
    width = max(len(line.name) for line in lines)
    for line in lines:
        mark = "ok  " if not line.mend else ("MEND" if line.needed else "    ")
        print(f"{mark} {line.name:{width}}  {line.found}")
        if line.mend:
            print(f"     {'':{width}}  -> {line.mend}")
    missing = [line.name for line in lines if line.needed and line.mend]
    print(f"The demo cannot run before this is mended: {', '.join(missing)}." if missing else "The demo can run here.")
    return 1 if missing else 0
