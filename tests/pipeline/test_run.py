import json

import nbformat
import pytest

from rfloc import config
from rfloc.cli import main
from rfloc.errors import ConfigError, NotebookError
from rfloc.pipeline.run import declared, parse, resolve, run

OUT = "book/executed/tiny.ipynb"

BUSY = """\
import sys
from IPython.display import display
for i in range(3):
    print("line", i, flush=True)
    print("aside", i, file=sys.stderr, flush=True)
display({"text/plain": "widget", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}, raw=True)
print("after")
crops_size * factor
"""


@pytest.fixture
def params(project):
    return config.read(project / "params.yaml")


@pytest.fixture
def tiny(project, write):
    return declared(project / write())


def cells(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_declared_knobs_come_from_params_and_what_is_the_pages_own_stays(tiny, params):
    found, values = resolve(tiny, params, {}, "tiny")
    assert found == params
    own = {"note": "as written", "factor": 2.0}
    assert values == {"seed": params.seed, "crops_size": 200.0, "splits_block": params.splits.block} | own


@pytest.mark.parametrize(
    ("given", "value"),
    [("seed=3", 3), ("crops_size=4e2", 400.0), ("note=x y", "x y"), ("factor=3.0", 3.0), ("training_lr=1e-5", 1e-5)],
)
def test_what_is_given_overrides_declared_or_not(tiny, params, given, value):
    name, parsed = parse(given)
    assert resolve(tiny, params, {name: parsed}, "tiny")[1][name] == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("crop_size=400.0", r"has no parameter 'crop_size'\n.*did you mean 'crops_size'\?"),
        ("crops_size=wide", r"crops\.size: .*valid number"),
        ("crops_size=-1.0", r"crops\.size: .*greater than 0"),
        ("note=NO", "note=False is not of type str(?s:.*)put it into quotes"),
        ("note=3", "not of type str"),
        ("factor=true", "not of type float"),
        ("seed=1.5", "seed: .*integer"),
        ("scale=rome", "rfloc params --scale rome"),
    ],
)
def test_unknown_names_and_wrong_values_are_refused(tiny, params, given, said):
    with pytest.raises(NotebookError, match=f"(?s){said}"):
        resolve(tiny, params, dict([parse(given)]), "tiny")


@pytest.mark.parametrize("text", ["seed", "=3", "a b=3", "seed=[1"])
def test_a_value_that_cannot_be_read(text):
    with pytest.raises(NotebookError, match="cannot read"):
        parse(text)


def test_missing_and_damaged_notebooks(project, write, tmp_path_factory):
    for name, text in {"x.ipynb": "print(1)", "y.ipynb": "{}", "z.ipynb": "[]"}.items():
        (project / name).write_text(text)
    for name in ("gone.ipynb", "x.ipynb", "y.ipynb", "z.ipynb"):
        with pytest.raises(NotebookError, match=rf"{name} is no notebook"):
            run(name, OUT, root=project)
    with pytest.raises(NotebookError, match="outside the project"):
        run(tmp_path_factory.mktemp("elsewhere") / "a.ipynb", OUT, root=project)
    for cell in ("x = [1,", "a, b = 1, 2", "x = len('a')"):  # parameters that are no list of literals
        with pytest.raises(NotebookError, match=r"tiny\.ipynb is no notebook"):
            run(write("x", parameters=cell), OUT, root=project)


def test_the_output_is_executed_normalised_and_the_same_bytes_twice(project, write, capfd):
    notebook = write(BUSY, "import os\nprint(os.getcwd())")
    first = run(notebook, OUT, root=project).read_bytes()
    out = capfd.readouterr().out
    assert run(notebook, OUT, root=project).read_bytes() == first
    nb = json.loads(first)
    assert set(nb["metadata"]) == {"kernelspec", "language_info"}
    assert [c["id"] for c in nb["cells"]] == [f"cell-{i:03d}" for i in range(5)]
    assert all("execution" not in c["metadata"] and "papermill" not in c["metadata"] for c in nb["cells"])
    busy = cells(project / OUT)[2]
    assert busy.metadata.tags == ["hide-input"], "code is folded"
    assert [o.output_type for o in busy.outputs] == ["stream", "execute_result"], "and no progress is kept"
    assert busy.outputs[0].text == "line 0\nline 1\nline 2\nafter\n"
    assert busy.outputs[1].data["text/plain"] == "400.0"
    assert cells(project / OUT)[3].outputs[0].text == f"{project}\n"
    assert "line 2" in out and "aside 2" in out, "what a cell prints is shown while it runs"
    assert "KeyboardInterrupt" not in out


def test_provenance_is_written_after_success(project, write):
    notebook = write("from rfloc import config\nP = config.load(globals())\nP.crops.size")
    run(notebook, OUT, root=project, stage="first", given=["factor=3.0", "crops_max_bs=4"])
    assert cells(project / OUT)[-1].outputs[0].data["text/plain"] == "200.0"
    record = json.loads((project / "results/smoke/provenance/first.json").read_text())
    crops = {f"crops_{key}" for key in config.CropParams.model_fields}
    assert set(record["parameters"]) == crops | {"note", "factor"}, "the sections that the page reads, and its own"
    assert (record["parameters"]["factor"], record["parameters"]["crops_max_bs"]) == (3.0, 4)
    assert record["wall_time_s"] > 0 and record["peak_memory_mib"] > 10


def test_what_is_no_stage_of_dvc_writes_beside_its_output(project, write, monkeypatch, capfd):
    monkeypatch.delenv("DVC_STAGE")
    (project / "build/links").mkdir(parents=True)
    code = "from rfloc import config, files\nP, root = config.load(globals()), config.project_root()\n"
    code += 'files.save_json({}, root / "build/links/x.json"), files.save_json({}, root / "results/y.json")'
    notebook = write(code)
    run(notebook, "tried/out.ipynb", root=project)
    (trial,) = (project / "tried").glob("trial-*")
    said = capfd.readouterr().out
    assert f"what this writes lies in {trial}" in said and "no git repository: clone it, or" in said
    wrote = ("build/links/x.json", "results/y.json", "results/smoke/provenance/out.json")
    assert all((trial / name).is_file() for name in wrote)
    assert not list((project / "build/links").iterdir()) and not (project / "results").exists()


def test_a_default_that_was_edited_in_the_page_is_not_passed_over_in_silence(project, write, capfd):
    write("1", parameters=f"seed = 7\ncrops_size = 300.0\nradio_load = {config.defaults(project)['radio']['load']}\n")
    run("notebooks/tiny.ipynb", OUT, root=project)
    said = [line for line in capfd.readouterr().out.splitlines() if line.startswith("passed over")]
    assert said == ["passed over: crops_size = 300.0 in the page; what params.yaml says runs, 200.0"]


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
    said = capfd.readouterr().err
    error = said[said.index("NotebookError: ") :].strip().splitlines()  # a kernel may say something before it
    assert error[0].startswith("NotebookError: tiny.ipynb: cell 3, line 2 failed: raise DataError(")
    assert any("DataError: the file is gone" in line for line in error)
    assert any("build/failed/tiny.ipynb" in line for line in error)


@pytest.mark.parametrize(
    ("cell", "said"),
    [("def broken(:\n    pass", "SyntaxError"), ("import os\nos._exit(9)", r"tiny\.ipynb: the kernel died")],
)
def test_a_syntax_error_and_a_dying_kernel_are_reported(project, write, cell, said):
    with pytest.raises(NotebookError, match=said):
        run(write(cell), OUT, root=project)


def test_users_own_ipython_and_jupyter_settings_do_not_matter(project, write, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    startup = home / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("factor_was_here = True\n")
    spec = home / ".local/share/jupyter/kernels/python3"
    spec.mkdir(parents=True)
    argv = {"argv": ["/nowhere", "{connection_file}"], "display_name": "x", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(argv))
    for name in ("IPYTHONDIR", "JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    run(write("assert 'factor_was_here' not in globals()"), OUT, root=project)
    assert cells(project / OUT)[-1].execution_count == 3


def test_nothing_runs_with_parameters_that_cannot_be(project, write):
    with pytest.raises(NotebookError, match="no experiment 'Z'"):
        run(write("x", parameters='experiment = "A"'), OUT, given=["experiment=Z"], root=project)
    with pytest.raises(NotebookError):
        run(write("open('ran', 'w')"), OUT, root=project, given=["factor=[1]"])
    assert not (project / "ran").exists()
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("jitter:", "jiter:"))
    with pytest.raises(ConfigError, match=r"'crops\.jiter'(?s:.*)did you mean 'jitter'"):
        run(write("x = 1"), OUT, root=project)
