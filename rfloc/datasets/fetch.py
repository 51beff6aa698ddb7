"""Published files, each checked by its SHA-256: copied from a folder the user has, else downloaded.

A manifest (`conf/data/<name>.json`) names the `folder` and the `files` of a data set: name, size, SHA-256, origin
pinned to a revision, licence. A file that differs is never overwritten, and no half-written one is left behind.
"""

from __future__ import annotations

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
        raise ConfigError(
            f"no data set is called {name!r}",
            f"{folder} knows {', '.join(known) or 'none'}",
            "name one of these, or set campaign.manifest to null for files of your own",
        )
    return load_json(folder / f"{name}.json")


def verify(path: Path, sha256: str) -> None:
    """Raise DataError unless the file at `path` has this hash."""
    if (got := content_hash(path)) != sha256:
        why = f"its SHA-256 is {got}, expected {sha256}"
        raise DataError(f"{path} is not the published file", why, "move it away and fetch again")


def check_files(name: str, data_root: Path, used: Sequence[str], project: Path | None = None) -> None:
    """Check files of a data set, `used`, paths below `data_root`.

    Raises DataError, DataError or ConfigError if one is not the published file, is missing, or unknown.
    """
    manifest = read_manifest(name, project)
    hashes = {f"{manifest['folder']}/{file['name']}": file["sha256"] for file in manifest["files"]}
    for file in used:
        if file not in hashes:
            mend = "set campaign.manifest to null for files of your own"
            raise ConfigError(f"the data set {name!r} has no file {file}", f"it has {', '.join(hashes)}", mend)
        if not (data_root / file).is_file():
            mend = f"run `rfloc fetch {name}`, or set data.root or RFLOC_DATA to a folder that holds the data set"
            raise DataError(f"{data_root / file} is missing", f"it is a file of the data set {name!r}", mend)
        verify(data_root / file, hashes[file])


def fetch(
    name: str, data_root: Path | None, target: Path, manifest: dict[str, Any] | None = None, *, retries: int = 3
) -> dict[str, str]:
    """Fill `target/<folder>` with the files of a data set, check each, and print a line a file.

    Files in `data_root/<folder>` are copied; others are downloaded, a failure tried again `retries` times. Returns
    where each came from: "kept" (it was there), "copied" or "downloaded".

    Raises
    ------
    DataError
        If a file, there already or just received, is not the published one.
    DataError
        If a file has no public origin, or the origin does not answer. The others are fetched first.
    """
    manifest = manifest or read_manifest(name)
    folder = Path(target) / manifest["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, str] = {}
    failed: list[str] = []
    for file in manifest["files"]:
        origin, sha256, path = file["origin"], file["sha256"], folder / file["name"]
        local = Path(data_root) / manifest["folder"] / path.name if data_root else path
        if path.is_file():
            verify(path, sha256)
            done[path.name] = "kept"
        elif local.is_file():
            verify(local, sha256)
            with write(path) as part:
                shutil.copyfile(local, part)
            done[path.name] = "copied"
        elif origin is None:
            failed.append(f"{path.name}: not published at an address ({file['licence']})")
            continue
        else:
            known = {path.name: f"sha256:{sha256}"}
            try:
                pooch.create(folder, "", registry=known, urls={path.name: origin}, retry_if_failed=retries).fetch(
                    path.name
                )
            except requests.RequestException as error:
                failed.append(f"{path.name}: {origin}: {error}")
                continue
            except ValueError as error:  # pooch's word for a wrong hash
                mend = "its origin changed, or the transfer was damaged: fetch again"
                raise DataError(f"{origin} is not the published file", str(error), mend) from None
            done[path.name] = "downloaded"
        print(f"{path}: {done[path.name]}, {file['bytes'] / 1e6:.1f} MB, SHA-256 right; licence: {file['licence']}")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(manifest['files'])} files of {name!r} could not be had: " + "; ".join(failed),
            f"{len(done)} are in {folder}",
            "where an origin did not answer, try again; else point data.root or RFLOC_DATA at a folder that holds "
            f"{folder.name}/, or draw the OSM extract yourself and name it in conf/city (buildings, streets)",
        )
    return done
