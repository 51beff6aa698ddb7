"""Typed errors."""

import difflib
from collections.abc import Iterable


class RFLocError(Exception):
    """Base of every error raised on purpose: what is wrong, why, and what the user can do about it."""

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        self.what, self.why, self.mend = what, why, mend
        super().__init__(what, why, mend)

    def __str__(self) -> str:
        said = (("", self.what), ("  why:  ", self.why), ("  mend: ", self.mend))
        return "\n".join(label + text for label, text in said if text)


class ConfigError(RFLocError):
    """A parameter is unknown, ill-typed or out of range."""


class DataError(RFLocError):
    """An input file is missing, damaged, or not what it claims to be."""


class SchemaError(RFLocError):
    """A dataset lacks a variable, dimension or unit that its schema demands."""


class FrameError(RFLocError):
    """Coordinates of two different frames were about to be mixed, or a frame is missing."""


class BackendError(RFLocError):
    """No usable ray-tracing backend (LLVM or CUDA) was found."""


class SimulationError(RFLocError):
    """A simulation could not be carried out, or would have lost results silently."""


class CalibrationError(RFLocError):
    """A base station cannot be calibrated from the measurements given."""


class SplitError(RFLocError):
    """A split is impossible, or training and test data leak into each other."""


class TrainingError(RFLocError):
    """A checkpoint does not fit the model, or a training run went wrong."""


class EvaluationError(RFLocError):
    """Predictions cannot be scored, or not compared with each other."""


class NotebookError(RFLocError):
    """A notebook failed, or was called with parameters that it does not have."""


class BookError(RFLocError):
    """The book lacks a page or a number, or its build or its check went wrong."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The mend for an unknown name: the nearest known one, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
