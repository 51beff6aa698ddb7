"""A plain without buildings and links by the log-distance law: an oracle city for everything that learns."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from rfloc.frames import Grid, LocalFrame
from rfloc.schema import links_dataset, validate, with_units

FRAME = LocalFrame(41.87, 12.46)


def plain_raster(size: float = 800.0) -> xr.Dataset:
    """A raster of kind "raster" around the origin: no building, road everywhere."""
    grid = Grid.covering(-size / 2, -size / 2, size / 2, size / 2, 4.0)
    ds = xr.Dataset(
        {
            "building": (("y", "x"), np.zeros(grid.shape, np.uint8)),
            "road": (("y", "x"), np.ones(grid.shape, np.uint8)),
            "height": (("y", "x"), np.zeros(grid.shape, np.float32)),
        },
        coords={"x": grid.x, "y": grid.y},
        attrs=FRAME.to_attrs() | grid.to_attrs(),
    )
    return validate(with_units(ds, "raster"), "raster")


def log_distance_links(
    n_ue: int, seed: int = 0, n_bs: int = 9, shadowing: float = 0.0, extent: float = 150.0, span: float = 160.0
) -> xr.Dataset:
    """Links of kind "links" with NRSRP = -60 - 35 log10(d / 10 m) dBm, weakest missing below -118 dBm."""
    rng = np.random.default_rng(seed)
    at = np.linspace(-span, span, int(np.sqrt(n_bs)))
    bs_x, bs_y = (a.ravel() for a in np.meshgrid(at, at))
    x, y = rng.uniform(-extent, extent, (2, n_ue))
    d = np.hypot(x[:, None] - bs_x, y[:, None] - bs_y).clip(10)
    nrsrp = -60 - 35 * np.log10(d / 10) + rng.normal(0, shadowing, d.shape)
    nrsrp[nrsrp < -118] = np.nan
    features = {"nrsrp": nrsrp, "rssi": nrsrp + 27, "nsinr": nrsrp + 90, "nrsrq": np.full_like(nrsrp, -12)}
    n = len(bs_x)
    return links_dataset(
        features,
        {"x": x, "y": y},
        {"x": bs_x, "y": bs_y, "h": np.full(n, 30.0), "azimuth": np.full(n, np.nan), "power": np.full(n, 43.0),
         "id": [f"bs{i}" for i in range(n)]},
        FRAME,
        source="log-distance law",
        city="plain",
        carrier_hz=0.8e9,
    )  # fmt: skip


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
