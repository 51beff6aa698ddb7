"""The statistical simulator: path gain from distance, sector, obstruction and shadowing, without a ray.

Of station b at UE u it is, in decibels,

F(300 m) + level + a_b - 10 (exponent + n_b) log10(d / 300 m) + S_b(u) - obstruction * o + X_b(u) + e

with F free space (Friis) at the carrier, d the distance from antenna to UE, S the sector's element pattern
(:func:`~rfloc.simulation.maps.sector_gain_db`), o the obstructed fraction of the line
(:func:`~rfloc.simulation.profiles.obstructed_fraction`), X correlated shadowing, e white noise; a_b, n_b and the
azimuth are the station's own. Its numbers are fitted to training UEs (:func:`fit`).

Declustering squares, reference distance, sector were chosen on held-out blocks of Rome: errors there are optimistic.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from rfloc.arrays import Floats
from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.build import SUBCARRIERS
from rfloc.datasets.mixed import Design, MixedModel, declustered, mixed_model, own_effects
from rfloc.datasets.shadowing import COMMON, Means, likeliest_shadowing
from rfloc.frames import Grid, LocalFrame, bearing
from rfloc.schema import validate, with_units
from rfloc.simulation.maps import sector_gain_db
from rfloc.simulation.profiles import obstructed_fraction
from rfloc.simulation.propagation import correlated_shadowing, free_space_gain
from rfloc.stations import Stations

#: Distance to which a station's level refers [m]: thereabouts the stations of the Rome campaigns differ in level and in
#: exponent independently of each other, so that both may be drawn, and shrunk, one by one. Links shorter than the other
#: count as that long: a power law has no near field.
REFERENCE, NEAREST = 300.0, 1.0
#: Azimuths tried are this far apart [deg], in as many rounds of fitting the rest and turning.
AZIMUTH_STEP, ROUNDS = 5.0, 2
#: Residuals nearer than this are one observation of shadowing [m]: as good as a point, where kriging takes squares.
POINT = 10.0


class StationEffects(NamedTuple):
    """How single stations differ from the average one, each (bs,)."""

    level_db: Floats  #: level over the average station's [dB]; errors of the nominal power end up here
    exponent: Floats  #: path loss exponent minus the shared one
    azimuth: Floats  #: of the boresight [deg clockwise from north]; NaN: omnidirectional


@dataclass(frozen=True)
class StatisticalModel:
    """Path gain from a handful of numbers, see the module."""

    level_db: float  #: of an average station at 300 m, unobstructed, over free space [dB]
    exponent: float  #: of path loss
    obstruction_db: float  #: loss of a line that lies in buildings from end to end [dB]
    shadowing_sd: float  #: [dB]
    shadowing_distance: float  #: at which shadowing decorrelates to 1/e [m]
    noise_sd: float  #: white part of the residual, fading and measurement [dB]
    level_sd: float = 0.0  #: spread of levels between stations [dB]
    exponent_sd: float = 0.0  #: spread of exponents between stations
    effects: StationEffects | None = None  #: None: every station is average and looks where its table says
    source: str = "given"  #: of the numbers, in words

    def path_gain_db(self, city: City, stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams) -> Floats:
        """Expected path gain at x, y [m], (ue, bs) [dB], of the effects' stations, lifted above their roofs."""
        own = self.effects or StationEffects(np.zeros(stations.n), np.zeros(stations.n), stations.azimuth)
        stations = stations.above_roofs(city).replace(azimuth=own.azimuth)
        gain = 10 * np.log10(free_space_gain(REFERENCE, radio.carrier_hz)) + self.level_db + own.level_db
        columns = regressors(city, stations, x, y, radio)
        gain = gain + (self.exponent + own.exponent) * columns["decades"]
        gain += sector_gain_db(stations, x, y, radio).T
        return gain + self.obstruction_db * columns["obstructed"]

    def path_gain(
        self, city: City, stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams, seed: int
    ) -> Floats:
        """Path gain with shadowing and noise, linear, (ue, bs); permuting the UEs permutes it."""
        rng = np.random.default_rng(seed)
        gain = self.path_gain_db(city, stations, x, y, radio)
        gain += correlated_shadowing(x, y, self.shadowing_sd, self.shadowing_distance, rng, stations.n)
        gain[np.lexsort([np.asarray(y), np.asarray(x)])] += self.noise_sd * rng.standard_normal(gain.shape)
        return 10 ** (gain / 10)

    def for_stations(self, stations: Stations, rng: np.random.Generator) -> Self:
        """The model with effects drawn for other stations; an unknown azimuth is uniform, a stated one kept."""
        level, exponent = rng.normal(0.0, (self.level_sd, self.exponent_sd), (stations.n, 2)).T
        azimuth = np.where(np.isnan(stations.azimuth), rng.uniform(0.0, 360.0, stations.n), stations.azimuth)
        return replace(self, effects=StationEffects(level, exponent, azimuth))


def regressors(city: City, stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams) -> dict[str, Floats]:
    """:func:`flat_regressors`, (ue, bs) each, of stations above roofs; `obstructed`, minus that share of the line."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    stations = stations.above_roofs(city)
    obstructed = -obstructed_fraction(city, stations, x, y, radio.ue_height)
    return flat_regressors(stations, x, y, radio) | {"obstructed": obstructed}


def flat_regressors(stations: Stations, x: Floats, y: Floats, radio: RadioParams) -> dict[str, Floats]:
    """Those of open ground, (ue, bs) each: `one`; `decades`, worth one of the exponent; `north east north2 east2`.

    The second is -10 log10(d / 300 m) with the distance d between antenna and UE, the last are azimuth harmonics.
    """
    dx, dy = x[:, None] - stations.x, y[:, None] - stations.y
    d, angle = np.hypot(np.hypot(dx, dy), stations.h - radio.ue_height), np.radians(bearing(dx, dy))
    sides = {"north": np.cos(angle), "east": np.sin(angle), "north2": np.cos(2 * angle), "east2": np.sin(2 * angle)}
    return {"one": np.ones_like(d), "decades": -10 * np.log10(np.maximum(d, NEAREST) / REFERENCE), **sides}


def fit(links: xr.Dataset, train: ArrayLike, city: City, radio: RadioParams) -> StatisticalModel:
    """Fit the model to the NRSRP that `train` UEs, bool (ue,), report, as a mixed model (:mod:`rfloc.datasets.mixed`).

    It has effects of every station of `links`; one that no training UE reports is average. Azimuths of the table are
    not used: the element pattern is turned to the likeliest side, or to none, which has half the probability
    beforehand. Only reports count: silence for weak levels, of which Rome has none, makes the exponent too low. Raises
    SimulationError if the measurements lie in too few squares, FrameError if the city is in another frame.
    """
    city.frame.require_same(LocalFrame.from_attrs(links.attrs), "these links")
    stations = Stations.from_dataset(links)
    used = links.isel(ue=np.flatnonzero(np.asarray(train, bool)))
    gain = used["nrsrp"].values.astype(float) - (stations.power - 10 * np.log10(SUBCARRIERS * radio.resource_blocks))
    x, y = used["ue_x"].values, used["ue_y"].values
    found, azimuth, expected = fitter(city, stations, x, y, radio)(gain)
    shadowing = likeliest_shadowing([Means.of(x, y, residual, POINT) for residual in (gain - expected).T])
    (level, exponent, obstruction), (level_sd, exponent_sd) = found.shared.tolist(), found.spread.tolist()
    process = shadowing.sd, shadowing.length, shadowing.noise * float(np.sqrt(1 + COMMON))
    effects = StationEffects(found.effects[:, 0], found.effects[:, 1], azimuth)
    source = f"fitted to {int(np.isfinite(gain).sum())} links of {len(x)} training UEs, {links.attrs['source']}"
    return StatisticalModel(level, exponent, obstruction, *process, level_sd, exponent_sd, effects, source)


def fitter(
    city: City, stations: Stations, x: Floats, y: Floats, radio: RadioParams
) -> Callable[[Floats], tuple[MixedModel, Floats, Floats]]:
    """What fits all but shadowing to gains [dB], (ue, bs), NaN where missing: the model, azimuths, fitted gains."""
    stations = stations.above_roofs(city)
    columns = regressors(city, stations, x, y, radio)
    space = 10 * np.log10(free_space_gain(REFERENCE, radio.carrier_hz))
    shared = ("one", "decades", "obstructed")
    whole = Design.of(columns, shared, ("level", "exponent", "harmonic"))
    design = Design.of(columns, shared, ("level", "exponent"))

    def pattern(azimuth: ArrayLike) -> Floats:
        return sector_gain_db(stations.replace(azimuth=np.full(stations.n, azimuth)), x, y, radio)  # (bs, ue)

    turns = np.append(np.arange(0.0, 360.0, AZIMUTH_STEP), np.nan)
    patterns = np.array([pattern(turn) for turn in turns])

    def fitted(gain: Floats) -> tuple[MixedModel, Floats, Floats]:
        gain = gain - space
        weight = declustered(x, y, np.isfinite(gain))
        north, east = mixed_model(gain, whole, weight).effects[:, 2:].T
        azimuth = bearing(east, north)
        found = mixed_model(gain - pattern(azimuth).T, design, weight)
        for _ in range(ROUNDS):
            precision = weight.T / found.residual_sd**2
            rest = np.nan_to_num(gain).T - design.shared @ found.shared  # (bs, ue); where missing, the weight is 0
            log = np.array([own_effects(rest - of, design.own, precision, found.spread)[1] for of in patterns])
            sides = log[:-1] - log[-1]
            azimuth = np.where(logsumexp(sides, axis=0) > np.log(len(sides)), turns[sides.argmax(axis=0)], np.nan)
            found = mixed_model(gain - pattern(azimuth).T, design, weight)
        return found, azimuth, (pattern(azimuth) + design.levels(found.shared, found.effects)).T + space

    return fitted


def distance_maps(links: xr.Dataset, train: ArrayLike, grid: Grid, radio: RadioParams) -> xr.Dataset:
    """Radio maps without a map or a ray: every station's own log-distance law, fitted to `train` UEs, bool (ue,).

    Level, exponent and one azimuth harmonic deviate from the average station's as the mixed model shrinks them: one
    that few UEs hear is nearly average. What :func:`rfloc.simulation.maps.nrsrp_map` reads off the maps is the expected
    level: their gain is without the pattern that it adds. Raises SimulationError if reports lie in too few squares.
    """
    stations, used = Stations.from_dataset(links), links.isel(ue=np.flatnonzero(np.asarray(train, bool)))

    def design(x: np.ndarray, y: np.ndarray) -> Design:
        columns = flat_regressors(stations, x, y, radio)
        return Design.of(columns, ("one", "decades"), ("level", "exponent", "harmonic"))

    at, level = (used["ue_x"].values, used["ue_y"].values), used["nrsrp"].values.astype(float)
    found = mixed_model(level, design(*at), declustered(*at, np.isfinite(level)))
    x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
    gain = design(x, y).levels(found.shared, found.effects) - sector_gain_db(stations, x, y, radio)
    gain -= stations.power[:, None] - 10 * np.log10(SUBCARRIERS * radio.resource_blocks)
    path_gain = 10 ** (gain / 10).reshape(stations.n, *grid.shape)
    attrs = {"carrier_hz": radio.carrier_hz, **grid.to_attrs(), **LocalFrame.from_attrs(links.attrs).to_attrs()}
    maps = xr.Dataset({"path_gain": (("bs", "y", "x"), path_gain)}, stations.coords(), attrs)
    return validate(with_units(maps, "maps"), "maps")
