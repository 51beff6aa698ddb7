"""What was traced for a site, kept on disk: a search that was killed asks for it again and goes on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfloc.errors import DataError

Floats = NDArray[np.float64]

#: Of what a file holds; files of another layout have other names.
LAYOUT = 2


class Memo:
    """Arrays by the pose that they belong to, in memory and, if a file is named, on disk after every new one.

    With each, the seconds that it took: a run that finds its arrays here can say what it would have taken without.

    A file appears whole or not at all. One that was written for another question (`about`) is an error, as its name
    is meant to be the hash of it (:func:`named`).

    Parameters
    ----------
    file : Path or None
        Where it lies.
    about : mapping
        All that the arrays depend on beside the pose (JSON).

    Raises
    ------
    DataError
        If the file is damaged or answers another question.
    """

    def __init__(self, file: Path | None, about: Mapping[str, Any]) -> None:
        self.file, self.computed, self.saved_s = file, 0, 0.0
        self._about = json.dumps(about, sort_keys=True)
        self._held: dict[str, Floats] = {}
        self._seconds: dict[str, float] = {}
        self._asked: set[str] = set()
        if file is not None and file.exists():
            mend = "delete it: what it holds is computed again"
            try:
                with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
                    stated = str(content["about"])
                    poses = content["poses"].tolist()
                    self._held = dict(zip(poses, content["arrays"], strict=True))
                    self._seconds = dict(zip(poses, content["seconds"].tolist(), strict=True))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise DataError(f"{file} is damaged", str(error), mend) from None
            if stated != self._about:
                raise DataError(f"{file} answers another question", "parameters or data differ", mend)

    def __len__(self) -> int:
        return len(self._held)

    def recall(self, pose: tuple[float, ...], compute: Callable[[], Floats]) -> Floats:
        """The array of a pose, kept or computed now; `computed` counts the latter.

        `saved_s` adds up what kept ones took when they were computed, by an earlier run, each counted once.
        """
        key = " ".join(float(value).hex() for value in pose)
        if key not in self._held:
            start = time.perf_counter()
            self._held[key] = np.asarray(compute(), np.float64)
            self._seconds[key] = time.perf_counter() - start
            self._asked.add(key)
            self.computed += 1
            if self.file is not None:
                self._write(self.file)
        elif key not in self._asked:
            self.saved_s += self._seconds[key]
            self._asked.add(key)
        return self._held[key]

    def _write(self, file: Path) -> None:
        part = ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as out:
                part = out.name
                np.savez(
                    out, about=self._about, poses=list(self._held), arrays=np.stack(list(self._held.values())),
                    seconds=[self._seconds[key] for key in self._held],
                )  # fmt: skip
            os.replace(part, file)
        except OSError as error:
            if part:
                Path(part).unlink(missing_ok=True)
            raise DataError(f"{file} cannot be written", str(error), "free the disk") from None


def named(folder: Path | None, name: str, about: Mapping[str, Any]) -> Path | None:
    """A file for these questions in a folder: `name` and the hash of `about` and of how files are laid out."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps([LAYOUT, about], sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{name}-{digest}.npz"
