from __future__ import annotations

import numpy as np
import pytest

from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation import table1
from tests.handmade import predictions

PARAMS = EvaluationParams(bootstrap=50, block=100.0)


def rows(paper: bool = True):
    rng = np.random.default_rng(0)
    xy = rng.uniform(-300, 300, (60, 2))
    role = np.where(np.arange(60) % 2, "known", "unknown")
    centre = predictions(np.arange(60), xy, np.add(xy, [30.0, 40.0]), role, "centre")
    better = predictions(np.arange(60), xy, np.add(xy, [6.0, 8.0]), role, "A")
    found = {"centre": centre, "A": better, "posterior_true": better}
    return table1.table1(found, PARAMS, seed=1, labels={"A": "A"}, paper=paper)


def test_rows_carry_mean_gain_and_the_papers_numbers():
    by_key = {row["key"]: row for row in rows()}
    assert by_key["A"]["known"]["mean"] == pytest.approx(10.0)
    assert by_key["A"]["unknown"]["gain"] == pytest.approx(40.0)
    assert by_key["centre"]["known"]["gain"] == 0.0
    assert (by_key["A"]["paper_known"], by_key["A"]["paper_unknown"]) == (38.5, 322.7)
    assert by_key["centre"]["paper_known"] is None
    assert by_key["posterior_true"]["oracle"] and not by_key["A"]["oracle"]


def test_another_city_has_no_paper_column():
    assert "paper" in table1.frame(rows())["known streets"]
    assert "paper" not in table1.frame(rows(paper=False))["known streets"]


def test_an_oracle_wins_no_headline():
    found = table1.headline([row for row in rows() if row["key"] != "A"])
    assert found["best_known"] == "crop centre" and found["centre_known_mean"] == pytest.approx(50.0)


def test_without_the_centre_there_is_no_table():
    with pytest.raises(DataError, match="no row 'centre'"):
        table1.table1({}, PARAMS, seed=1, labels={})
