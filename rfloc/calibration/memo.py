"""What was traced for a site, kept on disk: a search that was killed asks for it again and goes on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfloc.errors import DataError

Floats = NDArray[np.float64]


class Memo:
    """Arrays by the pose that they belong to, in memory and, if a file is named, on disk after every new one.

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
        self.file, self.computed = file, 0
        self._about = json.dumps(about, sort_keys=True)
        self._held: dict[str, Floats] = {}
        if file is not None and file.exists():
            mend = "delete it: what it holds is computed again"
            try:
                with np.load(file, allow_pickle=False) as content:
                    stated = str(content["about"])
                    self._held = dict(zip(content["poses"].tolist(), content["arrays"], strict=True))
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise DataError(f"{file} is damaged", str(error), mend) from None
            if stated != self._about:
                raise DataError(f"{file} answers another question", "parameters or data differ", mend)

    def __len__(self) -> int:
        return len(self._held)

    def recall(self, pose: tuple[float, ...], compute: Callable[[], Floats]) -> Floats:
        """The array of a pose, kept or computed now."""
        key = " ".join(float(value).hex() for value in pose)
        if key not in self._held:
            self._held[key] = np.asarray(compute(), np.float64)
            self.computed += 1
            if self.file is not None:
                self._write(self.file)
        return self._held[key]

    def _write(self, file: Path) -> None:
        part = ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as out:
                part = out.name
                np.savez(
                    out, about=self._about, poses=list(self._held), arrays=np.stack(list(self._held.values()))
                )  # fmt: skip
            os.replace(part, file)
        except OSError as error:
            if part:
                Path(part).unlink(missing_ok=True)
            raise DataError(f"{file} cannot be written", str(error), "free the disk") from None


def named(folder: Path | None, name: str, about: Mapping[str, Any]) -> Path | None:
    """A file for these questions in a folder: `name` and the hash of `about`."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{name}-{digest}.npz"
