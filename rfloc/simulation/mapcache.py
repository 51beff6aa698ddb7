"""What a station's rays brought, kept by content: one file a station and setting, so that nothing is traced twice.

A file is named by the hash of all that its numbers depend on: the scene's files, the antenna's position, the grid, the
solver's parameters, carrier, rays, seed, and the versions and code that trace them. Names, azimuths and powers of
stations are not among it: maps are isotropic, and to turn an antenna is to read the same file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rfloc.backend import prepare
from rfloc.errors import DataError
from rfloc.simulation.scene import MATERIALS

#: Ray gain and its relative standard error, each (ny, nx).
RayMap = tuple[NDArray[np.float32], NDArray[np.float32]]

#: Packages, and modules of this one, that may change what rays bring.
PACKAGES = ("sionna-rt", "mitsuba", "drjit", "numpy")
_TRACERS = ("simulation/maps.py", "simulation/solver.py", "simulation/backend.py", "city/materials.py", "frames.py")


@functools.cache
def versions(packages: tuple[str, ...] = PACKAGES, modules: tuple[str, ...] = _TRACERS) -> dict[str, str]:
    """Versions of packages and of the LLVM that compiles kernels, and the hash of modules (globs) of this package."""
    root = Path(__file__).parents[1]
    code = hashlib.sha256(b"".join(path.read_bytes() for glob in modules for path in sorted(root.glob(glob))))
    backend = prepare()
    compiler = {"backend": f"{backend.kind} {backend.version}", "code": code.hexdigest()[:16]}
    return {package: version(package) for package in packages} | compiler


@functools.cache
def _file_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scene_hash(scene: Path) -> str:
    """SHA-256 of a scene file and of every file that it names; a file is read once a process, unless it changes.

    Raises
    ------
    DataError
        If one of them is missing.
    """
    whole = hashlib.sha256()
    try:
        named = sorted({str(tag.get("value")) for tag in ElementTree.parse(scene).iter("string") if _is_file(tag)})
        for path in (scene, *(scene.parent / name for name in named)):
            about = path.stat()
            whole.update(_file_hash(path, about.st_size, about.st_mtime_ns).encode())
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"the scene {scene} cannot be read", str(error), "build the city again") from None
    return whole.hexdigest()


def _is_file(tag: ElementTree.Element) -> bool:
    return tag.get("name") == "filename"


def content_key(scene: Path, **settings: Any) -> str:
    """Name of a map: the hash of its scene, of `settings` (JSON; floats exactly) and of the versions that trace it."""
    materials = {name: dataclasses.astuple(material) for name, material in MATERIALS.items()}
    about = {
        "scene": scene_hash(scene), "settings": settings, "versions": versions(), "materials": materials,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(about, sort_keys=True, allow_nan=False).encode()).hexdigest()


def recall(file: Path, shape: tuple[int, int], trace: Callable[[], RayMap]) -> RayMap:
    """Read a map, or trace and keep it.

    A file appears whole or not at all, and two writers of one file write the same. A damaged file is replaced, with a
    warning that names it.

    Parameters
    ----------
    file : Path
        Where it lies, named by :func:`content_key`.
    shape : (ny, nx)
        What it must hold.
    trace : callable
        What is done where there is no file.

    Raises
    ------
    DataError
        If a map cannot be written.
    """
    if file.exists():
        try:
            return _read(file, shape)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            warnings.warn(f"{file} is damaged ({error}); its map is traced again", stacklevel=2)
    found = trace()
    _write(file, found)
    return found


def _read(file: Path, shape: tuple[int, int]) -> RayMap:
    with file.open("rb") as content, np.load(content, allow_pickle=False) as held:
        gain, error = held["gain"], held["error"]  # zip files carry a checksum of each
    if not gain.shape == error.shape == shape or not gain.dtype == error.dtype == np.float32:
        raise ValueError(f"it holds {gain.dtype} of {gain.shape}, not float32 of {shape}")
    return gain, error


def _write(file: Path, found: RayMap) -> None:
    part = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.stem[:16], suffix=".part", delete=False) as out:
            part = out.name
            np.savez_compressed(out, gain=found[0], error=found[1])
        os.replace(part, file)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        raise DataError(f"the map {file} cannot be kept", str(error), "free the disk, or trace without cache") from None
