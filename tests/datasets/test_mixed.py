import numpy as np
import pytest
from scipy.stats import multivariate_normal

from rfloc.datasets.mixed import Design, declustered, mixed_model, own_effects
from rfloc.errors import SimulationError


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


def test_effects_found_together_are_those_of_each_station_given_what_all_share():
    rng = np.random.default_rng(0)
    columns = {"one": np.ones((400, 6)), "decades": rng.uniform(-8, 8, (400, 6))}
    measured = rng.normal(0, 6, (400, 6)) + np.array([9.0, -5.0, 4.0, -8.0, 3.0, 9.0])
    design = Design.of(columns, ("one", "decades"), ("level", "exponent"))
    weight = np.isfinite(measured) * 0.2
    found = mixed_model(measured, design, weight)
    rest = measured.T - design.shared @ found.shared
    effects, _ = own_effects(rest, design.own, weight.T / found.residual_sd**2, found.spread)
    np.testing.assert_allclose(found.effects, effects, atol=1e-9)
    assert 4.0 < found.spread[0] < 12.0 and found.residual_sd == pytest.approx(6.0, rel=0.1)


def test_measurements_of_one_square_count_as_one():
    x, y = np.random.default_rng(0).uniform(0, 600, (2, 500))
    used = np.random.default_rng(1).random((500, 2)) < 0.5
    weight = declustered(x, y, used)
    assert weight.sum(0).tolist() == pytest.approx([36.0, 36.0])
    assert ((weight > 0) == used).all()
    with pytest.raises(SimulationError, match="squares of 100 m"):
        declustered(x, y, used & (np.arange(500) < 5)[:, None])
