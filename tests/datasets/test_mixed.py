import numpy as np
import pytest
from scipy.stats import multivariate_normal

from rfloc.datasets import mixed
from rfloc.datasets.mixed import Design, Means, Shadowing, declustered, likeliest_shadowing, mixed_model, own_effects
from rfloc.errors import SimulationError
from rfloc.simulation.propagation import correlated_shadowing


def columns(shape, seed=0):
    rng = np.random.default_rng(seed)
    return {"one": np.ones(shape), "decades": rng.uniform(-8, 8, shape), "obstructed": np.zeros(shape)}


def test_the_fewer_squares_the_nearer_to_the_average():
    rng = np.random.default_rng(0)
    measured = rng.normal(0, 6, (400, 6)) + np.array([9.0, -5.0, 4.0, -8.0, 3.0, 9.0])
    measured[20:, 5] = np.nan
    design = Design.of([columns(measured.shape)], ("one", "decades", "obstructed"), ("level", "exponent")).at(0)
    found = mixed_model(measured, design, np.isfinite(measured) * 0.2)
    kept = found.effects[:, 0] / (np.nanmean(measured, 0) - found.shared[0])
    assert (kept[:5] > 0.8).all() and 0.0 < kept[5] < kept[:5].min()
    assert found.shared[2] == pytest.approx(0.0, abs=1e-9)  # nothing was obstructed
    level, exponent = found.shared[:2, None] + found.effects.T
    level = level + columns(measured.shape)["decades"] * exponent
    np.testing.assert_allclose(design.levels(found.shared, found.effects).T, level)


def test_a_design_names_its_regressors_and_effects_that_share_a_spread():
    table = {name: np.full((5, 2), k) for k, name in enumerate(("one", "decades", "north", "east"))}
    design = Design.of([table, table, table], ("one", "decades"), ("level", "harmonic"))
    assert design.shared.shape == (3, 2, 5, 2) and design.own.shape == (3, 2, 5, 3)
    assert design.at(1).own[0, 0].tolist() == [0.0, 2.0, 3.0]
    assert design.spread_of.tolist() == [0, 1, 1] and design.scales.tolist() == [10.0, 6.0]
    assert design.shared_sd.tolist() == [mixed.SHARED_SD["one"], mixed.SHARED_SD["decades"]]


def test_effects_are_the_posterior_and_the_likelihood_that_of_the_gaussian():
    rng = np.random.default_rng(1)
    own, rest, spread, sd = rng.normal(size=(2, 9, 3)), rng.normal(0, 3, (2, 9)), np.array([2.0, 1.0, 0.5]), 1.5
    effects, log = own_effects(rest, own, sd**-2, spread)
    exact = []
    for z, r, u in zip(own, rest, effects, strict=True):
        cov = z @ np.diag(spread**2) @ z.T + sd**2 * np.eye(9)
        np.testing.assert_allclose(u, np.diag(spread**2) @ z.T @ np.linalg.solve(cov, r))
        exact.append(multivariate_normal(cov=cov).logpdf(r))
    assert log[0] - log[1] == pytest.approx(exact[0] - exact[1])


def test_measurements_of_one_square_count_as_one():
    x, y = np.random.default_rng(0).uniform(0, 600, (2, 500))
    used = np.random.default_rng(1).random((500, 2)) < 0.5
    weight = declustered(x, y, used)
    assert weight.sum(0).tolist() == pytest.approx([36.0, 36.0])
    assert ((weight > 0) == used).all()
    with pytest.raises(SimulationError, match="squares of 100 m"):
        declustered(x, y, used & (np.arange(500) < 5)[:, None])


def test_noise_is_told_from_shadowing():
    x, y = np.random.default_rng(0).uniform(0, 1500, (2, 1200))
    rng = np.random.default_rng(1)
    field = correlated_shadowing(x, y, 6.0, 40.0, rng, 6) + rng.normal(0, 3.0, (1200, 6))
    found = likeliest_shadowing([Means.of(x, y, residual, square=10.0) for residual in field.T])
    assert found.sd == pytest.approx(6.0, rel=0.1) and found.length == pytest.approx(40.0, rel=0.25)
    assert found.noise * np.sqrt(1 + mixed.COMMON) == pytest.approx(3.0, rel=0.15)


def test_squares_hold_means_of_what_was_measured_which_kriging_meets_and_forgets_far_away():
    means = Means.of(np.array([1.0, 3.0, 60.0, 70.0]), np.zeros(4), np.array([2.0, 4.0, np.nan, 7.0]))
    assert means.at.tolist() == [[2.0, 0.0], [70.0, 0.0]]
    assert means.mean.tolist() == [3.0, 7.0] and means.ues.tolist() == [2.0, 1.0]
    means = Means.of(np.array([0.0, 400.0]), np.zeros(2), np.array([5.0, -3.0]))
    found = Shadowing(6.0, 50.0, 0.1).kriged(means, np.array([0.0, 400.0, 2000.0]), np.zeros(3))
    np.testing.assert_allclose(found, [5.0, -3.0, 0.0], atol=0.02)
