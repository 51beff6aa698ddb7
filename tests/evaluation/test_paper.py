"""The printed numbers: against the paper's text where that is at hand, and against what the text says of them."""

import os
import re
from pathlib import Path

import pytest

from rfloc.evaluation.paper import paper_says, printed

#: Heads of the printed tables and what their rows are called there; a MLP+UNet row comes before one of the same name.
HEADS = {"1": "Experiment\tModel", "2": "Experiment\t# of UEs", "3": "No real data\tRome", "4": "Source→Target"}


@pytest.fixture(scope="module")
def text(project_root):
    beside = Path(os.environ.get("RFLOC_DATA") or project_root / "data").parent / "paper.txt"
    if not beside.is_file():
        pytest.skip(f"the paper's text is not at hand: no {beside.name} beside the folder of data")
    return beside.read_text()


def rows_under(text: str, head: str) -> list[list[float]]:
    """Numbers of each row of a printed table, label left out."""
    body = text[text.index(head) :].split("\n\n")[0].splitlines()[1:]
    cells = [re.sub(r"[$*]", "", line).split("\t")[1:] for line in body]
    return [[float(cell) for cell in row if re.fullmatch(r"[\d.]+", cell)] for row in cells]


@pytest.mark.parametrize(("table", "head"), HEADS.items())
def test_every_number_stands_in_the_papers_table_in_its_order(text, table, head):
    said = [value for row in rows_under(text, head) for value in row if value != int(value) or table != "2"]
    held = [cell for cell in paper_says()["cells"] if cell["table"].startswith(table)]
    if table == "3":  # printed beside each other: a row of one, then of the other
        by_row = {}
        for cell in held:
            by_row.setdefault((cell["table"], cell["row"]), []).append(cell["error"])
        names = [row for name, row in by_row if name == "3a"]
        held_values = [value for row in names for name in ("3a", "3b") for value in by_row[name, row]]
    else:
        held_values = [cell["error"] for cell in held]
    assert said == held_values


def test_sizes_hours_and_what_the_text_alone_says_stand_in_the_text(text):
    assert "({known}m on known and {unknown}m on unknown synthetic streets)".format(**paper_says()["synthetic"]) in text
    assert "per-BS correlation by {}–{}".format(*paper_says()["calibration_gain"]) in text
    flat = text.replace(",", "")
    for size in paper_says()["training"]:
        assert re.search(rf"\b{size['ues']}\t{size['samples']}\b", flat)
    assert all(re.search(rf"sim {hours}\$ +GPU-hours", text) for hours in paper_says()["hours"].values())


def test_a_row_is_looked_up_by_city_and_street():
    assert (printed("A", "home", "unknown"), printed("A", "oslo", "unknown")) == (322.7, 136.9)
    assert printed("knn_square", "oslo", "known") == 19.9 and printed("centre", "home", "known") is None
    where = [tuple(c[name] for name in ("table", "key", "city", "street")) for c in paper_says()["cells"]]
    assert len(set(where)) == len(where) == 77
    mine = [c for c in paper_says()["cells"] if (c["city"], c["street"]) == ("home", "unknown")]
    best = min(mine, key=lambda c: c["error"])
    assert (best["key"], best["error"]) == ("Bp", 158.9)
