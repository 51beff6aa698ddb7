"""Table 1: every predictor on the same crops, the paper's numbers beside ours, the trivial rows included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation.tables import ROLES_SHOWN, compare, paper_table1, summarise, with_interval

#: The predictor that every other is compared with, on the same crops.
REFERENCE = "centre"

#: Rows that know what no localizer can: they win no comparison.
ORACLES = ("posterior_true",)

#: Names of predictors in tables; experiments carry their own label.
LABELS = {
    "centre": "crop centre",
    "street_median": "middle of the streets",
    "centroid": "RSSI centroid of heard stations",
    "knn": "k-NN",
    "knn_square": "k-NN in the square",
    "knn_square_4": "k-NN in the square, all features",
    "posterior_nominal": "posterior on maps, nominal poses",
    "posterior_calibrated": "posterior on maps, calibrated poses",
    "posterior_true": "posterior on maps, true poses (oracle)",
}


def table1(
    predictions: Mapping[str, xr.Dataset],
    params: EvaluationParams,
    *,
    seed: int,
    labels: Mapping[str, str],
    paper: bool = True,
) -> list[dict[str, Any]]:
    """Rows of Table 1, ready for JSON.

    Parameters
    ----------
    predictions : dict
        By key of the row, all on the same crops; one of them is the crop centre.
    labels : dict
        Names of experiments by key.
    paper : bool
        Put the paper's numbers beside: they are of its home city, and say nothing about another.

    Returns
    -------
    list of dict
        `key`, `label`, `oracle`, `paper_known`, `paper_unknown` [m or None], and for each kind of street a dict of
        `mean` with `lo`, `hi`, `rmse`, `median`, `p67`, `p90`, `p95` [m], `n` UEs, `crops`, `gain` with `gain_lo`,
        `gain_hi` (mean error of the crop centre minus that of the row, paired [m]) and the share of crops whose 90 %
        region holds the UE (`inside90`) with that region's share of the crop (`area90`).

    Raises
    ------
    DataError
        If the crop centre is not among the predictions, or one lacks a kind of street.
    """
    if REFERENCE not in predictions:
        raise DataError(f"Table 1 has no row {REFERENCE!r}", "every row is compared with guessing the crop's centre")
    printed = {row["key"]: row for row in paper_table1()["rows"] if row["model"] in (None, "MapRadioFormer+")}
    beside = printed if paper else {}
    rows = []
    for key, found in predictions.items():
        summary = summarise(found, params, seed=seed)
        gap = compare(predictions[REFERENCE], found, params, seed=seed)
        row: dict[str, Any] = {
            "key": key,
            "label": labels.get(key, LABELS.get(key, key)),
            "oracle": key in ORACLES,
            **{f"paper_{street}": beside.get(key, {}).get(street) for street in ROLES_SHOWN},
        }
        for street in ROLES_SHOWN:
            if street not in summary:
                raise DataError(f"{key!r} was not evaluated on {street} streets", "Table 1 has both")
            cell = summary[street]
            low, high = cell["mean_error_ci"] or (None, None)
            gain_low, gain_high = gap[street]["difference_ci"] or (None, None)
            row[street] = {
                "mean": cell["mean_error"], "lo": low, "hi": high, "n": cell["ues"], "crops": cell["crops"],
                "gain": gap[street]["difference"], "gain_lo": gain_low, "gain_hi": gain_high,
                **{name: cell[name] for name in ("rmse", "median", "p67", "p90", "p95")},
                **{name: cell[name] for name in ("inside90", "area90") if name in cell},
            }  # fmt: skip
        rows.append(row)
    return rows


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table to read: mean error with interval, RMSE, median, gain over the centre [m], the paper's number.

    The last is left out where no row has one.
    """

    def cells(row: dict[str, Any], street: str) -> dict[tuple[str, str], str]:
        cell, paper = row[street], row[f"paper_{street}"]

        def interval(low: str, high: str) -> list[float] | None:
            return None if cell[low] is None else [cell[low], cell[high]]

        return {
            (f"{street} streets", "mean [m]"): with_interval(cell["mean"], interval("lo", "hi"), 0),
            (f"{street} streets", "RMSE"): f"{cell['rmse']:.0f}",
            (f"{street} streets", "median"): f"{cell['median']:.0f}",
            (f"{street} streets", "gain over centre"): with_interval(cell["gain"], interval("gain_lo", "gain_hi"), 0),
            (f"{street} streets", "paper"): "–" if paper is None else f"{paper:.1f}",
        }

    table = pd.DataFrame({row["label"]: cells(row, "known") | cells(row, "unknown") for row in rows}).T
    beside = any(row[f"paper_{street}"] is not None for row in rows for street in ROLES_SHOWN)
    return table if beside else table.drop(columns="paper", level=1)


def headline(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers that summaries quote: the best row by street (oracles left out) and the crop centre."""
    fair = [row for row in rows if not row["oracle"]]
    found: dict[str, Any] = {}
    for street in ROLES_SHOWN:
        best = min(fair, key=lambda row: row[street]["mean"])
        centre = next(row for row in rows if row["key"] == REFERENCE)
        found |= {
            f"best_{street}": best["label"],
            f"best_{street}_mean": best[street]["mean"],
            f"centre_{street}_mean": centre[street]["mean"],
        }
    return found
