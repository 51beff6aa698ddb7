"""Footprints that several tests of cities share."""

from pathlib import Path

import geopandas as gpd
import pytest


@pytest.fixture(scope="session")
def rome_footprints(rome_data: Path) -> gpd.GeoDataFrame:
    """The footprints of Rome's extract [deg]."""
    return gpd.read_parquet(rome_data / "rome" / "buildings.parquet")
