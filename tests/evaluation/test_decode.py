import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rfloc.crops import cell_centres
from rfloc.evaluation.score import geometric_median


def _random(seed, b=3, g=14, sharp=3.0):
    p = np.exp(sharp * np.random.default_rng(seed).normal(size=(b, g, g)))
    return p / p.sum(axis=(1, 2), keepdims=True)


def _one(row, col, g=14):
    p = np.zeros((1, g, g))
    p[0, row, col] = 1
    return p


@pytest.mark.parametrize(("row", "col"), [(0, 0), (5, 9), (13, 13)])
def test_a_certain_cell_decodes_to_its_centre(row, col):
    x, y = cell_centres(560, 14)
    np.testing.assert_allclose(geometric_median(_one(row, col), 560), [[x[row, col], y[row, col]]], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_geometric_median_minimises_the_expected_distance(seed):
    p = _random(seed)
    x, y = cell_centres(560, 14)

    def expected(at, b):
        return float((p[b] * np.hypot(x - at[0], y - at[1])).sum())

    for b, found in enumerate(geometric_median(p, 560)):
        mean = [(p[b] * x).sum(), (p[b] * y).sum()]
        best = minimize(expected, mean, args=(b,), method="Nelder-Mead", options={"xatol": 1e-3}).fun
        assert expected(found, b) <= best + 0.3  # cells of 40 m; about 0.2 %
