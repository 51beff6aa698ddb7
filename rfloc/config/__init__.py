"""The parameters of the project: one pydantic model a section of params.yaml, validated on every load.

`conf/` composes params.yaml (Hydra), at the word of `rfloc params` or `dvc exp run` alone; pages :func:`load` it.
"""

import contextlib
import difflib
import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from flatten_dict import flatten
from pydantic import BaseModel, ValidationError

from rfloc import files
from rfloc.config.sections import *  # noqa: F403 - every section is to be had here
from rfloc.config.sections import DataParams, Params
from rfloc.errors import ConfigError, DataError, nearest

_SECTIONS: dict[str, Any] = {
    name: info.annotation for name, info in Params.model_fields.items() if hasattr(info.annotation, "model_fields")
}
#: Where the value of each knob lies, by the name that pages and command lines give it: (section, key).
KNOBS: dict[str, tuple[str, str]] = {name: ("", name) for name in ("scale", "seed")} | {
    f"{section}_{key}": (section, key) for section, model in _SECTIONS.items() for key in model.model_fields
}
_LITERALS = (bool, int, float, str, list, dict, type(None))
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_MISREAD = {
    bool: "yes, no, on and off as true and false",
    int: "12:30 as a number to the base 60 and 010 as one to the base 8",
    date: "2024-01-31 as a date",
    datetime: "2024-01-31T12:00:00Z as a time",
}
_ASSIGNED = re.compile(r"^(\w+) *=(?!=)", re.M)
S = TypeVar("S", bound=BaseModel)


def _known_keys(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed at the parent of `path`, through nested sections and dictionaries."""
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        model = fields[part].annotation if fields else model.__args__[1]
    return list(model.model_fields)


def check(model: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Values validated as a section; a ConfigError names every offending key and what may stand in its place."""
    try:
        return model.model_validate(numbers(values))
    except ValidationError as error:
        problems, mends = [], []
        for item in error.errors():
            path = tuple(item["loc"])
            key = ".".join([where, *map(str, path)] if where else map(str, path))
            if item["type"] == "extra_forbidden":
                problems.append(f"unknown parameter {key!r}")
                mends.append(nearest(str(path[-1]), _known_keys(model, path)))
            else:
                got = "" if item["type"] in ("missing", "value_error") else f" (got {item['input']!r})"
                said = item["msg"].removeprefix("Value error, ")
                problems.append(f"parameter {key or where or 'params'}: {said}{got}")
                mends.append(misread(item["input"]) if item["type"] in ("string_type", "literal_error") else "")
        mend = "; ".join(filter(None, mends)) or "conf/ holds the defaults, rfloc/config/sections.py the allowed values"
        raise ConfigError("; ".join(problems), "every parameter is checked when it is loaded", mend) from None


def misread(value: Any) -> str:
    """The mend where YAML 1.1 made something else of what was written than its writer meant."""
    return f"YAML reads {_MISREAD[type(value)]}: put it into quotes" if type(value) in _MISREAD else ""


def numbers(value: Any) -> Any:
    """`1e-5`, which YAML 1.1 reads as text, as the number that it is, at any depth; `1e6` is a whole one."""
    if isinstance(value, str):
        number = float(value) if _NUMBER.fullmatch(value) else value
        return int(number) if isinstance(number, float) and number.is_integer() else number
    if isinstance(value, Mapping):
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


def read(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file (raises ConfigError)."""
    try:
        return check(Params, yaml.safe_load(Path(path).read_text()))
    except OSError as error:
        raise ConfigError(f"{path} can't be read", str(error), "compose it with `rfloc params --scale demo`") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML", " ".join(str(error).split()), "mend that line") from None


def load(variables: Mapping[str, Any]) -> Params:
    """The project's parameters as a page sees them: `P = config.load(globals())`.

    Variables that are knobs (`crops_size`, `seed`) stand over what params.yaml holds where papermill injected them or
    their value is no default any more: as written, a page takes params.yaml's scale. One that looks like a knob and is
    none is a ConfigError, as is a wrong value, and an injected one that the page does not declare. Unless DVC runs the
    page it is a trial, beside the pipeline: from here on :func:`project_root` is a folder of its own.
    """
    given = {name: value for name, value in variables.items() if isinstance(value, _LITERALS) and name[:1] != "_"}
    looks = (name for name in given if name not in KNOBS and like_a_knob(name))
    if unknown := next(looks, None):
        raise ConfigError(f"there is no parameter {unknown!r}", "a knob's name is section_key", nearest(unknown, KNOBS))
    root, cells = project_root(), list(variables.get("In", ()))
    at = next((k for k, cell in enumerate(cells) if cell.startswith("# Parameters\n")), 0)  # papermill's own
    injected = set(_ASSIGNED.findall(cells[at])) if at else set()
    declared = set(_ASSIGNED.findall("\n".join(cells[:at])))
    if unknown := next(iter(sorted(injected - declared - KNOBS.keys())), None):
        raise ConfigError(f"this page has no parameter {unknown!r}", "", nearest(unknown, declared))
    edited = turned(given, root)
    if written := edited.keys() - injected:
        print(f"set in this page, whatever params.yaml says: {', '.join(sorted(written))}")
    values = edited | {name: given[name] for name in injected & KNOBS.keys() & given.keys()}
    params = overlay(read(root / "params.yaml"), values, given.get("experiment"))
    if not {"DVC_STAGE", files.TRIAL} & os.environ.keys():
        files.trial(root, Path.cwd())
    return params


def turned(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The knobs among `values` that are not the default any more."""
    raw = {"": defaults(root), **defaults(root)}
    return {k: v for k, v in values.items() if k in KNOBS and v != raw[KNOBS[k][0]].get(KNOBS[k][1], ...)}


def defaults(root: Path) -> dict[str, Any]:
    """The sections at the default scale, cities and scale aside, as conf/ holds them."""
    raw: dict[str, Any] = yaml.safe_load((root / "conf/config.yaml").read_text())
    return raw | {"splits": yaml.safe_load((root / "conf/splits/blocks.yaml").read_text())}


def like_a_knob(name: str) -> bool:
    """Whether a name begins like a knob, or is nearly one."""
    return name.startswith(tuple(f"{s}_" for s in _SECTIONS)) or bool(difflib.get_close_matches(name, KNOBS, 1, 0.9))


def overlay(params: Params, values: Mapping[str, Any], experiment: Any = None) -> Params:
    """Parameters with the knobs among `values` in their place, and the `experiment` among theirs, or a ConfigError."""
    if "scale" in values:
        raise ConfigError("a scale is no single knob", "", f"type `rfloc params --scale {values['scale']}`")
    if experiment not in (None, "", *params.experiments):
        raise ConfigError(f"there is no experiment {experiment!r}", "", nearest(str(experiment), params.experiments))
    raw = params.model_dump()
    for name in values.keys() & KNOBS.keys():
        (section, key), value = KNOBS[name], values[name]
        (raw[section] if section else raw)[key] = value
    return check(Params, raw)


def project_root(start: str | Path = "") -> Path:
    """The nearest folder from `start` (default: the working one) up with dvc.yaml; in a trial, what stands for it."""
    if not start and (tried := os.environ.get(files.TRIAL)):
        return Path(tried)
    here = Path(start).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise ConfigError(f"{here} lies in no RF-Loc project", "its folder holds dvc.yaml", "run from inside a clone")


def data_root(params: DataParams, project: Path) -> Path:
    """Folder of the published measurement files: the parameter, else $RFLOC_DATA, else the project's data/."""
    return Path(params.root or os.environ.get("RFLOC_DATA") or project / "data")


def data_folders(root: str | Path, project: Path | None = None) -> list[Path]:
    """Where input files lie: the data root, then data/ of `project` (default: the one round the working folder)."""
    folders = [Path(root)]
    with contextlib.suppress(ConfigError):
        folders.append((project or project_root()) / "data")
    return folders


def input_file(name: str, root: str | Path, project: Path | None = None) -> Path:
    """The input file `name` in the first of :func:`data_folders` that has it (raises DataError naming them)."""
    paths = [folder / name for folder in data_folders(root, project)]
    if found := next(filter(Path.is_file, paths), None):
        return found
    mend = "check the name and data.root (or RFLOC_DATA), from which it starts; `rfloc fetch rome` brings Rome's files"
    raise DataError(f"there is no file {name}", f"looked for {' and '.join(map(str, dict.fromkeys(paths)))}", mend)


def weights_root(params: DataParams) -> Path | None:
    """Folder of pretrained weights: the parameter, else $RFLOC_WEIGHTS, else None."""
    found = params.weights or os.environ.get("RFLOC_WEIGHTS")
    return Path(found) if found else None


#: First line of a params.yaml that `rfloc params` wrote: digest of what conf/ said, and the overrides.
_FIRST = "# conf/ as of {}, by rfloc params {}\n"


def compose(root: Path, overrides: Sequence[str], target: Path | None = None) -> Path:
    """Compose conf/ as `dvc exp run -S` does; write params.yaml, or `target`, if it is valid (raises ConfigError)."""
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    target = target or root / "params.yaml"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".params-") as folder:
        part = Path(folder) / "params.yaml"
        try:
            compose_and_dump(str(part), str(root / "conf"), None, "config", "", list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            said = f"{error}\n{error.__cause__ or ''}".partition("Config search path")[0]
            why = " ".join(line.strip() for line in said.splitlines() if line.strip())
            what = f"conf/ cannot be composed with {' '.join(overrides)}"
            raise ConfigError(what, why, _nearest_keys(overrides)) from None
        scale, asked = read(part).scale, [o.partition("=")[2] for o in overrides if o.startswith("scale=")]
        if asked and asked[-1] != scale:
            said = f"conf/scale/{asked[-1]}.yaml says that its scale is {scale!r}, under which its results would lie"
            raise ConfigError(said, "a scale that builds on another names itself", f"add `scale: {asked[-1]}` to it")
        text = part.read_text()
        part.write_text(_FIRST.format(files.digest(yaml.safe_load(text))[:12], shlex.join(overrides)) + text)
        part.replace(target)
    return target


def _nearest_keys(overrides: Sequence[str]) -> str:
    """For the overrides that name no key, the nearest one."""
    known = {".".join(filter(None, path)) for path in KNOBS.values()}
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    unknown = [key for key in keys if "." in key and key not in known and "@" not in key]
    return "; ".join(f"{key}: {nearest(key, known)}" for key in unknown) or "conf/ lists every key and every scale"


def require_composed(root: Path) -> None:
    """Raise ConfigError, with what to type, where conf/ was edited since params.yaml was composed.

    Who edits params.yaml may: it is compared with conf/ only where conf/ says something else than it said then. What
    `dvc exp run` composes notes no overrides; there the last look at both, build/inputs/composed.json, tells.
    """
    text, mend = (root / "params.yaml").read_text(), "type `dvc exp run -S ...` again, or `rfloc params ...`"
    kept = root / "build/inputs/composed.json"
    if written := re.match(_FIRST.format(r"(\w+)", "(.*)"), text):
        mend = f"type `rfloc params {written[2]}`"
        with tempfile.TemporaryDirectory() as folder:
            fresh = compose(root, shlex.split(written[2]), Path(folder) / "params.yaml").read_text()
        then, now = (flatten(yaml.safe_load(said), "dot") for said in (text, fresh))
        edited = not fresh.startswith(written[0])
    else:
        paths = sorted((root / "conf").rglob("*.yaml"))
        now = {path.relative_to(root).as_posix(): files.digest(yaml.safe_load(path.read_text())) for path in paths}
        look: dict[str, Any] = {"conf": now, "params": files.digest(text)}
        last = files.load_json(kept) if kept.is_file() and "DVC_EXP_NAME" not in os.environ else look
        then, edited = last["conf"], last["params"] == look["params"]
    if edited and (changed := [key for key in then | now if then.get(key) != now.get(key)]):
        what = f"conf/ was edited since params.yaml was composed: {', '.join(changed)}"
        raise ConfigError(what, "params.yaml is what runs, and nothing composes it unasked", mend)
    if not written:
        files.save_json(look, kept)
