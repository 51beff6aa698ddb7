"""`rfloc doctor`: what the project found on this machine, and for each missing thing the mend."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rfloc import backend, config
from rfloc.errors import ConfigError

#: Oldest Python that the project runs on.
OLDEST_PYTHON = (3, 11)

_SETUP = "make setup"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    found: str
    mend: str = ""
    needed: bool = True  #: whether the demo needs it

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.mend


def chromium() -> str | None:
    """Path of a Chromium or Chrome for the checks of the book's pages."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def findings() -> Iterator[Finding]:
    """Everything the report says, most basic first."""
    python = f"{platform.python_version()} at {sys.executable}"
    yield Finding("Python", python, "" if sys.version_info >= OLDEST_PYTHON else "make setup PYTHON=python3.11")
    facts = backend.describe()
    tracer = " ".join(str(facts[k]) for k in ("backend", "llvm", "library") if facts.get(k))
    problem = facts.get("problem", "")
    yield Finding("ray tracing", problem.splitlines()[0] if problem else tracer, _mend(problem) if problem else "")
    for package in ("sionna-rt", "mitsuba", "torch", "jupyter-book", "papermill", "dvc"):
        yield _package(package)
    yield _gpu()
    yield _git()
    yield from _project()
    browser = chromium()
    yield Finding(
        "Chromium",
        browser or "not found",
        "" if browser else "apt-get install chromium (for the checks of the book's pages)",
        needed=False,
    )


def _mend(problem: str) -> str:
    """The mend that an error's text carries."""
    _, _, mend = problem.partition("mend:")
    return mend.strip() or _SETUP


def _package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", _SETUP)


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("GPU for training", "unknown: no torch", needed=False)
    import torch

    return Finding(
        "GPU for training",
        torch.cuda.get_device_name() if torch.cuda.is_available() else "none: training runs on the CPU",
        needed=False,
    )


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found or "not found", "" if found else "apt-get install git (DVC needs it)")


def _project() -> Iterator[Finding]:
    """The project folder, its parameters, and where data and weights come from."""
    try:
        root = config.project_root()
        params = config.read(root / "params.yaml")
    except ConfigError as error:
        yield Finding("project", error.what, error.mend)
        return
    yield Finding("project", f"{root}, scale {params.scale}")
    data = config.data_root(params.data, root) / "rome"
    yield _folder("Rome data", data, "set data.root or RFLOC_DATA, or run `rfloc fetch rome` (scale rome only)")
    weights = config.weights_root(params.data)
    mend = "set data.weights or RFLOC_WEIGHTS (pretrained DINOv2 only)"
    yield _folder("weights", weights, mend) if weights else Finding("weights", "no folder named", mend, needed=False)


def _folder(name: str, path: Path, mend: str) -> Finding:
    there = path.is_dir() and any(path.iterdir())
    return Finding(name, str(path) if there else f"nothing at {path}", "" if there else mend, needed=False)


def report() -> int:
    """Print the findings; 0 if scale demo can run here, else 1."""
    lines = list(findings())
    width = max(len(line.name) for line in lines)
    for line in lines:
        mark = "ok  " if line.ok else ("MEND" if line.needed else "    ")
        print(f"{mark} {line.name:{width}}  {line.found}")
        if not line.ok:
            print(f"     {'':{width}}  -> {line.mend}")
    missing = [line.name for line in lines if line.needed and not line.ok]
    print(f"The demo cannot run before this is mended: {', '.join(missing)}." if missing else "The demo can run here.")
    return 1 if missing else 0
