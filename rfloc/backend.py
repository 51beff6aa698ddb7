"""Which compiler the ray tracer runs on: LLVM on the CPU, CUDA on a GPU.

Dr.Jit reads `DRJIT_LIBLLVM_PATH` once, when it is first imported, and aborts the whole process with LLVM 15 and 16. So
:func:`prepare` chooses before mitsuba or sionna is imported, and every module that traces calls it first.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rfloc.errors import BackendError

#: Oldest major version of LLVM that Dr.Jit runs on without refusing (14) or aborting (15, 16).
OLDEST_LLVM = 17

_VARIANTS = {"llvm": "llvm_ad_mono_polarized", "cuda": "cuda_ad_mono_polarized"}
_SYSTEM_FOLDERS = (
    "/usr/lib/llvm-*/lib",
    "/usr/lib/*-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/opt/homebrew/opt/llvm/lib",
)
_MEND = "pip install 'karellen-llvm-core>=23.1,<24' (or apt-get install libllvm19), or point DRJIT_LIBLLVM_PATH at one"


@dataclass(frozen=True)
class Backend:
    """The ray tracer's compiler.

    Parameters
    ----------
    kind : {"cuda", "llvm"}
        Where rays are traced.
    library : Path or None
        The LLVM library; None on a GPU.
    version : str
        LLVM's version, or "cuda".
    """

    kind: Literal["cuda", "llvm"]
    library: Path | None
    version: str

    @property
    def variant(self) -> str:
        """Mitsuba's name of this backend."""
        return _VARIANTS[self.kind]


def llvm_version(library: Path) -> tuple[int, ...]:
    """Version of an LLVM library, from its resolved file name, else by asking it.

    Raises
    ------
    BackendError
        If the file is no LLVM library that can be loaded.
    """
    named = re.fullmatch(r"libLLVM(?:-(\d[\d.]*))?\.(?:so|dylib)(?:\.(\d[\d.]*))?", library.resolve().name)
    numbers = (named.group(1) or named.group(2)) if named else None
    if numbers:
        return tuple(int(part) for part in numbers.split("."))
    out = [ctypes.c_uint() for _ in range(3)]
    try:
        ctypes.CDLL(str(library)).LLVMGetVersion(*[ctypes.byref(part) for part in out])
    except (OSError, AttributeError) as error:
        raise BackendError(f"{library} is no usable LLVM library", str(error), _MEND) from None
    return tuple(part.value for part in out)


def _libraries() -> Iterable[Path]:
    """LLVM libraries of the environment, then of the system."""
    for folder in (Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib"):
        yield from sorted(folder.glob("libLLVM*.so*"))
        yield from sorted(folder.glob("libLLVM*.dylib"))
    for pattern in _SYSTEM_FOLDERS:
        for folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            yield from sorted(folder.glob("libLLVM*.so*"))
            yield from sorted(folder.glob("libLLVM*.dylib"))


def find_llvm() -> tuple[Path, tuple[int, ...]]:
    """The LLVM library to use: an explicit `DRJIT_LIBLLVM_PATH`, else the newest usable one, environment first.

    Raises
    ------
    BackendError
        If the explicit one is missing or too old, or if there is none.
    """
    explicit = os.environ.get("DRJIT_LIBLLVM_PATH")
    if explicit:
        library = Path(explicit)
        if not library.is_file():
            raise BackendError(f"DRJIT_LIBLLVM_PATH={explicit} is no file", "it must name an LLVM library", _MEND)
        found = llvm_version(library)
        if found[0] < OLDEST_LLVM:
            raise BackendError(
                f"DRJIT_LIBLLVM_PATH={explicit} is LLVM {'.'.join(map(str, found))}",
                f"Dr.Jit refuses LLVM 14 and aborts the process with 15 and 16; {OLDEST_LLVM} or newer works",
                _MEND,
            )
        return library, found
    seen: list[tuple[int, ...]] = []
    best: tuple[tuple[int, ...], Path] | None = None
    for library in _libraries():
        try:
            found = llvm_version(library)
        except BackendError:
            continue  # a stub or a foreign architecture: not a candidate
        seen.append(found)
        if found[0] >= OLDEST_LLVM and (best is None or found[0] > best[0][0]):
            best = (found, library)
    if best is None:
        versions = ", ".join(sorted({".".join(map(str, v)) for v in seen}))
        raise BackendError(
            "no usable LLVM was found, and no CUDA GPU either",
            f"ray tracing on the CPU needs LLVM {OLDEST_LLVM} or newer" + (f"; found {versions}" if seen else ""),
            _MEND,
        )
    return best[1], best[0]


def cuda_devices() -> int:
    """Number of CUDA GPUs that the driver offers; 0 without a driver."""
    name = ctypes.util.find_library("cuda") or "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


@functools.cache
def prepare() -> Backend:
    """Choose the backend and tell Dr.Jit and Mitsuba; call it before the first import of either. Idempotent.

    Raises
    ------
    BackendError
        If there is neither a GPU nor an LLVM of version 17 or newer, or if Mitsuba already runs on another variant.
    """
    if cuda_devices():
        backend = Backend("cuda", None, "cuda")
    else:
        library, found = find_llvm()
        backend = Backend("llvm", library, ".".join(map(str, found)))
        if "drjit" in sys.modules and os.environ.get("DRJIT_LIBLLVM_PATH") != str(library):
            raise BackendError(
                "drjit was imported before the backend was chosen",
                "it reads DRJIT_LIBLLVM_PATH only once, and some versions of LLVM abort the process",
                "call rfloc.backend.prepare() before importing mitsuba or sionna",
            )
        os.environ["DRJIT_LIBLLVM_PATH"] = str(library)
    import mitsuba as mi

    if mi.variant() is None:
        mi.set_variant(backend.variant)
    elif mi.variant() != backend.variant:
        raise BackendError(
            f"mitsuba already runs as {mi.variant()}",
            f"this machine's backend is {backend.variant}, and radio materials exist only in mono-polarised variants",
            "call rfloc.backend.prepare() before setting a variant",
        )
    return backend


def run_on_one_thread() -> Backend:
    """Choose the backend and trace on one thread of this process from now on.

    On the CPU a trace is then bit-identical from run to run: the same sums in the same order. With more threads, and on
    a GPU, cells sum in no fixed order.
    """
    backend = prepare()
    import drjit

    drjit.set_thread_count(1)
    return backend


def describe() -> dict[str, str]:
    """What `rfloc doctor` prints about the ray tracer; a problem is a value under the key "problem", never raised."""
    facts = {}
    for package in ("sionna-rt", "mitsuba", "drjit"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
            facts["problem"] = f"{package} is not installed"
    try:
        backend = prepare()
    except BackendError as error:
        return {**facts, "problem": str(error)}
    except ImportError as error:
        return {**facts, "problem": f"mitsuba cannot be imported: {error}"}
    return {**facts, "backend": backend.kind, "llvm": backend.version, "library": str(backend.library or "")}
