"""`rfloc doctor`: what the project found on this machine, and for each missing thing the mend."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from rfloc import backend, config
from rfloc.errors import ConfigError


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
    if importlib.util.find_spec("torch"):
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: training runs on the CPU"
        yield Finding("GPU for training", gpu)
    git = shutil.which("git")
    yield Finding("git", git or "not found", "" if git else "apt-get install git (DVC needs it)")
    yield from _project()
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    mend = "" if browser else "apt-get install chromium (for the checks of the book's pages)"
    yield Finding("Chromium", browser or "not found", mend, needed=False)


def _project() -> Iterator[Finding]:
    """The project folder, its parameters, and where data and weights come from."""
    try:
        root = config.project_root()
        params = config.read(root / "params.yaml")
    except ConfigError as error:
        yield Finding("project", error.what, error.mend)
        return
    yield Finding("project", f"{root}, scale {params.scale}")
    rome, weights = config.data_root(params.data, root) / "rome", config.weights_root(params.data)
    for name, folder, mend in (
        ("Rome data", rome, "set data.root or RFLOC_DATA, or `rfloc fetch rome`"),
        ("weights", weights, "set data.weights or RFLOC_WEIGHTS (pretrained DINOv2 only)"),
    ):
        there = folder is not None and folder.is_dir() and any(folder.iterdir())
        yield Finding(name, str(folder) if there else f"nothing at {folder}", "" if there else mend, needed=False)


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
