"""Files from elsewhere: written whole or not at all, and another attempt where that may help."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

#: What a network does now and then.
_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class PassingError(Exception):
    """An attempt failed in a way that may pass."""


def may_pass(status: int) -> bool:
    """Whether a server that answers with this status may do better later: its own errors (5xx), too many requests."""
    return status >= 500 or status == 429


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that becomes it when the block ends, and vanishes if the block fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def insist(attempt: Callable[[], None], what: str, attempts: int, pause: float, say: Callable[[str], None]) -> None:
    """Call `attempt` until it succeeds.

    Silence, broken transfers, servers' errors (:func:`may_pass`) and PassingError are tried again; anything else, and
    what the last attempt raises, is the caller's.

    Parameters
    ----------
    attempts : int
        How often at most.
    pause : float
        Between the first two attempts [s], then doubled each time.
    say : callable
        Takes a line after an attempt that failed.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except (PassingError, *_PASSING) as error:
            cause: Exception = error
        except requests.HTTPError as error:
            if error.response is None or not may_pass(error.response.status_code):
                raise
            cause = error
        if number == attempts:
            raise cause
        say(f"{what}: attempt {number} of {attempts} failed ({cause}); again in {pause:g} s")
        time.sleep(pause)
        pause *= 2
