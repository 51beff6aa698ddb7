"""One evaluator for every localizer: points, errors, whether it has learned levels or streets alone; and its options.

A point minimises the expected Euclidean error that tables report; the paper decodes the most probable cell. Options are
chosen one after another on crops that the localizer was not fitted to.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from rfloc.arrays import Floats
from rfloc.config import CropParams
from rfloc.crops import Batch, CropBatcher, cell_centres, evaluation_crops
from rfloc.errors import DataError
from rfloc.evaluation.errors import ue_errors
from rfloc.evaluation.uncertainty import certainty, credibility, fit_power, nll
from rfloc.frames import LocalFrame
from rfloc.localizers import Estimator, Localizer, StreetMedian
from rfloc.schema import validate, with_units
from rfloc.splits import blocks_of

#: Weiszfeld's iteration stops when no crop moves by more than this [m], or after so many steps.
TOLERANCE, ITERATIONS = 0.01, 500
#: Share by which the error on validation crops must lie under that of the middle of the streets.
MARGIN = 0.25


def geometric_median(posterior: NDArray[np.floating], size: ArrayLike) -> Floats:
    """Points that minimise the expected distance, x, y relative to the crop centre [m], (B, 2): what tables report.

    `size` is the edge of all crops or of each, (B,) [m]. Weiszfeld's iteration from the mean, on cell centres in crop
    edges, with distances smoothed by 3 % of a cell so that an iterate may rest on a centre.
    """
    flat, cells = posterior.reshape(len(posterior), -1).astype(float), posterior.shape[-1]
    at = np.stack(cell_centres(1.0, cells), axis=-1).reshape(-1, 2)
    scale = np.broadcast_to(np.asarray(size, float), len(posterior))
    smooth = (0.03 / cells) ** 2
    estimate = flat @ at
    moving = np.arange(len(flat))
    for _ in range(ITERATIONS):
        if not moving.size:
            break
        now = estimate[moving]
        square = (at[:, 0] - now[:, :1]) ** 2 + (at[:, 1] - now[:, 1:]) ** 2
        weight = flat[moving] / np.sqrt(square + smooth)
        moved = weight @ at / weight.sum(axis=1, keepdims=True)
        estimate[moving] = moved
        moving = moving[np.linalg.norm(moved - now, axis=1) * scale[moving] > TOLERANCE]
    return scale[:, None] * estimate


def evaluate(localizer: Localizer, batcher: CropBatcher, crops: xr.Dataset, batch_size: int = 32) -> xr.Dataset:
    """Predictions of a localizer on evaluation crops; `batcher` is of the links that they index (else DataError).

    Its own point estimate is taken where it has one (:class:`~rfloc.localizers.Estimator`), else the geometric median
    of its posterior as it was answered. How sure it is, `nll`, `energy`, `credibility` and `area90` (share of the
    crop's area in the 90 % region), is said of the posterior to the power `temper`, which validation crops choose;
    without any it is 1. `nll_raw` and `credibility_raw` are of the posterior as it was answered.
    """
    ue = crops["ue"].values
    if ue.max() >= len(batcher.ue_xy) or not np.allclose(batcher.ue_xy[ue, 0], crops["x"]):
        raise DataError("crops and links have different UEs", "", "make the evaluation crops from these links")
    if "size" not in crops and crops.attrs["crop_size"] != batcher.crops.size:
        raise DataError(f"crops of {crops.attrs['crop_size']} m, batches of {batcher.crops.size} m")
    size = crops["size"].values if "size" in crops else np.full(len(ue), batcher.crops.size)
    centre = np.stack([crops["crop_x"].values, crops["crop_y"].values], axis=1)
    points, posteriors, truths = [], [], []
    for start in range(0, len(ue), batch_size):
        part = slice(start, start + batch_size)
        batch = batcher.batch(ue[part], centre[part, 0], centre[part, 1], size=size[part])
        posterior = np.asarray(localizer.posterior(batch))
        total = posterior.sum(axis=(1, 2))
        cells = batcher.crops.output
        if posterior.shape != (len(batch), cells, cells) or not np.allclose(total, 1, atol=1e-3):
            raise DataError(
                f"localizer {localizer.name!r} answered with no posterior",
                f"its shape is {posterior.shape}, its sums lie in [{total.min():.4g}, {total.max():.4g}]",
                f"return (B, {cells}, {cells}) probabilities that sum to 1",
            )
        at = localizer.estimate(batch) if isinstance(localizer, Estimator) else geometric_median(posterior, batch.size)
        points.append(at)
        posteriors.append(posterior.astype(np.float32))
        truths.append((batch.target, batch.target_xy, batch.size))
    power, val = 1.0, crops["role"].values.astype(str) == "val"
    if val.any():  # UEs within half a crop share most stations and streets
        witnesses = len(np.unique(blocks_of(crops["x"].values[val], crops["y"].values[val], size.mean() / 2), axis=0))
        target = np.concatenate([where[0] for where in truths])
        power = fit_power(np.concatenate(posteriors)[val], target[val], witnesses)
    sure = [certainty(p, power, *where) for p, where in zip(posteriors, truths, strict=True)]
    found = dict(zip(("x_hat", "y_hat"), (np.concatenate(points) + centre).T, strict=True))
    found |= {name: np.concatenate([part[name] for part in sure]) for name in sure[0]}
    ds = crops.assign({name: ("sample", values) for name, values in found.items()})
    ds.attrs = {"localizer": localizer.name} | {name: crops.attrs[name] for name in ("crop_size", "city")}
    ds.attrs |= LocalFrame.from_attrs(crops.attrs).to_attrs()
    return validate(with_units(ds, "predictions"), "predictions")


def cross_fitted(
    found: xr.Dataset, fit: Callable[[xr.Dataset], Localizer], batcher: CropBatcher, crops: xr.Dataset, block: float
) -> xr.Dataset:
    """Predictions `found`, but of validation crops by what `fit` makes of the other half of blocks of an edge [m]."""
    val = np.flatnonzero(crops["role"].values.astype(str) == "val")
    at = blocks_of(crops["x"].values[val], crops["y"].values[val], block)
    half, points = np.unique(at, axis=0, return_inverse=True)[1].ravel() % 2, found[["x_hat", "y_hat"]].copy(deep=True)
    for own, other in ((val[half == k], val[half != k]) for k in (0, 1) if half.any()):  # a single block keeps its own
        answered = evaluate(fit(crops.isel(sample=other)), batcher, crops.isel(sample=own))
        for name in points:
            points[name][own] = answered[name].values
    return found.assign(points)


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
    """A localizer on the validation crops of a simulated dataset (raises SplitError where it has none).

    That is its own or, where that is measured, B in the same blocks: few blocks of shadowed measurements say little.
    """
    tests = evaluation_crops(links, split, crops, roles=("val",), seed=seed)
    batcher = CropBatcher(links, raster, crops)
    both: tuple[Localizer, Localizer] = (localizer, StreetMedian(crops))
    error, streets = (float(ue_errors(evaluate(one, batcher, tests), "val").error.mean()) for one in both)
    return Learned(error, streets)


Options = TypeVar("Options")


def choose(
    options: Options,
    tried: Mapping[str, Sequence[Any]],
    folds: Sequence[tuple[Callable[[Options], Localizer], Mapping[str, Batch]]],
    *,
    by_density: Collection[str] = (),
) -> tuple[Options, list[dict[str, Any]]]:
    """The best options, a frozen dataclass, and every attempt.

    `tried` has values by option, in the order of choice, from which each option is chosen with those before it in
    place. A fold is what makes a localizer of options, and batches by kind of street that it was not fitted to. What
    counts is the sum over kinds of street of mean errors [m], or for options in `by_density` of mean NLL [nat, density
    per m^2]; the first of equals is taken. An attempt has `option`, `value`, `chosen`, and by kind of street its mean
    error, `<street>_nll` and `<street>_inside90`, the share of crops whose 90 % region holds the UE.
    """
    attempts = []

    @cache
    def judged(of: Options) -> dict[str, float]:
        crops: dict[str, list[np.ndarray]] = {}
        for make, batches in folds:
            for street, batch in batches.items():
                posterior, at, size = np.asarray(make(of).posterior(batch)), batch.target_xy, batch.size
                error = np.hypot(*(geometric_median(posterior, size) - at).T)
                density, truth = nll(posterior, batch.target, size), credibility(posterior, batch.target, at, size)
                crops.setdefault(street, []).append(np.stack([error, density, truth < 0.9]))
        found = {street: np.concatenate(each, axis=1).mean(axis=1).tolist() for street, each in crops.items()}
        names = {street: (street, f"{street}_nll", f"{street}_inside90") for street in found}
        return {name: value for at in found for name, value in zip(names[at], found[at], strict=True)}

    for option, values in tried.items():
        kind = "_nll" if option in by_density else ""
        candidates = [replace(options, **{option: value}) for value in values]  # type: ignore[type-var]
        scores = [judged(of) for of in candidates]
        losses = [sum(score[f"{street}{kind}"] for street in folds[0][1]) for score in scores]
        options = candidates[int(np.argmin(losses))]
        for of, value, score in zip(candidates, values, scores, strict=True):
            attempts.append({"option": option, "value": value, **score, "chosen": of is options})
    return options, attempts
