from __future__ import annotations

import json
import sys

import nbformat
import pytest

from rfloc.cli import main
from rfloc.errors import ConfigError, NotebookError
from rfloc.pipeline.run_notebook import normalise, run

OUT = "book/executed/tiny.ipynb"

BUSY = """\
import sys
from IPython.display import display
for i in range(3):
    print("line", i, flush=True)
    print("aside", i, file=sys.stderr, flush=True)
print("half\\rwhole \\x1b[31mred\\x1b[0m")
display({"text/plain": "widget", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}, raw=True)
print("after")
crops_size * factor
"""


def cells(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_the_output_is_executed_normalised_and_the_same_bytes_twice(project, write, capfd):
    notebook = write(BUSY, "import os\nprint(sys.executable == " + repr(sys.executable) + ", os.getcwd())")
    first = run(notebook, OUT, root=project).read_bytes()
    out = capfd.readouterr().out
    assert run(notebook, OUT, root=project).read_bytes() == first
    nb = json.loads(first)
    assert set(nb["metadata"]) == {"kernelspec", "language_info"}
    assert [c["id"] for c in nb["cells"]] == [f"cell-{i:03d}" for i in range(5)]
    assert all("execution" not in c["metadata"] and "papermill" not in c["metadata"] for c in nb["cells"])
    outputs = cells(project / OUT)[2].outputs
    assert [o.output_type for o in outputs] == ["stream", "stream", "stream", "execute_result"]
    assert outputs[0].text == "line 0\nline 1\nline 2\nwhole red\n"
    assert outputs[1].text == "aside 0\naside 1\naside 2\n"
    assert outputs[2].text == "after\n"
    assert outputs[3].data["text/plain"] == "400.0"
    assert cells(project / OUT)[3].outputs[0].text == f"True {project}\n"
    assert "cell 3/4  import sys" in out and "line 2\n" in out, "progress, and what a cell prints, are shown"


def test_provenance_is_written_after_success(project, write):
    run(write("x = 1"), OUT, root=project, stage="first", sets=["factor=3.0"])
    record = json.loads((project / "results/smoke/provenance/first.json").read_text())
    assert record["parameters"]["factor"] == 3.0
    assert record["wall_time_s"] > 0
    assert record["peak_memory_mib"] > 10


def test_a_failing_cell_is_an_error_and_keeps_the_old_output(project, write, capfd):
    notebook = write("good = 1", "fine = 2\nworse = good / 0\n")
    (project / "book/executed").mkdir(parents=True)
    (project / OUT).write_text("old")
    with pytest.raises(NotebookError, match=r"cell 4, line 2 failed: worse = good / 0\n.*ZeroDivisionError: division"):
        run(notebook, OUT, root=project)
    assert (project / OUT).read_text() == "old"
    assert not (project / "results").exists()
    kept = cells(project / "build/failed/tiny.ipynb")
    assert kept[-1].outputs[0].ename == "ZeroDivisionError"
    assert "\x1b[" not in capfd.readouterr().out + "".join(kept[-1].outputs[0].traceback)


def test_a_failing_stage_exits_with_the_error_last(project, write, capfd, monkeypatch):
    monkeypatch.chdir(project)
    notebook = write("from rfloc.errors import DataError\nraise DataError('the file is gone', 'why', 'fetch it')")
    assert main(["run", str(notebook), "--out", OUT]) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert error[0].startswith("NotebookError: tiny.ipynb: cell 3, line 2 failed: raise DataError(")
    assert any("DataError: the file is gone" in line for line in error)
    assert "build/failed/tiny.ipynb" in error[-1]


def test_a_syntax_error_is_reported_like_any_other(project, write):
    with pytest.raises(NotebookError, match="SyntaxError"):
        run(write("ok = 1", "def broken(:\n    pass"), OUT, root=project)


def test_a_dying_kernel_is_reported(project, write):
    with pytest.raises(NotebookError, match="the kernel died in cell 3 of 3"):
        run(write("import os\nos._exit(9)"), OUT, root=project)


@pytest.mark.parametrize("given", ["crop_size=400.0", "crops_size=wide", "factor=[1]"])
def test_nothing_runs_with_unknown_or_ill_typed_parameters(project, write, given):
    with pytest.raises(NotebookError):
        run(write("open('ran', 'w')"), OUT, root=project, sets=[given])
    assert not (project / "ran").exists()


def test_params_yaml_is_validated_first(project, write):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("jitter:", "jiter:"))
    with pytest.raises(ConfigError, match=r"'crops\.jiter'(?s:.*)did you mean 'jitter'"):
        run(write("x = 1"), OUT, root=project)


def test_users_own_ipython_and_jupyter_settings_do_not_matter(project, write, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    startup = home / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("factor_was_here = True\n")
    spec = home / ".local/share/jupyter/kernels/python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps({"argv": ["/nowhere", "{connection_file}"], "display_name": "x", "language": "python"})
    )
    for name in ("IPYTHONDIR", "JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    run(write("assert 'factor_was_here' not in globals()"), OUT, root=project)
    assert cells(project / OUT)[-1].execution_count == 3


def test_normalise_keeps_real_outputs_and_is_idempotent():
    output = nbformat.v4.new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    once = nbformat.writes(normalise(nb))
    assert nbformat.writes(normalise(nbformat.reads(once, 4))) == once
    assert nb.cells[0].outputs[0].data["image/png"] == "AAAA"
