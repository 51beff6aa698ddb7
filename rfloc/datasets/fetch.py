"""Published files, each checked by its SHA-256: copied from a folder the user has, else downloaded.

A manifest (`conf/data/<name>.json`) names the `folder` and the `files` of a data set: name, size, SHA-256, origin
pinned to a revision, licence. A file that differs is never overwritten, and no half-written one is left behind.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pooch
import requests

from rfloc.config import project_root
from rfloc.errors import ConfigError, DataError
from rfloc.files import content_hash, load_json, write


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
            continue
        else:
            try:
                store.fetch(file)
            except requests.RequestException as error:
                failed.append(f"{file}: {about['origin']}: {error}")
                continue
            except ValueError as error:  # pooch's word for a wrong hash
                mend = "its origin changed, or the transfer was damaged: fetch again"
                raise DataError(f"{about['origin']} is not the published file", str(error), mend) from None
            done[file] = "downloaded"
        print(f"{path}: {done[file]}, {about['bytes'] / 1e6:.1f} MB, SHA-256 right; licence: {about['licence']}")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(files)} files of {name!r} could not be had: " + "; ".join(failed),
            f"{len(done)} are in {folder}",
            "where an origin did not answer, try again; else point data.root or RFLOC_DATA at a folder that holds "
            f"{folder.name}/, or draw the OSM extract yourself and name it in conf/city (buildings, streets)",
        )
    return done
