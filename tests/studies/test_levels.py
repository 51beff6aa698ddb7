import numpy as np
import pytest
import xarray as xr

from rfloc.config import EvaluationParams, LevelParams, RadioParams, SplitParams
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.statistical import StatisticalModel, regressors
from rfloc.errors import EvaluationError, SimulationError
from rfloc.frames import Grid
from rfloc.simulation.propagation import correlated_shadowing
from rfloc.splits import blocks_of
from rfloc.studies import levels
from rfloc.studies.levels import BASELINE, RECIPES, LevelModels, level_columns, pose_tables
from tests.simulation.scenes import FRAME, blocks_city, row_of_stations

RADIO = RadioParams(sensitivity_dbm=-200.0, detection_db=-300.0)
PARAMS = LevelParams(candidates=9, radius=150.0, height=[25.0, 45.0], samples=1, draws=1)
SCORING = EvaluationParams(bootstrap=300, block=300.0)
N, UES = 6, 700


@pytest.fixture(scope="module")
def city():
    return blocks_city()


@pytest.fixture(scope="module")
def at():
    return np.random.default_rng(9).uniform(-600, 600, (2, UES))


@pytest.fixture(scope="module")
def stations():
    return row_of_stations(*np.random.default_rng(4).uniform(-500, 500, (2, N)))


@pytest.fixture(scope="module")
def poses(city, stations, at):
    return [regressors(city, table, *at, RADIO) for table in pose_tables(stations, PARAMS, 1)]


@pytest.fixture(scope="module")
def world(poses):
    """A world in which the baseline is exactly right, at the nominal poses."""
    return of_pose(poses, np.zeros(N, int))


def of_pose(poses, which, sd=4.0):
    """Expected and measured levels where stations stand at these of the candidate poses."""
    rng = np.random.default_rng(5)
    names = ("one", "decades", "north", "east")
    mean, spread = np.array([[-70.0, 3.0, 0.0, 0.0], [4.0, 0.4, 5.0, 5.0]])[..., None]
    own = mean + rng.normal(0.0, 1.0, (4, N)) * spread
    columns = np.stack([np.stack([poses[k][name][:, b] for b, k in enumerate(which)], -1) for name in names])
    truth = (columns * own[:, None]).sum(0)
    return truth, truth + rng.normal(0.0, sd, truth.shape)


@pytest.fixture(scope="module")
def models(city, stations, poses, world, at):
    rays = {"rays": np.zeros((UES, N)), "street": np.zeros((UES, N))}
    links = links_from_gain(city, 10 ** (world[1] / 10), stations, *at, RADIO, "simulated")
    return LevelModels.of([columns | rays for columns in poses], links, city, RADIO)


def blocks(at, edge=300.0):
    return np.unique(blocks_of(*at, edge), axis=0, return_inverse=True)[1].ravel()


class TestErrors:
    def test_folds_share_no_block_test_each_link_once_and_show_nothing_that_is_hidden(self, at, world):
        folds = levels.dealt_folds(*at, N, 5, 0, 300.0, 50.0)
        assert (sum(fold.test.astype(int) for fold in folds) == 1).all()
        index = blocks(at)
        for fold in folds:
            ues = fold.test[:, 0]
            assert not set(index[ues]) & set(index[~ues])
            assert np.hypot(*(v[ues][:, None] - v[~fold.hidden[:, 0]] for v in at)).min() > 50.0
        x = np.repeat(np.arange(20.0), 3)
        for fold in levels.dealt_folds(x, x, 2, 4, 0):  # one position stays together
            assert set(fold.test[:, 0].reshape(20, 3).sum(1)) <= {0, 3}
        with pytest.raises(EvaluationError, match="make no 5 folds"):
            levels.dealt_folds(*at, N, 5, 0, 5000.0, 0.0)
        shown = []
        levels.held_out_squares(world[1], lambda m: shown.append(np.isnan(m)) or {"0": np.zeros_like(m)}, folds)
        assert all((seen == fold.hidden).all() for seen, fold in zip(shown, folds, strict=True))

    def test_the_inner_choice_takes_the_better_and_hides_both_folds(self, at, world):
        folds = levels.dealt_folds(*at, N, 4, 0, 300.0, 0.0)
        seen = []
        both = {"bad": world[0] + 5.0, "good": world[0]}
        assert levels.chosen_within(world[1], lambda m: seen.append(np.isnan(m)) or both, folds) == ["good"] * 4
        pairs = [folds[f].hidden | folds[g].hidden for f in range(4) for g in range(f + 1, 4)]
        assert all((hid == pair).all() for hid, pair in zip(seen, pairs, strict=True))

    def test_every_way_of_holding_out_tests_every_link_and_the_first_chooses(self, at, world):
        split, params = SplitParams(block=300.0, buffer=20.0), PARAMS.model_copy(update={"folds": 3, "draws": 2})
        ways = levels.ways_of_holding_out(*at, N, split, params, 1)
        assert list(ways) == ["blocks of 300 m", "blocks of 150 m", "random positions", "a whole station"]
        assert [len(draws) for draws in ways.values()] == [2, 2, 1, 1]
        assert all((sum(f.test.astype(int) for f in folds) == 1).all() for draws in ways.values() for folds in draws)
        both = {"bad": world[0] + 5.0, "good": world[0]}
        squares, choices = levels.held_out(world[1], lambda m: both, ways)
        assert choices == ["good"] * 6
        np.testing.assert_array_equal(squares["blocks of 300 m"][levels.CHOSEN], squares["blocks of 300 m"]["good"])
        assert levels.CHOSEN not in squares["random positions"]
        assert all(found["good"].shape == (len(ways[way]), UES, N) for way, found in squares.items())


class TestRatio:
    def interval(self, square, baseline, at):
        found = levels.ratio(square, baseline, blocks(at), SCORING, seed=0)
        return found["ratio"], (found["lo"], found["hi"])

    def test_of_a_copy_is_one_of_an_equal_contains_one_and_of_a_worse_does_not(self, at, world):
        square = (world[1] - world[0])[None] ** 2
        assert self.interval(square, square.copy(), at) == (1.0, (1.0, 1.0))
        rng = np.random.default_rng(0)
        first, equal, worse = (rng.normal(0.0, sd, (1, UES, N)) ** 2 for sd in (4.0, 4.0, 6.0))
        value, (low, high) = self.interval(equal, first, at)
        assert low < 1.0 < high and low < value < high
        value, (low, high) = self.interval(worse, first, at)
        assert value == pytest.approx(1.5, abs=0.1) and 1.0 < low < value < high

    def test_is_of_means_over_stations_of_the_same_links_with_no_interval_from_few_blocks(self):
        square, ones = np.full((1, 4, 2), np.nan), np.ones((1, 4, 2))
        square[0, :, 0], square[0, 0, 1] = 4.0, 16.0
        assert levels.rms(square) == 3.0
        with pytest.raises(EvaluationError, match="8 and 5 links do not pair"):
            levels.ratio(ones, square, np.arange(4), SCORING, seed=0)
        found = levels.ratio(square, 4 * square, np.arange(4), SCORING, seed=0)
        assert found == {"ratio": 0.5, "lo": None, "hi": None}


class TestModels:
    def test_the_truth_beats_the_baseline_where_the_baseline_is_right(self, at, models, world):
        found = levels.held_out_squares(world[1], models, levels.dealt_folds(*at, N, 3, 0, 300.0, 50.0))
        error = {name: levels.rms(square[None]) for name, square in found.items()}
        truth = (world[1] - world[0])[None] ** 2
        assert 0.85 < levels.rms(truth) / error[BASELINE] < 1.0
        assert error["one level a station"] > 1.2 * error[BASELINE]
        assert set(error) == {*RECIPES, "statistical simulator"}

    def test_effects_shrink_the_more_the_less_is_shown(self, models, world):
        rng = np.random.default_rng(0)
        few = world[1].copy()
        few[rng.permutation(UES)[12:], 0] = np.nan
        of = RECIPES[BASELINE][:2]
        full, sparse = (models.posterior(shown, of)[1][0, 0] for shown in (world[1], few))
        none = models.posterior(np.where(np.arange(N) == 0, np.nan, world[1]), of)[1][0, 0]
        assert np.hypot(*sparse[2:]) < np.hypot(*full[2:])
        np.testing.assert_allclose(none, 0.0, atol=1e-9)

    def test_a_station_left_out_is_predicted_by_the_others_and_nothing_from_nothing(self, models, world):
        alone = np.broadcast_to(np.arange(N) == 2, (UES, N))
        changed = world[1] + np.where(alone, 30.0, 0.0)
        first, second = (models(np.where(alone, np.nan, m)) for m in (world[1], changed))
        for name, level in first.items():
            np.testing.assert_array_equal(level, second[name])
            assert np.isfinite(level).all()
        with pytest.raises(SimulationError, match="squares"):
            models(np.full((UES, N), np.nan))

    def test_poses_find_where_stations_stand(self, at, poses, models):
        which = np.arange(N) + 2
        truth, measured = of_pose(poses, which, sd=2.0)
        assert (models.posterior(measured, RECIPES["poses"][:2])[0].argmax(0) == which).mean() > 0.6
        found = levels.held_out_squares(truth, models, levels.dealt_folds(*at, N, 3, 0, 300.0, 50.0))
        assert levels.rms(found["poses"][None]) < 0.8 * levels.rms(found[BASELINE][None])

    def test_kriging_helps_where_residuals_are_correlated(self, at, models, world):
        rough = world[0] + correlated_shadowing(*at, 6.0, 80.0, np.random.default_rng(3), N)
        found = levels.held_out_squares(rough, models, levels.dealt_folds(*at, N, 4, 0))
        assert levels.rms(found["kriged"][None]) < 0.8 * levels.rms(found[BASELINE][None])

    def test_the_simulator_predicts_levels(self, city, stations, at, models):
        truth = StatisticalModel(-6.0, 3.2, 18.0, 4.0, 45.0, 2.0, level_sd=3.0, exponent_sd=0.2)
        truth = truth.for_stations(stations, np.random.default_rng(2))
        links = links_from_gain(city, truth.path_gain(city, stations, *at, RADIO, 3), stations, *at, RADIO, "simulated")
        measured = links.nrsrp.values.astype(float)
        found = levels.held_out_squares(measured, models, levels.dealt_folds(*at, N, 2, 0))
        assert levels.rms(found["statistical simulator"][None]) < 6.0


class TestRegressors:
    def test_poses_begin_with_the_nominal_one_and_give_one_finite_column_a_link(self, stations, poses):
        assert {c.shape for p in poses for c in p.values()} == {(UES, N)}
        assert all(np.isfinite(c).all() for p in poses for c in p.values())
        tables = pose_tables(stations, PARAMS, 0)
        np.testing.assert_array_equal(tables[0].h, stations.h)
        assert len(tables) == 9
        assert all(((t.h >= 25.0) & (t.h <= 45.0)).all() for t in tables)
        assert max(np.hypot(t.x - stations.x, t.y - stations.y).max() for t in tables) <= 150.0

    def test_a_dark_cell_takes_the_nearest_and_an_empty_map_is_an_error(self, city, stations):
        gain, grid = np.full((1, 4, 8), 1e-9), Grid(-20.0, -10.0, 5.0, 8, 4)
        gain[0, 1, 3], gain[0, 1, 2] = 0.0, 1e-8
        gain[0, 0, 3] = gain[0, 2, 3] = gain[0, 1, 4] = 1e-8
        maps = xr.Dataset({"path_gain": (("bs", "y", "x"), gain)}, attrs={**FRAME.to_attrs(), **grid.to_attrs()})
        found = level_columns(city, stations.take([0]), maps, [-2.5, 17.5], [-2.5, 7.5], RADIO)
        np.testing.assert_allclose(found["rays"][:, 0], [-80.0, -90.0])
        assert (np.abs(found["street"] + 88.0) < 2.0).all() and found["decades"].shape == (2, 1)
        with pytest.raises(EvaluationError, match="1 maps are empty"):
            level_columns(city, stations.take([0]), 0 * maps, [0.0], [0.0], RADIO)
