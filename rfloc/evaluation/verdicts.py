"""Verdicts: claims of the paper, each judged by a rule on what results/<scale> holds.

A claim compares two rows, written `key@street` or `key@street@city`. Where one is a network's, over at least three
seeds, paired, by Student's interval of 95 %; else by the block bootstrap of the gain over the centre. Rules: `less`,
the left row errs less, clearly; `half`, that, and half as much is not excluded; `no worse`, it does not err clearly
more; `correlation`, poses of the paper's search gain at least what the paper says.
"""

import json
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ttest_1samp

from rfloc import files
from rfloc.arrays import Floats
from rfloc.evaluation.paper import paper_says, printed
from rfloc.evaluation.tables import METHODS, PLATEAU, REFERENCE, metres

#: From fewer seeds nothing is said of a network.
MIN_SEEDS = 3


@dataclass(frozen=True)
class Verdict:
    """A claim judged, as it is read; `verdict` is reproduced, not reproduced or not testable here."""

    where: str
    claim: str
    paper: str
    ours: str
    verdict: str
    why: str


class _Side(NamedTuple):
    key: str
    street: str  #: known, unknown, or synthetic: validation crops of the dataset that the network trained on
    city: str = "home"


class _Untestable(Exception):
    """Why a claim cannot be judged here."""


class _Evidence:
    """What results/<scale> says of rows with stations at their stated positions; of folds where there are folds."""

    def __init__(self, results: Path) -> None:
        self.rows: dict[_Side, dict[str, Any]] = {}
        for row in files.load_json(results / "errors.json")["rows"]:
            at = _Side(row["experiment"] or row["localizer"], row["street"], row["city"])
            if row["positions"] == "stated" and (at not in self.rows or row["split"] == "folds"):
                self.rows[at] = row
        seeds, calibration = results / "seeds.json", results / "calibration.json"
        self.seeds = files.load_json(seeds) if seeds.is_file() else {}
        self.gains = files.load_json(calibration)["mean"] if calibration.is_file() else {}

    def errors(self, side: _Side) -> tuple[Floats, bool]:
        """Mean errors of a row [m], (seeds,), and whether a network made them."""
        row = self.rows.get(side._replace(street="unknown") if side.street == "synthetic" else side)
        if row is None and not any(at.city == side.city for at in self.rows):
            raise _Untestable(f"nothing of {side.city.capitalize()} at this scale")
        if row is None:
            raise _Untestable(f"not run at this scale: {METHODS[side.key].label if side.key in METHODS else side.key}")
        if row["experiment"] is None:
            return np.array([row["mean"]]), False
        study = self.seeds.get(side.key, {}) if side.city == "home" else {}
        if len(study.get("seeds", ())) < MIN_SEEDS:
            raise _Untestable("one seed: no verdict")
        if stuck := study["left_plateau"].count(False):
            label = row["label"].removesuffix(PLATEAU)
            raise _Untestable(f"{stuck} of {len(study['seeds'])} runs of {label} have not left the plateau")
        return np.array(study["val_error" if side.street == "synthetic" else side.street]), True

    def compare(self, rule: str, left: _Side, right: _Side) -> tuple[str, bool, str]:
        """Both errors as they are read, whether the rule holds, and why."""
        (a, trains), (b, trained) = self.errors(left), self.errors(right)
        enough = True
        if trains or trained:
            n = min(len(errors) for errors in (a, b) if len(errors) > 1)
            low, high = ttest_1samp(a[:n] - b[:n], 0).confidence_interval()
            enough = rule != "half" or ttest_1samp(a[:n] - b[:n] / 2, 0).confidence_interval().low <= 0
            basis = f"{n} seeds"
        elif REFERENCE not in (left.key, right.key):
            raise _Untestable("no paired interval of these two rows")
        else:
            row = self.rows[right if left.key == REFERENCE else left]  # its gain is the centre's error minus its own
            if row["gain_lo"] is None:
                raise _Untestable("fewer than eight blocks of streets: no interval")
            gains = row["gain_lo"], row["gain_hi"]
            low, high = gains if left.key == REFERENCE else (-gains[1], -gains[0])
            basis = f"{row['n_ue']} UEs"
        holds = low <= 0 if rule == "no worse" else high < 0 and enough
        why = f"difference [{metres(low)}, {metres(high)}] m, {basis}"
        return f"{metres(a.mean())} against {metres(b.mean())} m", bool(holds), why

    def correlation(self, ues: str, poses: str) -> tuple[str, bool, str]:
        """The same of a gain in Spearman's correlation, mean over stations; there is no interval on fitted UEs."""
        gain = self.gains.get(ues, {}).get(poses)
        if gain is None or gain["gain"] is None:
            raise _Untestable("no calibration at this scale")
        low, high = gain["interval"] or (gain["gain"], gain["gain"])
        holds = gain["gain"] >= paper_says()["calibration_gain"][0] and low > 0
        why = f"interval [{low:+.2f}, {high:+.2f}]" if gain["interval"] else "seen by the search: no interval"
        return f"{gain['gain']:+.2f}", holds, why


def _printed(side: _Side) -> float | None:
    """What the paper prints: a zero-shot row in Oslo as section 8.2 quotes it, from Table 2; None of the centre."""
    zero_shot = {c["key"]: c["error"] for c in paper_says()["cells"] if c["table"] == "2" and side.city == "oslo"}
    error = zero_shot.get(side.key, printed(side.key, side.city, side.street))
    return paper_says()["synthetic"]["unknown"] if side.street == "synthetic" else error


def verdicts(results: Path) -> list[Verdict]:
    """Every claim judged on results/<scale> (raises DataError where errors.json is not there)."""
    evidence, made = _Evidence(results), []
    for claim in json.loads(package_files("rfloc.evaluation").joinpath("paper_claims.json").read_text()):
        rule, pair = claim["rule"], (claim["left"], claim["right"])
        sides = [_Side(*text.split("@")) for text in pair if "@" in text]
        said = " against ".join(f"{error:,.1f}" for error in map(_printed, sides) if error is not None) + " m"
        said = said if sides else "+{} to +{}".format(*paper_says()["calibration_gain"])
        try:
            ours, holds, why = evidence.compare(rule, *sides) if sides else evidence.correlation(*pair)
            verdict = "reproduced" if holds else "not reproduced"
        except _Untestable as reason:
            ours, verdict, why = "–", "not testable here", str(reason)
        made.append(Verdict(claim["where"], claim["said"], said, ours, verdict, why))
    return made
