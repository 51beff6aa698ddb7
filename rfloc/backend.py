"""Which compiler the ray tracer runs on: LLVM on the CPU, CUDA on a GPU.

Dr.Jit reads `DRJIT_LIBLLVM_PATH` once, when it is first imported, and aborts the whole process with LLVM 15 and 16. So
:func:`prepare` chooses before mitsuba or sionna is imported, and every module that traces calls it first.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rfloc.errors import BackendError

#: Oldest major version of LLVM that Dr.Jit runs on without refusing (14) or aborting (15, 16).
OLDEST_LLVM = 17

_MEND = "pip install 'karellen-llvm-core>=23.1,<24', or point DRJIT_LIBLLVM_PATH at an LLVM of version 17 or newer"


@dataclass(frozen=True)
class Backend:
    """The ray tracer's compiler: `kind` "cuda" or "llvm", LLVM's library (None on a GPU) and version (or "cuda")."""

    kind: str
    library: Path | None
    version: str

    @property
    def variant(self) -> str:
        """Mitsuba's name of this backend."""
        return f"{self.kind}_ad_mono_polarized"


def find_llvm() -> tuple[Path, str]:
    """The LLVM library and its version: an explicit `DRJIT_LIBLLVM_PATH`, else the wheel in this environment.

    Raises
    ------
    BackendError
        If the explicit one is missing or too old, or if there is none.
    """
    explicit = os.environ.get("DRJIT_LIBLLVM_PATH")
    folders = dict.fromkeys(Path(prefix) / "lib" for prefix in (sys.prefix, sys.base_prefix))
    wheels = [file for folder in folders for file in sorted(folder.glob("libLLVM*")) if _version(file) >= OLDEST_LLVM]
    library = Path(explicit) if explicit else next(iter(wheels), None)
    if library is None:
        raise BackendError("there is no LLVM in this environment, and no CUDA GPU", "rays need either", _MEND)
    if not library.is_file():
        raise BackendError(f"DRJIT_LIBLLVM_PATH={explicit} is no file", "it must name an LLVM library", _MEND)
    if _version(library) < OLDEST_LLVM:
        why = f"Dr.Jit refuses LLVM 14 and aborts the process with 15 and 16; {OLDEST_LLVM} or newer works"
        raise BackendError(f"{library} is not known to be LLVM {OLDEST_LLVM} or newer", why, _MEND)
    return library, ".".join(re.findall(r"\d+", library.resolve().name))


def _version(library: Path) -> int:
    """Major version of an LLVM library by the name of its file, 0 if it has none."""
    numbers = re.findall(r"\d+", library.resolve().name) if ".so" in library.name or ".dylib" in library.name else []
    return int(numbers[0]) if numbers else 0


@functools.cache
def cuda_devices() -> int:
    """Number of CUDA GPUs that the driver offers; 0 without a driver."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(ctypes.util.find_library("cuda") or "libcuda.so.1")
    except OSError:
        return 0
    return 0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value


@functools.cache
def prepare() -> Backend:
    """Choose the backend and tell Dr.Jit and Mitsuba; call it before the first import of either. Idempotent.

    Raises
    ------
    BackendError
        If there is neither a GPU nor a usable LLVM, or if Dr.Jit or Mitsuba already runs on another.
    """
    backend = Backend("cuda", None, "cuda") if cuda_devices() else Backend("llvm", *find_llvm())
    if backend.library is not None:
        if "drjit" in sys.modules and os.environ.get("DRJIT_LIBLLVM_PATH") != str(backend.library):
            why = "it reads DRJIT_LIBLLVM_PATH only once, and some versions of LLVM abort the process"
            mend = "call rfloc.backend.prepare() before importing mitsuba or sionna"
            raise BackendError("drjit was imported before the backend was chosen", why, mend)
        os.environ["DRJIT_LIBLLVM_PATH"] = str(backend.library)
    import mitsuba as mi

    if mi.variant() is None:
        mi.set_variant(backend.variant)
    if mi.variant() != backend.variant:
        why = f"this machine's backend is {backend.variant}"
        raise BackendError(f"mitsuba already runs as {mi.variant()}", why, "call rfloc.backend.prepare() before it")
    return backend


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Trace on one thread of this process: on a CPU a trace is then bit-identical from run to run.

    With more threads, and on a GPU, cells sum in no fixed order.
    """
    prepare()
    import drjit

    threads = drjit.thread_count()
    drjit.set_thread_count(1)
    try:
        yield
    finally:
        drjit.set_thread_count(threads)


def describe() -> dict[str, str]:
    """What `rfloc doctor` prints about the ray tracer; a problem is a value under the key "problem", never raised."""
    facts = {}
    for package in ("sionna-rt", "mitsuba", "drjit"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            return {**facts, package: "not installed", "problem": f"{package} is not installed"}
    try:
        backend = prepare()
    except (BackendError, ImportError) as error:
        return {**facts, "problem": str(error)}
    return {**facts, "backend": backend.kind, "llvm": backend.version, "library": str(backend.library or "")}
