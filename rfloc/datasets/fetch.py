"""Published files, each checked by its SHA-256: copied from a folder the user has, else downloaded.

A manifest (`conf/data/<name>.json`) lists the files of a data set with size, SHA-256, origin pinned to a revision and
licence. A file that is there and differs is never overwritten, and no half-written file is left behind.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pooch
import requests
from pydantic import Field

from rfloc.config import Section, check, project_root
from rfloc.errors import ConfigError, DataError, HashMismatchError
from rfloc.files import content_hash, load_json, write


class Origin(Section):
    """One file of a manifest."""

    name: str = Field(pattern=r"^[\w.-]+$")
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    origin: str | None
    licence: str
    what: str = ""

    def verify(self, path: Path) -> None:
        """Raise HashMismatchError unless the file at `path` is this one."""
        if content_hash(path) != self.sha256:
            raise HashMismatchError(
                f"{path} is not the published {self.name}",
                f"its SHA-256 is {content_hash(path)}, expected {self.sha256}",
                "move it away and fetch again",
            )


class Manifest(Section):
    """Files of one data set, and the folder below the data root in which they lie."""

    folder: str = Field(pattern=r"^[\w.-]+$")
    files: list[Origin]
    cite: list[str] = Field([])


def read_manifest(name: str, project: Path | None = None) -> Manifest:
    """The manifest of a data set (raises ConfigError if there is none of this name, or it is malformed)."""
    folder = (project or project_root()) / "conf" / "data"
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        raise ConfigError(
            f"no data set is called {name!r}",
            f"{folder} knows {', '.join(known) or 'none'}",
            "name one of these, or set campaign.manifest to null for files of your own",
        )
    return check(Manifest, load_json(folder / f"{name}.json"), where=f"conf/data/{name}.json")


def check_files(name: str, data_root: Path, used: Sequence[str], project: Path | None = None) -> None:
    """Check files of a data set, `used`, paths below `data_root`.

    Raises HashMismatchError, DataError or ConfigError if one is not the published file, is missing, or unknown.
    """
    manifest = read_manifest(name, project)
    origins = {f"{manifest.folder}/{origin.name}": origin for origin in manifest.files}
    for file in used:
        if file not in origins:
            mend = "set campaign.manifest to null for files of your own"
            raise ConfigError(f"the data set {name!r} has no file {file}", f"it has {', '.join(origins)}", mend)
        if not (path := data_root / file).is_file():
            raise DataError(
                f"{path} is missing",
                f"the data set {name!r} consists of {len(manifest.files)} files",
                f"run `rfloc fetch {name}`, or set data.root or RFLOC_DATA to a folder that holds {manifest.folder}/",
            )
        origins[file].verify(path)


def fetch(
    name: str, data_root: Path | None, target: Path, manifest: Manifest | None = None, *, retries: int = 3
) -> dict[str, str]:
    """Fill `target/<folder>` with the files of a data set, check each, and print a line a file.

    Files in `data_root/<folder>` are copied; others are downloaded, a failure tried again `retries` times. Returns
    where each came from: "kept" (it was there), "copied" or "downloaded".

    Raises
    ------
    HashMismatchError
        If a file, there already or just received, is not the published one.
    DataError
        If a file has no public origin, or the origin does not answer. The others are fetched first.
    """
    manifest = manifest or read_manifest(name)
    folder = Path(target) / manifest.folder
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, str] = {}
    failed: list[str] = []
    for file in manifest.files:
        path = folder / file.name
        local = Path(data_root) / manifest.folder / file.name if data_root else None
        if path.is_file():
            file.verify(path)
            done[file.name] = "kept"
        elif local is not None and local.is_file():
            file.verify(local)
            with write(path) as part:
                shutil.copyfile(local, part)
            done[file.name] = "copied"
        elif file.origin is None:
            failed.append(f"{file.name}: not published at an address ({file.licence})")
            continue
        else:
            known = {file.name: f"sha256:{file.sha256}"}
            shelf = pooch.create(folder, "", registry=known, urls={file.name: file.origin}, retry_if_failed=retries)
            try:
                shelf.fetch(file.name)
            except requests.RequestException as error:
                failed.append(f"{file.name}: {file.origin}: {error}")
                continue
            except ValueError as error:  # pooch's word for a wrong hash
                mend = "its origin changed, or the transfer was damaged: fetch again"
                raise HashMismatchError(f"{file.origin} is not the published file", str(error), mend) from None
            done[file.name] = "downloaded"
        print(f"{path}: {done[file.name]}, {file.bytes / 1e6:.1f} MB, SHA-256 right; licence: {file.licence}")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(manifest.files)} files of {name!r} could not be had: " + "; ".join(failed),
            f"{len(done)} are in {folder}",
            "where an origin did not answer, try again; else point data.root or RFLOC_DATA at a folder that holds "
            f"{manifest.folder}/, or draw the OSM extract yourself and name it in conf/city (buildings, streets)",
        )
    return done
