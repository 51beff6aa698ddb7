"""Measured campaigns: published files, each checked by its SHA-256, and one entry from files to links in one city.

Files are those that `campaign` in params.yaml names. Published ones are copied from a folder the user has, else
downloaded: a manifest (`conf/data/<name>.json`) names the `folder` and the `files` of a data set: name, size, SHA-256,
origin pinned to a revision, licence. A file that differs is never overwritten, no half-written one is left behind.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pooch
import requests
import xarray as xr

from rfloc.city import City
from rfloc.config import CampaignParams, RadioParams, input_file, project_root
from rfloc.datasets import nbiot
from rfloc.datasets.rows import Rows, links_from_rows
from rfloc.datasets.table import read_table
from rfloc.errors import ConfigError, DataError
from rfloc.files import content_hash, load_json, write
from rfloc.frames import Bounds


def read_manifest(name: str, project: Path | None = None) -> dict[str, Any]:
    """The manifest of a data set (raises ConfigError if there is none of this name)."""
    folder = (project or project_root()) / "conf" / "data"
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        mend = "name one of these, or set campaign.manifest to null for files of your own"
        raise ConfigError(f"no data set is called {name!r}", f"{folder} knows {', '.join(known) or 'none'}", mend)
    return load_json(folder / f"{name}.json")


def _verify(path: Path, sha256: str) -> None:
    """Raise DataError unless the file at `path` has this hash."""
    if (got := content_hash(path)) != sha256:
        why = f"its SHA-256 is {got}, expected {sha256}"
        raise DataError(f"{path} is not the published file", why, "move it away and fetch again")


def check_files(name: str, data_root: Path, used: Sequence[str], project: Path | None = None) -> None:
    """Raise unless all `used`, paths below `data_root`, are published files of a data set, and there."""
    manifest = read_manifest(name, project)
    hashes = {f"{manifest['folder']}/{file['name']}": file["sha256"] for file in manifest["files"]}
    for file in used:
        if file not in hashes:
            mend = "set campaign.manifest to null for files of your own"
            raise ConfigError(f"the data set {name!r} has no file {file}", f"it has {', '.join(hashes)}", mend)
        if not (data_root / file).is_file():
            mend = f"run `rfloc fetch {name}`, or set data.root or RFLOC_DATA to a folder that holds the data set"
            raise DataError(f"{data_root / file} is missing", f"it is a file of the data set {name!r}", mend)
        _verify(data_root / file, hashes[file])


def fetch(
    name: str, data_root: Path | None, target: Path, manifest: dict[str, Any] | None = None, *, retries: int = 3
) -> dict[str, str]:
    """Fill `target/<folder>` with the files of a data set, check each, and print a line a file.

    Files in `data_root/<folder>` are copied; others are downloaded, a failure tried again `retries` times. Returns
    where each came from: "kept" (it was there), "copied" or "downloaded". Raises DataError at a file that is not the
    published one, and, once the others are fetched, if one has no public origin or that does not answer.
    """
    manifest = manifest or read_manifest(name)
    files = {file["name"]: file for file in manifest["files"]}
    folder = Path(target) / manifest["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {file: f"sha256:{about['sha256']}" for file, about in files.items()}
    origins = {file: about["origin"] for file, about in files.items()}
    store = pooch.create(folder, "", registry=hashes, urls=origins, retry_if_failed=retries)
    done: dict[str, str] = {}
    failed: list[str] = []
    for file, about in files.items():
        path, local = folder / file, Path(data_root or target) / manifest["folder"] / file
        if path.is_file():
            _verify(path, about["sha256"])
            done[file] = "kept"
        elif local.is_file():
            _verify(local, about["sha256"])
            with write(path) as part:
                shutil.copyfile(local, part)
            done[file] = "copied"
        elif about["origin"] is None:
            failed.append(f"{file}: not published at an address ({about['licence']})")
        else:
            try:
                store.fetch(file)
                done[file] = "downloaded"
            except requests.RequestException as error:
                failed.append(f"{file}: {about['origin']}: {error}")
            except ValueError as error:  # pooch's word for a wrong hash
                mend = "its origin changed, or the transfer was damaged: fetch again"
                raise DataError(f"{about['origin']} is not the published file", str(error), mend) from None
        if file in done:
            print(f"{path}: {done[file]}, {about['bytes'] / 1e6:.1f} MB, SHA-256 right; licence: {about['licence']}")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(files)} files of {name!r} could not be had: " + "; ".join(failed),
            f"{len(done)} are in {folder}",
            "where an origin did not answer, try again; else point data.root or RFLOC_DATA at a folder that holds "
            f"{folder.name}/, or draw the OSM extract yourself and name it in conf/city (buildings, streets)",
        )
    return done


def read_campaign(
    params: CampaignParams, radio: RadioParams, data_root: Path, project: Path, city: City
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Read the campaign of one city: UEs outside its box and stations outside its raster are rejected.

    Files lie below `data_root`, else below the project's `data/`. Operators are different stations; azimuths are NaN
    and heights nominal where nobody states them. With `positions = "all"` the cells without position are there with
    NaN, for :func:`rfloc.datasets.positions.estimate_positions` to place once a split says who trains; "training" reads
    the same, for all to be placed. In the report, `rejected` says reason -> rows; `rows` is their sum and `rows_kept`,
    which is `links` and `rows_averaged_away`; `files` holds SHA-256s. What nobody should miss is printed. Raises
    DataError if a file is missing or damaged, or nothing of it lies in the city.
    """
    if params.kind == "nbiot" and params.manifest:
        check_files(params.manifest, data_root, [name for name in params.files if name != params.cell_table], project)
    paths = {name: input_file(name, data_root, project) for name in params.files}
    if params.kind == "table":
        path = paths[str(params.table)]
        source = f"measured: {path.name}"
        rows = read_table(path, radio.resource_blocks, reject=params.reject)
        knobs = ("carrier_hz", "power_dbm", "resource_blocks", "sensitivity_dbm")
        said = ", ".join(f"radio.{knob} = {getattr(radio, knob):g}" for knob in knobs)
        rows.notes.append(f"a table does not say its network's {said}: set them to what they are")
    else:
        rows, source = _read_nbiot(params, paths), f"measured: NB-IoT campaign, {Path(params.mat).name}"

    rows.require(repr(city.key), "check which files section `campaign` of params.yaml names")
    _in_city(rows, city)
    if params.positions == "known":
        rows.reject(rows.table["bs_lat"].isna(), "cell without a known position")
    outside = ~_within(rows.table["bs_lat"], rows.table["bs_lon"], city, city.grid.bounds)
    rows.reject(rows.table["bs_lat"].notna() & outside, "station outside the city's raster")
    mend = "check the city's box, and that cells' latitudes and longitudes are not exchanged"
    rows.require(repr(city.key), f"{mend}; campaign.positions: all takes cells without a position, too")
    weak = rows.table["nrsrp"][rows.table["nrsrp"] < radio.sensitivity_dbm]
    rows.report["reports_under_sensitivity"] = len(weak)
    if len(weak):
        said = f"{len(weak)} of {len(rows.table)} reports lie under radio.sensitivity_dbm = {radio.sensitivity_dbm:g}"
        mend = f"silence is taken for less. Set it to the receiver's; the weakest report is {weak.min():g} dBm"
        rows.notes.append(f"{said}: {mend}")
    about: dict[str, Any] = {"source": source, "power_dbm": radio.power_dbm}
    links, counts = links_from_rows(rows.table, city.frame, radio.carrier_hz, city.key, **about)
    for note in rows.notes:
        print(f"NOTE on the campaign of {city.key}: {note}")
    return links, rows.report | counts | {
        "rejected": rows.rejected,
        "position_sources": pd.Series(links["bs_position_source"].values).value_counts().to_dict(),
        "files": {name: content_hash(path) for name, path in paths.items()},
    }


def _read_nbiot(params: CampaignParams, paths: dict[str, Path]) -> Rows:
    """Rows of the .mat file, each with the position of its cell, NaN where none of the files gives one."""
    rows = nbiot.read_mat(paths[params.mat], interpolated=params.interpolated)
    where = pd.DataFrame(columns=nbiot.PLACED)
    if params.published:
        read = nbiot.positions_by_enodeb if params.published.endswith(".mat") else nbiot.positions_by_crop
        where, rows.report["published"] = read(paths[params.published], rows.table)
    if params.cell_table:
        table, rows.report["cell_table"] = nbiot.read_cell_table(paths[params.cell_table])
        where = pd.concat([table, where]).drop_duplicates(nbiot.CELL) if params.published else table
    rows.table = rows.table.merge(where, on=nbiot.CELL, how="left", validate="m:1")
    return rows


def _in_city(rows: Rows, city: City) -> None:
    """Reject UEs outside the city's box."""
    lat, lon = rows.table["ue_lat"], rows.table["ue_lon"]
    inside = _within(lat, lon, city, city.bounds)
    if not inside.any():
        (south, north), (west, east) = city.frame.to_geographic(city.bounds[::2], city.bounds[1::2])
        swapped = _within(lon, lat, city, city.bounds).any()
        raise DataError(
            f"no UE lies in the box of {city.key!r}",
            f"UEs have latitudes {lat.min():.4f} to {lat.max():.4f} and longitudes {lon.min():.4f} to {lon.max():.4f}"
            f"; the box reaches from {south:.4f} to {north:.4f} and from {west:.4f} to {east:.4f}",
            "exchange ue_lat and ue_lon: some would lie in it" if swapped else "choose the box round the campaign",
        )
    rows.reject(~inside, "UE outside the city's box")


def _within(lat: pd.Series, lon: pd.Series, city: City, bounds: Bounds) -> pd.Series:
    """Whether positions lie in a box of the city's frame [m]; never, where one is NaN."""
    x, y = city.frame.to_local(lat, lon)
    x_min, y_min, x_max, y_max = bounds
    return pd.Series((x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max), lat.index)
