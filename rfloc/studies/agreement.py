"""How well a simulation agrees with measurements, by rank correlation and by k-NN (paper section 5.1)."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from rfloc.arrays import Bools, Floats
from rfloc.city import City
from rfloc.config import CropParams, EvaluationParams, RadioParams
from rfloc.datasets.build import links_from_gain
from rfloc.errors import DataError
from rfloc.evaluation import UEErrors, block_index, paired_difference
from rfloc.evaluation.errors import MIN_BLOCKS, Interval, block_weights, percentiles
from rfloc.localizers import KNearest
from rfloc.splits import require_own
from rfloc.stations import Stations

#: A station is scored where at least so many UEs report it.
MIN_UES = 8
#: What k-NN learns from and what it looks up, real (r) or simulated (s) fingerprints, where a simulation is in it.
COMBINATIONS = ("ss", "rs", "sr", "rs_levelled", "sr_levelled")


def rank_correlation(a: Floats, b: Floats, block: NDArray[np.integer], counts: Floats) -> Floats:
    """Spearman's correlation where blocks of UEs count several times; with all counts 1, Spearman's correlation.

    Levels `a` and `b` and the `block` of each UE are (n,), `counts`, how often each block counts, (draws, blocks); the
    result is (draws,). Ranks are those among all UEs once, ties averaged. Where either does not vary: 0.
    """
    p, q = (rankdata(v) - (len(a) + 1) / 2 for v in (a, b))
    moments = np.stack([np.bincount(block, m, counts.shape[1]) for m in (np.ones(len(a)), p, q, p * p, q * q, p * q)])
    n, sp, sq, pp, qq, pq = (counts @ moments.T).T
    n = np.maximum(n, 1.0)  # a draw may hold none of these UEs
    scale = np.sqrt(np.maximum(pp - sp**2 / n, 0.0) * np.maximum(qq - sq**2 / n, 0.0))
    return np.asarray(np.where(scale > 1e-6, (pq - sp * sq / n) / np.maximum(scale, 1e-6), 0.0))


def correlations(simulated: Floats, measured: Floats, block: NDArray[np.integer], counts: Floats) -> Floats:
    """:func:`rank_correlation` of every station, levels (ue, bs), NaN where not measured: (draws, bs), NaN for few."""
    found = np.full((len(counts), measured.shape[1]), np.nan)
    for b, values in enumerate(measured.T):
        use = np.isfinite(values)
        if use.sum() >= MIN_UES:
            found[:, b] = rank_correlation(simulated[use, b], values[use], block[use], counts)
    return found


@dataclass(frozen=True)
class Agreement:
    """How one simulation agrees with measured "rssi" (the paper's; where there is any), "nrsrp", and that by role."""

    rho: dict[str, Floats]  #: a station's correlation, (bs,); NaN with too few UEs
    draws: dict[str, Floats]  #: their mean over stations in bootstrap draws, (draws,); empty with too few blocks
    errors: dict[str, UEErrors]  #: of k-NN at the test UEs, by :data:`COMBINATIONS`

    def scores(self, *names: str) -> list[str]:
        """Those of some names that there is a score of."""
        return [name for name in names if name in self.rho or name in self.errors]

    def score(self, name: str) -> float:
        """Mean correlation over stations, or mean error of k-NN [m]."""
        if name in self.errors:
            return float(self.errors[name].error.mean())
        return float(np.nanmean(self.rho[name]))


class Judge:
    """Compares simulations with one measured campaign.

    Simulated levels are powers received from one station, as in the released code; where nothing arrives is the lowest
    rank, so that a simulation cannot win by its silence. k-NN compares NRSRP of the links that the simulation would
    report, city-wide, missing levels filled with the weakest fingerprint. *Levelled*: each station's simulated NRSRP is
    shifted to the measured mean over the training UEs that hear it in both, if there are any.

    `train` UEs of the split are fingerprints, `known` ones are looked up, `known` and `unknown` are held out. `radio`
    is that of the simulated links, `k` the number of neighbours, `scoring` and `seed` are the bootstrap's. A campaign
    without RSSI is compared by NRSRP alone, as `features` says. Raises SplitError if the split is of other links,
    DataError if it has no UE of a role, or too few report any station.
    """

    def __init__(
        self, city: City, measured: xr.Dataset, split: xr.Dataset, radio: RadioParams, crops: CropParams, k: int,
        scoring: EvaluationParams, seed: int,
    ) -> None:  # fmt: skip
        require_own(split, measured)
        self.city, self.measured, self.radio, self.crops, self.k = city, measured, radio, crops, k
        self.scoring, self.seed = scoring, seed
        role = split["role"].values.astype(str)
        if missing := {"train", "known"} - set(role):
            raise DataError(f"no UE has the role {missing.pop()!r}", "k-NN learns from `train` and looks up `known`")
        self.train, self.test = np.flatnonzero(role == "train"), np.flatnonzero(role == "known")
        self.stations = Stations.from_dataset(measured)
        self.xy: Floats = np.stack([measured["ue_x"].values, measured["ue_y"].values], axis=1).astype(float)
        self._parts = {"train": role == "train", "held_out": np.isin(role, ["known", "unknown"])}
        self.features: tuple[str, ...] = ("rssi", "nrsrp")  #: measured levels that ranks are compared with
        for (part, which), level in itertools.product(self._parts.items(), self.features):
            if measured[level].notnull().values[which].sum(axis=0).max() < MIN_UES:
                self.features = ("nrsrp",)
                if level == "nrsrp":
                    what = f"no station is reported by {MIN_UES} UEs ({part})"
                    raise DataError(what, "a rank correlation needs them")
        self._block = block_index(self.xy, scoring.block)
        n = int(self._block.max()) + 1
        draws = scoring.bootstrap if n >= MIN_BLOCKS else 0
        drawn = block_weights(np.arange(n), draws, np.random.default_rng(seed))
        self._counts = np.concatenate([np.ones((1, n)), drawn])
        at = self.xy[self.test]
        self.centre = UEErrors.single(self.test, at, self.xy[self.train].mean(axis=0) - at)
        self.real = self._knn(measured, measured)

    def __call__(self, gain: Floats) -> Agreement:
        """Judge a simulation by its path gain, linear, antennas applied, shape (ue, bs)."""
        everyone = np.ones(len(gain), bool)
        found = {feature: self._correlations(gain, feature, everyone) for feature in self.features}
        found |= {part: self._correlations(gain, "nrsrp", which) for part, which in self._parts.items()}
        rho = {name: values[0] for name, values in found.items()}
        draws = {name: np.nanmean(values[1:], axis=1) for name, values in found.items() if len(values) > 1}
        x, y = self.xy.T
        links = links_from_gain(self.city, gain, self.stations, x, y, self.radio, "simulated")
        gap = (links["nrsrp"].values - self.measured["nrsrp"].values)[self.train]
        shift = np.nan_to_num(gap).sum(axis=0) / np.maximum(np.isfinite(gap).sum(axis=0), 1)
        real, level = self.measured, links.assign(nrsrp=links["nrsrp"] - xr.DataArray(shift, dims="bs"))
        pairs = ((links, links), (real, links), (links, real), (real, level), (level, real))
        return Agreement(rho, draws, {name: self._knn(*pair) for name, pair in zip(COMBINATIONS, pairs, strict=True)})

    def against(self, one: Agreement, other: Agreement, name: str) -> tuple[float, Interval]:
        """Score of one minus that of the other, with the interval of a paired bootstrap over blocks."""
        if name in one.errors:
            return paired_difference(one.errors[name], other.errors[name], self.scoring, self.seed)
        draws = one.draws[name] - other.draws[name] if name in one.draws else None
        interval = None if draws is None else percentiles(draws, self.scoring.level)
        return one.score(name) - other.score(name), interval

    def chosen(self, gains: Sequence[Floats], found: Sequence[Agreement]) -> Floats:
        """Of each station the gain (ue, bs) that correlates best with NRSRP of training UEs; the first on ties."""
        best = np.nan_to_num(np.stack([a.rho["train"] for a in found])).argmax(axis=0)
        return np.stack([gains[k][:, b] for b, k in enumerate(best)], axis=1)

    def by_station(self, gains: Mapping[str, Floats], base: str, over: Sequence[int]) -> list[dict[str, Any]]:
        """Rank correlation of every station with RSSI and NRSRP, on training and on held-out UEs, a row a station.

        A row has `bs_id` and, by feature and role ("rssi_train", "rssi_held_out", "nrsrp_train", "nrsrp_held_out"), of
        each simulation `rho`, its `gain` over the simulation `base` and the `interval` of that by a paired bootstrap
        over blocks, None where the UEs lie in too few. The last row, "mean", is over the scored stations among `over`.
        """
        rows: list[dict[str, Any]] = [{"bs_id": name} for name in (*self.stations.id.tolist(), "mean")]
        counted = np.isin(np.arange(self.stations.n), over)
        for feature, (part, which) in itertools.product(self.features, self._parts.items()):
            found = {name: self._correlations(gain, feature, which) for name, gain in gains.items()}
            told = np.isfinite(found[base][0]) & counted
            n = told.sum() or np.nan
            found = {name: np.column_stack([rho, rho[:, told].sum(axis=1) / n]) for name, rho in found.items()}
            heard = np.isfinite(self.measured[feature].values) & which[:, None]
            heard = np.column_stack([heard, heard[:, counted].any(axis=1)])
            enough = [len(np.unique(self._block[ues])) >= MIN_BLOCKS for ues in heard.T]
            for (name, rho), (b, row) in itertools.product(found.items(), enumerate(rows)):
                gap = rho[:, b] - found[base][:, b]
                sure = enough[b] and len(gap) > 1 and np.isfinite(gap).all()
                interval = list(percentiles(gap[1:], self.scoring.level)) if sure else None
                score, more = (float(v) if np.isfinite(v) else None for v in (rho[0, b], gap[0]))
                row.setdefault(f"{feature}_{part}", {})[name] = {"rho": score, "gain": more, "interval": interval}
        return rows

    def _correlations(self, gain: Floats, feature: str, which: Bools) -> Floats:
        values = np.where(which[:, None], self.measured[feature].values.astype(float), np.nan)
        return correlations(gain, values, self._block, self._counts)

    def _knn(self, fingerprints: xr.Dataset, sought: xr.Dataset) -> UEErrors:
        knn = KNearest(fingerprints.isel(ue=self.train), sought, self.crops, k=self.k, features=("nrsrp",))
        at = self.xy[self.test]
        found = at + knn.estimate_at(self.test, at)
        return UEErrors.single(self.test, at, found - at)
