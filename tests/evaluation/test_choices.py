"""Options are chosen one after another, by what they are told to count."""

from dataclasses import dataclass

import numpy as np
import pytest

from rfloc.crops import CropBatcher
from rfloc.evaluation import choose
from rfloc.localizers.base import normalised
from tests.handmade import crop_params, make_links, open_raster


@dataclass(frozen=True)
class Answer:
    """A Gaussian so wide, so far east of the UE [m]."""

    east: float = 100.0
    wide: float = 60.0
    name: str = "answer"

    def posterior(self, batch):
        cells = crop_params().output
        x = ((np.arange(cells) + 0.5) / cells - 0.5) * batch.size[0]
        at = batch.target_xy + np.array([self.east, 0.0])
        away = (x - at[:, :1])[:, None, :] ** 2 + (-x - at[:, 1:])[:, :, None] ** 2
        return normalised(-away / (2 * self.wide**2))


@pytest.fixture(scope="module")
def batch():
    ue = np.random.default_rng(0).uniform(-100, 100, (6, 2))
    links = make_links(ue, np.zeros((3, 2)), np.full((6, 3), -80.0))
    return CropBatcher(links, open_raster(1400), crop_params()).batch(np.arange(6), *np.zeros((2, 6)))


def test_errors_choose_the_nearer_and_density_the_honest_one(batch):
    folds = [(lambda options: options, {"known": batch, "unknown": batch})]
    tried = {"east": (100.0, 40.0, 70.0), "wide": (5.0, 10.0, 40.0)}
    best, attempts = choose(Answer(), tried, folds, by_density=("wide",))
    assert (best.east, best.wide) == (40.0, 40.0)
    assert [a["value"] for a in attempts if a["chosen"]] == [40.0, 40.0] and len(attempts) == 6
    by_option = {(a["option"], a["value"]): a for a in attempts}
    assert by_option["east", 40.0]["known"] == pytest.approx(40.0, abs=3.0)
    assert by_option["wide", 5.0]["unknown_nll"] > by_option["wide", 40.0]["unknown_nll"]
    assert by_option["wide", 5.0]["known_inside90"] == 0.0 and by_option["wide", 40.0]["known_inside90"] == 1.0


def test_the_first_of_equals_is_taken(batch):
    best, _ = choose(Answer(), {"name": ("one", "other")}, [(lambda options: options, {"val": batch})])
    assert best.name == "one"
