from __future__ import annotations

from pathlib import Path

import pytest

from rfloc import backend
from rfloc.errors import BackendError


@pytest.mark.parametrize(
    ("name", "version"),
    [("libLLVM-14.so.1", (14,)), ("libLLVM.so.19.1", (19, 1)), ("libLLVM.so.23.1", (23, 1)), ("libLLVM-20.so", (20,))],
)
def test_version_is_read_off_the_file_name(tmp_path: Path, name: str, version: tuple[int, ...]):
    (tmp_path / name).touch()
    assert backend.llvm_version(tmp_path / name) == version


def test_version_follows_links(tmp_path: Path):
    (tmp_path / "libLLVM.so.19.1").touch()
    (tmp_path / "libLLVM.so").symlink_to(tmp_path / "libLLVM.so.19.1")
    assert backend.llvm_version(tmp_path / "libLLVM.so") == (19, 1)


def test_nameless_file_that_is_no_library_is_refused(tmp_path: Path):
    (tmp_path / "libLLVM.so").write_text("not ELF")
    with pytest.raises(BackendError, match="no usable LLVM library"):
        backend.llvm_version(tmp_path / "libLLVM.so")


@pytest.mark.parametrize("version", ["14", "15", "16"])
def test_explicit_library_that_would_abort_the_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
):
    library = tmp_path / f"libLLVM-{version}.so"
    library.touch()
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(library))
    with pytest.raises(BackendError, match=f"is LLVM {version}"):
        backend.find_llvm()


def test_explicit_library_wins_and_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    library = tmp_path / "libLLVM.so.17.0"
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(library))
    with pytest.raises(BackendError, match="is no file"):
        backend.find_llvm()
    library.touch()
    assert backend.find_llvm() == (library, (17, 0))


def test_newest_usable_library_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = ["libLLVM-16.so", "libLLVM-19.so", "libLLVM.so.23.1", "libLLVM-18.so"]
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    monkeypatch.setattr(backend, "_libraries", lambda: [tmp_path / name for name in names])
    assert backend.find_llvm() == (tmp_path / "libLLVM.so.23.1", (23, 1))
    monkeypatch.setattr(backend, "_libraries", lambda: [tmp_path / "libLLVM-16.so"])
    with pytest.raises(BackendError, match="found 16"):
        backend.find_llvm()


def test_describe_names_a_problem_and_never_raises(monkeypatch: pytest.MonkeyPatch):
    def none() -> backend.Backend:
        raise BackendError("no LLVM here", "why", "install it")

    monkeypatch.setattr(backend, "prepare", none)
    assert "install it" in backend.describe()["problem"]


def test_prepare_is_idempotent_and_sets_the_variant():
    first = backend.prepare()
    import mitsuba as mi

    assert backend.prepare() is first
    assert mi.variant() == first.variant
    assert backend.describe()["backend"] == first.kind
