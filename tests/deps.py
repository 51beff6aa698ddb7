"""What a page depends on: the files of rfloc that it uses, followed through imports. `python -m tests.deps` writes
them into dvc.yaml; tests/test_house.py checks that they are there.

A name taken from a room's face counts for the module that defines it, not for the whole room. Left out are the ground
that changes no number (errors, the checks of config, whose values are a stage's `params`) and what runs stages.
"""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("rfloc.errors", "rfloc.config", "rfloc.pipeline", "rfloc.cli")


def code_of(page: Path) -> str:
    """Code of a notebook, line magics left out."""
    cells = [cell for cell in json.loads(page.read_text())["cells"] if cell["cell_type"] == "code"]
    return re.sub(r"^\s*[%!].*$", "", "\n".join("".join(cell["source"]) for cell in cells), flags=re.M)


@cache
def path_of(module: str) -> Path | None:
    """File of a module of this project, a package's `__init__.py`; None where there is none."""
    stem = ROOT / module.replace(".", "/")
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def names_of(package: str) -> dict[str, set[str]]:
    """Where a package's face has its names from."""
    nodes = [n for n in ast.walk(ast.parse(path_of(package).read_text())) if isinstance(n, ast.ImportFrom)]
    return {a.asname or a.name: resolve(absolute(n, package), a.name) for n in nodes for a in n.names}


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that an import names, written in a module of `package`."""
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*base, *filter(None, [node.module])])


def resolve(module: str, name: str) -> set[str]:
    """The modules of rfloc that `from module import name` needs."""
    if module.split(".")[0] != "rfloc":
        return set()
    if path_of(f"{module}.{name}"):
        return {f"{module}.{name}"}
    return (path_of(module).name == "__init__.py" and names_of(module).get(name)) or {module}


def used(source: str, package: str) -> set[str]:
    """The modules of rfloc that a source uses by its own imports, those inside functions included."""
    tree = ast.parse(source)
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = absolute(node, package)
        for alias in node.names:
            whole = f"{module}.{alias.name}"
            file = path_of(whole) if module.startswith("rfloc") else None
            if file is None or file.name != "__init__.py":
                found |= resolve(module, alias.name)
                continue
            name = alias.asname or alias.name  # a whole room: what is taken of it by attribute
            used_of = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name))
            found |= set().union(*(resolve(whole, n.attr) for n in used_of if n.value.id == name))
    return {module for module in found if not (module + ".").startswith(tuple(f"{left}." for left in LEFT_OUT))}


def files_of(page: Path) -> list[str]:
    """Files of rfloc on which a page depends, whole rooms as folders."""
    todo, seen = used(code_of(page), ""), set()
    while todo:
        module = todo.pop()
        seen.add(module)
        file = path_of(module)
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        todo |= used(file.read_text(), package) - seen
    files = {path_of(module) for module in seen if module != "rfloc"}
    files |= {data for file in files for data in file.parent.glob("*.json") if data.name in file.read_text()}
    for room in sorted({file.parent for file in files} - {ROOT / "rfloc"}):
        if {p for p in room.glob("*.py") if p.name != "__init__.py"} <= files:
            files = {file for file in files if file.parent != room} | {room}
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml, a matrix stage as it is written."""
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


def wanted() -> dict[str, list[str]]:
    """For every stage of dvc.yaml, the files of rfloc that its page uses."""
    pages = {name: re.search(r"notebooks/\S+\.ipynb", stage["cmd"]) for name, stage in stages().items()}
    return {name: files_of(ROOT / match[0]) for name, match in pages.items() if match}


def stated() -> dict[str, list[str]]:
    """For every stage that runs a page, the files of rfloc that dvc.yaml names."""
    pages = {name: stage for name, stage in stages().items() if "notebooks/" in stage["cmd"]}
    return {name: sorted(dep for dep in stage["deps"] if dep.startswith("rfloc")) for name, stage in pages.items()}


def main() -> None:
    """Write the files of rfloc into dvc.yaml, after each stage's notebook; everything else stays as it is."""
    lines, stage, want = [], "", wanted()
    for line in (ROOT / "dvc.yaml").read_text().splitlines():
        if match := re.fullmatch(r"  ([\w-]+):", line):
            stage = match[1]
        if re.match(r"\s+- rfloc/", line):
            continue
        lines.append(line)
        if match := re.match(r"(\s+- )notebooks/", line):
            lines += [match[1] + name for name in want[stage]]
    (ROOT / "dvc.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
