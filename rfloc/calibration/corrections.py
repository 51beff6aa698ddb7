"""Station positions that somebody corrected by hand: `conf/sites/<manifest>.json`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from rfloc.errors import DataError
from rfloc.files import load_json
from rfloc.frames import LocalFrame
from rfloc.stations import Stations


def corrected_stations(links: xr.Dataset, path: Path) -> Stations:
    """Stations of links where a file of corrections puts them; those that it does not name stay where they are.

    A station is the published one within the file's `tolerance_m`. Raises DataError if no station is.
    """
    content, stations = load_json(path), Stations.from_dataset(links)
    to_local, sites = LocalFrame.from_attrs(links.attrs).to_local, content["sites"]
    published, corrected = (
        np.array(to_local(*np.array([site[key] for site in sites], float).T)) for key in ("published", "corrected")
    )
    away = np.hypot(stations.x[:, None] - published[0], stations.y[:, None] - published[1])
    nearest, known = away.argmin(axis=1), away.min(axis=1) <= content["tolerance_m"]
    if not known.any():
        raise DataError(
            f"none of {stations.n} stations is among the sites of {path.name}",
            f"the nearest lies {away.min():.0f} m from one, more than {content['tolerance_m']:g} m",
            "set campaign.manifest to the data set that these links come from",
        )
    x, y = np.where(known, corrected[:, nearest], [stations.x, stations.y])
    return stations.replace(x=x, y=y)
