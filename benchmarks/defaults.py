"""Sections of parameters as conf/config.yaml has them, but for what a benchmark sets."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from rfloc.config import Params, Section, check, defaults, project_root

S = TypeVar("S", bound=Section)


@cache
def _defaults() -> dict[type, Any]:
    values = defaults(project_root())
    sections = {name: info.annotation for name, info in Params.model_fields.items()}
    return {kind: values[name] for name, kind in sections.items() if name in values and isinstance(kind, type)}


def section(kind: type[S], **given: Any) -> S:
    """One section, e.g. `section(RadioParams, load=0.0)`."""
    return check(kind, _defaults()[kind] | given)
