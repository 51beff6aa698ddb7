"""Files are whole or absent; attempts are repeated where that may help, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from rfloc.transfer import PassingError, insist, may_pass, whole_file


def answers(*errors: Exception | None):
    """A function that raises these errors, one a call; None succeeds."""
    left = list(errors)

    def attempt() -> None:
        error = left.pop(0)
        if error is not None:
            raise error

    return attempt, left


def refusal(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError(response=answer)


@pytest.mark.parametrize("error", [PassingError("no"), requests.Timeout(), refusal(503), refusal(429)])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    said: list[str] = []
    attempt, left = answers(error, error, None)
    insist(attempt, "a map", 3, 0.0, said.append)
    assert not left and len(said) == 2 and said[1].startswith("a map: attempt 2 of 3 failed")
    attempt, left = answers(error, error, None)
    with pytest.raises(type(error)):
        insist(attempt, "a map", 2, 0.0, said.append)
    assert left == [None]


@pytest.mark.parametrize("error", [refusal(404), requests.exceptions.InvalidURL(), ZeroDivisionError()])
def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    attempt, left = answers(error, None)
    with pytest.raises(type(error)):
        insist(attempt, "a map", 3, 0.0, pytest.fail)
    assert left == [None]


def test_statuses() -> None:
    assert [may_pass(status) for status in (404, 429, 499, 500, 504)] == [False, True, False, True, True]


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with whole_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
