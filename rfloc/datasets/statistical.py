"""The statistical simulator: path gain from distance, sector, obstruction and shadowing, without a ray.

It stands where radio maps stand: stations and UE positions in, path gain out, radio features made of it by
:func:`rfloc.datasets.hidden.links_from_gain`. Its numbers are fitted to training UEs
(:func:`rfloc.datasets.fitting.fit`) or drawn from PRIORS.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfloc.config import RadioParams
from rfloc.datasets.obstruction import Line, obstructed_fraction
from rfloc.errors import SimulationError
from rfloc.frames import bearing
from rfloc.simulation.maps import sector_gain_db
from rfloc.simulation.propagation import correlated_shadowing, free_space_gain
from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

Array = NDArray[np.float64]
Sector = Literal["cosine", "pattern"]

#: Distance to which a station's level refers [m]: thereabouts the stations of the Rome campaigns differ in level and in
#: exponent independently of each other, so that both may be drawn, and shrunk, one by one.
REFERENCE = 300.0
#: Shorter links count as this long [m]: a power law has no near field.
NEAREST = 1.0

#: Ranges from which :meth:`StatisticalModel.draw` draws uniformly. Exponents, shadowing and its distance span TR 38.901
#: tables 7.4.1-1 and 7.5-6 (UMa and UMi, in sight and not); the others are wide about what the Rome campaigns show.
PRIORS: dict[str, tuple[float, float]] = {
    "level_db": (-20.0, 2.0),
    "exponent": (2.0, 4.0),
    "obstruction_db": (0.0, 30.0),
    "shadowing_sd": (3.0, 9.0),
    "shadowing_distance": (10.0, 120.0),
    "noise_sd": (1.0, 5.0),
    "level_sd": (0.0, 6.0),
    "exponent_sd": (0.0, 1.0),
    "swing_sd": (0.0, 8.0),
}


@dataclass(frozen=True)
class StationEffects:
    """How single stations differ from the average one.

    Parameters
    ----------
    id : ndarray of str, shape (bs,)
        Whose effects.
    level_db : ndarray, shape (bs,)
        Level over the average station's [dB]; errors of the nominal power end up here.
    exponent : ndarray, shape (bs,)
        Path loss exponent minus the shared one.
    azimuth : ndarray, shape (bs,)
        Direction of most gain [deg clockwise from north]; NaN = unknown.
    swing_db : ndarray, shape (bs,)
        Amplitude of the azimuth harmonic [dB].
    """

    id: NDArray[np.str_]
    level_db: Array
    exponent: Array
    azimuth: Array
    swing_db: Array


@dataclass(frozen=True)
class StatisticalModel:
    """Path gain from a handful of numbers.

    Of station b at UE u it is, in decibels,

    F(300 m) + level_db + a_b - 10 (exponent + n_b) log10(d / 300 m) + S_b(u) - obstruction_db * o + X_b(u) + e

    with F free space (Friis) at the carrier, d the distance from antenna to UE, S the sector's gain, o the obstructed
    fraction of the line (:func:`~rfloc.datasets.obstruction.obstructed_fraction`), X shadowing with correlation
    exp(-distance / shadowing_distance) (Gudmundson 1991), e white. a_b, n_b and S_b are the station's own.

    Parameters
    ----------
    level_db : float
        Level of an average station at 300 m, unobstructed, over free space [dB].
    exponent : float
        Path loss exponent n.
    obstruction_db : float
        Loss of a line that lies in buildings from end to end [dB].
    shadowing_sd, shadowing_distance : float
        Shadowing [dB] and the distance at which it decorrelates to 1/e [m], a field a station.
    noise_sd : float
        White part of the residual: fading and measurement [dB].
    level_sd, exponent_sd, swing_sd : float
        Spread between stations: of level [dB] and exponent, and of the two coefficients of the azimuth harmonic [dB].
    sector : {"cosine", "pattern"}
        S is swing_db * cos(off boresight), one azimuth harmonic; or the element pattern of `radio`
        (:func:`~rfloc.simulation.antennas.pattern_gain_db`).
    line : {"direct", "footprint"}
        Which obstructed fraction.
    effects : StationEffects, optional
        The stations' own; None: every station is average, and looks where its table says.
    source : str
        Where the numbers come from, in words.
    """

    level_db: float
    exponent: float
    obstruction_db: float
    shadowing_sd: float
    shadowing_distance: float
    noise_sd: float
    level_sd: float = 0.0
    exponent_sd: float = 0.0
    swing_sd: float = 0.0
    sector: Sector = "pattern"
    line: Line = "direct"
    effects: StationEffects | None = None
    source: str = "given"

    def path_gain_db(self, city: City, stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams) -> Array:
        """Expected path gain [dB], shadowing and noise left out; antennas inside a building are lifted above its roof.

        Parameters
        ----------
        x, y : array_like, shape (ue,)
            UE positions in the city's frame [m].

        Returns
        -------
        ndarray, shape (ue, bs)

        Raises
        ------
        SimulationError
            If the model has effects, but not of all these stations.
        """
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        stations, own = stations.above_roofs(city), self.effects_of(stations)
        gain = 10 * np.log10(free_space_gain(REFERENCE, radio.carrier_hz)) + self.level_db + own.level_db
        gain = gain + (self.exponent + own.exponent) * decades_db(stations, x, y, radio.ue_height)
        if self.sector == "pattern":
            gain += sector_gain_db(stations.replace(azimuth=own.azimuth), x, y, radio).T
        else:
            gain += own.swing_db * np.cos(np.radians(azimuths(stations, x, y) - np.nan_to_num(own.azimuth)))
        if self.obstruction_db:
            gain -= self.obstruction_db * obstructed_fraction(city, stations, x, y, radio.ue_height, self.line)
        return gain

    def path_gain(
        self, city: City, stations: Stations, x: ArrayLike, y: ArrayLike, radio: RadioParams, seed: int
    ) -> Array:
        """Path gain with shadowing and noise, linear, shape (ue, bs); permuting the UEs permutes it.

        Parameters
        ----------
        x, y : array_like, shape (ue,)
            UE positions in the city's frame [m].
        seed : int
            Of shadowing and noise.

        Raises
        ------
        SimulationError
            As :meth:`path_gain_db`.
        """
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        rng = np.random.default_rng(seed)
        gain = self.path_gain_db(city, stations, x, y, radio)
        gain += correlated_shadowing(x, y, self.shadowing_sd, self.shadowing_distance, rng, stations.n)
        gain[np.lexsort((y, x))] += self.noise_sd * rng.standard_normal(gain.shape)
        return 10 ** (gain / 10)

    def effects_of(self, stations: Stations) -> StationEffects:
        """The effects of these stations, in their order (raises SimulationError where one has none)."""
        if self.effects is None:
            zero = np.zeros(stations.n)
            swing = np.where(np.isnan(stations.azimuth), 0.0, self.swing_sd * np.sqrt(np.pi / 2))  # Rayleigh's mean
            return StationEffects(stations.id, zero, zero, stations.azimuth, swing)
        order = {name: k for k, name in enumerate(self.effects.id.tolist())}
        strange = [name for name in stations.id.tolist() if name not in order]
        if strange:
            raise SimulationError(
                f"the model knows no station {', '.join(strange)}",
                "level, exponent and azimuth of each station are its own",
                "draw them with `for_stations`, or fit the model to links of these stations",
            )
        index = [order[name] for name in stations.id.tolist()]
        return StationEffects(
            **{f.name: getattr(self.effects, f.name)[index] for f in dataclasses.fields(StationEffects)}
        )

    def for_stations(self, stations: Stations, rng: np.random.Generator) -> StatisticalModel:
        """The model with effects drawn for other stations from the spread between stations.

        An azimuth that the table states is kept, an unknown one is uniform.
        """
        n = stations.n
        level, exponent = rng.normal(0.0, (self.level_sd, self.exponent_sd), (n, 2)).T
        azimuth = np.where(np.isnan(stations.azimuth), rng.uniform(0.0, 360.0, n), stations.azimuth)
        effects = StationEffects(stations.id, level, exponent, azimuth, rng.rayleigh(self.swing_sd, n))
        return dataclasses.replace(self, effects=effects)

    @classmethod
    def draw(cls, rng: np.random.Generator, sector: Sector = "pattern", line: Line = "direct") -> StatisticalModel:
        """A model drawn uniformly from PRIORS, for domain randomisation; stations are drawn by :meth:`for_stations`."""
        values = {name: float(rng.uniform(low, high)) for name, (low, high) in PRIORS.items()}
        return cls(**values, sector=sector, line=line, source="drawn from priors")  # type: ignore[arg-type]


def decades_db(stations: Stations, x: Array, y: Array, ue_height: float) -> Array:
    """-10 log10(d / 300 m) with the distance d between antenna and UE: what one of the exponent is worth (ue, bs)."""
    d = np.hypot(np.hypot(x[:, None] - stations.x, y[:, None] - stations.y), stations.h - ue_height)
    return -10 * np.log10(np.maximum(d, NEAREST) / REFERENCE)


def azimuths(stations: Stations, x: Array, y: Array) -> Array:
    """Azimuth from each station to each UE [deg clockwise from north], shape (ue, bs)."""
    return bearing(x[:, None] - stations.x, y[:, None] - stations.y)
