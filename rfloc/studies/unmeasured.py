"""What simulations say of streets where nobody measured, which blocks of a campaign stand in for.

What measurements tell of a simulation is learnt without the blocks that a split holds out, anew for each. Powers are
set to the median level of its training UEs in all of them: what differs is where stations stand, look and fade.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr

from rfloc.arrays import Floats
from rfloc.calibration import calibrated_links, levelled_maps
from rfloc.city import City
from rfloc.config import Params, RadioParams
from rfloc.crops import CropBatcher, evaluation_crops
from rfloc.datasets.statistical import fit
from rfloc.evaluation import UEErrors, evaluate, paired_difference, ue_errors
from rfloc.evaluation.errors import block_index, block_weights, percentiles
from rfloc.frames import Grid
from rfloc.localizers import KNearest, MapPosterior
from rfloc.simulation import read_maps
from rfloc.stations import Stations
from rfloc.studies.agreement import correlations
from rfloc.studies.levels import ratio, rms

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
        """By the unknown streets of splits of links, no UE of which is in two of them.

        k-NN learns from what maps give at the UEs of other links, `like`, which are everywhere in the city.
        """
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
        blocks = np.arange(block.max() + 1)
        drawn = block_weights(blocks, scoring.bootstrap, np.random.default_rng(seed))
        counts = np.vstack([np.ones((1, len(blocks))), drawn])
        rho = {n: np.nanmean(correlations(of, measured, block, counts), axis=1) for n, of in levels.items()}
        arrives = np.isfinite(list(levels.values())).all(axis=0)  # by all: errors are of the same links
        square = {name: np.where(arrives, of - measured, np.nan)[None] ** 2 for name, of in levels.items()}
        for name, errors in self.errors.items():
            share = ratio(square[name], square[base], block, scoring, seed)
            more, less = rho[name] - rho[base], {key: v if v is None else 1 - v for key, v in share.items()}
            sure = less["lo"] is not None
            rows = {
                "rho": (rho[name][0], more[0], percentiles(more[1:], scoring.level) if sure else None),
                "rms": (rms(square[name]), less["ratio"], (less["hi"], less["lo"]) if sure else None),
            }
            for measure, of in errors.items():
                longer, interval = paired_difference(self.errors[base][measure], of, scoring, seed)
                rows[measure] = of.error.mean(), longer, interval
            found[name] = {
                measure: {"value": float(value), "gain": float(gain), "interval": interval}
                for measure, (value, gain, interval) in rows.items()
            }
        return found
