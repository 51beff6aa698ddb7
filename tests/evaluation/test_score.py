from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from rfloc.config import EvaluationParams, SplitParams
from rfloc.crops import CropBatcher, cell_centres, evaluation_crops, size_bins
from rfloc.errors import DataError
from rfloc.evaluation import Learned, as_json, choose, cross_fitted, evaluate, geometric_median, learned, table1
from rfloc.evaluation.tables import PLATEAU
from rfloc.localizers import trivial_rows
from rfloc.localizers.base import normalised
from rfloc.localizers.trivial import Centre, Centroid, StreetMedian
from rfloc.schema import load, save
from rfloc.splits import folds
from tests.handmade import crop_params, make_links, make_split, open_raster, path_loss, predictions, scattered

PARAMS = EvaluationParams(bootstrap=200, block=100.0)
BS = np.array([[-150.0, -120.0], [180.0, -60.0], [20.0, 200.0]])


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


@dataclass
class Elsewhere(Oracle):
    """Answers that every UE stands so far east of its crop's centre, on average over the UEs that it was fitted to."""

    east: float = 0.0

    def estimate(self, batch):
        return np.tile([self.east, 0.0], (len(batch), 1))


def test_validation_crops_are_answered_by_what_other_blocks_taught():
    links, _ = scattered(90)
    params = crop_params(per_ue=2)
    split = make_split(links, np.array(["known", "val", "train"])[np.arange(90) % 3])
    crops = evaluation_crops(links, split, params, ("val", "known"), seed=2)
    batcher, val = CropBatcher(links, open_raster(), params), crops.role.values == "val"

    def fit(some):
        assert set(some.role.values) == {"val"}
        return Elsewhere(params.output, east=float(some.x.mean()))

    found = evaluate(fit(crops.isel(sample=val)), batcher, crops)
    other = cross_fitted(found, fit, batcher, crops, 100.0)
    np.testing.assert_array_equal(other.x_hat[~val], found.x_hat[~val])
    blocks = np.floor(np.column_stack([crops.x, crops.y])[val] / 100)
    for east in np.unique((other.x_hat - crops.crop_x).values[val].round(6)):
        mine = np.isclose((other.x_hat - crops.crop_x).values[val], east)
        assert east == pytest.approx(crops.x.values[val][~mine].mean()) and 0.2 < mine.mean() < 0.8
        assert not {*map(tuple, blocks[mine])} & {*map(tuple, blocks[~mine])}
    corner = ((crops.x > 0) & (crops.y > 0)).values  # lies in one block, if that is large
    alone = cross_fitted(found.isel(sample=corner), fit, batcher, crops.isel(sample=corner), 1e6)
    np.testing.assert_array_equal(alone.x_hat, found.x_hat[corner])


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


def test_two_rows_over_folds_are_what_numpy_says():
    rng = np.random.default_rng(4)
    ue = rng.uniform(-300, 300, (160, 2))
    level = path_loss(ue, BS) + rng.normal(0, 4, (160, 3))
    links, crops = make_links(ue, BS, level), crop_params(per_ue=2)
    batcher = CropBatcher(links, open_raster(1800), crops)
    made = folds(links, SplitParams(block=150.0, buffer=20.0, val=0.1, known=0.1), 3, 1)
    drawn = [evaluation_crops(links, split, crops, ("val", "known", "unknown"), seed=1) for split in made]
    found = {}
    for split, tests in zip(made, drawn, strict=True):
        rows = trivial_rows(batcher, split, seed=1)
        for name in ("centre", "centroid"):
            found.setdefault(name, []).append(evaluate(rows[name], batcher, tests))
    together = {name: xr.concat(of, "sample", combine_attrs="drop_conflicts") for name, of in found.items()}
    scored = {row.key: row for row in table1(together, EvaluationParams(), seed=1, paper=False, split="folds")}

    for street in ("known", "unknown"):  # by hand: crops of all folds, by UE, then over UEs
        errors = {"centre": [[] for _ in ue], "centroid": [[] for _ in ue]}
        for tests in drawn:
            for k, role, x, y in zip(*(tests[c].values for c in ("ue", "role", "crop_x", "crop_y")), strict=True):
                if role == street:
                    inside = np.maximum(abs(BS[:, 0] - x), abs(BS[:, 1] - y)) <= 280
                    weight = 10 ** (level[k] / 20) * inside
                    guess = weight @ BS / weight.sum()
                    errors["centre"][k].append(np.hypot(x - ue[k, 0], y - ue[k, 1]))
                    errors["centroid"][k].append(np.hypot(*(guess - ue[k])))
        for name, by_ue in errors.items():
            each = [np.mean(e) for e in by_ue if e]
            got = getattr(scored[name], street)
            assert got.n == len(each) and got.crops == sum(map(len, by_ue))
            np.testing.assert_allclose(got.mean, np.mean(each), rtol=1e-5)
            np.testing.assert_allclose(got.median, np.median(each), rtol=0.05)
    centre = scored["centre"].unknown
    assert (centre.n, centre.crops) == (160, 320)
    assert (centre.inside90, centre.area90) == (pytest.approx(0.9, abs=0.06), pytest.approx(0.9 * 0.81, abs=0.01))
    assert scored["centroid"].split == "folds"
