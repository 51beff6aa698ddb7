"""Footprints that several tests of cities share."""

from pathlib import Path

import geopandas as gpd
import pytest


@pytest.fixture(scope="session")
def rome_footprints(rome_data: Path) -> gpd.GeoDataFrame:
    """The footprints of Rome's extract [deg]."""
    return gpd.read_parquet(rome_data / "rome" / "buildings.parquet")


@pytest.fixture(scope="session")
def rome_sample(rome_footprints: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Every hundredth footprint of Rome's extract [deg], one polygon a row."""
    return rome_footprints.iloc[::100].explode(ignore_index=True)
