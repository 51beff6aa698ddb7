"""What sections of params.yaml are made of: their base and the types that several of them use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2)]


def check_box(box: list[float]) -> list[float]:
    """A box (lat_min, lat_max, lon_min, lon_max) [deg] that is not empty and lies on the map (raises ValueError)."""
    lat_min, lat_max, lon_min, lon_max = box
    order = "its order is lat_min, lat_max, lon_min, lon_max"
    if not (lat_min < lat_max and lon_min < lon_max):
        raise ValueError(f"box {box} is empty: {order}")
    if not (lat_min >= -85 and lat_max <= 85 and lon_min >= -180 and lon_max <= 180):
        raise ValueError(f"box {box} is not on the map: {order}")
    return box


class Section(BaseModel):
    """Base of every section: unknown keys are errors, and values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True, protected_namespaces=())
