"""Rows of the paper's tables, with intervals, as plain values for JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr

from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation.bootstrap import block_interval, paired_difference
from rfloc.evaluation.errors import METRICS, per_ue, ue_errors

ROLES_SHOWN = ("known", "unknown")


@cache
def paper_table1() -> dict[str, Any]:
    """Table 1 of the paper as printed, with its source: `rows` in the paper's order, errors in metres."""
    return json.loads(files("rfloc.evaluation").joinpath("paper_table1.json").read_text())


def summarise(
    predictions: xr.Dataset, params: EvaluationParams, *, seed: int, roles: Sequence[str] = ROLES_SHOWN
) -> dict[str, Any]:
    """All metrics of one localizer, by role, ready for JSON.

    Returns
    -------
    dict
        `localizer`, `city` and, for each role that has samples, a dict of `ues`, `crops`, every metric of
        :data:`~rfloc.evaluation.errors.METRICS` [m], `<metric>_ci` ([low, high] or None) and, where the posterior
        was evaluated, `inside90` and `area90` (shares, averaged within UEs first).

    Raises
    ------
    DataError
        If no role has samples.
    """
    present = set(predictions["role"].values.astype(str))
    row: dict[str, Any] = {"localizer": predictions.attrs["localizer"], "city": predictions.attrs["city"]}
    if not present & set(roles):
        raise DataError(f"no prediction has one of the roles {', '.join(roles)}", f"there are {sorted(present)}")
    for role in (r for r in roles if r in present):
        errors = ue_errors(predictions, role)
        intervals = block_interval(errors, block=params.block, draws=params.bootstrap, level=params.level, seed=seed)
        cell: dict[str, Any] = {"ues": len(errors), "crops": int(errors.crops.sum())}
        for name, statistic in METRICS.items():
            interval = intervals[name]
            cell[name] = statistic(errors, np.ones(len(errors)))
            cell[f"{name}_ci"] = None if interval is None else list(interval)
        mine = predictions.isel(sample=predictions["role"].values.astype(str) == role)
        for name in ("inside90", "area90"):
            if name in mine:
                cell[name] = float(per_ue(mine, mine[name].values.astype(float)).mean())
        row[role] = cell
    return row


def compare(
    a: xr.Dataset, b: xr.Dataset, params: EvaluationParams, *, seed: int, roles: Sequence[str] = ROLES_SHOWN
) -> dict[str, Any]:
    """Paired difference of mean errors, `a` minus `b` [m] (negative: `a` is better), by role, on the same crops.

    Raises
    ------
    DataError
        If the two were not evaluated on the same crops.
    """
    for name in ("ue", "crop_x", "crop_y"):
        if a.sizes["sample"] != b.sizes["sample"] or not np.array_equal(a[name], b[name]):
            raise DataError(
                f"{a.attrs['localizer']} and {b.attrs['localizer']} were evaluated on different crops",
                f"their {name!r} differ",
                "evaluate both on one crops dataset",
            )
    row: dict[str, Any] = {"a": a.attrs["localizer"], "b": b.attrs["localizer"], "city": a.attrs["city"]}
    present = set(a["role"].values.astype(str))
    for role in (r for r in roles if r in present):
        gap, interval = paired_difference(
            ue_errors(a, role), ue_errors(b, role),
            block=params.block, draws=params.bootstrap, level=params.level, seed=seed,
        )  # fmt: skip
        row[role] = {"difference": gap, "difference_ci": None if interval is None else list(interval)}
    return row


def with_interval(value: float, interval: Sequence[float] | None, digits: int = 1) -> str:
    """`157.6 [98.0, 190.2]`, or the value alone where there is no interval."""
    text = f"{value:.{digits}f}"
    return text if interval is None else f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
