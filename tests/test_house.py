"""House rules: who may import whom, output-free notebooks, parameters that agree, dependencies that are declared."""

import ast
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from rfloc import config
from rfloc.cli import compose
from rfloc.pipeline.record import read_by
from rfloc.pipeline.run import declared
from tests import deps
from tests.deps import code_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODULES = sorted((ROOT / "rfloc").rglob("*.py"))

#: The rooms in the order in which data flows; a room imports rooms before it.
ROOMS = (
    ("errors", "arrays", "files", "config", "schema", "frames", "backend"), ("city",), ("stations",), ("splits",),
    ("simulation",), ("datasets",), ("calibration",), ("crops",), ("localizers",), ("training",), ("evaluation",),
    ("studies",), ("figures",), ("pipeline",), ("cli", "doctor", "__main__"),
)  # fmt: skip
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}

#: Most lines of rfloc, docstrings and blank ones included: what stands. The architecture asks for 12,300.
BUDGET = 12_555

#: Knobs that no file in conf/ and no page turns: they say what a user's own files, receiver and machine are.
THE_USERS_OWN = {
    "scale", "data_weights", "engine_scheduler", "campaign_mat", "campaign_manifest", "campaign_published",
    "campaign_cell_table", "campaign_interpolated", "campaign_positions", "campaign_table",
    "campaign_reject", "radio_noise_figure_db", "radio_detection_db", "radio_ue_height", "splits_allow",
}  # fmt: skip


def room_of(module: str) -> str:
    """`rfloc.simulation.maps` → `simulation`."""
    name = module.removeprefix("rfloc").lstrip(".")
    return next((room for room in RANK if "." in room and (name + ".").startswith(room + ".")), name.partition(".")[0])


def imports(source: str, package: str = "") -> Iterator[str]:
    """Full names of what a source imports; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: -node.level + 1 or None]) if node.level else ""
            stem = ".".join(filter(None, (base, node.module)))
            yield from (f"{stem}.{alias.name}" for alias in node.names)


@cache
def raw(scale: str = "demo") -> dict[str, Any]:
    """What conf/ composes for a scale."""
    with tempfile.TemporaryDirectory() as folder:
        path = compose(ROOT, [f"scale={scale}"], Path(folder) / "params.yaml")
        return yaml.safe_load(path.read_text())


def stage_of(notebook: Path) -> dict[str, Any]:
    found = [stage for stage in deps.stages().values() if f"notebooks/{notebook.name} " in stage["cmd"]]
    assert len(found) == 1, f"{notebook.name} belongs to {len(found)} stages"
    return found[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_room_imports_only_rooms_before_it(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "rfloc":
        return
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    own = room_of(module)
    assert own in RANK, f"{own} is no room: name its place in ROOMS and in the architecture"
    wanted = {room_of(name) for name in imports(path.read_text(), package) if name.split(".")[0] == "rfloc"}
    beside = own in (*ROOMS[0], *ROOMS[-1])
    late = {room for room in wanted - {own, "", "__version__"} if RANK[room] + (not beside) > RANK[own]}
    assert not late, f"{module} imports {', '.join(sorted(late))}, which come after {own}"


def test_importing_rfloc_is_cheap():
    code = "import rfloc, rfloc.config, rfloc.cli, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    heavy = {"torch", "sionna", "mitsuba", "drjit", "lightning", "geopandas", "transformers", "matplotlib", "dvc"}
    assert not heavy & set(loaded)


def test_modules_are_small_and_the_house_keeps_to_its_budget():
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in MODULES}
    assert sum(lengths.values()) <= BUDGET, "a new capability displaces something"
    assert not {name: n for name, n in lengths.items() if n > 400}
    assert sum(n <= 250 for n in lengths.values()) >= 0.8 * len(lengths), "most modules stay under 250 lines"


def plain(name: str) -> str:
    """A distribution's name as pip compares it."""
    return name.lower().replace("_", "-")


PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
PINS = {plain(name): version for name, version in PINS.items()}


def test_every_import_is_a_declared_and_pinned_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["dev"]
    stated = {plain(re.split(r"[<>=\[ ]", name)[0]) for name in asked}
    assert stated <= set(PINS)
    owners = metadata.packages_distributions()
    sources = [path.read_text() for path in [*MODULES, *(ROOT / "tests").rglob("*.py")]] + [*map(code_of, NOTEBOOKS)]
    tops = {name.split(".")[0] for source in sources for name in imports(source, "rfloc")}
    tops -= {*sys.stdlib_module_names, "rfloc", "tests", "benchmarks"}
    assert not {top for top in tops if not stated & set(map(plain, owners.get(top, [top])))}


def test_what_is_installed_is_what_is_pinned():
    installed = {plain(found.name): found.version.partition("+")[0] for found in metadata.distributions()}
    wrong = {name: (found, PINS[name]) for name, found in installed.items() if found != PINS.get(name, found)}
    assert not wrong, "run make setup"
    for name in ("constraints.txt", "pyproject.toml"):
        assert "index-url" not in (ROOT / name).read_text()


def test_there_is_a_notebook_for_every_stage_a_stage_for_every_notebook_and_both_are_in_the_book():
    named = {match for stage in deps.stages().values() for match in re.findall(r"notebooks/(\S+\.ipynb)", stage["cmd"])}
    assert named == {path.name for path in NOTEBOOKS}
    listed = (ROOT / "book/_toc.yml").read_text()
    missing = {path.stem for path in NOTEBOOKS if path.stem not in listed}
    assert not missing, "a page that _toc.yml does not name is left out of the book"
    assert deps.stated() == deps.wanted(), "stages depend on the files that their pages use: `python -m tests.deps`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestNotebooks:
    def test_holds_no_outputs(self, path):
        for number, cell in enumerate(json.loads(path.read_text())["cells"]):
            assert not cell.get("outputs"), f"cell {number} has outputs"
            assert cell.get("execution_count") is None, f"cell {number} has an execution count"
            assert not {"execution", "papermill"} & set(cell["metadata"])

    def test_declares_a_few_knobs_first_with_the_values_of_the_default_scale(self, path):
        nb = nbformat.read(path, as_version=4)
        first = next(cell for cell in nb.cells if cell.cell_type == "code")
        assert "parameters" in first.metadata.get("tags", [])
        params = config.check(config.Params, raw()).model_dump()
        assert len(declared(path)) <= 8
        for name, default in declared(path).items():
            if name in config.KNOBS:
                section, key = config.KNOBS[name]
                held = (params[section] if section else params)[key]
                assert default == held and type(default) is type(held), f"{name}: scale demo holds {held!r}"

    def test_no_variable_of_its_own_looks_like_a_knob(self, path):
        """Else the cell that loads the parameters could not be run twice."""
        nodes = [node for node in ast.walk(ast.parse(code_of(path))) if isinstance(node, ast.Name)]
        assigned = {node.id for node in nodes if isinstance(node.ctx, ast.Store)} - set(declared(path))
        assert not {name for name in assigned if name in config.KNOBS or config.like_a_knob(name)}

    def test_its_stage_depends_on_it_and_on_the_sections_that_it_reads(self, path):
        keys = {key.partition(".")[0] for key in stage_of(path).get("params", []) if isinstance(key, str)}
        assert keys == read_by(path), "its params in dvc.yaml are the sections that the page reads as P.section"
        assert f"notebooks/{path.name}" in stage_of(path)["deps"]

    def test_imports_from_faces_only(self, path):
        taken = {name for name in imports(code_of(path)) if name.startswith("rfloc.")}
        deep = {name for name in taken if name.count(".") > 1 and (deps.path_of(name) or name.count(".") > 2)}
        assert not deep, "the face of a room has what pages use"

    def test_its_code_is_at_most_150_lines(self, path):
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        code = "\n".join(c.source for c in cells if "parameters" not in c.metadata.get("tags", []))
        assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines()) <= 150


def test_cells_of_parameters_have_at_most_250_lines_in_all():
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    assert sum(len(c.source.splitlines()) for c in cells if "parameters" in c.metadata.get("tags", [])) <= 250


def test_params_yaml_is_what_conf_composes():
    command = ["git", "diff", "--quiet", "HEAD", "--", "params.yaml"]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("params.yaml is not the committed one: it was composed for a run")
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) == raw(), "run `rfloc params --scale demo` and commit it"


def definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Public functions and classes of a module, and the public methods of those that inherit from nothing."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef) and not node.bases:
                methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
                yield from ((inner.name, inner) for inner in methods if not inner.name.startswith("_"))


def mentions(tree: ast.AST) -> Counter[str]:
    """How often names and attributes occur, imports left out."""
    nodes = list(ast.walk(tree))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    return Counter(names + [node.attr for node in nodes if isinstance(node, ast.Attribute)])


def test_nothing_lives_for_tests_or_benchmarks_alone():
    """By name: whoever is mentioned outside of its own definition, in rfloc, on a page or in the book's extension."""
    sources = [path.read_text() for path in [*MODULES, *(ROOT / "book/_ext").glob("*.py")]]
    count = sum((mentions(ast.parse(source)) for source in [*sources, *map(code_of, NOTEBOOKS)]), Counter())
    idle = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in MODULES
        for name, node in definitions(path)
        if count[name] <= mentions(node)[name]
    }
    assert not idle, "delete them"


def test_a_knob_is_turned_by_a_file_or_on_a_page():
    turned: set[str] = set()
    for folder in ("scale", "variant"):
        for path in (ROOT / "conf" / folder).glob("*.yaml"):
            sections = {k: v for k, v in yaml.safe_load(path.read_text()).items() if isinstance(v, dict)}
            turned |= {f"{section}_{key}" for section, values in sections.items() for key in values}
    for path in (ROOT / "conf/splits").glob("*_paper.yaml"):
        turned |= {f"splits_{key}" for key in yaml.safe_load(path.read_text())}
    for path in NOTEBOOKS:
        turned |= declared(path).keys()
    assert not config.KNOBS.keys() - turned - THE_USERS_OWN, "make it a named constant with its reason, or declare it"
    assert not THE_USERS_OWN & turned and config.KNOBS.keys() >= THE_USERS_OWN, "the list is longer than need be"


def test_defaults_of_knobs_stand_in_conf_alone():
    sections = {section for section, _ in config.KNOBS.values() if section}
    models = {section: config.Params.model_fields[section].annotation for section in sections}
    assert not [(s, key) for s, model in models.items() for key, f in model.model_fields.items() if not f.is_required()]


def test_files_that_prose_names_are_there():
    prose = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "book").glob("*.md"), *NOTEBOOKS]
    pattern = r"\b((?:rfloc|conf|results|docs|benchmarks|tests)/[\w/.-]+\.(?:py|ya?ml|json|md))\b"
    named = {name for path in prose for name in re.findall(pattern, path.read_text())}
    assert not {name for name in named if not (ROOT / name).exists()} - {"conf/city/mycity.yaml"}
