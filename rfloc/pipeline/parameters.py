"""The parameters of a notebook: what it declares, and where each value comes from.

A notebook declares its parameters as literals in the cell tagged `parameters`. A declared name takes its value from
params.yaml: `scale`, `seed` and whole dictionaries such as `cities` by name, a section's key as `section_key`. Names
that params.yaml does not know keep the notebook's default, or take an `--item` or a `--set`.
"""

from __future__ import annotations

import ast
import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from nbformat import NotebookNode

from rfloc import config
from rfloc.errors import ConfigError, NotebookError


@dataclass(frozen=True)
class Item:
    """An entry of a dictionary section, handed to a notebook as `name` (its key) and `name_field`."""

    name: str
    section: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Item:
        """Read `experiment=experiments.Bp_A` (raises NotebookError)."""
        match = re.fullmatch(r"(\w+)=(\w+)\.(\w+)", text)
        if match is None:
            raise NotebookError(
                f"cannot read --item {text!r}",
                "it has the form name=section.key",
                "e.g. --item experiment=experiments.A",
            )
        return cls(*match.groups())


@dataclass
class Resolved:
    """The values that a notebook will see, and the whole of params.yaml as they were taken from it."""

    values: dict[str, Any]
    params: dict[str, Any] = field(repr=False)

    @property
    def scale(self) -> str:
        """The scale that params.yaml holds."""
        return str(self.params["scale"])


def declared(nb: NotebookNode, name: str = "notebook") -> dict[str, Any]:
    """The parameters of a notebook and their defaults: the assignments in its cell tagged `parameters`.

    Raises
    ------
    NotebookError
        If there is no such cell, or a default is not a literal.
    """
    cells = [c for c in nb.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise NotebookError(
            f"{name} has {len(cells)} cells tagged 'parameters'",
            "its first code cell declares what it takes",
            "tag exactly one",
        )
    found: dict[str, Any] = {}
    for node in ast.parse(cells[0].source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        match node:
            case ast.Assign(targets=[ast.Name(id=variable)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=variable), value=ast.expr() as value):
                pass
            case _:
                raise _no_parameter(node, name)
        try:
            found[variable] = ast.literal_eval(value)
        except ValueError:
            raise _no_parameter(node, name) from None
    return found


def _no_parameter(node: ast.stmt, name: str) -> NotebookError:
    return NotebookError(
        f"{name}: line {node.lineno} of the parameters cell is no parameter: {ast.unparse(node)}",
        "every line there has the form name = literal, so that it can be replaced from outside",
        "move anything else to the next cell",
    )


def source_of(variable: str, params: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Where in params.yaml a notebook's variable comes from: `crops_size` → ("crops", "size"); None if from nowhere.

    Raises
    ------
    NotebookError
        If the name begins like a section's but the section has no such key.
    """
    if variable in params:
        return (variable,)
    sections = [s for s in config.SECTIONS if variable.startswith(s + "_")]
    if not sections:
        return None
    section = max(sections, key=len)
    key = variable.removeprefix(section + "_")
    if key not in params[section]:
        near = difflib.get_close_matches(key, params[section], n=1)
        raise NotebookError(
            f"the notebook declares {variable!r}, but the section {section!r} has no key {key!r}",
            f"keys are {', '.join(params[section])}",
            f"did you mean {section}_{near[0]}?" if near else "rename the variable so that it begins like no section",
        )
    return section, key


def resolve(
    nb: NotebookNode,
    params: config.Params,
    items: Sequence[Item] = (),
    overrides: Mapping[str, Any] | None = None,
    name: str = "notebook",
) -> Resolved:
    """The value of every parameter that a notebook declares.

    Raises
    ------
    NotebookError
        If an override or item names no declared parameter, or an override has the wrong type.
    """
    defaults, overrides = declared(nb, name), dict(overrides or {})
    for given in (*overrides, *(item.name for item in items)):
        if given not in defaults:
            near = difflib.get_close_matches(given, defaults, n=1)
            raise NotebookError(
                f"{name} has no parameter {given!r}",
                f"it declares {', '.join(sorted(defaults)) or 'none'}",
                f"did you mean {near[0]!r}?" if near else "",
            )
    raw = params.model_dump()
    sources = {variable: source_of(variable, raw) for variable in defaults}
    raw = _override(raw, {k: (sources[k], v) for k, v in overrides.items()}, name)
    values = copy.deepcopy(defaults)
    for variable, path in sources.items():
        if path is not None:
            value: Any = raw
            for part in path:
                value = value[part]
            values[variable] = value
    for item in items:
        entries = raw.get(item.section)
        if not isinstance(entries, dict) or item.key not in entries:
            known = ", ".join(entries) if isinstance(entries, dict) else "no such section"
            raise NotebookError(f"params.yaml has no {item.section}.{item.key}", f"{item.section}: {known}")
        fields = {f"{item.name}_{k}": v for k, v in entries[item.key].items()}
        values.update({item.name: item.key} | {k: v for k, v in fields.items() if k in defaults})
    for variable, value in overrides.items():
        if sources[variable] is None:
            values[variable] = _same_type(variable, value, defaults[variable], name)
    return Resolved(values, raw)


def _override(
    raw: dict[str, Any], overrides: Mapping[str, tuple[tuple[str, ...] | None, Any]], name: str
) -> dict[str, Any]:
    """Overrides of values that params.yaml holds, validated with everything else there."""
    raw = copy.deepcopy(raw)
    for path, value in overrides.values():
        if path is not None:
            place = raw
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = value
    try:
        return config.check(config.Params, raw).model_dump()
    except ConfigError as error:
        raise NotebookError(f"{name}: {error.what}", f"--set gave {', '.join(overrides)}", error.mend) from None


def _same_type(variable: str, value: Any, default: Any, name: str) -> Any:
    """`value`, if it has the type of the notebook's default (an int may be a float; a None default takes any)."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise NotebookError(
            f"{name}: parameter {variable!r} is of type {type(default).__name__}, like {default!r}",
            f"--set gave {value!r}, of type {type(value).__name__}",
        )
    return value


def parse_set(text: str) -> tuple[str, Any]:
    """Read `name=value`, the value in YAML (raises NotebookError)."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise NotebookError(f"cannot read --set {text!r}", "it has the form name=value, the value in YAML")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise NotebookError(f"cannot read the value in --set {text!r}", str(error).replace("\n", " ")) from None
