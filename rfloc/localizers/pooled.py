"""Log-linear pooling: several posteriors of one place, each to a power that validation crops choose.

The powers maximise the likelihood of the true cells, which is concave in their logarithms (Genest and Zidek 1986,
Statistical Science 1; Hinton 2002, Neural Computation 14). A part that adds nothing gets the power 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import xarray as xr
from scipy.optimize import minimize
from scipy.special import logsumexp

from rfloc.arrays import Floats
from rfloc.crops import Batch, CropBatcher
from rfloc.localizers.base import Localizer, normalised

#: Share of a uniform posterior that is mixed into every part: none rules a place out for the others.
LAPSE = 0.01
#: Crops that powers are fitted on, at most.
FITTED = 600


@dataclass(frozen=True)
class Pooled:
    """The product of the parts' posteriors to these powers, scaled to sum 1."""

    parts: Sequence[Localizer]
    powers: Sequence[float]
    name: str = "pooled"

    @classmethod
    def fit(cls, parts: Sequence[Localizer], batcher: CropBatcher, crops: xr.Dataset, name: str = "pooled") -> Self:
        """Powers from crops of UEs that no part was trained on."""
        crops = crops.isel(sample=slice(None, None, -(-crops.sizes["sample"] // FITTED)))
        batch = batcher.batch(crops["ue"].values, crops["crop_x"].values, crops["crop_y"].values)
        log = _logs(parts, batch).reshape(len(parts), len(batch), -1)
        hit = np.take_along_axis(log, batch.target[None, :, None], axis=2)[..., 0]

        def loss(power: Floats) -> float:
            return float((logsumexp(np.tensordot(power, log, 1), axis=1) - power @ hit).mean())

        found = minimize(loss, np.full(len(parts), 1 / len(parts)), method="L-BFGS-B", bounds=[(0.0, 4.0)] * len(parts))
        return cls(parts, [float(power) for power in found.x], name)

    def posterior(self, batch: Batch) -> Floats:
        """Pooled posterior on the crop grid, (B, G, G)."""
        return normalised(np.tensordot(np.asarray(self.powers), _logs(self.parts, batch), 1))


def _logs(parts: Sequence[Localizer], batch: Batch) -> Floats:
    """Logarithm of each part's posterior, (part, B, G, G)."""
    found = np.stack([np.asarray(part.posterior(batch), float) for part in parts])
    return np.log((1 - LAPSE) * found + LAPSE / found[0, 0].size)
