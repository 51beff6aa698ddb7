"""Bayesian localization on radio maps: which places explain what was heard, and what was not."""

from typing import Literal

import numpy as np
import xarray as xr
from scipy.stats import t

from rfloc.arrays import Floats, Ints
from rfloc.config import BaselineParams, CropParams, RadioParams
from rfloc.crops import Batch, cell_centres
from rfloc.datasets.build import reportable_dbm
from rfloc.frames import Grid
from rfloc.localizers.base import normalised, street_prior
from rfloc.schema import FEATURES, require_same_stations
from rfloc.simulation.maps import nrsrp_map

NRSRP, NSINR = (list(FEATURES).index(name) for name in ("nrsrp", "nsinr"))
#: Degrees of freedom of the Student-t residual between measurement and map: some links are far off.
FREEDOM = 4.0


class MapPosterior:
    """Posterior of a UE's position from NRSRP and one radio map a station of the links (else SchemaError).

    A heard station contributes the density of its measured NRSRP around the map's value; a station inside the crop
    that is not among those of the batch contributes the probability of silence: a share `missed` of stations is
    silent at any level, the others are when they fall under the weakest level that could have been reported, or under
    the batch's weakest station when all its slots are taken. The sum of logs is multiplied by `temper`, because
    residuals of neighbouring stations and cells are correlated. The UE stands on a street of the central square.
    `within` the "city", batches hold every station that is heard, and silence of the others counts wherever they stand.
    """

    def __init__(
        self, maps: xr.Dataset, links: xr.Dataset, radio: RadioParams, crops: CropParams, baselines: BaselineParams, *,
        name: str = "posterior", within: Literal["city", "square"] = "square",
    ) -> None:  # fmt: skip
        require_same_stations(links, maps, "the radio maps")
        self.name, self.radio, self.crops, self.temper = name, radio, crops, baselines.temper
        self.grid = Grid.from_attrs(maps.attrs)
        sd, missed = baselines.posterior_sd, baselines.missed
        law = t(FREEDOM, scale=sd)
        self._sd, self._peak = sd, float(law.logpdf(0.0))
        self._gaps = np.arange(-30.0, 30.0, 0.01) * sd  # logcdf is slow and smooth: tabulated once
        under = np.log1p(-missed) + law.logcdf(self._gaps)
        self._log_silent = np.logaddexp(np.log(missed), under) if missed else under
        self._bs: Floats = np.stack([links["bs_x"].values, links["bs_y"].values], axis=1)
        self._always = np.isfinite(self._bs).all(axis=1) & (within == "city")
        # Where no ray arrives the level is unknown but low: two standard deviations under what can be reported.
        self._floor = radio.sensitivity_dbm - 2 * sd
        level = nrsrp_map(maps, radio)
        self._maps = np.maximum(np.where(np.isnan(level), -np.inf, level), self._floor).astype(np.float32)

    def _levels(self, stations: Ints, centre: Floats, x: Floats, y: Floats) -> Floats:
        """Map levels at candidates (x, y) [m] around a centre: (stations, n, n); the floor outside the maps."""
        rows, cols, inside = self.grid.index(x + centre[0], y + centre[1])
        rows, cols = rows[:, 0], cols[0]  # candidates and maps share their axes
        return np.where(inside, self._maps[stations[:, None, None], rows[:, None], cols], self._floor)

    def _log_likelihood(self, batch: Batch, b: int, x: Floats, y: Floats) -> Floats:
        """Sum of logs over the stations of crop `b` at candidates x, y (n, n) [m]."""
        mask = batch.bs_mask[b]
        heard = batch.bs_index[b][mask]
        within = (np.abs(self._bs - batch.centre[b]) <= batch.size[b] / 2).all(axis=1) | self._always
        within[heard] = False
        silent = np.flatnonzero(within)
        measured = batch.rf[b, mask, NRSRP].astype(float)
        weakest = self.radio.sensitivity_dbm
        if heard.size:
            nsinr = np.where(batch.rf_mask[b, mask, NSINR], batch.rf[b, mask, NSINR], np.nan)
            weakest = float(reportable_dbm(measured[None], nsinr[None], self.radio)[0])
        if mask.all():
            weakest = max(weakest, measured.min())
        gap = measured[:, None, None] - self._levels(heard, batch.centre[b], x, y)
        quiet = weakest - self._levels(silent, batch.centre[b], x, y)
        spread = (FREEDOM + 1) / 2 * np.log1p((gap / self._sd) ** 2 / FREEDOM)  # scipy's own takes ten times as long
        return (self._peak - spread).sum(axis=0) + np.interp(quiet, self._gaps, self._log_silent).sum(axis=0)

    def posterior(self, batch: Batch) -> Floats:
        """Tempered posterior on the crop grid, (B, G, G): evaluated at the maps' resolution, then summed per cell."""
        cells = self.crops.output
        split = np.maximum(1, np.round(batch.size / cells / self.grid.cell)).astype(int)
        out = np.empty((len(batch), cells, cells))
        for parts in np.unique(split):
            mine = np.flatnonzero(split == parts)
            some, fine = batch.take(mine), cells * int(parts)
            x, y = cell_centres(some.size, fine)
            log = np.stack([self._log_likelihood(some, b, x[b], y[b]) for b in range(len(some))]) * self.temper
            with np.errstate(divide="ignore"):
                weight = normalised(log + np.log(street_prior(some, self.crops, fine)))
            out[mine] = weight.reshape(len(mine), cells, parts, cells, parts).sum(axis=(2, 4))
        return out
