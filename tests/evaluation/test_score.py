from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rfloc.config import EvaluationParams
from rfloc.crops import CropBatcher, cell_centres, evaluation_crops, size_bins
from rfloc.errors import DataError
from rfloc.evaluation import Learned, as_json, evaluate, geometric_median, learned, table1
from rfloc.evaluation.tables import PLATEAU
from rfloc.localizers.trivial import Centre, Centroid, StreetMedian
from rfloc.schema import load, save
from tests.handmade import crop_params, make_split, open_raster, predictions, scattered

PARAMS = EvaluationParams(bootstrap=200, block=100.0)


@dataclass
class Oracle:
    """Puts all probability into the UE's own cell."""

    cells: int
    name: str = "oracle"

    def posterior(self, batch):
        p = np.zeros((len(batch), self.cells**2))
        p[np.arange(len(batch)), batch.target] = 1
        return p.reshape(-1, self.cells, self.cells)


@pytest.fixture(scope="module")
def setting():
    links, _ = scattered(90)
    params = crop_params(per_ue=3)
    split = make_split(links, np.array(["known", "unknown", "train"])[np.arange(90) % 3])
    crops = evaluation_crops(links, split, params, seed=2)
    return CropBatcher(links, open_raster(), params), crops, params


def test_the_oracle_errs_by_less_than_a_cell_and_batches_do_not_matter(setting, tmp_path):
    batcher, crops, params = setting
    found = evaluate(Oracle(params.output), batcher, crops, batch_size=7)
    off = np.stack([found.x_hat - found.x, found.y_hat - found.y])
    assert np.abs(off).max() <= 10.001  # half a cell of 20 m
    assert np.allclose(found.area90, 0.9 / params.output**2) and (found.temper == 1).all()
    assert (found.credibility < 0.9).mean() == pytest.approx(0.9, abs=0.06)  # of its cell, what lies west of the UE

    a = evaluate(StreetMedian(params), batcher, crops, batch_size=7)
    b = evaluate(StreetMedian(params), batcher, crops, batch_size=64)
    np.testing.assert_allclose(a.x_hat, b.x_hat)
    assert load(save(a, tmp_path / "p.zarr", "predictions"), "predictions").sizes == a.sizes
    centroid = Centroid(params)  # an estimate of its own is taken
    estimated = centroid.estimate(batcher.batch(crops.ue, crops.crop_x, crops.crop_y))
    np.testing.assert_allclose(evaluate(centroid, batcher, crops).x_hat - crops.crop_x, estimated[:, 0])


def test_centre_errs_as_theory_says(setting):
    batcher, crops, params = setting
    (row,) = table1({"centre": evaluate(Centre(params), batcher, crops)}, PARAMS, seed=0)
    for score in (row.known, row.unknown):
        assert score.lo < 252 * (np.sqrt(2) + np.arcsinh(1)) / 3 < score.hi and score.rmse > score.mean
        assert (score.n, score.crops) == (30, 90)
        assert score.inside90 == pytest.approx(0.9, abs=0.1)
        assert score.area90 == pytest.approx(0.9 * 0.81, abs=0.01)


def test_centre_errs_in_proportion_to_the_size_of_the_crop():
    """A UE uniform in the central 90 % of a crop of edge s lies s * 0.9 * 0.3826 from the centre on average."""
    links, _ = scattered(2000)
    split = make_split(links, np.full(2000, "unknown"))
    params = crop_params()
    crops = evaluation_crops(links, split, params, roles=["unknown"], seed=2, variable=True)
    batcher = CropBatcher(links, open_raster(100), params)
    found = evaluate(Centre(params), batcher, crops, batch_size=200)
    np.testing.assert_array_equal(found["size"], crops["size"])
    share = np.hypot(found.x_hat - found.x, found.y_hat - found.y).values / found["size"].values / 0.9
    index, limits = size_bins(found["size"], params)
    assert np.bincount(index, minlength=5).min() >= 20 and len(limits) == 6
    for k in range(5):
        mine = share[index == k]
        assert mine.mean() == pytest.approx((np.sqrt(2) + np.arcsinh(1)) / 6, abs=4 * 0.1424 / np.sqrt(len(mine)))


def test_what_is_no_posterior_and_foreign_crops_are_refused(setting):
    batcher, crops, params = setting

    class Wrong(Oracle):
        def posterior(self, batch):
            return 2 * super().posterior(batch)

    with pytest.raises(DataError, match="no posterior"):
        evaluate(Wrong(params.output), batcher, crops)
    with pytest.raises(DataError, match="different UEs"):
        evaluate(Centre(params), batcher, crops.assign(x=crops.x + 1))
    with pytest.raises(DataError, match="crops of 400"):
        evaluate(Centre(params), batcher, crops.assign_attrs(crop_size=400.0))


@pytest.mark.parametrize(("row", "col"), [(0, 0), (5, 9), (13, 13)])
def test_a_certain_cell_decodes_to_its_centre(row, col):
    (x, y), certain = cell_centres(560, 14), np.zeros((1, 14, 14))
    certain[0, row, col] = 1
    np.testing.assert_allclose(geometric_median(certain, 560), [[x[row, col], y[row, col]]], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_geometric_median_minimises_the_expected_distance(seed):
    p = np.exp(3.0 * np.random.default_rng(seed).normal(size=(3, 14, 14)))
    p /= p.sum(axis=(1, 2), keepdims=True)
    x, y = cell_centres(560, 14)

    def expected(at, b):
        return float((p[b] * np.hypot(x - at[0], y - at[1])).sum())

    for b, found in enumerate(geometric_median(p, 560)):
        mean = [(p[b] * x).sum(), (p[b] * y).sum()]
        best = minimize(expected, mean, args=(b,), method="Nelder-Mead", options={"xatol": 1e-3}).fun
        assert expected(found, b) <= best + 0.3  # cells of 40 m; about 0.2 %


def test_only_who_knows_more_than_streets_has_left_the_plateau():
    links, _ = scattered()
    split = make_split(links, np.where(np.arange(60) % 2, "val", "train"))
    about = (links, open_raster(), split, crop_params(), 3)
    streets, oracle = learned(StreetMedian(crop_params()), *about), learned(Oracle(28), *about)
    assert streets.error == streets.streets == oracle.streets and not streets.left_plateau
    assert oracle.error < 20.0 and oracle.left_plateau
    assert [Learned(error, 100.0).left_plateau for error in (75.0, 75.1)] == [True, False]


@pytest.mark.parametrize(("left", "said"), [(None, "ours"), (True, "ours"), (False, "ours" + PLATEAU)])
def test_a_row_on_the_plateau_says_so(left, said):
    xy, role = np.zeros((8, 2)), np.where(np.arange(8) % 2, "known", "unknown")
    centre = predictions(np.arange(8), xy, xy + 10.0, role, "centre")
    found = centre.assign_attrs({} if left is None else {"left_plateau": left})
    rows = table1({"centre": centre, "A": found}, PARAMS, seed=1, labels={"A": "ours"})
    assert (rows[1].label, as_json(rows)[1]["left_plateau"]) == (said, left)
