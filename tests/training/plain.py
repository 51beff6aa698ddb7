"""A plain without buildings and links by the log-distance law: an oracle city for everything that learns."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from tests.handmade import make_links


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
