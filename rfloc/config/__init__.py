"""The parameters of the project: one pydantic model a section of params.yaml, validated on every load.

`conf/` composes params.yaml (Hydra); notebooks receive a section's keys as plain variables, named `section_key`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rfloc.config.base import Box, Count, Fraction, Positive, Section
from rfloc.config.calibration import CalibrationParams, LevelParams, SensitivityParams
from rfloc.config.sections import (
    BaselineParams,
    CampaignParams,
    CityParams,
    CropParams,
    DataParams,
    EngineParams,
    EvaluationParams,
    ExperimentParams,
    Leak,
    ModelParams,
    Params,
    RadioParams,
    SimulationParams,
    SplitParams,
    SyntheticParams,
    TrainingParams,
)
from rfloc.errors import ConfigError

__all__ = [
    "SECTIONS",
    "BaselineParams",
    "Box",
    "CalibrationParams",
    "CampaignParams",
    "CityParams",
    "Count",
    "CropParams",
    "DataParams",
    "EngineParams",
    "EvaluationParams",
    "ExperimentParams",
    "Fraction",
    "Leak",
    "LevelParams",
    "ModelParams",
    "Params",
    "Positive",
    "RadioParams",
    "Section",
    "SensitivityParams",
    "SimulationParams",
    "SplitParams",
    "SyntheticParams",
    "TrainingParams",
    "check",
    "data_root",
    "load",
    "project_root",
    "section",
    "weights_root",
]

#: The sections of params.yaml that a notebook may ask for, by name.
SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Params.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}

S = TypeVar("S", bound=BaseModel)


def _known_keys(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed at the parent of `path`, walking through nested sections and dictionaries."""
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None:
            break
        info = fields.get(part)
        if info is None:
            return []
        model = info.annotation
        args = getattr(model, "__args__", ())
        if args and getattr(model, "__origin__", None) is dict:
            return list(getattr(args[1], "model_fields", {}))
    return list(getattr(model, "model_fields", {}))


def check(model: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Validate values against a section and return it.

    Raises
    ------
    ConfigError
        Naming every offending key, what is allowed there and, for an unknown key, the nearest match.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems, mends = [], []
        for item in error.errors():
            path = tuple(item["loc"])
            key = ".".join([where, *map(str, path)] if where else map(str, path))
            if item["type"] == "extra_forbidden":
                known = _known_keys(model, path)
                near = difflib.get_close_matches(str(path[-1]), known, n=1)
                problems.append(f"unknown parameter {key!r}")
                mends.append(f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}")
            else:
                said = item["msg"].removeprefix("Value error, ")
                got = "" if item["type"] in ("missing", "value_error") else f" (got {item['input']!r})"
                problems.append(f"parameter {key or where or 'params'}: {said}{got}")
        raise ConfigError(
            "; ".join(problems),
            "every parameter is checked when it is loaded, so that a slip cannot pass unnoticed",
            "; ".join(mends) or "conf/ holds the defaults, rfloc/config/sections.py the allowed values",
        ) from None


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate params.yaml (raises ConfigError)."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(
            f"there is no parameter file at {path.resolve()}",
            "commands run in the project folder, the one that holds params.yaml",
            "change into it, or compose the file with `rfloc params --scale demo`",
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} is not valid YAML", str(error).replace("\n", " "), "mend the line it names"
        ) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no parameters", f"its top level is {type(raw).__name__}, not a mapping")
    return check(Params, raw)


def section(name: str, variables: Mapping[str, Any]) -> Any:
    """Build a section from a notebook's variables, named `section_key` (e.g. `crops_size`).

    Every key of the section must be there, and no other variable may start with `name_`: a parameter that papermill
    injected under a mistyped name is an error, not a silence.

    Raises
    ------
    ConfigError
        If a variable is missing, unknown, ill-typed or out of range.
    """
    model = SECTIONS.get(name)
    if model is None:
        raise ConfigError(f"there is no section {name!r}", f"sections are {', '.join(SECTIONS)}")
    prefix = name + "_"
    values = {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}
    missing = [key for key in model.model_fields if key not in values]
    if missing:
        raise ConfigError(
            f"the notebook's parameters lack {', '.join(prefix + key for key in missing)}",
            f"section {name!r} has them",
            "add them to the cell tagged `parameters`",
        )
    return check(model, values, where=name)


def project_root(start: str | Path = "") -> Path:
    """The project folder: `start`, or the nearest folder from here upwards that holds params.yaml and dvc.yaml.

    Raises
    ------
    ConfigError
        If there is none.
    """
    here = Path(start).resolve() if start else Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise ConfigError(
        f"{here} lies in no RF-Loc project",
        "the project folder is the one that holds params.yaml and dvc.yaml",
        "run from inside a clone, or set the parameter `root` to one",
    )


def data_root(params: DataParams, project: Path) -> Path:
    """Folder of the published measurement files: the parameter, else $RFLOC_DATA, else the project's data/."""
    return Path(params.root or os.environ.get("RFLOC_DATA") or project / "data")


def weights_root(params: DataParams) -> Path | None:
    """Folder of pretrained weights: the parameter, else $RFLOC_WEIGHTS, else None."""
    found = params.weights or os.environ.get("RFLOC_WEIGHTS")
    return Path(found) if found else None
