"""Which compiler the ray tracer runs on: LLVM on the CPU, CUDA on a GPU.

Dr.Jit reads `DRJIT_LIBLLVM_PATH` once, when it is first imported, and aborts the whole process with LLVM 15 and 16. So
:func:`prepare` chooses before mitsuba or sionna is imported, and every module that traces calls it first.
"""

import contextlib
import ctypes.util
import functools
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rfloc.errors import BackendError

#: Oldest major version of LLVM that Dr.Jit runs on without refusing (14) or aborting (15, 16).
OLDEST_LLVM = 17


class Backend(NamedTuple):
    """The ray tracer's compiler."""

    kind: str  #: "cuda" or "llvm"
    library: Path | None  #: of LLVM
    version: str  #: of LLVM, or "cuda"


def find_llvm() -> tuple[Path, str]:
    """A usable LLVM library and its version: `DRJIT_LIBLLVM_PATH`'s, else the wheel's (raises BackendError)."""
    explicit = os.environ.get("DRJIT_LIBLLVM_PATH")
    wheels = [p for prefix in (sys.prefix, sys.base_prefix) for p in sorted(Path(prefix, "lib").glob("libLLVM*"))]
    for library in [Path(explicit)] if explicit else wheels:
        numbers = re.findall(r"\d+", library.resolve().name)  # of libLLVM.so.23.1, libLLVM-20.so, libLLVM.20.dylib
        numbers = numbers or (_asked(library) if library.is_file() else [])
        if library.is_file() and numbers and int(numbers[0]) >= OLDEST_LLVM:
            return library, ".".join(numbers)
    raise BackendError(
        f"DRJIT_LIBLLVM_PATH={explicit} is no usable LLVM" if explicit else "there is no LLVM here, and no CUDA GPU",
        f"rays on a CPU need LLVM {OLDEST_LLVM} or newer: Dr.Jit refuses 14 and aborts the process with 15 and 16",
        "pip install 'karellen-llvm-core>=23.1,<24', or point DRJIT_LIBLLVM_PATH at the library of a newer one",
    )


def _asked(library: Path) -> list[str]:
    """The version that a library without one in its name says that it has; nothing if it is no LLVM."""
    parts = [ctypes.c_uint() for _ in range(3)]
    try:
        ctypes.CDLL(str(library)).LLVMGetVersion(*map(ctypes.byref, parts))
    except (OSError, AttributeError):
        return []
    return [str(part.value) for part in parts]


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
    """Choose the backend and tell Dr.Jit and Mitsuba, before the first import of either (raises BackendError)."""
    backend = Backend("cuda", None, "cuda") if cuda_devices() else Backend("llvm", *find_llvm())
    late = "drjit" in sys.modules and os.environ.get("DRJIT_LIBLLVM_PATH") != str(backend.library)
    if backend.library is not None and not late:
        os.environ["DRJIT_LIBLLVM_PATH"] = str(backend.library)
    import mitsuba as mi

    variant = f"{backend.kind}_ad_mono_polarized"
    if mi.variant() is None and not (late and backend.library):
        mi.set_variant(variant)
    if mi.variant() != variant:
        raise BackendError(
            f"drjit was imported before the backend was chosen, and mitsuba runs as {mi.variant()}",
            f"this machine's backend is {variant}; Dr.Jit reads DRJIT_LIBLLVM_PATH only once",
            "call rfloc.backend.prepare() before importing mitsuba or sionna",
        )
    return backend


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Trace on one thread: bit-identical from run to run on a CPU; on more, and on a GPU, sums come in no order."""
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
    try:
        for package in ("sionna-rt", "mitsuba", "drjit"):
            facts[package] = version(package)
        backend = prepare()
    except (BackendError, ImportError) as error:  # no such package is an ImportError
        return {**facts, "problem": str(error)}
    return {**facts, "backend": backend.kind, "llvm": backend.version, "library": str(backend.library or "")}
