"""Fetch published files: from a folder the user has, else from public origins; every file is checked by SHA-256.

A manifest (`conf/data/<name>.json`) lists the files of a data set with size, SHA-256, origin pinned to a revision and
licence. Nothing is ever overwritten by a file that differs, and no half-written file is left behind.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import requests
from pydantic import Field

from rfloc.config import Count, Section, check, project_root
from rfloc.errors import ConfigError, DataError, HashMismatchError
from rfloc.files import load_json
from rfloc.transfer import insist, whole_file

_CHUNK = 1 << 16


class Origin(Section):
    """One file of a manifest."""

    name: str = Field(pattern=r"^[\w.-]+$")
    bytes: Count
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    origin: str | None
    licence: str
    what: str = ""


class Manifest(Section):
    """Files of one data set, and the folder below the data root in which they lie."""

    folder: str = Field(pattern=r"^[\w.-]+$")
    files: list[Origin]
    cite: list[str] = Field([])


def read_manifest(name: str, project: Path | None = None) -> Manifest:
    """The manifest of a data set.

    Raises
    ------
    ConfigError
        If there is none of this name, or it is malformed.
    """
    folder = (project or project_root()) / "conf" / "data"
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        raise ConfigError(
            f"no data set is called {name!r}",
            f"{folder} knows {', '.join(known) or 'none'}",
            "name one of these, or set campaign.manifest to null for files of your own",
        )
    return check(Manifest, load_json(folder / f"{name}.json"), where=f"conf/data/{name}.json")


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, origin: Origin, source: str = "") -> None:
    """Raise HashMismatchError unless the file is the published one; `source` names it where it is a transfer's."""
    got = sha256(path)
    if got != origin.sha256:
        raise HashMismatchError(
            f"{source or path} is not the published {origin.name}",
            f"its SHA-256 is {got}, expected {origin.sha256} ({path.stat().st_size} bytes, expected {origin.bytes})",
            "move it away and fetch again; where this was a download, its origin changed or the transfer was damaged",
        )


def check_files(name: str, data_root: Path, used: Sequence[str] | None = None, project: Path | None = None) -> None:
    """Check files of a data set where they lie.

    Parameters
    ----------
    name : str
        Data set, a file name in conf/data without suffix.
    data_root : Path
        Folder that holds the data set's folder.
    used : sequence of str, optional
        Only these, as paths below `data_root`; default: all.
    project : Path, optional
        Folder of the project whose manifest counts; default: found from the working directory upwards.

    Raises
    ------
    HashMismatchError
        If one is not the published file.
    DataError
        If one is missing.
    ConfigError
        If `used` names one that the data set does not have.
    """
    manifest = read_manifest(name, project)
    origins = {f"{manifest.folder}/{origin.name}": origin for origin in manifest.files}
    for file in origins if used is None else used:
        if file not in origins:
            raise ConfigError(
                f"the data set {name!r} has no file {file}",
                f"it has {', '.join(origins)}",
                "set campaign.manifest to null for files of your own",
            )
        path = Path(data_root) / file
        if not path.is_file():
            raise DataError(
                f"{path} is missing",
                f"the data set {name!r} consists of {len(manifest.files)} files",
                f"run `rfloc fetch {name}`, or set data.root or RFLOC_DATA to a folder that holds {manifest.folder}/",
            )
        verify(path, origins[file])


def fetch(
    name: str,
    data_root: Path | None,
    target: Path,
    origins: Manifest | None = None,
    *,
    timeout: float = 30.0,
    retries: int = 3,
    pause: float = 1.0,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Fill `target/<folder>` with the files of a data set and check each.

    Parameters
    ----------
    name : str
        Data set, a file name in conf/data without suffix.
    data_root : Path, optional
        A folder that holds `<folder>/` already; its files are copied and nothing is downloaded for them.
    target : Path
        Data root to fill, created where missing.
    origins : Manifest, optional
        Default: the project's manifest of that name.
    timeout : float
        Longest silence of a server [s].
    retries : int
        Attempts a file; between two, `pause` seconds, doubled each time.
    say : callable
        Takes a line of progress.

    Returns
    -------
    dict
        Where each file came from: "kept" (it was there), "copied" or "downloaded".

    Raises
    ------
    HashMismatchError
        If a file, there already or just received, is not the published one. Nothing is overwritten.
    DataError
        If a file cannot be had: no public origin, or the origin does not answer. The others are fetched first.
    """
    manifest = origins or read_manifest(name)
    folder = Path(target) / manifest.folder
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, str] = {}
    failed: list[str] = []
    for origin in manifest.files:
        path = folder / origin.name
        local = Path(data_root) / manifest.folder / origin.name if data_root else None
        if path.is_file():
            verify(path, origin)
            done[origin.name] = "kept"
        elif local is not None and local.is_file():
            _take(path, origin, str(local), partial(shutil.copyfile, local))
            done[origin.name] = "copied"
        elif origin.origin is None:
            failed.append(f"{origin.name}: not published at an address ({origin.licence})")
            continue
        else:
            try:
                receive = partial(_receive, origin.origin, origin=origin, timeout=timeout, say=say)
                attempt = partial(_take, path, origin, origin.origin, receive)
                insist(attempt, origin.name, retries, pause, say)
            except requests.RequestException as error:
                failed.append(f"{origin.name}: {origin.origin}: {error}")
                continue
            done[origin.name] = "downloaded"
        say(f"{path}: {done[origin.name]}, {origin.bytes / 1e6:.1f} MB, SHA-256 right; licence: {origin.licence}")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(manifest.files)} files of {name!r} could not be had: " + "; ".join(failed),
            f"{len(done)} are in {folder}",
            "where an origin did not answer, try again; else point data.root or RFLOC_DATA at a folder that holds "
            f"{manifest.folder}/, or draw the OSM extract yourself and name it in conf/city (buildings, streets)",
        )
    return done


def _take(path: Path, origin: Origin, source: str, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file that becomes `path` once it is verified."""
    with whole_file(path) as part:
        write(part)
        verify(part, origin, source)


def _receive(url: str, part: Path, *, origin: Origin, timeout: float, say: Callable[[str], None]) -> None:
    with requests.get(url, stream=True, timeout=timeout) as answer, part.open("wb") as file:
        answer.raise_for_status()
        got, told = 0, 0.0
        for chunk in answer.iter_content(_CHUNK):
            got += file.write(chunk)
            if got > origin.bytes:  # verify() names the mismatch; an endless answer must not fill the disk
                return
            if got / origin.bytes - told >= 0.25:
                told = got / origin.bytes
                say(f"{origin.name}: {got / 1e6:.1f} of {origin.bytes / 1e6:.1f} MB")
