"""The table of the sensitivity study (paper section 5.1): every setting beside the base, every factor's range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rfloc.errors import DataError
from rfloc.studies.agreement import COMBINATIONS, Agreement, Judge
from rfloc.studies.sensitivity import FACTORS, Simulator, Variant

#: Correlations that are reported, and scores that are compared with the base's by a paired bootstrap.
REPORTED = ("rssi", "nrsrp", "held_out")
COMPARED = ("rssi", "held_out", "sr_levelled")


def study(variants: Sequence[Variant], simulator: Simulator, judge: Judge) -> dict[str, Any]:
    """Simulate and judge every variant, the first being the base.

    Returns
    -------
    dict
        For JSON. `settings`: a line a variant (:func:`line`, with `factor`, `setting` and `base`, whether it is the
        base). `noise`: by :data:`COMPARED`, the greatest difference that other rays make to the base. `factors`: by
        factor, `label`, `group`, the least and greatest value over its settings of every correlation, of `sr`
        and of `sr_levelled`, and `chosen`, the line of a simulation in which every station has the setting that fits
        its training UEs best.

    Raises
    ------
    DataError
        If there is no variant.
    """
    if not variants:
        raise DataError("there is nothing to simulate", "the study compares variants with the first, its base")
    gains = [simulator.gain(variant) for variant in variants]
    found: list[Agreement] = []
    for variant, gain in zip(variants, gains, strict=True):
        found.append(found[0] if found and variant.same_as(variants[0]) else judge(gain))
    lines = [
        {"factor": v.factor, "setting": v.setting, "base": a is found[0], **line(judge, a, found[0])}
        for v, a in zip(variants, found, strict=True)
    ]
    factors: dict[str, Any] = {}
    for key in dict.fromkeys(v.factor for v in variants):
        own = sorted(
            (k for k, v in enumerate(variants) if v.factor == key), key=lambda k: not lines[k]["base"]
        )  # the base first: it stays where nothing can be chosen
        best = judge(judge.chosen([gains[k] for k in own], [found[k] for k in own]))
        ranges = {
            n: [min(lines[k][n] for k in own), max(lines[k][n] for k in own)] for n in (*REPORTED, "sr", "sr_levelled")
        }
        factors[key] = {**FACTORS[key]._asdict(), **ranges, "chosen": line(judge, best, found[0])}
    noise = {
        n: max((abs(item[f"{n}_gap"]) for item in lines if item["factor"] == "rays"), default=0.0) for n in COMPARED
    }
    return {"settings": lines, "factors": factors, "noise": noise}


def line(judge: Judge, found: Agreement, base: Agreement) -> dict[str, Any]:
    """One simulation.

    Returns
    -------
    dict
        Mean correlation over stations by :data:`REPORTED` and `<name>_sd`, its standard deviation; mean errors of k-NN
        by combination [m]; `<name>_gap` and `<name>_gap_ci`, the difference to the base and its interval, None with too
        few blocks, by :data:`COMPARED`.
    """
    values: dict[str, Any] = {}
    for name in REPORTED:
        values |= {name: found.mean_rho(name), f"{name}_sd": float(np.nanstd(found.rho[name]))}
    values |= {name: found.metres(name) for name in COMBINATIONS}
    for name in COMPARED:
        against = judge.rho_against if name in REPORTED else judge.metres_against
        gap, interval = against(found, base, name)
        values |= {f"{name}_gap": gap, f"{name}_gap_ci": interval and list(interval)}
    return {
        name: [round(v, 4) for v in value] if isinstance(value, list) else value and round(value, 4)
        for name, value in values.items()
    }


def stands_out(item: Mapping[str, Any], name: str, noise: float) -> bool:
    """A line differs from the base by more than other rays do and, where it has an interval, that excludes 0."""
    interval = item[f"{name}_gap_ci"]
    return abs(item[f"{name}_gap"]) > noise and (interval is None or interval[0] > 0 or interval[1] < 0)
