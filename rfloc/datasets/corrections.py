"""Station positions that somebody corrected by hand: `conf/sites/<manifest>.json`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

from rfloc.errors import DataError
from rfloc.frames import LocalFrame


def corrected_positions(links: xr.Dataset, manifest: str | None, project: Path) -> xr.Dataset | None:
    """The links with stations where the corrections of a data set put them; None where it has none.

    A station is the published one within `tolerance_m` of it; one that none lies near stays where it is.

    Parameters
    ----------
    links : Dataset of kind "links"
        Stations at their published positions.
    manifest : str or None
        Name of the data set.
    project : Path
        Folder of the project, which holds conf/sites.

    Raises
    ------
    DataError
        If the file is damaged, or no station of the links is among its sites.
    """
    path = project / "conf" / "sites" / f"{manifest}.json"
    if manifest is None or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        published, corrected = (np.array([site[key] for site in content["sites"]], float).T for key in _KEYS)
        tolerance = float(content["tolerance_m"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read", f"{type(error).__name__}: {error}", "restore it from git") from None
    frame = LocalFrame.from_attrs(links.attrs)
    from_x, from_y = frame.to_local(*published)
    to_x, to_y = frame.to_local(*corrected)
    x, y = links["bs_x"].values.copy(), links["bs_y"].values.copy()
    away = np.hypot(x[:, None] - from_x, y[:, None] - from_y)
    nearest = away.argmin(axis=1)
    known = away.min(axis=1) <= tolerance
    if not known.any():
        raise DataError(
            f"none of {len(x)} stations is among the sites of {path.name}",
            f"the nearest lies {away.min():.0f} m from one, more than {tolerance:g} m",
            "set campaign.manifest to the data set that these links come from",
        )
    x[known], y[known] = to_x[nearest[known]], to_y[nearest[known]]
    coords = {name: links[name].copy(data=values) for name, values in (("bs_x", x), ("bs_y", y))}
    return links.assign_coords(coords)


_KEYS = ("published", "corrected")
