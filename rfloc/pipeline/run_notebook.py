"""Run one notebook as a pipeline stage: parameters in, checked; a normalised, executed notebook out."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from rfloc import config
from rfloc.errors import NotebookError
from rfloc.pipeline import provenance
from rfloc.pipeline.parameters import Item, parse_set, resolve

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LINE = re.compile(r"Cell In\[\d+\], line (\d+)")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")
_WIDGET = "application/vnd.jupyter.widget"
_METADATA: dict[str, Any] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}


def _plain(text: str) -> str:
    """Terminal output as it looked in the end: no colours, nothing that a carriage return wrote over."""
    return _OVERWRITTEN.sub("", _ANSI.sub("", text))


def read_notebook(path: str | Path) -> NotebookNode:
    """Read a notebook (raises NotebookError if it is missing or no notebook)."""
    path = Path(path)
    if not path.is_file():
        raise NotebookError(f"there is no notebook at {path}", "", "notebooks lie in notebooks/")
    try:
        return load_notebook_node(str(path))
    except nbformat.reader.NotJSONError as error:
        raise NotebookError(f"{path} is no notebook", str(error)) from None


class _Kernel(AsyncKernelManager):
    """ipykernel of this very interpreter: no installed kernel specification is looked for."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
        )


class _Client(NotebookClient):
    """Executes cells, one line of progress a cell, with what they print as they print it."""

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        if msg["msg_type"] == "stream":
            sys.stdout.write(_ANSI.sub("", msg["content"]["text"]))
            sys.stdout.flush()
        return super().output(outs, msg, display_id, cell_index)


def execute(nb: NotebookNode, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run the code cells of a notebook in place, in a fresh kernel in `cwd`.

    Raises
    ------
    NotebookError
        If a cell fails or the kernel dies, naming the cell, its line and the error. The notebook then holds the outputs
        up to there.
    """
    count, start = sum(c.cell_type == "code" for c in nb.cells), time.monotonic()
    done = 0

    def before(cell: NotebookNode, cell_index: int) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            title = next((line for line in cell.source.splitlines() if line.strip()), "")
            print(f"[{time.monotonic() - start:6.1f} s] cell {done}/{count}  {title[:90]}", flush=True)

    with tempfile.TemporaryDirectory(prefix="rfloc-") as scratch:
        kernel = _Kernel(transport="ipc", connection_file=str(Path(scratch) / "kernel.json"))
        client = _Client(nb, kernel, timeout=None, resources={"metadata": {"path": str(cwd)}}, on_cell_start=before)
        settings = {"IPYTHONDIR": scratch, "PYTHONHASHSEED": "0"} | dict(env or {})
        try:
            client.execute(env=os.environ | settings, cleanup_kc=True)
        except CellExecutionError as error:
            raise _failure(nb, error, done) from None
        except DeadKernelError:
            raise NotebookError(
                f"the kernel died in cell {done} of {count}",
                "the process was ended from outside: out of memory, or a native library aborted",
                "free memory or choose a smaller scale; `rfloc doctor` checks the native libraries",
            ) from None


def _failure(nb: NotebookNode, error: CellExecutionError, number: int) -> NotebookError:
    """The error of a failing cell: its source line, with the full traceback printed before."""
    cell = [c for c in nb.cells if c.cell_type == "code"][number - 1]
    tracebacks = [_ANSI.sub("", "\n".join(o.traceback)) for o in cell.outputs if o.output_type == "error"]
    trace = tracebacks[-1] if tracebacks else ""
    print(trace, flush=True)
    lines, match = cell.source.splitlines(), _LINE.search(trace)
    at = int(match.group(1)) if match else 1
    source = lines[at - 1].strip() if at <= len(lines) else ""
    said = _ANSI.sub("", error.evalue).replace("\n", "\n      ")
    return NotebookError(f"cell {number}, line {at} failed: {source}", f"{error.ename}: {said}")


def normalise(nb: NotebookNode) -> NotebookNode:
    """Take out of an executed notebook whatever differs between two equal runs, in place.

    Execution times, papermill's metadata, cell ids, kernel versions, widget state, ANSI colours and the way in which
    streams were cut into messages go; the outputs themselves stay.
    """
    nb.metadata = nbformat.from_dict(_METADATA)
    nb.nbformat, nb.nbformat_minor = 4, 5
    for index, cell in enumerate(nb.cells):
        cell.id = f"cell-{index:03d}"
        for key in ("execution", "papermill"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            cell.outputs = _normalise_outputs(cell.outputs)
    return nb


def _normalise_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    merged: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type == "stream":
            if output.name in streams:
                streams[output.name].text = _plain(streams[output.name].text + output.text)
                continue
            output.text = _plain(output.text)
            streams[output.name] = output
            if output.name == "stdout" and "stderr" in streams:
                merged.insert(len(merged) - 1, output)  # which of the two is seen first is a race
                continue
        else:
            streams = {}
            if any(mime.startswith(_WIDGET) for mime in output.get("data", {})):
                continue
            if "text/plain" in output.get("data", {}):
                output.data["text/plain"] = _ANSI.sub("", output.data["text/plain"])
            if output.output_type == "error":
                output.traceback = [_ANSI.sub("", line) for line in output.traceback]
        merged.append(output)
    return merged


def write_notebook(nb: NotebookNode, path: Path) -> Path:
    """Write a notebook whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    nbformat.write(nb, part)
    part.replace(path)
    return path


def run(
    notebook: str | Path,
    out: str | Path,
    *,
    stage: str = "",
    items: Sequence[str] = (),
    sets: Sequence[str] = (),
    deps: Sequence[str] = (),
    root: Path | None = None,
) -> Path:
    """Run a notebook with its parameters from params.yaml, write it to `out` and its provenance to results/.

    Parameters
    ----------
    notebook, out : path
        The output-free notebook and where the executed one goes, relative to the project folder.
    stage : str
        Name in the provenance; default: the stem of `out`.
    items, sets : sequence of str
        `name=section.key` and `name=value` (YAML), as on the command line.
    deps : sequence of str
        Inputs whose hashes the provenance records, besides those that DVC knows of.

    Raises
    ------
    ConfigError, NotebookError
        Nothing is written then, but for the partial notebook in build/failed/ where a cell failed.
    """
    root = config.project_root(root or "")
    notebook, out = root / notebook, root / out
    stage = stage or out.stem
    nb = read_notebook(notebook)
    overrides = dict(parse_set(text) for text in sets)
    resolved = resolve(
        nb, config.load(root / "params.yaml"), [Item.parse(text) for text in items], overrides, notebook.name
    )
    nb = parameterize_notebook(nb, resolved.values, kernel_name="python3", language="python")
    next(c for c in nb.cells if "injected-parameters" in c.metadata.get("tags", [])).metadata.tags.append("hide-input")
    record = provenance.begin(root, stage, notebook, resolved.scale, resolved.values, deps)
    print(f"{notebook.name}: scale {resolved.scale}, {len(resolved.values)} parameters", flush=True)
    try:
        execute(nb, root, {provenance.STAMP: record.stamp})
    except NotebookError as error:
        kept = write_notebook(normalise(nb), root / "build" / "failed" / out.name)
        mend = "; ".join(filter(None, (error.mend, f"the notebook up to there is {kept.relative_to(root)}")))
        raise NotebookError(f"{notebook.name}: {error.what}", error.why, mend) from None
    write_notebook(normalise(nb), out)
    path = record.finish()
    cost = f"{record.wall_time:.1f} s, {record.peak_memory / 1024:.0f} MiB"
    print(f"{notebook.name}: done in {cost}; {path.relative_to(root)}", flush=True)
    return out
