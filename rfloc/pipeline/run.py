"""Run one notebook as a pipeline stage: knobs in, checked; a normalised, executed notebook out.

A notebook declares a few knobs as literals in its cell tagged `parameters` and loads the rest from params.yaml. The
runner injects what params.yaml holds for the declared ones, and whatever else was given by name.
"""

import ast
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import papermill
import yaml
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from rfloc import config, files
from rfloc.config import require_composed
from rfloc.errors import ConfigError, NotebookError, nearest
from rfloc.pipeline import record

_WIDGET = "application/vnd.jupyter.widget-view+json"
_PLUMBING = {"execution", "papermill", "tags"}
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class _Kernel(AsyncKernelManager):
    """A kernel that is asked to end without being interrupted before, which it would log as an error."""

    async def _async_interrupt_kernel(self) -> None:
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


def declared(notebook: Path) -> dict[str, Any]:
    """The parameters that a notebook declares, with their defaults (raises NotebookError if it is none)."""
    try:
        cells = [c for c in nbformat.read(notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", ())]
        body = ast.parse("\n".join(cell.source for cell in cells)).body
        if len(cells) > 1 or not all(isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) for n in body):
            raise ValueError("lines of its cell have the form name = literal")
        return {node.targets[0].id: ast.literal_eval(node.value) for node in body}  # type: ignore[attr-defined]
    except (OSError, nbformat.ValidationError, AttributeError, SyntaxError, ValueError) as error:
        said = "it takes literals, in one cell tagged `parameters`"
        raise NotebookError(f"{notebook} is no notebook that can be run", said, str(error)) from None


def parse(text: str) -> tuple[str, Any]:
    """Read `name=value`, the value in YAML (raises NotebookError)."""
    name, equals, value = text.partition("=")
    try:
        if not equals or not name.isidentifier():
            raise ValueError("it has the form name=value")
        return name, config.numbers(yaml.safe_load(value))
    except (ValueError, yaml.YAMLError) as error:
        raise NotebookError(f"cannot read -p {text!r}", str(error).replace("\n", " ")) from None


def resolve(
    defaults: Mapping[str, Any], params: config.Params, given: Mapping[str, Any], name: str
) -> tuple[config.Params, dict[str, Any]]:
    """Parameters and values to inject, with what was given in place of defaults (raises NotebookError)."""
    own = {key: value for key, value in given.items() if key not in config.KNOBS}
    for key, value in own.items():
        if key not in defaults:
            raise NotebookError(f"{name} has no parameter {key!r}", "", nearest(key, {*defaults, *config.KNOBS}))
        kind = type(defaults[key])
        if kind is float and type(value) is int:
            own[key] = float(value)
        elif defaults[key] is not None and type(value) is not kind:
            mend = config.misread(value) if kind is str else ""
            raise NotebookError(f"{name}: {key}={value!r} is not of type {kind.__name__}", "", mend)
    try:
        params = config.overlay(params, given, {**defaults, **own}.get("experiment"))
    except ConfigError as error:
        raise NotebookError(f"{name}: {error.what}", f"-p gave {', '.join(given) or 'none'}", error.mend) from None
    knobs = {key: record.value_of(params, key) for key in (*defaults, *given) if key in config.KNOBS}
    return params, {**defaults, **own, **knobs}


def execute(notebook: Path, values: dict[str, Any], cwd: Path, failed: Path) -> NotebookNode:
    """Run a notebook in a fresh kernel in `cwd`; a NotebookError leaves what there is in `failed`."""
    with tempfile.TemporaryDirectory(prefix="rfloc-") as scratch:
        out, profile = Path(scratch) / notebook.name, Path(scratch) / "profile_default"
        profile.mkdir()
        (profile / "ipython_config.py").write_text("c.InteractiveShell.colors = 'NoColor'\n")
        own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), scratch)  # not the user's
        try:
            with mock.patch.dict(os.environ, own | {"JUPYTER_PATH": "", "PYTHONHASHSEED": "0"}):
                papermill.execute_notebook(
                    notebook, out, values, cwd=cwd, kernel_name="python3", language="python", progress_bar=False,
                    stdout_file=sys.stdout, stderr_file=sys.stdout, coalesce_streams=True,
                    config=Config(
                        KernelManager={"transport": "ipc", "ip": f"{scratch}/kernel"},
                        NotebookClient={"kernel_manager_class": _Kernel},
                    ),
                )  # fmt: skip
        except PapermillExecutionError as error:
            write_notebook(normalise(nbformat.read(out, as_version=4)), failed)
            trace = "\n".join(error.traceback)
            print(trace, flush=True)
            at = int(match[1]) if (match := re.search(r"Cell In\[\d+\], line (\d+)", trace)) else 1
            source, said = error.source.splitlines()[at - 1].strip(), error.evalue.replace("\n", "\n      ")
            what = f"{notebook.name}: cell {error.exec_count}, line {at} failed: {source}"
            mend = f"the notebook up to there is {os.path.relpath(failed, cwd)}"
            raise NotebookError(what, f"{error.ename}: {said}", mend) from None
        except DeadKernelError:
            why = "it was ended from outside: out of memory, or a native library aborted"
            mend = "free memory or choose a smaller scale; `rfloc doctor` checks the native libraries"
            raise NotebookError(f"{notebook.name}: the kernel died", why, mend) from None
        return normalise(nbformat.read(out, as_version=4))


def normalise(nb: NotebookNode) -> NotebookNode:
    """Take what differs between equal runs out of a notebook, in place, and fold code that is not `show-input`."""
    nb.metadata = nbformat.from_dict({"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    nb.nbformat, nb.nbformat_minor = 4, 5
    for index, cell in enumerate(nb.cells):
        cell.id = f"cell-{index:03d}"
        tags = set(cell.metadata.get("tags", []))
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k not in _PLUMBING})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and _WIDGET not in o.get("data", {})]
            tags |= set() if tags & {"show-input", "remove-cell"} else {"hide-input"}
        if tags:
            cell.metadata.tags = sorted(tags)
    return nb


def write_notebook(nb: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    with files.write(path) as part:
        nbformat.write(nb, part)


def run(
    notebook: str | Path, out: str | Path, *, stage: str = "", given: Sequence[str] = (), root: Path | None = None
) -> Path:
    """Run a notebook with its parameters from params.yaml, write it to `out` and its provenance to results/.

    Paths are relative to the project folder `root`; `stage` names the provenance, by default the stem of `out`; `given`
    are `name=value` (YAML) of knobs and of what the page declares. On a ConfigError or NotebookError nothing is written
    but the partial notebook in build/failed/. Unless DVC runs it, all goes to a folder of its own beside `out`.
    """
    root = config.project_root(root or "")
    notebook, out = root / notebook, root / out
    if not notebook.resolve().is_relative_to(root):
        raise NotebookError(f"{notebook} lies outside the project {root}", "", "copy it into notebooks/")
    defaults, asked = declared(notebook), dict(map(parse, given))
    params, values = resolve(defaults, config.read(root / "params.yaml"), asked, notebook.name)
    with mock.patch.dict(os.environ):
        where = root
        if "DVC_STAGE" not in os.environ:
            require_composed(root)
            where = files.trial(root, out.parent)
        made_by = record.begin(root, stage or out.stem, notebook, params, values)
        print(f"{notebook.name}: scale {params.scale}", flush=True)
        for knob, value in config.turned(defaults, root).items():
            if values[knob] != value:
                print(f"passed over: {knob} = {value!r} in the page; what params.yaml says runs, {values[knob]!r}")
        if made_by["revision"] is None:
            print(f"no git repository: {record.NO_GIT}", flush=True)
        write_notebook(execute(notebook, values, root, where / "build" / "failed" / out.name), out)
        said = record.finish(where, made_by)
    print(f"{notebook.name}: done in {said['wall_time_s']:.1f} s, {said['peak_memory_mib']} MiB", flush=True)
    return out
