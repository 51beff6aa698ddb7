"""What the paper printed: every number of its Tables 1 to 4, by the row of ours that answers the same question."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A printed error [m]."""

    table: str
    row: str
    column: str
    key: str  #: of our row
    city: str  #: home or oslo
    street: str | None  #: kind of street; None: the table does not say
    error: float


@cache
def paper_says() -> dict[str, Any]:
    """Tables as printed: `captions` by table, sizes of `training` sets, `cells`; and what the text alone says.

    That is `hours` on an A100 (Appendix F), errors of C on `synthetic` streets (8.1) [m], the `calibration_gain` in
    Spearman's correlation (5.2).
    """
    return json.loads(files("rfloc.evaluation").joinpath("paper_tables.json").read_text())


@cache
def printed_cells() -> tuple[Cell, ...]:
    """All cells in the paper's order."""
    return tuple(Cell(**cell) for cell in paper_says()["cells"])


def printed(key: str, city: str, street: str) -> float | None:
    """The error that the paper prints for a row on one kind of street [m], home being Rome; None where it has none."""
    city = "home" if city == "rome" else city
    return next((c.error for c in printed_cells() if (c.key, c.city, c.street) == (key, city, street)), None)
