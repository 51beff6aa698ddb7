"""Options of a localizer, chosen one after another on crops that it was not fitted to."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from rfloc.crops import Batch
from rfloc.evaluation.score import geometric_median
from rfloc.evaluation.uncertainty import credibility, nll
from rfloc.localizers import Localizer

Options = TypeVar("Options")


def choose(
    options: Options,
    tried: Mapping[str, Sequence[Any]],
    folds: Sequence[tuple[Callable[[Options], Localizer], Mapping[str, Batch]]],
    *,
    by_density: Collection[str] = (),
) -> tuple[Options, list[dict[str, Any]]]:
    """The best options, a dataclass, and every attempt.

    `tried` has values by option, in the order of choice, from which each option is chosen with those before it in
    place. A fold is what makes a localizer of options, and batches by kind of street that it was not fitted to. What
    counts is the sum over kinds of street of mean errors [m], or for options in `by_density` of mean NLL [nat, density
    per m^2]; the first of equals is taken. An attempt has `option`, `value`, `chosen`, and by kind of street its mean
    error, `<street>_nll` and `<street>_inside90`, the share of crops whose 90 % region holds the UE.
    """
    attempts, known = [], dict[str, dict[str, float]]()

    def judged(of: Options) -> dict[str, float]:
        if repr(of) not in known:
            crops: dict[str, list[np.ndarray]] = {}
            for make, batches in folds:
                for street, batch in batches.items():
                    posterior, at, size = np.asarray(make(of).posterior(batch)), batch.target_xy, batch.size
                    error = np.hypot(*(geometric_median(posterior, size) - at).T)
                    density, truth = nll(posterior, batch.target, size), credibility(posterior, batch.target, at, size)
                    crops.setdefault(street, []).append(np.stack([error, density, truth < 0.9]))
            found = {street: np.concatenate(each, axis=1).mean(axis=1).tolist() for street, each in crops.items()}
            names = {street: (street, f"{street}_nll", f"{street}_inside90") for street in found}
            known[repr(of)] = {name: value for at in found for name, value in zip(names[at], found[at], strict=True)}
        return known[repr(of)]

    for option, values in tried.items():
        kind = "_nll" if option in by_density else ""
        candidates = [replace(options, **{option: value}) for value in values]  # type: ignore[type-var]
        scores = [judged(of) for of in candidates]
        losses = [sum(score[f"{street}{kind}"] for street in folds[0][1]) for score in scores]
        options = candidates[int(np.argmin(losses))]
        for of, value, score in zip(candidates, values, scores, strict=True):
            attempts.append({"option": option, "value": value, **score, "chosen": of is options})
    return options, attempts
