import numpy as np
import pytest
from scipy.stats import multivariate_normal

from rfloc.datasets import mixed
from rfloc.datasets.mixed import Design, declustered, mixed_model, own_effects
from rfloc.errors import SimulationError


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
