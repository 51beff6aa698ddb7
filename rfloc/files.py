"""Files: written whole, named by what they depend on, kept so that nothing is computed twice.

A kept file is named by the :func:`digest` of all that its content depends on: parameters, the content of inputs, and
an integer that whoever changes the maker raises by hand. Source text is not among it: a comment recomputes nothing.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from lzma import LZMAError
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rfloc.errors import DataError

Arrays = dict[str, NDArray[Any]]
#: Environment variable with the folder that stands for the project where a page is tried out: see :func:`trial`.
TRIAL = "RFLOC_TRIAL"
#: What reading raises at files that are damaged, or not what their names say: packed ones, arrays, tables.
DAMAGED = (OSError, ValueError, KeyError, EOFError, NotImplementedError, BadZipFile, ParseError, zlib.error, LZMAError)
#: What a full, foreign or read-only disk says; another OSError is of what is written, not of where.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


@contextlib.contextmanager
def write(path: str | Path) -> Iterator[Path]:
    """A fresh path beside `path`, of a file or folder, that replaces it when the block ends (raises DataError)."""
    path = own(Path(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:16]}.", suffix=".part") as folder:
            part = Path(folder) / path.name
            yield part
            if part.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            os.replace(part, path)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise DataError(f"{path} cannot be written", str(error), "free the disk, or choose another folder") from None


def trial(project: Path, beside: Path) -> Path:
    """A fresh folder in `beside` that stands for the project from here on: links, which what is written replaces."""
    beside.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=beside))
    for name in ("build", "conf", "data", "params.yaml", "results"):
        if (project / name).exists():
            (folder / name).symlink_to(project / name)
    os.environ[TRIAL] = str(folder)
    own(folder / "build" / "any")
    print(f"no stage of DVC: what this writes lies in {folder}, what the pipeline wrote stays as it is", flush=True)
    return folder


def own(path: Path) -> Path:
    """The path; in a trial, links to it become folders of links, but for build/cache, which both fill."""
    for place in (*reversed(path.parents), path) if TRIAL in os.environ else ():
        if place.is_symlink() and Path(os.environ[TRIAL]) in place.parents and place.name != "cache":
            held = place.resolve()
            place.unlink()
            if place != path:
                place.mkdir()
                for child in held.iterdir():
                    (place / child.name).symlink_to(child)
    return path


def digest(*values: Any) -> str:
    """SHA-256 of values: JSON's, arrays, dataclasses, pydantic models; a `Path` stands for the content of its files."""
    text = json.dumps(values, sort_keys=True, allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON can say it, arrays and files by their hash."""
    if isinstance(value, Path):
        return content_hash(value)
    if isinstance(value, np.ndarray):
        data = value.tobytes() if value.dtype.kind in "biufc" else "\0".join(map(str, value.ravel())).encode()
        return [str(value.dtype), value.shape, hashlib.sha256(data).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no digest")


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of names and content of all files of a folder (raises DataError where there is none)."""
    try:
        if path.is_file():
            about = path.stat()
            return _file_hash(path.resolve(), about.st_size, about.st_mtime_ns)
        found = [(p.relative_to(path).as_posix(), content_hash(p)) for p in sorted(path.iterdir())]
    except OSError as error:
        raise DataError(f"{path} cannot be read", str(error), "run `dvc repro`, or name another") from None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


@functools.cache
def _file_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept(key: Path | None, make: Callable[[], Arrays]) -> Arrays:
    """Arrays of the .npz file `key` or, where it is missing or damaged (a warning), made and kept; None keeps none."""
    if key is None:
        return make()
    if key.exists():
        try:
            with key.open("rb") as content, np.load(content, allow_pickle=False) as held:
                return {name: held[name] for name in held.files}  # zip files carry a checksum of each
        except DAMAGED as error:
            warnings.warn(f"{key} is damaged ({error}) and is made again", stacklevel=2)
    found = make()
    with write(key) as part, part.open("wb") as out:
        np.savez_compressed(out, allow_pickle=False, **found)
    return found


def say(line: str) -> None:
    """Print a line of progress to standard error: shown while a stage runs, kept on no page."""
    print(line, file=sys.stderr, flush=True)


def save_json(value: Mapping[str, Any] | list[Any], path: str | Path) -> Path:
    """Write JSON with sorted keys and a closing newline; NaN, what cannot be computed, is null, infinity refused."""
    value = json.loads(json.dumps(value), parse_constant=lambda name: None if name == "NaN" else float(name))
    with write(path) as part:
        part.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
    return Path(path)


def load_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that a stage wrote (raises DataError where it is missing or damaged)."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise DataError(f"there is no {path}", "the stage that writes it has not run here", "run `dvc repro`") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no valid JSON file", str(error), "run the stage that writes it again") from None
