"""A copy of the working tree as a git repository of its own: the pipeline runs there without touching this one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_NOT_INHERITED = ("DVC_ROOT", "DVC_STAGE", "OMP_NUM_THREADS")


def make_clone(source: Path, target: Path) -> Path:
    """Copy what git tracks or would track into `target` and commit it there."""
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=source, text=True)
    for name in filter(None, listed.split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
    run(target, "git", "init", "-q", "-b", "main")
    for key, value in {"user.name": "Test", "user.email": "test@example.org", "commit.gpgsign": "false"}.items():
        run(target, "git", "config", key, value)
    run(target, "git", "add", "-A")
    run(target, "git", "commit", "-qm", "copy of the working tree")
    return target


def run(clone: Path, *command: str, ok: bool = True, **more: str) -> str:
    """Run a command in the clone, with its code, this environment's tools and `more` variables; return what it printed.

    Raises AssertionError with the end of the output unless the exit status is as expected (0 if `ok`, else not 0).
    """
    env = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env |= {"PYTHONPATH": str(clone), **more}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=clone, env=env, text=True, check=False, **streams)
    assert (done.returncode == 0) == ok, f"{' '.join(command)} gave {done.returncode}:\n{done.stdout[-6000:]}"
    return done.stdout
