"""Whether a network has learned what levels mean, or only where streets are: the plateau on which a run can end.

It is judged on *simulated* validation crops, of the dataset that it was trained on or, where that is measured, of B in
the same blocks: what few blocks of shadowed measurements allow says little about the network.
"""

from typing import NamedTuple

import xarray as xr

from rfloc.config import CropParams
from rfloc.crops import CropBatcher, evaluation_crops
from rfloc.evaluation.errors import ue_errors
from rfloc.evaluation.score import evaluate
from rfloc.localizers import Localizer, StreetMedian

#: Share by which the error on validation crops must lie under that of the middle of the streets.
MARGIN = 0.25


class Learned(NamedTuple):
    """Mean errors on the same validation crops [m]."""

    error: float  #: of the network
    streets: float  #: of the middle of the streets, which knows no signal

    @property
    def left_plateau(self) -> bool:
        """Signals have told it something: the error is at least :data:`MARGIN` under the middle of the streets."""
        return self.error <= (1 - MARGIN) * self.streets


def learned(
    localizer: Localizer, links: xr.Dataset, raster: xr.Dataset, split: xr.Dataset, crops: CropParams, seed: int
) -> Learned:
    """A localizer on the validation crops of a simulated dataset (raises SplitError where it has none)."""
    tests = evaluation_crops(links, split, crops, roles=("val",), seed=seed)
    batcher = CropBatcher(links, raster, crops)
    both: tuple[Localizer, Localizer] = (localizer, StreetMedian(crops))
    error, streets = (float(ue_errors(evaluate(one, batcher, tests), "val").error.mean()) for one in both)
    return Learned(error, streets)
