"""The plateau: who knows streets alone has not left it, who knows where UEs are has; tables say which."""

import numpy as np
import pytest

from rfloc.config import EvaluationParams
from rfloc.evaluation import Learned, as_json, learned, table1
from rfloc.evaluation.tables import PLATEAU
from rfloc.localizers import StreetMedian
from rfloc.localizers.base import normalised
from tests.handmade import crop_params, make_split, open_raster, predictions, scattered


class Oracle:
    """Answers with the cell that holds the UE."""

    name = "oracle"

    def posterior(self, batch):
        logits = np.full((len(batch), 28 * 28), -50.0)
        logits[np.arange(len(batch)), batch.target] = 0.0
        return normalised(logits.reshape(-1, 28, 28))


def test_only_who_knows_more_than_streets_has_left_the_plateau():
    links, _ = scattered()
    split = make_split(links, np.where(np.arange(60) % 2, "val", "train"))
    about = (links, open_raster(), split, crop_params(), 3)
    streets, oracle = learned(StreetMedian(crop_params()), *about), learned(Oracle(), *about)
    assert streets.error == streets.streets == oracle.streets and not streets.left_plateau
    assert oracle.error < 20.0 and oracle.left_plateau
    assert [Learned(error, 100.0).left_plateau for error in (75.0, 75.1)] == [True, False]


@pytest.mark.parametrize(("left", "said"), [(None, "ours"), (True, "ours"), (False, "ours" + PLATEAU)])
def test_a_row_on_the_plateau_says_so(left, said):
    xy, role = np.zeros((8, 2)), np.where(np.arange(8) % 2, "known", "unknown")
    centre = predictions(np.arange(8), xy, xy + 10.0, role, "centre")
    found = centre.assign_attrs({} if left is None else {"left_plateau": left})
    rows = table1(
        {"centre": centre, "A": found}, EvaluationParams(bootstrap=10, block=100.0), seed=1, labels={"A": "ours"}
    )
    assert (rows[1].label, as_json(rows)[1]["left_plateau"]) == (said, left)
