import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.crops import cell_centres, cell_index
from rfloc.evaluation.uncertainty import LAPSE, credibility, energy, fit_power, nll, region, to_power

SIZE, G = 560.0, 28


def drawn(p, n, rng):
    """Places of n UEs drawn from a posterior whose density is constant within a cell, and their cells."""
    cells = p.shape[-1]
    target = rng.choice(cells**2, n, p=p.ravel())
    x, y = (values.ravel()[target] for values in cell_centres(SIZE, cells))
    at = np.stack([x, y], axis=1) + rng.uniform(-0.5, 0.5, (n, 2)) * SIZE / cells
    return at, target


@pytest.mark.parametrize("cells", [7, 28])
def test_a_uniform_posterior_scores_as_its_closed_forms(cells):
    p, at = np.full((1, cells, cells), 1 / cells**2), np.zeros((1, 2))
    target = cell_index(at, SIZE, cells)
    assert nll(p, target, SIZE)[0] == pytest.approx(np.log(SIZE**2))
    assert region(p, 0.9)[0] == pytest.approx(0.9)
    mean = SIZE * (np.sqrt(2) + np.arcsinh(1)) / 6  # E|X| in a square
    apart = SIZE * (2 + np.sqrt(2) + 5 * np.arcsinh(1)) / 15  # E|X - X'|, 0.5214 of the edge
    assert energy(p, at, SIZE)[0] == pytest.approx(mean - apart / 2, rel=3 / cells**2)


def test_a_gaussian_scores_as_its_closed_forms():
    sd, at, (x, y) = 60.0, np.array([[62.5, 2.5]]), cell_centres(SIZE, 112)  # at the middle of a cell
    p = np.exp(-(x**2 + y**2) / (2 * sd**2))[None]
    p /= p.sum()
    target, far = cell_index(at, SIZE, 112), (62.5**2 + 2.5**2) / (2 * sd**2)
    density = (1 - LAPSE) * np.exp(-far) / (2 * np.pi * sd**2) + LAPSE / SIZE**2
    assert nll(p, target, SIZE)[0] == pytest.approx(-np.log(density), abs=1e-4)
    assert region(p, 0.9)[0] * SIZE**2 == pytest.approx(np.pi * sd**2 * 2 * np.log(10), rel=0.01)
    assert credibility(p, target, at, SIZE)[0] == pytest.approx(1 - np.exp(-far), abs=0.01)
    middle = energy(p, np.zeros((1, 2)), SIZE)[0]
    assert middle == pytest.approx(sd * (np.sqrt(np.pi / 2) - np.sqrt(np.pi) / 2), rel=2e-3)


def test_energy_is_the_mean_over_pairs_of_cells():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(49), 3).reshape(3, 7, 7)
    size, at = np.array([140.0, 280.0, 560.0]), rng.uniform(-60, 60, (3, 2))
    x, y = (values.reshape(3, -1) for values in cell_centres(size, 7))
    apart = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None])
    flat = p.reshape(3, -1)
    want = (flat * np.hypot(x - at[:, :1], y - at[:, 1:])).sum(1) - np.einsum("bi,bj,bij->b", flat, flat, apart) / 2
    np.testing.assert_allclose(energy(p, at, size), want)


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 3.0]))
def test_credibility_of_draws_from_the_posterior_itself_is_uniform(seed, sharp):
    """Flat posteriors, whose cells are all alike, and sharp ones: regions hold what they say, to a share of a cell."""
    rng = np.random.default_rng(seed)
    p = np.exp(sharp * rng.normal(size=(1, 6, 6)))
    p /= p.sum()
    at, target = drawn(p, 4000, rng)
    found = np.sort(credibility(np.repeat(p, 4000, axis=0), target, at, SIZE))
    assert np.abs(found - (np.arange(4000) + 0.5) / 4000).max() < 2.2 / np.sqrt(4000)  # Kolmogorov, p = 1e-4


def test_a_region_of_unequal_cells_is_cut_to_a_share_of_a_cell_and_ruled_out_stays_ruled_out():
    softened = to_power(np.array([[[0.9, 0.1], [0.0, 0.0]]]), 0.5)
    np.testing.assert_allclose(softened, [[[0.75, 0.25], [0, 0]]])
    p = np.array([[[0.5, 0.3], [0.15, 0.05]]])
    assert region(p, 0.9)[0] == pytest.approx((2 + 0.1 / 0.15) / 4)
    assert region(p, 0.8)[0] == pytest.approx(0.5)
    at = np.array([[-SIZE / 4, -SIZE / 4]])  # the middle of the third cell
    assert credibility(p, [2], at, SIZE)[0] == pytest.approx(0.8 + 0.15 / 2)
    assert credibility(softened, [2], at, SIZE)[0] == pytest.approx(1), "what was ruled out"


@pytest.mark.parametrize("power", [0.3, 1.0, 2.0])
def test_the_power_undoes_what_made_posteriors_too_sure(power):
    """Answers whose log density is off by a factor are mended by its inverse, given crops enough."""
    rng = np.random.default_rng(1)
    honest = np.exp(1.5 * rng.normal(size=(1500, 12, 12)))
    honest /= honest.sum(axis=(1, 2), keepdims=True)
    target = (honest.reshape(1500, -1).cumsum(axis=1) > rng.random((1500, 1))).argmax(axis=1)
    answered = to_power(honest, 1 / power)
    assert fit_power(answered, target, 1500) == pytest.approx(power, rel=0.12)
    few = fit_power(answered, target, 1)
    assert abs(np.log(few)) <= abs(np.log(power)) + 0.05  # one block of streets alone moves it less
