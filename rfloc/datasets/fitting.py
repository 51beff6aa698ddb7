"""The statistical simulator's numbers from training UEs: a mixed model by restricted maximum likelihood.

Stations share level, exponent and obstruction loss; each deviates in level, exponent and one azimuth harmonic. How far
stations deviate is estimated with the rest, and shrinks each of them accordingly (Patterson and Thompson 1971; Laird
and Ware 1982). Neighbouring measurements repeat each other, so those of one station in one square of SQUARE metres
count together as one (cell declustering, Isaaks and Srivastava 1989): without that, azimuths follow the noise of the
streets that happen to be measured.

The edge of these squares, the reference distance and the sector that is fitted by default were chosen by looking at
errors on held-out blocks of Rome: its held-out errors are optimistic by that choice.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit
from scipy.spatial.distance import pdist
from scipy.special import logsumexp

from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.mixed import MixedModel, mixed_model
from rfloc.datasets.obstruction import Line, obstructed_fraction
from rfloc.datasets.radio import SUBCARRIERS
from rfloc.datasets.statistical import REFERENCE, Sector, StationEffects, StatisticalModel, azimuths, decades_db
from rfloc.errors import SimulationError
from rfloc.simulation.maps import sector_gain_db
from rfloc.simulation.propagation import free_space_gain
from rfloc.stations import Stations

Array = NDArray[np.float64]

#: Measurements of a station in one square of this edge count as one [m].
SQUARE = 100.0
#: Azimuths tried for an element pattern are this far apart [deg], in as many rounds of fitting the rest and turning.
AZIMUTH_STEP, ROUNDS = 5.0, 2
#: Lags between which pairs of residuals are binned [m].
LAGS = np.array([0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 130.0, 160.0, 200.0])
#: Fewest pairs that make a bin, and most UEs a station whose pairs are formed.
MIN_PAIRS, MAX_UES = 30, 1500
#: Fewest squares with a measurement, all stations taken together.
MIN_SQUARES = 20


def fit(
    links: xr.Dataset,
    train: ArrayLike,
    city: City,
    radio: RadioParams,
    sector: Sector = "pattern",
    line: Line = "direct",
) -> StatisticalModel:
    """Fit a :class:`~rfloc.datasets.statistical.StatisticalModel` to the NRSRP that training UEs report.

    Only reports count. What is silent is no evidence of a weak signal where UEs miss strong cells, as in the Rome
    campaigns; where silence is about level, the exponent comes out too low by what censoring hides.

    Parameters
    ----------
    links : xr.Dataset
        Kind `links`, nominal heights and powers; azimuths of its table are not used.
    train : array_like of bool, shape (ue,)
        UEs that may be used.
    sector : {"pattern", "cosine"}
        `radio`'s element pattern, turned to the likeliest side, and to none where all azimuths together are no likelier
        than radiating alike to all sides; or one azimuth harmonic a station.
    line : {"direct", "footprint"}
        Which obstructed fraction.

    Returns
    -------
    StatisticalModel
        With effects of every station of `links`; one that no training UE reports is average.

    Raises
    ------
    SimulationError
        If there are too few measurements, too widely spread or too near to each other.
    FrameError
        If links and city are in different frames.
    """
    city.frame.require_same(type(city.frame).from_attrs(links.attrs), "these links")
    stations = Stations.from_dataset(links).above_roofs(city)
    used = links.isel(ue=np.flatnonzero(np.asarray(train, bool)))
    x, y = used["ue_x"].values, used["ue_y"].values
    gain = used["nrsrp"].values.astype(float) - (stations.power - 10 * np.log10(SUBCARRIERS * radio.resource_blocks))
    gain -= 10 * np.log10(free_space_gain(REFERENCE, radio.carrier_hz))
    bearings = np.radians(azimuths(stations, x, y))
    decades = decades_db(stations, x, y, radio.ue_height)
    fraction = obstructed_fraction(city, stations, x, y, radio.ue_height, line)
    shared = np.stack([np.ones_like(gain), decades, -fraction], axis=-1)
    own = np.stack([np.ones_like(gain), decades, np.cos(bearings), np.sin(bearings)], axis=-1)
    weight = declustered(x, y, np.isfinite(gain))

    found = mixed_model(gain, shared, own, weight)
    north, east = found.effects[:, 2], found.effects[:, 3]
    azimuth, swing = np.degrees(np.arctan2(east, north)) % 360.0, np.hypot(north, east)
    if sector == "pattern":
        swing = np.zeros_like(swing)
        found, azimuth = _with_pattern(gain, shared, own[..., :2], weight, azimuth, stations, x, y, radio)
    noise_sd, shadowing_sd, distance = split_residual(x, y, found.residual, found.residual_sd)
    level, exponent, obstruction = (float(value) for value in found.shared)
    return StatisticalModel(
        level,
        exponent,
        obstruction,
        shadowing_sd,
        distance,
        noise_sd,
        level_sd=float(found.spread[0]),
        exponent_sd=float(found.spread[1]),
        swing_sd=float(found.spread[2]) if sector == "cosine" else 0.0,
        sector=sector,
        line=line,
        effects=StationEffects(stations.id, found.effects[:, 0], found.effects[:, 1], azimuth, swing),
        source=f"fitted to {int(np.isfinite(gain).sum())} links of {len(x)} training UEs, {links.attrs['source']}",
    )


def declustered(x: Array, y: Array, used: NDArray[np.bool_]) -> Array:
    """Weight of each measurement: one over the number of its station's in its square of SQUARE metres (ue, bs)."""
    square = np.unique(np.floor(np.column_stack([x, y]) / SQUARE), axis=0, return_inverse=True)[1]
    count = np.zeros((square.max(initial=-1) + 1, used.shape[1]))
    np.add.at(count, square, used)
    if count.astype(bool).sum() < MIN_SQUARES:
        raise SimulationError(
            f"the training UEs' reports lie in {int(count.astype(bool).sum())} squares of {SQUARE:g} m",
            f"neighbours repeat each other: fewer than {MIN_SQUARES} say too little about distance and azimuth",
            "take more training UEs, or draw the model from its priors",
        )
    return used / np.maximum(count[square], 1)


def _with_pattern(
    gain: Array, shared: Array, own: Array, weight: Array, azimuth: Array, stations: Stations, x: Array, y: Array,
    radio: RadioParams,
) -> tuple[MixedModel, Array]:  # fmt: skip
    """The mixed model under the element pattern, and azimuths (bs,) [deg]: found in turns, from azimuths given."""

    def under_pattern() -> MixedModel:
        pattern = sector_gain_db(stations.replace(azimuth=azimuth), x, y, radio).T
        return mixed_model(gain - pattern, shared, own, weight)

    found = under_pattern()
    for _ in range(ROUNDS):
        rest = gain - shared @ found.shared
        azimuth = np.array(
            [
                _azimuth(rest[:, b], own[:, b], weight[:, b], found, stations.take([b]), x, y, radio)
                for b in range(stations.n)
            ]
        )
        found = under_pattern()
    return found, azimuth


def _azimuth(
    rest: Array, own: Array, weight: Array, model: MixedModel, station: Stations, x: Array, y: Array, radio: RadioParams
) -> float:
    """Likeliest azimuth of one station's pattern [deg]; NaN where radiating alike to all sides is likelier.

    Its own level and exponent are integrated out. Each of the two has half the prior probability, azimuths share
    theirs alike.

    Parameters
    ----------
    rest : ndarray, shape (ue,)
        What the shared coefficients leave of the station's measurements [dB], NaN where missing.
    own : ndarray, shape (ue, 2)
        Regressors of level and exponent.
    """
    used, variance = weight > 0, model.residual_sd**2
    turns = np.append(np.arange(0.0, 360.0, AZIMUTH_STEP), np.nan)
    pattern = sector_gain_db(station.take(np.zeros(len(turns), int)).replace(azimuth=turns), x[used], y[used], radio)
    error, weighted = rest[used] - pattern, own[used] * weight[used, None] / variance
    cov = np.linalg.inv(weighted.T @ own[used] + np.diag(model.spread**-2.0))
    explained = error @ weighted
    log = -0.5 * (error**2 @ weight[used] / variance - np.einsum("aq,qr,ar->a", explained, cov, explained))
    some_side = logsumexp(log[:-1]) - np.log(len(log) - 1)
    return float(turns[log[:-1].argmax()] if some_side > log[-1] else np.nan)


def split_residual(x: Array, y: Array, residual: Array, sd: float) -> tuple[float, float, float]:
    """White and spatially correlated part of a residual, from pairs of UEs that report the same station.

    Half the mean squared difference of pairs at distance h is sd^2 - shadowing_sd^2 exp(-h / distance) (the
    exponential semivariogram), fitted over LAGS by least squares of relative errors.

    Parameters
    ----------
    residual : ndarray, shape (ue, bs)
        NaN where missing [dB].
    sd : float
        Standard deviation of a single residual [dB].

    Returns
    -------
    noise_sd, shadowing_sd : float
        [dB]; their squares add up to that of `sd`.
    distance : float
        [m].

    Raises
    ------
    SimulationError
        If too few pairs are near enough.
    """
    pairs, lag, half = np.zeros((3, len(LAGS) - 1))
    order = np.lexsort((y, x))
    for b in range(residual.shape[1]):
        ue = order[np.isfinite(residual[order, b])]
        ue = ue[:: max(len(ue) // MAX_UES, 1)]
        h, difference = pdist(np.column_stack([x, y])[ue]), pdist(residual[ue, b, None], "sqeuclidean")
        near = h < LAGS[-1]
        h, difference = h[near], difference[near]
        which = np.searchsorted(LAGS, h, side="right") - 1
        for total, values in ((pairs, None), (lag, h), (half, difference / 2)):
            total += np.bincount(which, values, len(total))
    enough = pairs >= MIN_PAIRS
    if enough.sum() < 3:
        raise SimulationError(
            f"training UEs form {int(pairs.sum())} pairs nearer than {LAGS[-1]:g} m",
            f"shadowing is told from noise where at least three distances have {MIN_PAIRS} pairs each",
            "take more training UEs, or draw the model from its priors",
        )
    lag, half = lag[enough] / pairs[enough], half[enough] / pairs[enough]

    def semivariance(h: Array, share: float, distance: float) -> Array:
        return sd**2 * (1 - share * np.exp(-h / distance))

    (share, distance), _ = curve_fit(
        semivariance, lag, half, p0=(0.7, 50.0), sigma=half, bounds=([0.0, 1.0], [1.0, 1000.0])
    )
    return sd * float(np.sqrt(1 - share)), sd * float(np.sqrt(share)), float(distance)
