"""Patches of a region: a box too large to trace at once, cut into cities with frames of their own (paper, 4.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rfloc.city.city import City, build_city, open_city
from rfloc.config import CityParams
from rfloc.errors import ConfigError, DataError


@dataclass(frozen=True)
class Patch:
    """One patch of a region."""

    key: str  #: its name as a city: `<region>-<row>-<column>`, or the region's own key where that is not cut
    region: str  #: its key in `cities`
    row: int  #: 0 is the southernmost
    col: int  #: 0 is the westernmost
    params: CityParams  #: what it is built from


def cut(region: str, params: CityParams, patches: Sequence[int], margin: float) -> list[Patch]:
    """Cut a region into patches (rows, columns) of equal extent in latitude and longitude, row by row from the south.

    Raster and mesh of a patch reach `margin` [m] past it; 1 x 1 is the city as it is. ConfigError for Sionna's scenes.
    """
    rows, cols = patches
    if rows == cols == 1:
        return [Patch(region, region, 0, 0, params)]
    if params.box is None:
        raise ConfigError(
            f"{region!r} can't be cut into {rows} x {cols} patches",
            "it is a mesh of Sionna RT; patches are built from footprints in a box",
            "take 1 x 1, or a city of source file or overpass",
        )
    south, north, west, east = params.box
    lat, lon = np.linspace(south, north, rows + 1).tolist(), np.linspace(west, east, cols + 1).tolist()
    of_all = {"origin": None, "margin": margin, "patches_only": False}
    found = []
    for i, j in np.ndindex(rows, cols):
        own = {"name": f"{params.name}, patch {i}, {j}", "box": [lat[i], lat[i + 1], lon[j], lon[j + 1]]}
        found.append(Patch(f"{region}-{i:02d}-{j:02d}", region, i, j, params.model_copy(update=own | of_all)))
    return found


def neighbours(patch: Patch, patches: list[Patch]) -> list[Patch]:
    """The patches that touch a patch, corners included, in their order."""
    return [p for p in patches if p != patch and max(abs(p.row - patch.row), abs(p.col - patch.col)) <= 1]


def build_patch(patch: Patch, data_root: str | Path, build: str | Path) -> City:
    """Build a patch into `build/patches/<key>`, or open the city in `build/cities` that it is (raises DataError)."""
    if patch.key == patch.region:
        return open_city(Path(build) / "cities" / patch.key)
    return build_city(patch.key, patch.params, data_root, Path(build) / "patches" / patch.key)


def open_any(build: str | Path, key: str) -> City:
    """The city, or the patch, of a name that links carry (raises DataError where neither was built)."""
    for folder in ("cities", "patches"):
        if (Path(build) / folder / key / "city.json").is_file():
            return open_city(Path(build) / folder / key)
    raise DataError(
        f"neither a city nor a patch called {key!r} was built in {build}",
        "the stage `cities` builds the cities of params.yaml, the stage `simulation` the patches of dataset C",
        "run `dvc repro`",
    )
