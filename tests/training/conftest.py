"""A plain without buildings, links on it by the log-distance law, and small parameters: an oracle city for learning."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from rfloc.config import CropParams, ModelParams
from tests.handmade import make_links, open_raster


@pytest.fixture(scope="session")
def plain() -> xr.Dataset:
    return open_raster(800)


@pytest.fixture(scope="session")
def links() -> xr.Dataset:
    return log_distance_links(400)


@pytest.fixture
def crops() -> CropParams:
    return CropParams(size=400.0, jitter=0.8, min_heard=3, max_bs=6, pixels=28, output=14)


@pytest.fixture
def tiny() -> ModelParams:
    return ModelParams(width=16, depth=1, heads=2, patch=14, mlp=[16])


def log_distance_links(n_ue: int, seed: int = 0, shadowing: float = 0.0) -> xr.Dataset:
    """Links to 9 stations with NRSRP = -60 - 35 log10(d / 10 m) dBm, weakest missing below -118 dBm."""
    rng = np.random.default_rng(seed)
    bs = np.stack(np.meshgrid(*2 * [np.linspace(-160, 160, 3)]), axis=-1).reshape(-1, 2)
    ue = rng.uniform(-150, 150, (2, n_ue)).T
    d = np.linalg.norm(ue[:, None] - bs, axis=-1).clip(10)
    nrsrp = -60 - 35 * np.log10(d / 10) + rng.normal(0, shadowing, d.shape)
    return make_links(ue, bs, np.where(nrsrp < -118, np.nan, nrsrp))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
