"""One entry to every measured campaign: files as `campaign` in params.yaml names them, to links in one city."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfloc.city import City
from rfloc.city.vector import resolve
from rfloc.config import CampaignParams, RadioParams
from rfloc.datasets import cells, fetch, nbiot
from rfloc.datasets.rows import LINK, links_from_rows, reject
from rfloc.datasets.table import read_table
from rfloc.errors import ConfigError, DataError
from rfloc.files import content_hash

Report = dict[str, Any]


def read_campaign(
    params: CampaignParams, radio: RadioParams, data_root: Path, project: Path, city: City, seed: int
) -> tuple[xr.Dataset, Report]:
    """Read the campaign of one city.

    Parameters
    ----------
    params : CampaignParams
        Kind `nbiot` or `table`, and its files: below `data_root`, a table else below the project's `data/`.
    radio : RadioParams
        Carrier and nominal transmit power; the files do not say them.
    data_root, project : Path
        Folder of published files; folder of the project.
    city : City
        UEs outside its box are rejected, stations outside its raster too.
    seed : int
        Of the random subset of UEs, where `max_ues` asks for one.

    Returns
    -------
    links : xr.Dataset
        Kind `links`: operators apart, azimuth NaN and height nominal where nobody states them. With
        `positions = "all"` the cells without position are there with NaN, and
        :func:`rfloc.datasets.positions.estimate_positions` places them once a split says who trains.
    report : dict
        Counts of every step. `rejected` says reason -> rows; `rows` is their sum and `rows_kept`; `rows_kept` is
        `links` and `rows_averaged_away`. `files` holds the SHA-256 of each file read.

    Raises
    ------
    ConfigError
        If the kind is not one that is read from files.
    DataError
        If a file is missing, damaged or not what it should be, or nothing of it lies in the city.
    """
    if params.kind == "nbiot":
        names = [params.mat, *([params.published] if params.published else [])]
        if params.manifest:
            fetch.check_files(params.manifest, data_root, names, project)
        names += [params.cell_table] if params.cell_table else []
        paths = {name: resolve(name, data_root, project) for name in names}
        rows, report, rejected = _read_nbiot(params, paths, city)
        who = f"measured: NB-IoT campaign, {Path(params.mat).name}"
    elif params.kind == "table" and params.table is not None:
        paths = {params.table: resolve(params.table, data_root, project)}
        rows, report, rejected = read_table(paths[params.table])
        who = f"measured: {Path(params.table).name}"
    else:
        raise ConfigError(
            f"a campaign of kind {params.kind!r} is not read from files",
            "it is simulated",
            "set campaign.kind to nbiot or table, and name its files",
        )
    _require_rows(rows, rejected, city, "check which files section `campaign` of params.yaml names")
    rows = _in_city(rows, city, rejected)
    if params.kind == "nbiot" and params.positions == "known":
        rows = reject(rows, rows["bs_lat"].isna(), "cell without a known position", rejected)
    rows = _stations_in_city(rows, city, rejected)
    rows = _subset(rows, params, seed, rejected)
    _require_rows(
        rows, rejected, city, "check the city's box, and that the cells' latitudes and longitudes are not exchanged"
    )
    links, counts = links_from_rows(rows, city.frame, radio.carrier_hz, city.key, source=who, power_dbm=radio.power_dbm)
    source = pd.Series(links["bs_position_source"].values)
    report |= {
        "rejected": rejected,
        **counts,
        "position_sources": {k: int(n) for k, n in source.value_counts().items()},
    }
    return links, report | {"files": {name: content_hash(path) for name, path in paths.items()}}


def _require_rows(rows: pd.DataFrame, rejected: dict[str, int], city: City, mend: str) -> None:
    if rows.empty:
        raise DataError(
            f"nothing of the campaign is left in {city.key!r}",
            "; ".join(f"{reason}: {count} rows" for reason, count in rejected.items() if count) or "it has no rows",
            mend,
        )


def _read_nbiot(params: CampaignParams, paths: dict[str, Path], city: City) -> tuple[pd.DataFrame, Report, dict]:
    """Rows of the .mat file, each with the position of its cell, NaN where none of the files gives one."""
    rows, counts, rejected = nbiot.read_mat(paths[params.mat], interpolated=params.interpolated)
    report: Report = dict(counts)
    table = published = None
    if params.cell_table:
        table, report["cell_table"] = cells.read_cell_table(paths[params.cell_table])
    if params.published:
        published, report["published"] = cells.published_positions(paths[params.published], rows)
    known, both = cells.join_cells(table, published, city.frame)
    return rows.merge(known, on=nbiot.CELL, how="left", validate="m:1"), report | both, rejected


def _in_city(rows: pd.DataFrame, city: City, rejected: dict[str, int]) -> pd.DataFrame:
    inside = _within(rows["ue_lat"], rows["ue_lon"], city, city.bounds)
    if not inside.any():
        lat, lon = (f"{rows[name].min():.4f} to {rows[name].max():.4f}" for name in ("ue_lat", "ue_lon"))
        (south, north), (west, east) = city.frame.to_geographic(city.bounds[::2], city.bounds[1::2])
        swapped = _within(rows["ue_lon"], rows["ue_lat"], city, city.bounds).any()
        raise DataError(
            f"no UE lies in the box of {city.key!r}",
            f"UEs have latitudes {lat} and longitudes {lon}"
            + f"; the box reaches from {south:.4f} to {north:.4f} and from {west:.4f} to {east:.4f}"
            + ("; with the two exchanged, some would lie in it" if swapped else ""),
            "exchange ue_lat and ue_lon" if swapped else "choose the city's box round the campaign",
        )
    return reject(rows, ~inside, "UE outside the city's box", rejected)


def _stations_in_city(rows: pd.DataFrame, city: City, rejected: dict[str, int]) -> pd.DataFrame:
    """Without the cells that stand where the city has no geometry; those without position stay."""
    inside = _within(rows["bs_lat"], rows["bs_lon"], city, city.grid.bounds)
    return reject(rows, rows["bs_lat"].notna() & ~inside, "station outside the city's raster", rejected)


def _within(lat: pd.Series, lon: pd.Series, city: City, bounds: tuple[float, float, float, float]) -> pd.Series:
    possible = lat.between(-85, 85) & lon.between(-180, 180)  # false for NaN
    x, y = city.frame.to_local(lat.where(possible, 0.0), lon.where(possible, 0.0))
    x_min, y_min, x_max, y_max = bounds
    return possible & (x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max)


def _subset(rows: pd.DataFrame, params: CampaignParams, seed: int, rejected: dict[str, int]) -> pd.DataFrame:
    """The cells heard most often and a random subset of the UE locations."""
    if params.max_bs is not None:
        heard = rows.drop_duplicates(LINK)["bs_id"].value_counts().sort_index()
        most = heard.sort_values(ascending=False, kind="stable").index[: params.max_bs]
        rows = reject(rows, ~rows["bs_id"].isin(most), "cell beyond max_bs", rejected)
    where = ["ue_lat", "ue_lon"]
    ues = rows[where].drop_duplicates().sort_values(where)
    if params.max_ues is not None and params.max_ues < len(ues):
        chosen = np.random.default_rng(seed).choice(len(ues), params.max_ues, replace=False)
        kept = pd.MultiIndex.from_frame(ues.iloc[np.sort(chosen)])
        out = pd.Series(~pd.MultiIndex.from_frame(rows[where]).isin(kept), index=rows.index)
        rows = reject(rows, out, "UE beyond max_ues", rejected)
    return rows
