"""Radio maps without a map or a ray: every station's own log-distance law, from what training UEs report.

Level, exponent and one azimuth harmonic of a station deviate from the average one's as a mixed model shrinks them
(:mod:`rfloc.datasets.mixed`): a station that few UEs hear is nearly average.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.config import RadioParams
from rfloc.datasets.mixed import Design, declustered, mixed_model
from rfloc.datasets.radio import SUBCARRIERS
from rfloc.datasets.statistical import flat_regressors
from rfloc.frames import Grid, LocalFrame
from rfloc.schema import validate, with_units
from rfloc.simulation.maps import sector_gain_db
from rfloc.stations import Stations


def distance_maps(links: xr.Dataset, train: ArrayLike, grid: Grid, radio: RadioParams) -> xr.Dataset:
    """Maps on a grid, one a station of `links`, fitted to the NRSRP that `train` UEs, bool (ue,), report.

    What :func:`rfloc.simulation.maps.nrsrp_map` reads off them is the expected level: their gain is without the pattern
    that it adds. Raises SimulationError if the reports lie in too few squares.
    """
    stations, used = Stations.from_dataset(links), links.isel(ue=np.flatnonzero(np.asarray(train, bool)))

    def design(x: np.ndarray, y: np.ndarray) -> Design:
        columns = flat_regressors(stations, x, y, radio)
        return Design.of([columns], ("one", "decades"), ("level", "exponent", "harmonic")).at(0)

    at, level = (used["ue_x"].values, used["ue_y"].values), used["nrsrp"].values.astype(float)
    found = mixed_model(level, design(*at), declustered(*at, np.isfinite(level)))
    x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
    gain = design(x, y).levels(found.shared, found.effects) - sector_gain_db(stations, x, y, radio)
    gain -= stations.power[:, None] - 10 * np.log10(SUBCARRIERS * radio.resource_blocks)
    path_gain = 10 ** (gain / 10).reshape(stations.n, *grid.shape)
    attrs = {"carrier_hz": radio.carrier_hz, **grid.to_attrs(), **LocalFrame.from_attrs(links.attrs).to_attrs()}
    maps = xr.Dataset({"path_gain": (("bs", "y", "x"), path_gain)}, stations.coords(), attrs)
    return validate(with_units(maps, "maps"), "maps")
