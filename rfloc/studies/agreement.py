"""How well a simulation agrees with measurements: rank correlation, and k-NN that learns from one for the other.

Paper section 5.1: Spearman's correlation of simulated and measured RSSI, and k-NN in the four combinations of real (r)
and simulated (s) fingerprints, those it learns from first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from rfloc.config import CropParams, EvaluationParams, RadioParams
from rfloc.crops import CropBatcher
from rfloc.datasets.hidden import links_from_gain
from rfloc.errors import DataError
from rfloc.evaluation.bootstrap import MIN_BLOCKS, paired_difference
from rfloc.evaluation.errors import UEErrors
from rfloc.localizers.knn import KNearest
from rfloc.splits import require_own
from rfloc.stations import Stations

if TYPE_CHECKING:
    from rfloc.city import City

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None

#: A station is scored where at least so many UEs report it.
MIN_UES = 8

#: What k-NN learns from and what it looks up, real (r) or simulated (s), where that depends on the simulation.
COMBINATIONS = ("ss", "rs", "sr", "rs_levelled", "sr_levelled")

#: What simulated levels are compared with: measured RSSI as in the paper, measured NRSRP, and NRSRP by role.
CORRELATIONS = ("rssi", "nrsrp", "train", "held_out")


def rank_correlation(a: Floats, b: Floats, block: NDArray[np.integer], counts: Floats) -> Floats:
    """Spearman's correlation where blocks of UEs count several times; with all counts 1, Spearman's correlation.

    Ranks are those among all UEs once, ties averaged. Where either does not vary nothing is ranked: 0.

    Parameters
    ----------
    a, b : ndarray, shape (n,)
        Levels.
    block : ndarray of int, shape (n,)
        Block of each.
    counts : ndarray, shape (draws, blocks)
        How often each block counts.

    Returns
    -------
    ndarray, shape (draws,)
    """
    p, q = (rankdata(v) - (len(a) + 1) / 2 for v in (a, b))
    moments = np.stack([np.bincount(block, m, counts.shape[1]) for m in (np.ones(len(a)), p, q, p * p, q * q, p * q)])
    n, sp, sq, pp, qq, pq = (counts @ moments.T).T
    n = np.maximum(n, 1.0)  # a draw may hold none of these UEs
    scale = np.sqrt(np.maximum(pp - sp**2 / n, 0.0) * np.maximum(qq - sq**2 / n, 0.0))
    return np.asarray(np.where(scale > 1e-6, (pq - sp * sq / n) / np.maximum(scale, 1e-6), 0.0))


@dataclass(frozen=True)
class Agreement:
    """How one simulation agrees with the measurements."""

    rho: dict[str, Floats]  #: a station's correlation, (bs,), by :data:`CORRELATIONS`; NaN with too few UEs
    draws: dict[str, Floats]  #: their mean over stations in bootstrap draws, (draws,); empty with too few blocks
    errors: dict[str, UEErrors]  #: of k-NN at the test UEs, by :data:`COMBINATIONS`

    def mean_rho(self, name: str) -> float:
        """Mean over stations."""
        return float(np.nanmean(self.rho[name]))

    def metres(self, name: str) -> float:
        """Mean error of k-NN [m]."""
        return float(self.errors[name].error.mean())


class Judge:
    """Compares simulations with one measured campaign.

    Simulated levels are powers received from one station, as in the released code; where nothing arrives is the lowest
    rank, so that a simulation cannot win by its silence. k-NN compares NRSRP of the links that the simulation would
    report, city-wide, missing levels filled with the weakest fingerprint. *Levelled*: each station's simulated NRSRP is
    shifted to the measured mean over the training UEs that hear it in both; a station that none of them hears in both
    stays as it is.

    Parameters
    ----------
    city : City
        Frame and raster of the crops that k-NN is handed.
    measured : Dataset of kind "links"
        Measured links.
    split : Dataset of kind "split"
        Of these links: `train` UEs are fingerprints, `known` ones are looked up, `known` and `unknown` are held out.
    radio : RadioParams
        Grid, load, noise and sensitivity of the simulated links.
    crops : CropParams
        Of no influence but on the size of what is handed over.
    k : int
        Neighbours.
    scoring : EvaluationParams
        Bootstrap.
    seed : int
        Of the bootstrap.

    Raises
    ------
    DataError
        If no UE is there to train on or to look up, or no station is reported by enough of them.
    SplitError
        If the split is of other links.
    """

    def __init__(
        self, city: City, measured: xr.Dataset, split: xr.Dataset, radio: RadioParams, crops: CropParams, k: int,
        scoring: EvaluationParams, seed: int,
    ) -> None:  # fmt: skip
        require_own(split, measured)
        self.city, self.measured, self.radio, self.crops, self.k = city, measured, radio, crops, k
        self.scoring, self.seed = scoring, seed
        role = self.role = split["role"].values.astype(str)
        self.train, self.test = np.flatnonzero(role == "train"), np.flatnonzero(role == "known")
        for ues, name in ((self.train, "train"), (self.test, "known")):
            if not len(ues):
                raise DataError(f"no UE has the role {name!r}", "k-NN learns from `train` and looks up `known`")
        self.stations = Stations.from_dataset(measured)
        self.xy: Floats = np.stack([measured["ue_x"].values, measured["ue_y"].values], axis=1).astype(float)
        heard = measured["heard"].values
        any_role, held_out = np.ones(len(role), bool), np.isin(role, ["known", "unknown"])
        self._cases = {
            "rssi": ("rssi", any_role), "nrsrp": ("nrsrp", any_role), "train": ("nrsrp", role == "train"),
            "held_out": ("nrsrp", held_out),
        }  # fmt: skip
        for name, (_, which) in self._cases.items():
            if not ((heard & which[:, None]).sum(axis=0) >= MIN_UES).any():
                raise DataError(f"no station is reported by {MIN_UES} UEs ({name})", "a rank correlation needs them")
        nothing, ones = np.zeros(len(role)), np.ones(len(role), int)
        everyone = UEErrors(np.arange(len(role)), self.xy, nothing, nothing, ones)
        self._block = everyone.blocks(scoring.block)
        n = int(self._block.max()) + 1
        draws = scoring.bootstrap if n >= MIN_BLOCKS else 0
        drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
        self._counts = np.concatenate([np.ones((1, n)), drawn])
        self._batch = CropBatcher(measured, city.raster, crops).batch(self.test, *self.xy[self.test].T)
        self.centre = self._errors(np.broadcast_to(self.xy[self.train].mean(axis=0), (len(self.test), 2)))
        self.real = self._knn(measured, measured)

    def __call__(self, gain: Floats) -> Agreement:
        """Judge a simulation by its path gain, linear, antennas applied, shape (ue, bs)."""
        found = {name: self._correlations(gain, *case) for name, case in self._cases.items()}
        rho = {name: values[0] for name, values in found.items()}
        draws = {name: np.nanmean(values[1:], axis=1) for name, values in found.items() if len(values) > 1}
        x, y = self.xy.T
        links = links_from_gain(self.city, gain, self.stations, x, y, self.radio, "simulated, one parameter varied")
        real, level = self.measured, self._levelled(links)
        pairs = {
            "ss": (links, links), "rs": (real, links), "sr": (links, real), "rs_levelled": (real, level),
            "sr_levelled": (level, real),
        }  # fmt: skip
        return Agreement(rho, draws, {name: self._knn(*pair) for name, pair in pairs.items()})

    def rho_against(self, one: Agreement, other: Agreement, name: str) -> tuple[float, Interval]:
        """Mean correlation of one minus that of the other, with the interval of a paired bootstrap over blocks."""
        gap = one.mean_rho(name) - other.mean_rho(name)
        if name not in one.draws:
            return gap, None
        tails = [(1 - self.scoring.level) / 2, (1 + self.scoring.level) / 2]
        low, high = np.quantile(one.draws[name] - other.draws[name], tails)
        return gap, (float(low), float(high))

    def metres_against(self, one: Agreement, other: Agreement, name: str) -> tuple[float, Interval]:
        """Mean error of one minus that of the other [m], with its interval (:func:`paired_difference`)."""
        scoring = self.scoring
        options = {"block": scoring.block, "draws": scoring.bootstrap, "level": scoring.level, "seed": self.seed}
        return paired_difference(one.errors[name], other.errors[name], **options)  # type: ignore[arg-type]

    def chosen(self, gains: Sequence[Floats], found: Sequence[Agreement]) -> Floats:
        """Of each station the simulation that correlates best with NRSRP of training UEs.

        The first on ties, and where too few training UEs report the station.

        Parameters
        ----------
        gains : sequence of ndarray, each (ue, bs)
        found : sequence of Agreement
            Of these gains.

        Returns
        -------
        ndarray, shape (ue, bs)
        """
        train = np.nan_to_num(np.stack([a.rho["train"] for a in found]), nan=0.0)
        best = train.argmax(axis=0)
        return np.stack([gains[k][:, b] for b, k in enumerate(best)], axis=1)

    def by_station(
        self, gains: Mapping[str, Floats], base: str, over: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Rank correlation of every station with RSSI and NRSRP, on training and on held-out UEs, a row a station.

        Parameters
        ----------
        gains : mapping
            Name of a simulation -> path gain, shape (ue, bs).
        base : str
            The simulation that gains are counted from.
        over : sequence of int, optional
            Stations over which the mean is taken; None: all.

        Returns
        -------
        list of dict
            `bs_id`, and by feature and role ("rssi_train", "rssi_held_out", "nrsrp_train", "nrsrp_held_out") for each
            simulation `rho`, its `gain` over the base and the `interval` of that by a paired bootstrap over blocks
            (None where the UEs lie in too few); the last row, "mean", is the mean over those stations that are scored.
        """
        held_out = np.isin(self.role, ("known", "unknown"))
        tails = [(1 - self.scoring.level) / 2, (1 + self.scoring.level) / 2]
        names = [*self.stations.id.tolist(), "mean"]
        counted = np.isin(np.arange(self.stations.n), np.arange(self.stations.n) if over is None else over)
        rows: list[dict[str, Any]] = [{"bs_id": name} for name in names]
        for feature in ("rssi", "nrsrp"):
            for part, which in (("train", self.role == "train"), ("held_out", held_out)):
                found = {name: self._correlations(gain, feature, which) for name, gain in gains.items()}
                heard = np.isfinite(self.measured[feature].values) & which[:, None]
                blocks = [len(np.unique(self._block[heard[:, b]])) for b in range(heard.shape[1])]
                blocks.append(len(np.unique(self._block[heard[:, counted].any(axis=1)])))
                told = np.isfinite(found[base][0]) & counted
                for name, rho in found.items():
                    rho = np.column_stack([rho, rho[:, told].mean(axis=1)])
                    zero = np.column_stack([found[base], found[base][:, told].mean(axis=1)])
                    for b, row in enumerate(rows):
                        gap = rho[:, b] - zero[:, b]
                        sure = len(gap) > 1 and blocks[b] >= MIN_BLOCKS and np.isfinite(gap).all()
                        row.setdefault(f"{feature}_{part}", {})[name] = {
                            "rho": _number(rho[0, b]), "gain": _number(gap[0]),
                            "interval": [float(v) for v in np.quantile(gap[1:], tails)] if sure else None,
                        }  # fmt: skip
        return rows

    def _correlations(self, gain: Floats, feature: str, which: NDArray[np.bool_]) -> Floats:
        """Correlation of every station in the campaign as it is and in every draw, (1 + draws, bs)."""
        values = self.measured[feature].values.astype(float)
        found = np.full((len(self._counts), gain.shape[1]), np.nan)
        for b in range(gain.shape[1]):
            use = np.isfinite(values[:, b]) & which
            if use.sum() >= MIN_UES:
                found[:, b] = rank_correlation(gain[use, b], values[use, b], self._block[use], self._counts)
        return found

    def _levelled(self, links: xr.Dataset) -> xr.Dataset:
        gap = (links["nrsrp"].values - self.measured["nrsrp"].values)[self.train]
        both = np.isfinite(gap)
        shift = np.where(both, gap, 0.0).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
        return links.assign(nrsrp=links["nrsrp"] - xr.DataArray(shift, dims="bs"))

    def _knn(self, fingerprints: xr.Dataset, sought: xr.Dataset) -> UEErrors:
        knn = KNearest(fingerprints.isel(ue=self.train), sought, self.crops, k=self.k, features=("nrsrp",))
        return self._errors(knn.estimate(self._batch) + self._batch.centre)

    def _errors(self, at: Floats) -> UEErrors:
        gap = at - self.xy[self.test]
        return UEErrors(self.test, self.xy[self.test], np.hypot(*gap.T), (gap**2).sum(axis=1), np.ones(len(gap), int))


def _number(value: float) -> float | None:
    """A number for JSON; None where it is not one."""
    return float(value) if np.isfinite(value) else None
