"""Positions of stations for which no file gives one, from the levels that training UEs measured.

A grid posterior of each station; the estimate is its mean, the stated error its standard deviation per axis. It weighs:

- levels: log-distance with a free level, slope and one azimuth harmonic (a sector), all with Gaussian priors, solved in
  closed form at each candidate and summed over residual standard deviations;
- hearing: the share of UEs of a square that hear the station falls with distance, a logistic of unknown coefficients;
- a Gaussian prior round the power-weighted centroid of the UEs that hear it.

Levels [dB] are averaged over squares and the log-likelihood is tempered: shadowing is correlated along a street.
"""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import logsumexp, softmax

from rfloc.arrays import Bools, Floats
from rfloc.datasets.mixed import own_effects
from rfloc.datasets.shadowing import Means
from rfloc.errors import DataError
from rfloc.frames import Bounds
from rfloc.schema import validate

#: Stations heard by fewer training UEs are not placed, unless less is asked.
MIN_UES = 30
#: Step of the candidates, how far they reach past the UEs that hear a station, edge of a square of UEs [m].
STEP, REACH, SQUARE = 50.0, 400.0, 50.0
#: Share of the log-likelihood that counts, and standard deviation of the prior round the centroid, per axis [m]: such
#: that stated errors of Rome's eleven published cells come out right (chi2 near 1); errors themselves hardly move.
TEMPER, CENTROID_SD = 0.25, 300.0
#: Height that a station has over a UE [m], distance over which the azimuth fades under the mast [m].
HEIGHT, FADE = 30.0, 50.0
#: Prior standard deviations: level [dB], slope [dB per 10 log10 m], both components of the harmonic [dB]; mean slope.
SPREAD, SLOPE = (20.0, 1.0, 10.0, 10.0), 3.0
#: Summed over: residual standard deviations [dB], the logistic of hearing's coefficients (at 100 m, per 10 log10 m).
RESIDUALS = (5.0, 7.0, 9.0, 12.0)
HEARING = tuple((float(a), b) for b in (0.15, 0.3, 0.5) for a in range(-3, 9))


def estimate_positions(
    links: xr.Dataset, train: Bools, *, bounds: Bounds, every: bool = False, min_ues: int = MIN_UES
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Give every station a position: those without one are estimated, or dropped where that is outside `bounds` [m].

    `every` estimates those with one as well: nothing that is stated of positions is left. Stations heard by fewer than
    `min_ues` training UEs are dropped, too. Only `train`, bool of shape (ue,), says which UEs may be used. Interpolated
    levels are not: they were computed from neighbours that may be no training UEs. Raises DataError if no station is
    left. The links that are returned have the stations with a position now; source "estimated" and `bs_position_error`
    where it is an estimate; `ue_placed` says which UEs helped. The report has `known`, `estimated`, `dropped` (reason
    -> stations), and `position_check`: known stations placed alike, each with its error and stated standard deviation
    per axis [m], with `median_m`, `mean_m`, and `chi2`, the mean of error^2 / (2 sd^2), 1 if these are right.
    """
    heard = links["heard"].values & ~links["interpolated"].values if "interpolated" in links else links["heard"].values
    used = train & heard.any(axis=1)
    ues = heard[used].sum(axis=0)
    bs_x, bs_y = links["bs_x"].values, links["bs_y"].values
    enough, stated = ues >= min_ues, ~np.isnan(bs_x)
    unknown = ~stated | every
    x, y, sd = np.full((3, len(unknown)), np.nan)
    if enough.any():
        ue = np.column_stack([links["ue_x"].values, links["ue_y"].values])[used]
        hearing = _Hearing(ue)
        for k in np.flatnonzero(enough):
            x[k], y[k], sd[k] = _locate(ue, links["nrsrp"].values[used, k].astype(float), heard[used, k], hearing)
    x_min, y_min, x_max, y_max = bounds
    inside = (x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max)
    placed = unknown & enough & inside
    dropped = {
        f"heard by fewer than {min_ues} training UEs": int((unknown & ~enough).sum()),
        "estimated outside the city's raster": int((unknown & enough & ~inside).sum()),
    }
    if not (placed | ~unknown).any():
        why = "; ".join(f"{reason}: {count} stations" for reason, count in dropped.items() if count)
        raise DataError("no station could be placed", why, "take more training UEs, or a wider city")
    known = stated & enough
    error = np.hypot(x - bs_x, y - bs_y)[known]
    columns = {"error_m": error.round(1), "stated_sd_m": sd[known].round(1), "ues": ues[known]}
    table = pd.DataFrame(columns, index=links["bs_id"].values[known].tolist())
    check: dict[str, Any] = {"stations": table.to_dict("index")}
    if known.any():
        check |= {"median_m": round(float(np.median(error)), 1), "mean_m": round(float(np.mean(error)), 1)}
        check["chi2"] = round(float(np.mean(error**2 / (2 * sd[known] ** 2))), 2)
    stated = links["bs_position_error"].values if "bs_position_error" in links.variables else np.nan
    out = links.assign_coords(
        bs_x=("bs", np.where(placed, x, bs_x), links["bs_x"].attrs),
        bs_y=("bs", np.where(placed, y, bs_y), links["bs_y"].attrs),
        bs_position_source=("bs", np.where(placed, "estimated", links["bs_position_source"].values.astype(str))),
        bs_position_error=("bs", np.where(placed, sd, stated), {"units": "m"}),
        ue_placed=("ue", used & bool(placed.any())),
    )
    counts = {"known": int((~unknown).sum()), "estimated": int(placed.sum()), "dropped": dropped}
    return validate(out.isel(bs=np.flatnonzero(placed | ~unknown)), "links"), counts | {"position_check": check}


class _Hearing:
    """Log-likelihood of who hears a station and who does not, at every candidate of a grid over all UEs."""

    def __init__(self, ue: Floats) -> None:
        found = np.unique(np.floor(ue / (2 * SQUARE)), axis=0, return_inverse=True, return_counts=True)
        self.which, self.count = found[1].ravel(), found[2]
        centre = np.column_stack([np.bincount(self.which, axis) / self.count for axis in ue.T])
        low, high = ue.min(axis=0) - REACH, ue.max(axis=0) + REACH
        axes = [np.arange(a, b + STEP, STEP) for a, b in zip(low, high, strict=True)]
        self.candidates = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        squared = ((self.candidates[:, None] - centre) ** 2).sum(axis=-1)
        self.far = 5.0 * np.log10((squared + HEIGHT**2) / 100.0**2)
        self.none = np.stack([np.logaddexp(0.0, a - b * self.far).sum(axis=1) for a, b in HEARING])

    def __call__(self, heard: Bools) -> Floats:
        share = np.bincount(self.which, heard) / self.count
        far = self.far @ share
        terms = [a * share.sum() - b * far - none for (a, b), none in zip(HEARING, self.none, strict=True)]
        return np.asarray(logsumexp(terms, axis=0))


def _locate(ue: Floats, nrsrp: Floats, heard: Bools, hearing: _Hearing) -> tuple[float, float, float]:
    """Posterior mean (x, y) and standard deviation per axis [m] of one station, levels averaged over squares."""
    place, level, _ = Means.of(ue[heard, 0], ue[heard, 1], nrsrp[heard], SQUARE)
    weight = 10.0 ** ((level - level.max()) / 10.0)
    centroid = weight @ place / weight.sum()
    low, high = place.min(axis=0) - REACH, place.max(axis=0) + REACH
    within = ((hearing.candidates > low) & (hearing.candidates < high)).all(axis=1)
    candidates = hearing.candidates[within]
    score = TEMPER * (_levels(candidates, place, level) + hearing(heard)[within])
    score -= ((candidates - centroid) ** 2).sum(axis=1) / (2 * CENTROID_SD**2)
    p = softmax(score)
    mean = p @ candidates
    return float(mean[0]), float(mean[1]), float(np.sqrt(p @ ((candidates - mean) ** 2).sum(axis=1) / 2))


def _levels(candidates: Floats, place: Floats, level: Floats) -> Floats:
    """Log-evidence of the levels at each candidate: Bayesian linear regression on distance and azimuth."""
    gap = place - candidates[:, None]
    squared = (gap**2).sum(axis=-1)
    loss = -5.0 * np.log10((squared + HEIGHT**2) / 100.0**2)
    harmonic = gap / np.sqrt(squared + FADE**2)[..., None]
    design = np.concatenate([np.stack([np.ones_like(loss), loss], axis=-1), harmonic], axis=-1)
    rest = level - level.mean() - SLOPE * loss
    terms = [own_effects(rest, design, sd**-2, SPREAD)[1] - len(level) * np.log(sd) for sd in RESIDUALS]
    return np.asarray(logsumexp(terms, axis=0))
