"""The targets of make, with tools that only say how they were called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKE = '#!/bin/sh\necho "called: $0 $*"\n'


@pytest.fixture
def folder(project_root: Path, tmp_path: Path) -> Path:
    """A download in a folder whose name make would split, with an environment of fakes."""
    folder = tmp_path / "Meine Ablage (ü)"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(project_root / name, folder)
    for name in ("dvc", "rfloc", "pip", "python", "ruff", "mypy", "pytest"):
        (folder / ".venv/bin" / name).write_text(FAKE)
        (folder / ".venv/bin" / name).chmod(0o755)
    return folder


def make(folder: Path, *args: str) -> tuple[int, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "RFLOC_"))}
    done = subprocess.run(["make", *args], cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_path_with_spaces_and_umlauts_is_one_path(folder):
    (folder / ".git").mkdir()
    status, said = make(folder, "book", "test")
    assert status == 0, said
    for call in ("python -m pip check", "rfloc repro", "rfloc book", "mypy rfloc", "pytest -n 2"):
        assert f"called: {folder}/.venv/bin/{call}" in said


def test_files_beside_the_clone_are_found(folder):
    (folder.parent / "shared/data").mkdir(parents=True)
    with (folder / "Makefile").open("a") as file:
        file.write('\nwhere:\n\techo "$$RFLOC_DATA"\n')
    assert make(folder, "where") == (0, f"{folder.parent}/shared/data\n")


@pytest.mark.parametrize(
    ("args", "said"), [(["book"], "git init"), (["book", "scale=rome"], "not scale: parameters go to 'rfloc params'")]
)
def test_what_cannot_be_done_is_said(folder, args, said):
    status, output = make(folder, *args)
    assert status == 2 and said in output and "called" not in output
