"""Tables: every predictor scored on the same crops, the trivial ones included, the paper's numbers beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
import xarray as xr

from rfloc.config import EvaluationParams
from rfloc.errors import DataError
from rfloc.evaluation.errors import block_interval, paired_difference, per_ue, ue_errors
from rfloc.evaluation.paper import printed
from rfloc.evaluation.uncertainty import certainties

STREETS = ("known", "unknown")
Split = Literal["fixed", "folds"]
Positions = Literal["stated", "training"]
#: The predictor that every other is compared with, on the same crops.
REFERENCE = "centre"
#: Predictors that learn nothing, or one number: what is not better than these has learned nothing.
TRIVIAL = ("centre", "street_median", "centroid", "centroid_mix", "strongest")
#: What the label of a network says that has not left the plateau (:class:`~rfloc.evaluation.score.Learned`).
PLATEAU = " (plateau not left)"


class Method(NamedTuple):
    """How a method is named and drawn: label, colour (a name of Okabe and Ito's palette), line style and marker."""

    label: str
    colour: str
    line: str
    marker: str
    oracle: bool = False  #: knows what no localizer can: it wins no comparison


def _networks() -> dict[str, Method]:
    """Experiments by key, `pair_C_Bp_A`: network, simulated datasets (colour), measured ones (marker, solid line)."""
    colours = {"": "purple", "B": "sky", "Bp": "blue", "C": "green", "C_Bp": "black", "S": "orange"}
    models = {"": ("", "-", "so^v"), "pair_": (", pair score", "-.", "Dd<>"), "unet_": (", MLP+UNet", ":", "*Xhp")}
    names, found = {"Bp": "B′", "oslo": "Oslo"}, {}
    for (model, (ending, line, markers)), (before, colour) in product(models.items(), colours.items()):
        for after, marker in zip(("", "A", "oslo", "A_oslo"), markers, strict=True):
            stages = [stage for stage in (*before.split("_"), *after.split("_")) if stage]
            key, label = model + "_".join(stages), " → ".join(names.get(stage, stage) for stage in stages)
            shown = "--" if line == "-" and not after else line
            found[key] = Method(label + ("" if after else " zero-shot") + ending, colour, shown, marker)
            if after and not model:
                found[f"{key}_adapt"] = Method(f"{label}, adapted", colour, "-.", marker)
    return {key: method for key, method in found.items() if key and key[-1] != "_"}


#: All methods by key.
METHODS = {
    "centre": Method("crop centre", "grey", ":", "+"),
    "street_median": Method("middle of the streets", "grey", "--", "x"),
    "centroid": Method("NRSRP centroid of heard stations", "grey", "-", "1"),
    "centroid_mix": Method("NRSRP centroid mixed with the centre", "grey", "-.", "2"),
    "strongest": Method("strongest station", "grey", ":", "3"),
    "knn": Method("k-NN as published", "vermilion", "--", "v"),
    "knn_filled": Method("k-NN as published, physical infill", "vermilion", "-.", "<"),
    "knn_plain": Method("k-NN", "vermilion", ":", ">"),
    "knn_square": Method("k-NN as published, in the square", "vermilion", "-", "^"),
    "knn_square_plain": Method("k-NN in the square", "vermilion", ":", "D"),
    "knn_square_4": Method("k-NN in the square, all features", "vermilion", "-.", "d"),
    "posterior_distance": Method("posterior on log-distance levels", "orange", "-.", "X"),
    "posterior_nominal": Method("posterior on maps, nominal poses", "orange", ":", "P"),
    "posterior_calibrated": Method("posterior on maps, calibrated poses", "orange", "--", "p"),
    "posterior_true": Method("posterior on maps, true poses (oracle)", "orange", "-", "h", oracle=True),
    "pooled_nominal": Method("maps of nominal poses and centroid, pooled", "orange", "-.", "8"),
    "kriged_square": Method("posterior on kriged levels, in the square", "green", "-.", "H"),
    "kriged": Method("posterior on kriged levels, every cell heard", "green", "-", "H"),
    "kriged_plain": Method("posterior on kriged levels, nothing chosen for coverage", "green", ":", "H"),
    "pooled": Method("all posteriors, pooled", "blue", ":", "8"),
} | _networks()


def metres(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`152`, `47.3`, or with an interval `152 [130, 171]`; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return text if low is None or high is None else f"{text} [{metres(low)}, {metres(high)}]"


@dataclass(frozen=True, kw_only=True)
class Score:
    """Errors of a method on one kind of street [m]; an interval's ends are None where no interval is stated."""

    n: int  #: UEs
    crops: int
    mean: float
    lo: float | None
    hi: float | None
    rmse: float
    median: float
    p67: float
    p90: float
    p95: float
    gain: float  #: mean error of the crop centre minus that of the method, paired
    gain_lo: float | None
    gain_hi: float | None
    within_5: float | None = None  #: share of UEs with at most so many metres of error
    within_10: float | None = None
    within_20: float | None = None
    within_50: float | None = None
    within_100: float | None = None
    nll: float | None = None  #: negative log density at the UE, of the tempered posterior [nat, per m^2]
    energy: float | None = None  #: energy score of it [m]
    inside50: float | None = None  #: share of crops whose 50 % region holds the UE
    inside90: float | None = None
    area90: float | None = None  #: share of the crop in the 90 % region
    radius90: float | None = None  #: of a disc as large [m]
    inside90_raw: float | None = None  #: of the posterior as it was answered
    temper: float | None = None  #: the power that validation crops chose

    @property
    def text(self) -> str:
        """The mean with its unit and interval, `152 m [130, 171]`."""
        return f"{metres(self.mean)} m {metres(self.mean, self.lo, self.hi).partition(' ')[2]}".strip()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method on one city: its scores by kind of street (None: none there), the paper's mean errors [m] beside."""

    key: str
    label: str
    city: str = "home"  #: key in `cities`
    split: Split = "fixed"  #: one split, or every block held out once
    positions: Positions = "stated"  #: of stations: as the campaign's tables state them, or placed from training UEs
    seeds: int = 1  #: trainings of a network that the scores average over
    known: Score | None = None
    unknown: Score | None = None
    oracle: bool = False
    left_plateau: bool | None = None  #: a network's, see :class:`~rfloc.evaluation.score.Learned`
    paper_known: float | None = None
    paper_unknown: float | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """A row of a results file (raises KeyError or TypeError that names what is missing)."""
        return cls(**{**row, **{street: Score(**row[street]) if row[street] else None for street in STREETS}})

    def on(self, street: str) -> Score:
        """Its score on one kind of street (raises DataError where it has none)."""
        if (found := getattr(self, street)) is None:
            raise DataError(f"the row {self.label!r} has no score on {street} streets", f"{self.split} of {self.city}")
        return found


def score(predictions: xr.Dataset, centre: xr.Dataset, street: str, params: EvaluationParams, seed: int) -> Score:
    """Errors of a method on one kind of street, its gain over the centre on the same crops (else DataError)."""
    for name in ("ue", "crop_x", "crop_y"):
        if predictions.sizes["sample"] != centre.sizes["sample"] or not np.array_equal(predictions[name], centre[name]):
            both = f"{predictions.attrs['localizer']} and {centre.attrs['localizer']}"
            mend = "evaluate both on one crops dataset"
            raise DataError(f"{both} were evaluated on different crops", f"their {name!r} differ", mend)
    errors = ue_errors(predictions, street)
    low, high = block_interval(errors, params, seed) or (None, None)
    gain, interval = paired_difference(ue_errors(centre, street), errors, params, seed)
    gain_low, gain_high = interval or (None, None)
    mine = predictions.isel(sample=predictions["role"].values.astype(str) == street)
    sure = {name: float(per_ue(mine, values).mean()) for name, values in certainties(mine).items()}
    return Score(
        n=len(errors), crops=int(errors.crops.sum()), lo=low, hi=high,
        gain=gain, gain_lo=gain_low, gain_hi=gain_high, **errors.statistics(), **sure,
    )  # fmt: skip


def table1(
    predictions: Mapping[str, xr.Dataset], params: EvaluationParams, *, seed: int,
    labels: Mapping[str, str] | None = None, paper: bool = True,
    split: Split = "fixed", positions: Positions = "stated",
) -> list[Row]:  # fmt: skip
    """Rows of Table 1, of predictions by key, all on the same crops; one of them is the crop centre (else DataError).

    `labels` names experiments by key; one whose predictions say that it has not left the plateau says so in its label.
    `paper` puts the paper's numbers for that city beside, home being Rome. A kind of street without crops has no score.
    """
    if REFERENCE not in predictions:
        raise DataError(f"Table 1 has no row {REFERENCE!r}", "every row is compared with guessing the crop's centre")
    centre, rows = predictions[REFERENCE], []
    city = centre.attrs["city"]
    asked = [street for street in STREETS if street in centre["role"].values]
    for key, found in predictions.items():
        method = METHODS.get(key, Method(key, "black", "-", "o"))
        said: dict[str, Any] = {street: score(found, centre, street, params, seed) for street in asked}
        said |= {f"paper_{street}": printed(key, city, street) if paper else None for street in STREETS}
        label, left = (labels or {}).get(key, method.label), found.attrs.get("left_plateau")
        label += PLATEAU if left is False else ""
        said |= {"city": city, "split": split, "positions": positions}
        rows.append(Row(key=key, label=label, oracle=method.oracle, left_plateau=left, **said))
    return rows


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as results files hold them."""
    return [asdict(row) for row in rows]


def as_frame(rows: Sequence[Row], street: str) -> pd.DataFrame:
    """Rows with a score there, to read, errors in metres; the paper's column only where a row has a number."""
    table = pd.DataFrame(
        {
            row.label: {
                "mean error [m]": metres((score := getattr(row, street)).mean, score.lo, score.hi),
                "RMSE": metres(score.rmse),
                "median": metres(score.median),
                "gain over centre": metres(score.gain, score.gain_lo, score.gain_hi),
                "paper": metres(getattr(row, f"paper_{street}")),
            }
            for row in rows
            if getattr(row, street)
        }
    ).T
    return table if table.empty or (table["paper"] != "–").any() else table.drop(columns="paper")


def headline(
    rows: Sequence[Row], predictions: Mapping[str, xr.Dataset], params: EvaluationParams, *, seed: int
) -> dict[str, Any]:
    """The numbers that summaries quote of a table and of the predictions that it scores.

    Validation crops choose two rows by their mean error: `trivial`, one of :data:`TRIVIAL`, and one that is neither
    that nor an oracle. By street, `gains` has each row's gain over the trivial one [m], paired, and its `interval`
    (None: too few blocks); `learned_*` has that of the other chosen row, and whether its interval lies above 0.
    """
    by_key = {row.key: row for row in rows}
    val = {key: ue_errors(predictions[key], "val").error.mean() for key, row in by_key.items() if not row.oracle}
    trivial = min((key for key in TRIVIAL if key in val), key=val.__getitem__)
    chosen = min((key for key in val if key not in TRIVIAL), key=val.__getitem__, default=trivial)
    found: dict[str, Any] = {"trivial": by_key[trivial].label, "trivial_key": trivial}
    gains: dict[str, dict[str, dict[str, Any]]] = {key: {} for key in by_key}
    for street, key in ((street, key) for street in STREETS for key in by_key):
        before, after = (ue_errors(predictions[which], street) for which in (trivial, key))
        gain, interval = paired_difference(before, after, params, seed)
        gains[key][street] = {"gain": gain, "interval": interval}
    for street in STREETS:
        mine = {"key": chosen, "label": by_key[chosen].label, **gains[chosen][street]}
        found[f"learned_{street}"] = mine | {"learned": mine["interval"] is not None and mine["interval"][0] > 0}
        for name, key in {"centre": REFERENCE, "trivial": trivial}.items():
            found[f"{name}_{street}_mean"] = by_key[key].on(street).mean
    return found | {"gains": gains}


def gain_frame(found: Mapping[str, Any], rows: Sequence[Row]) -> pd.DataFrame:
    """Gains of a :func:`headline` to read, a line a row, a column a kind of street."""
    table = {row.label: found["gains"][row.key] for row in rows}
    said = {label: {s: metres(g["gain"], *(g["interval"] or ())) for s, g in by.items()} for label, by in table.items()}
    return pd.DataFrame(said).T.rename_axis(f"gain over {found['trivial']} [m]")


def error_records(
    rows: Sequence[Row], trivial: Mapping[tuple[str, str], str], models: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One flat record a row and kind of street: its score beside the centre and the best trivial row on the same crops.

    `trivial` has the key of that row by city and split, as validation chose it; rows of one city, split and source of
    positions are of the same crops. `models` names the network of each experiment, which is then the localizer.
    """
    held = {(row.key, row.city, row.split, row.positions): row for row in rows}
    records = []
    for row, street in ((row, street) for row in rows for street in STREETS if getattr(row, street)):
        found, beside = asdict(row.on(street)), dict[str, Any]()
        for name, key in {"centre": REFERENCE, "trivial": trivial.get((row.city, row.split))}.items():
            other = held.get((key or "", row.city, row.split, row.positions))
            beside[name] = None if other is None else {"key": key, "mean": other.on(street).mean}
        records.append(
            {
                "localizer": models.get(row.key, row.key), "experiment": row.key if row.key in models else None,
                **{name: getattr(row, name) for name in ("label", "city", "split", "positions", "seeds", "oracle")},
                "street": street, "n_ue": found.pop("n"), "n_crops": found.pop("crops"), **found, **beside,
                "left_plateau": row.left_plateau, "paper": getattr(row, f"paper_{street}"),
            }
        )  # fmt: skip
    return records
