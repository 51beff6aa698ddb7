"""How well a simulation agrees with measurements, by rank correlation and k-NN (paper section 5.1), held out as well.

Blocks of a campaign stand in for streets where nobody measured. What measurements tell of a simulation is learnt
without the blocks that a split holds out, anew for each. Powers are set to the median level of its training UEs in all
of them: what differs is where stations stand, look and fade.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from rfloc.arrays import Bools, Floats
from rfloc.calibration import calibrated_links, levelled_maps
from rfloc.city import City
from rfloc.config import CropParams, EvaluationParams, Params, RadioParams
from rfloc.crops import CropBatcher, evaluation_crops
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.statistical import fit
from rfloc.errors import DataError
from rfloc.evaluation import UEErrors, evaluate, paired_difference, ue_errors
from rfloc.evaluation.errors import MIN_BLOCKS, Interval, block_draws, block_index, percentiles
from rfloc.frames import Grid
from rfloc.localizers import KNearest, MapPosterior
from rfloc.simulation import read_maps
from rfloc.splits import require_own
from rfloc.stations import Stations
from rfloc.studies.levels import ratio, rms

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

    `train` UEs of the split are fingerprints, `known` ones looked up, both `known` and `unknown` held out. A campaign
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
        drawn = block_draws(self._block, scoring, seed)
        self._counts = np.insert(drawn, 0, 1.0, axis=0)  # first what was measured, each block once
        at = self.xy[self.test]
        self.centre = UEErrors.single(self.test, at, self.xy[self.train].mean(axis=0) - at)
        self.real = self._knn(measured, measured)

    def __call__(self, gain: Floats) -> Agreement:
        """Judge a simulation by its path gain, linear, antennas applied, shape (ue, bs)."""
        everyone = np.ones(len(gain), bool)
        found = {feature: self._correlations(gain, feature, everyone) for feature in self.features}
        found |= {part: self._correlations(gain, "nrsrp", which) for part, which in self._parts.items()}
        rho = {name: values[0] for name, values in found.items()}
        draws = {name: np.nanmean(values[1:], axis=1) for name, values in found.items()}
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
        interval = percentiles(one.draws[name] - other.draws[name], self.scoring.level)
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
                sure = enough[b] and np.isfinite(gap).all()
                interval = percentiles(gap[1:], self.scoring.level) if sure else None
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


#: How many crops of a split are asked for a posterior, evenly taken.
CROPS = 160
#: Radio maps for a split, of whose UEs only those in training may be looked at.
Simulation = Callable[[xr.Dataset], xr.Dataset]


def statistical_maps(
    links: xr.Dataset, split: xr.Dataset, maps: xr.Dataset, city: City, radio: RadioParams
) -> xr.Dataset:
    """What the statistical simulator, fitted to training UEs, expects where anything arrives in traced maps."""
    model, gain = fit(links, split["role"].values == "train", city, radio), maps["path_gain"].values.copy()
    grid, there = Grid.from_attrs(maps.attrs), (gain > 0).any(axis=0)
    x, y = (axis[there] for axis in np.meshgrid(grid.x, grid.y))
    flat = radio.model_copy(update={"pattern": "isotropic"})
    gain[:, there] = 10 ** (model.path_gain_db(city, Stations.from_dataset(maps), x, y, flat).T / 10)
    turned = ("bs", np.full(len(gain), np.nan) if model.effects is None else model.effects.azimuth)
    return maps.assign(path_gain=maps["path_gain"].copy(data=gain)).assign_coords(bs_azimuth=turned)


@dataclass(frozen=True)
class Unmeasured:
    """What simulations, by name, say of UEs that were held out in blocks, u of them."""

    measured: xr.Dataset  #: their links
    params: Params
    levels: dict[str, Floats]  #: simulated NRSRP, (u, bs) [dBm], minus infinity where nothing arrives
    errors: dict[str, dict[str, UEErrors]]  #: by simulation, of the `posterior` on crops and of `knn`

    @classmethod
    def of(
        cls, splits: Sequence[xr.Dataset], simulations: Mapping[str, Simulation], links: xr.Dataset, like: xr.Dataset,
        city: City, params: Params,
    ) -> Self:  # fmt: skip
        """By unknown streets of splits, no UE in two; k-NN learns what maps give at `like` UEs, all over the city."""
        radio, batcher = params.radio, CropBatcher(links, city.raster, params.crops)
        levels, gaps, told = (defaultdict[str, list[Any]](list) for _ in range(3))
        held_out = [np.flatnonzero(split["role"].values == "unknown") for split in splits]
        for split, ues in zip(splits, held_out, strict=True):
            xy, train = batcher.ue_xy[ues], split["role"].values == "train"
            crops = evaluation_crops(links, split, params.crops, ("unknown",), seed=params.seed)
            some = np.unique(np.linspace(0, crops.sizes["sample"] - 1, CROPS).astype(int))
            crops = crops.isel(sample=some)
            for name, simulated in simulations.items():
                maps = levelled_maps(simulated(split), links, train, radio)
                power = maps["bs_power"].values - 10 * np.log10(12 * radio.resource_blocks)
                with np.errstate(divide="ignore"):
                    gain = 10 * np.log10(read_maps(maps, xy[:, 0], xy[:, 1], radio))
                levels[name].append(gain + power)
                known = calibrated_links(city, maps, like, radio)
                knn = KNearest(known, links, params.crops, k=params.baselines.k, features=("nrsrp",))
                gaps[name].append(knn.estimate_at(ues, xy))
                localizer = MapPosterior(maps, links, radio, params.crops, params.baselines, name=name)
                told[name].append(evaluate(localizer, batcher, crops))
        every = np.concatenate(held_out)
        errors = {
            name: {
                "posterior": ue_errors(xr.concat(told[name], "sample"), "unknown"),
                "knn": UEErrors.single(every, batcher.ue_xy[every], np.concatenate(gaps[name])),
            }
            for name in simulations
        }
        return cls(links.isel(ue=every), params, {name: np.concatenate(of) for name, of in levels.items()}, errors)

    def over(self, base: str, stations: Sequence[int]) -> dict[str, dict[str, dict[str, Any]]]:
        """By simulation and measure its `value` and the `gain` over that of `base`, positive where it is better.

        `interval` is that of the gain by a paired bootstrap over blocks, None with too few. "rho" is the mean of
        Spearman's correlation with NRSRP over some stations, "rms" that of the error of levels [dB] on links where all
        simulations have one, its gain a share; "posterior" and "knn" are mean errors [m].
        """
        scoring, seed, found = self.params.evaluation, self.params.seed, {}
        measured = self.measured["nrsrp"].values.astype(float)[:, stations]
        levels = {name: of[:, stations] for name, of in self.levels.items()}
        block = block_index(np.stack([self.measured["ue_x"].values, self.measured["ue_y"].values], 1), scoring.block)
        counts = np.insert(block_draws(block, scoring, seed), 0, 1.0, axis=0)
        rho = {n: np.nanmean(correlations(of, measured, block, counts), axis=1) for n, of in levels.items()}
        arrives = np.isfinite(list(levels.values())).all(axis=0)  # by all: errors are of the same links
        square = {name: np.where(arrives, of - measured, np.nan)[None] ** 2 for name, of in levels.items()}
        for name, errors in self.errors.items():
            share = ratio(square[name], square[base], block, scoring, seed)
            more, less = rho[name] - rho[base], {key: v if v is None else 1 - v for key, v in share.items()}
            rows = {
                "rho": (rho[name][0], more[0], percentiles(more[1:], scoring.level)),
                "rms": (rms(square[name]), less["ratio"], (less["hi"], less["lo"]) if len(more) > 1 else None),
            }
            for measure, of in errors.items():
                longer, interval = paired_difference(self.errors[base][measure], of, scoring, seed)
                rows[measure] = of.error.mean(), longer, interval
            found[name] = {
                measure: {"value": float(value), "gain": float(gain), "interval": interval}
                for measure, (value, gain, interval) in rows.items()
            }
        return found
