import json

import numpy as np
import pytest

from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation.tables import METHODS, Row, as_frame, as_json, error_records, headline, metres, score, table1
from tests.handmade import predictions

PARAMS = EvaluationParams(bootstrap=50, block=100.0)


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    xy = rng.uniform(-300, 300, (60, 2))
    role = np.array(["known", "unknown", "known", "unknown", "val"])[np.arange(60) % 5]
    centre = predictions(np.arange(60), xy, np.add(xy, [30.0, 40.0]), role, "centre")
    better = predictions(np.arange(60), xy, np.add(xy, [6.0, 8.0]), role, "A")
    return {"centre": centre, "A": better, "posterior_true": better}


@pytest.fixture(scope="module")
def rows(found):
    return table1(found, PARAMS, seed=1, labels={"A": "ours"})


def test_rows_carry_mean_gain_and_the_papers_numbers(rows):
    centre, ours, true = rows
    assert ours.known.mean == pytest.approx(10.0) and ours.unknown.gain == pytest.approx(40.0)
    assert ours.known.lo <= ours.known.mean <= ours.known.hi and ours.known.n == ours.known.crops == 24
    assert (centre.known.gain, centre.known.gain_lo, centre.known.gain_hi) == (0.0, 0.0, 0.0)
    assert (ours.label, ours.paper_known, ours.paper_unknown) == ("ours", 38.5, 322.7)
    assert centre.paper_known is None
    assert true.oracle and not ours.oracle and true.label == METHODS["posterior_true"].label


def test_rows_survive_json_and_an_oracle_wins_no_headline(found, rows):
    assert [Row.from_json(row) for row in json.loads(json.dumps(as_json(rows)))] == rows
    row = as_json(rows)[0]
    del row["known"]["rmse"]
    with pytest.raises(TypeError, match="rmse"):
        Row.from_json(row)
    said = headline([row for row in rows if row.key != "A"], found, PARAMS, seed=1)
    assert said["centre_known_mean"] == pytest.approx(50.0)
    none = {"key": "centre", "label": "crop centre", "gain": 0.0, "interval": (0.0, 0.0), "learned": False}
    assert said["learned_known"] == none


def test_rows_say_what_they_were_made_on_and_lack_scores_where_no_crop_is(found):
    unknown = {key: ds.isel(sample=ds["role"].values == "unknown") for key, ds in found.items()}
    row = table1(unknown, PARAMS, seed=1, split="folds", positions="training")[1]
    assert (row.city, row.split, row.positions, row.seeds) == ("home", "folds", "training", 1)
    assert row.known is None and row.on("unknown") is row.unknown
    assert Row.from_json(json.loads(json.dumps(as_json([row])))[0]) == row
    assert as_frame([row], "known").empty and len(as_frame([row], "unknown")) == 1
    with pytest.raises(DataError, match="no score on known streets"):
        row.on("known")


def test_numbers_are_written_with_their_intervals_and_another_city_has_no_paper_column(found, rows):
    assert as_frame(rows, "known").loc["ours", "paper"] == "38.5"
    assert "paper" not in as_frame(table1(found, PARAMS, seed=1, paper=False), "known")
    assert metres(152.4, 90.04, 171.2) == "152 [90.0, 171]"
    assert (metres(-150.2), metres(12.34), metres(None)) == ("-150", "12.3", "–")
    assert rows[0].known.text.startswith("50.0 m [")


def test_validation_chooses_what_has_learned_and_the_trivial_row_that_judges_it(found):
    """The strongest station and B would be best on the test crops; the centroid and A are on validation crops."""
    centre = found["centre"]
    val, true = (centre["role"] == "val").values, np.column_stack([centre["x"], centre["y"]])
    off = {"centroid": (1.0, 8.0), "strongest": (99.0, 4.0), "B": (99.0, 1.0)}
    more = {
        key: predictions(centre["ue"], true, true + np.outer(np.where(val, *by), [1, 0]), centre["role"].values, key)
        for key, by in off.items()
    }
    every = found | more
    said = headline(table1(every, PARAMS, seed=1), every, PARAMS, seed=1)
    assert (said["trivial_key"], said["trivial_unknown_mean"]) == ("centroid", pytest.approx(8.0))
    assert (said["learned_unknown"]["key"], said["learned_unknown"]["label"]) == ("A", METHODS["A"].label)
    assert said["learned_unknown"]["gain"] == pytest.approx(-2.0) and not said["learned_unknown"]["learned"]
    assert headline(table1(found, PARAMS, seed=1), found, PARAMS, seed=1)["learned_known"]["learned"]


def test_gains_are_paired_on_the_same_crops_over_the_centre(found):
    gain = score(found["A"], found["centre"], "unknown", PARAMS, 0)
    assert gain.gain_lo == pytest.approx(40.0) == gain.gain_hi
    with pytest.raises(DataError, match="different crops"):
        score(found["A"], found["centre"].isel(sample=slice(1, None)), "unknown", PARAMS, 0)
    with pytest.raises(DataError, match="no row 'centre'"):
        table1({}, PARAMS, seed=1)


def test_records_stand_beside_the_centre_and_the_best_trivial_row_of_their_own_crops(found):
    fixed = table1(found | {"centroid": found["A"]}, PARAMS, seed=1)
    folds = table1({key: found[key] for key in ("centre", "A")}, PARAMS, seed=1, split="folds")
    trivial = {("home", "fixed"): "centroid", ("home", "folds"): "centre"}
    records = error_records([*fixed, *folds], trivial, {"A": "map_radioformer"})
    assert len(records) == 2 * 6
    mine = [r for r in records if r["experiment"] == "A" and r["street"] == "unknown"]
    assert [(r["localizer"], r["split"]) for r in mine] == [("map_radioformer", s) for s in ("fixed", "folds")]
    assert mine[0]["centre"] == {"key": "centre", "mean": pytest.approx(50.0)}
    assert mine[0]["trivial"] == {"key": "centroid", "mean": pytest.approx(10.0)}
    assert mine[1]["trivial"] == {"key": "centre", "mean": pytest.approx(50.0)}
    assert (mine[0]["n_ue"], mine[0]["n_crops"], mine[0]["paper"]) == (24, 24, 322.7)
    wanted = {"mean", "lo", "hi", "rmse", "median", "p67", "p90", "p95", "gain", "gain_lo", "gain_hi", "seeds", "city"}
    assert wanted <= mine[0].keys()
