"""Bayesian localization on radio maps: which places explain what was heard, and what was not."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm, t

from rfloc.config import BaselineParams, CropParams, RadioParams
from rfloc.crops import Batch, cell_centres
from rfloc.datasets.radio import reportable_dbm
from rfloc.errors import DataError
from rfloc.frames import Grid
from rfloc.localizers.base import jitter_prior, normalised, require_unturned, street_prior
from rfloc.schema import FEATURES, require_same_stations
from rfloc.simulation.maps import nrsrp_map

Floats = NDArray[np.float64]

NRSRP, NSINR = (list(FEATURES).index(name) for name in ("nrsrp", "nsinr"))


class MapPosterior:
    """Posterior of a UE's position from NRSRP and one radio map a station.

    A heard station contributes the density of its measured NRSRP around the map's value; a station inside the crop
    that is not among those of the batch contributes the probability of silence: a share `missed` of stations is
    silent at any level, the others are when they fall under the weakest level that could have been reported, or under
    the batch's weakest station when all its slots are taken. The sum of logs is multiplied by `temper`, because
    residuals of neighbouring stations and cells are correlated.

    Parameters
    ----------
    nrsrp : ndarray
        Shape (n_bs, ny, nx), predicted NRSRP [dBm] in the station order of the links; -inf or NaN where no ray arrives.
    bs_xy : ndarray
        Shape (n_bs, 2), the positions at which links carry the stations (which decide what lies inside a crop) [m].
    grid : Grid
        Grid of the maps.
    crops : CropParams
        Output grid and jitter.
    sd : float
        Scale of the residual between measurement and map [dB].
    temper : float
        Exponent on the likelihood, in (0, 1].
    radio : RadioParams
        Sensitivity, load and level of detection, which say what could have been reported.
    missed : float
        Probability that a UE does not report a station however strong, in [0, 1).
    df : float or None
        Degrees of freedom of a Student-t residual; None: Gaussian.
    prior : {"street", "square"}
        Where the UE may stand: streets of the central square, or all of it.
    """

    def __init__(
        self,
        nrsrp: NDArray[np.floating],
        bs_xy: Floats,
        grid: Grid,
        crops: CropParams,
        *,
        sd: float,
        temper: float,
        radio: RadioParams,
        missed: float = 0.0,
        df: float | None = 4.0,
        prior: Literal["street", "square"] = "street",
        name: str = "posterior",
    ) -> None:
        if nrsrp.shape != (len(bs_xy), *grid.shape):
            raise DataError(f"maps have shape {nrsrp.shape}", f"{len(bs_xy)} stations on the grid make {grid.shape}")
        self.name, self.crops, self.grid, self.prior = name, crops, grid, prior
        self.sd, self.temper, self.radio = sd, temper, radio
        self._law = norm(scale=sd) if df is None else t(df, scale=sd)
        self._gaps = np.arange(-30.0, 30.0, 0.01) * sd  # logcdf is slow and smooth: tabulated once
        under = np.log1p(-missed) + self._law.logcdf(self._gaps)
        self._log_silent = np.logaddexp(np.log(missed), under) if missed else under
        self._bs = np.asarray(bs_xy, float)
        # Where no ray arrives the level is unknown but low: two standard deviations under what can be reported.
        floor = radio.sensitivity_dbm - 2 * sd
        self._maps = np.maximum(np.where(np.isnan(nrsrp), -np.inf, nrsrp), floor).astype(np.float32)
        self._floor = floor

    @classmethod
    def from_maps(
        cls, maps: xr.Dataset, links: xr.Dataset, radio: RadioParams, crops: CropParams, baselines: BaselineParams,
        **options: Any,
    ) -> MapPosterior:  # fmt: skip
        """Build from a maps dataset (pattern, azimuth and power applied) for the stations of `links`.

        Raises
        ------
        SchemaError, FrameError
            If maps and links have different stations or frames.
        """
        require_same_stations(links, maps, "the radio maps")
        bs_xy = np.stack([links["bs_x"].values, links["bs_y"].values], axis=1)
        keywords: dict[str, Any] = {
            "sd": baselines.posterior_sd,
            "temper": baselines.temper,
            "radio": radio,
            "missed": baselines.missed,
        }
        return cls(nrsrp_map(maps, radio), bs_xy, Grid.from_attrs(maps.attrs), crops, **(keywords | options))

    def _levels(self, stations: NDArray[np.int64], centre: Floats, x: Floats, y: Floats) -> Floats:
        """Map levels at candidates (x, y) [m] around a centre: (stations, n, n); the floor outside the maps."""
        rows, cols, inside = self.grid.index(x + centre[0], y + centre[1])
        rows, cols = rows[:, 0], cols[0]  # candidates and maps share their axes
        return np.where(inside, self._maps[stations[:, None, None], rows[:, None], cols], self._floor)

    def _log_likelihood(self, batch: Batch, b: int, x: Floats, y: Floats) -> Floats:
        mask = batch.bs_mask[b]
        heard = batch.bs_index[b][mask]
        within = (np.abs(self._bs - batch.centre[b]) <= batch.size[b] / 2).all(axis=1)
        within[heard] = False
        silent = np.flatnonzero(within)
        measured = batch.rf[b, mask, NRSRP].astype(float)
        weakest = self.radio.sensitivity_dbm
        if heard.size:
            nsinr = np.where(batch.rf_mask[b, mask, NSINR], batch.rf[b, mask, NSINR], np.nan)
            weakest = float(reportable_dbm(measured[None], nsinr[None], self.radio)[0])
        if mask.all():
            weakest = max(weakest, measured.min())
        log = np.zeros(x.shape)
        if heard.size:
            log += self._law.logpdf(measured[:, None, None] - self._levels(heard, batch.centre[b], x, y)).sum(axis=0)
        if silent.size:
            gap = weakest - self._levels(silent, batch.centre[b], x, y)
            log += np.interp(gap, self._gaps, self._log_silent).sum(axis=0)
        return log

    def posterior(self, batch: Batch) -> Floats:
        """Tempered posterior on the crop grid, (B, G, G): evaluated at the maps' resolution, then summed per cell."""
        require_unturned(batch, self.name)
        cells = self.crops.output
        split = np.maximum(1, np.round(batch.size / cells / self.grid.cell)).astype(int)
        out = np.empty((len(batch), cells, cells))
        for parts in np.unique(split):
            mine = np.flatnonzero(split == parts)
            weight = self._fine(batch.take(mine), cells * int(parts))
            out[mine] = weight.reshape(len(mine), cells, parts, cells, parts).sum(axis=(2, 4))
        return out

    def _fine(self, batch: Batch, fine: int) -> Floats:
        """Tempered posterior on a grid of fine x fine cells."""
        x, y = cell_centres(batch.size, fine)
        prior = street_prior(batch, self.crops, fine) if self.prior == "street" else jitter_prior(self.crops, fine)
        log = np.stack([self._log_likelihood(batch, b, x[b], y[b]) for b in range(len(batch))]) * self.temper
        with np.errstate(divide="ignore"):
            return normalised(log + np.log(prior))
