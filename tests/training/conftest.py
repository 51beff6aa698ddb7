"""The plain, its links, and small parameters for the tests of this folder."""

import pytest
import xarray as xr

from rfloc.config import CropParams, ModelParams
from tests.handmade import open_raster
from tests.training.plain import log_distance_links


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
