"""What was traced is kept, and nothing else is believed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from rfloc.calibration.memo import Memo, named
from rfloc.errors import DataError

ABOUT = {"seed": 1}


def test_a_pose_is_computed_once(tmp_path: Path) -> None:
    asked = []

    def compute() -> np.ndarray:
        asked.append(1)
        return np.array([1.0, -np.inf])

    file = named(tmp_path, "site", ABOUT)
    memo = Memo(file, ABOUT)
    for _ in range(2):
        assert memo.recall((1.0, 2.0, 3.0), compute).tolist() == [1.0, -np.inf]
    memo.recall((1.0, 2.0, 3.0 + 1e-12), compute)
    assert (len(asked), memo.computed) == (2, 2)
    again = Memo(file, ABOUT)
    assert again.recall((1.0, 2.0, 3.0), compute).tolist() == [1.0, -np.inf]
    assert (len(asked), again.computed, len(again)) == (2, 0, 2)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_what_was_kept_says_what_it_took(tmp_path: Path) -> None:
    def compute() -> np.ndarray:
        time.sleep(0.02)
        return np.zeros(1)

    file = tmp_path / "site.npz"
    memo = Memo(file, ABOUT)
    for _ in range(2):
        memo.recall((0.0,), compute)
    assert memo.saved_s == 0.0
    again = Memo(file, ABOUT)
    for _ in range(2):
        again.recall((0.0,), compute)
    assert 0.02 <= again.saved_s < 5.0
    once = again.saved_s
    again.recall((0.0,), compute)
    assert again.saved_s == once


def test_other_questions_have_other_files(tmp_path: Path) -> None:
    assert named(tmp_path, "site", ABOUT) != named(tmp_path, "site", {"seed": 2})
    assert named(None, "site", ABOUT) is None
    memo = Memo(None, ABOUT)
    memo.recall((0.0,), lambda: np.zeros(1))
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_and_one_of_another_question_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "site.npz"
    Memo(file, ABOUT).recall((0.0,), lambda: np.zeros(1))
    for broken in (b"PK broken", file.read_bytes()[:-40]):
        file.write_bytes(broken)
        with pytest.raises(DataError, match="damaged"):
            Memo(file, ABOUT)
    file.unlink()
    Memo(file, ABOUT).recall((0.0,), lambda: np.zeros(1))
    with pytest.raises(DataError, match="another question"):
        Memo(file, {"seed": 2})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Memo(blocked / "site.npz", ABOUT).recall((0.0,), lambda: np.zeros(1))
