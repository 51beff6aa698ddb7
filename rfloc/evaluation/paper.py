"""What the paper printed: every number of its Tables 1 to 4, by the row of ours that answers the same question."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def paper_says() -> dict[str, Any]:
    """Tables as printed: `captions` by table, sizes of `training` sets, `cells`; and what the text alone says.

    A cell has its `table`, `row` and `column`, the `key` of our row, `city` (home or oslo), `street` (None: the table
    does not say) and `error` [m]. The text alone says `hours` on an A100 (Appendix F), errors of C on `synthetic`
    streets (8.1) [m], the `calibration_gain` in Spearman's correlation (5.2).
    """
    return json.loads(files("rfloc.evaluation").joinpath("paper_tables.json").read_text())


def printed(key: str, city: str, street: str) -> float | None:
    """The error that the paper prints for a row on one kind of street [m], home being Rome; None where it has none."""
    wanted = {"key": key, "city": "home" if city == "rome" else city, "street": street}
    return next((cell["error"] for cell in paper_says()["cells"] if wanted.items() <= cell.items()), None)
