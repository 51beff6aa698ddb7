import shutil
import sys

import pytest

from rfloc import backend
from rfloc.errors import BackendError


@pytest.mark.parametrize("name", ["libLLVM-14.so.1", "libLLVM-15.so", "libLLVM.so.16.0", "libLLVM.so", "absent.so.19"])
def test_explicit_library_that_is_missing_or_would_abort_the_process_is_refused(tmp_path, monkeypatch, name):
    if name != "absent.so.19":
        (tmp_path / name).touch()
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / name))
    with pytest.raises(BackendError, match="is no usable LLVM"):
        backend.find_llvm()


def test_explicit_library_wins_over_the_wheel_and_without_either_the_mend_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    for prefix in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, prefix, str(tmp_path))
    with pytest.raises(BackendError, match="no LLVM here") as error:
        backend.find_llvm()
    assert "karellen-llvm-core" in str(error.value)
    (tmp_path / "lib").mkdir()
    for name in ("libLLVM-16.so", "libLLVM.so.23.1"):
        (tmp_path / "lib" / name).touch()
    (tmp_path / "lib/libLLVM.so").symlink_to(tmp_path / "lib/libLLVM.so.23.1")
    assert backend.find_llvm() == (tmp_path / "lib/libLLVM.so", "23.1")
    (tmp_path / "libLLVM-20.so").touch()
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / "libLLVM-20.so"))
    assert backend.find_llvm() == (tmp_path / "libLLVM-20.so", "20")


def test_a_library_without_a_version_in_its_name_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    wheel, version = backend.find_llvm()
    unnamed = tmp_path / "lib/libLLVM.so"
    unnamed.parent.mkdir()
    shutil.copy(wheel.resolve(), unnamed)
    for folder in wheel.parent.glob("*-linux-gnu"):  # what it links lies beside it
        (unnamed.parent / folder.name).symlink_to(folder)
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(unnamed))
    assert backend.find_llvm()[0] == unnamed and backend.find_llvm()[1].startswith(version)


def test_describe_names_a_problem_and_never_raises(monkeypatch):
    def none() -> backend.Backend:
        raise BackendError("no LLVM here", "why", "install it")

    monkeypatch.setattr(backend, "prepare", none)
    assert "install it" in backend.describe()["problem"]


def test_prepare_is_idempotent_sets_the_variant_and_threads_come_back():
    first = backend.prepare()
    import drjit
    import mitsuba as mi

    assert backend.prepare() is first and mi.variant() == f"{first.kind}_ad_mono_polarized"
    assert backend.describe()["backend"] == first.kind
    threads = drjit.thread_count()
    with backend.one_thread():
        assert drjit.thread_count() == 1
    assert drjit.thread_count() == threads
