"""Bayesian localization on kriged levels: one posterior for streets that were measured and streets that were not.

Of every cell and feature, training UEs give a Gaussian process over the city (Rasmussen and Williams 2006, ch. 2.7): a
mixed model of distance, azimuth and obstruction with effects of the cell's own, shrunk (:mod:`rfloc.datasets.mixed`),
plus correlated shadowing (:mod:`rfloc.datasets.shadowing`). Near training UEs shadowing carries and the variance is
small; elsewhere the mean carries, as far as its coefficients are known. A cell without a position has a level and
shadowing alone, which is a fingerprint. How often a cell is heard at a place is kriged in the same way. Residuals of
one UE hang together across cells and features: their correlation is that of leave-one-out residuals of training UEs.
Where nobody measured, all of them may be larger than fields say, by a factor that no training UE knows: a multivariate
t in place of the normal distribution leaves it open (Rasmussen and Williams 2006, ch. 9.9).
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import xarray as xr
from scipy.linalg import cho_solve, solve_triangular
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from rfloc.arrays import Bools, Floats, Ints, Singles
from rfloc.city import Bounds, City
from rfloc.config import CropParams, RadioParams
from rfloc.crops import Batch, cell_centres
from rfloc.datasets.mixed import Columns, Design, declustered, mixed_model
from rfloc.datasets.shadowing import COMMON, Means, likeliest_shadowing
from rfloc.datasets.statistical import POINT, regressors
from rfloc.errors import DataError
from rfloc.frames import Grid
from rfloc.localizers.base import jitter_prior, normalised, street_prior
from rfloc.schema import measured
from rfloc.stations import Stations

#: Step of the lattice that fields are kept on; between its points they are interpolated [m].
STEP = 25.0
#: Cells that fewer training UEs report are left out; of a cell that more report, every second, third ... UE counts.
MIN_UES, MOST_UES = 10, 600
#: RSSI, NSINR and NRSRP; NRSRQ is the difference of two of them.
LEVELS = ("nrsrp", "nsinr", "rssi")
#: Regressors and own effects of cells with a position, and of those without.
PLACED = ("one", "decades", "obstructed"), ("level", "exponent", "harmonic")
UNPLACED = ("one",), ("level",)
#: Shares of UEs that hear a cell are kept off 0 and 1. Residuals count up to so many deviations towards correlations,
#: which so many pairs of zeros shrink; eigenvalues are at least the last.
RARELY, OUTLYING, SHRUNK, LEAST = 0.02, 4.0, 20, 0.05
#: Places of training UEs reach so far, where UEs are expected on streets that were measured before [m].
NEARBY = 10.0
#: Cells whose prior is at most this are ruled out beforehand.
PRIOR_LEAST = 1e-9


@dataclass(frozen=True)
class Ground:
    """What levels of cells are regressed on, at UEs and on a lattice over the city; nothing that was measured."""

    lattice: Grid
    at: Floats  #: (ue, 2) UEs [m]
    here: Columns  #: of every cell at UEs, (ue, bs); 0 but for `one` where a cell has no position
    there: Columns  #: at the lattice's points, (points, bs)
    away: Singles  #: from those to UEs, (points, ue) [m]

    @classmethod
    def of(cls, links: xr.Dataset, city: City, radio: RadioParams, bounds: Bounds | None = None) -> Self:
        """Of the cells and UEs of links in a city; the lattice covers `bounds` [m], by default the city's raster."""
        at = np.column_stack([links["ue_x"].values, links["ue_y"].values])
        lattice = Grid.covering(*(bounds or city.grid.bounds), STEP)
        placed = np.flatnonzero(np.isfinite(links["bs_x"].values))
        points = np.stack(np.meshgrid(lattice.x, lattice.y), -1).reshape(-1, 2)
        stations = Stations.from_dataset(links.isel(bs=placed))

        def table(x: Floats, y: Floats) -> dict[str, Floats]:
            found = regressors(city, stations, x, y, radio) if len(placed) else {}
            columns = {name: np.zeros((len(x), links.sizes["bs"])) for name in found}
            for name, of in found.items():
                columns[name][:, placed] = of
            return columns | {"one": np.ones((len(x), links.sizes["bs"]))}

        return cls(lattice, at, table(*at.T), table(*points.T), cdist(points, at).astype(np.float32))


@dataclass(frozen=True)
class CellFields:
    """What training UEs say of every cell, on a lattice over the city; n outputs are features x cells."""

    lattice: Grid
    cells: Ints  #: (bs,) positions along `bs` of the links
    mean: Singles  #: (features, bs, rows, cols) [dBm, dB]
    sd: Singles
    hearing: Singles  #: (bs, rows, cols), the share of UEs that hear a cell
    correlation: Floats  #: (features * bs, features * bs), of residuals of one UE
    features: tuple[str, ...]
    places: Floats  #: (ue, 2) of training UEs [m]

    @classmethod
    def fit(cls, links: xr.Dataset, train: Bools, ground: Ground) -> Self:
        """From `train` UEs, bool (ue,), of the links of `ground` (DataError, SimulationError: too few, too close)."""
        enough, placed = (links["heard"].values & train[:, None]).sum(0) >= MIN_UES, np.isfinite(links["bs_x"].values)
        if not enough.any():
            raise DataError(f"no cell is reported by {MIN_UES} training UEs", "", "take more training UEs")
        features = tuple(name for name in LEVELS if name in measured(links))
        fields: dict[str, list[tuple[Singles, Singles, Floats]]] = {name: [] for name in features}
        hearing, used = [], []
        for mine, recipe in ((placed, PLACED), (~placed, UNPLACED)):
            if not len(cells := np.flatnonzero(enough & mine)):
                continue
            here, there = ({k: of[:, cells] for k, of in columns.items()} for columns in (ground.here, ground.there))
            for name in features:
                level = np.where(train[:, None], links[name].values[:, cells].astype(float), np.nan)
                fields[name].append(_kriged(level, ground, here, there, *recipe))
            hearing.append(_hearing(links["heard"].values[train][:, cells], ground.at[train], ground.away[:, train]))
            used.append(cells)
        mean, sd = (np.concatenate([f[k] for of in fields.values() for f in of]) for k in (0, 1))
        left_out = np.concatenate([f[2] for of in fields.values() for f in of], axis=1)
        shape, places = (-1, *ground.lattice.shape), ground.at[train]
        mean, sd = mean.reshape(len(features), *shape), sd.reshape(len(features), *shape)
        share = np.concatenate(hearing).reshape(shape)
        return cls(ground.lattice, np.concatenate(used), mean, sd, share, _correlation(left_out), features, places)

    def at(self, fields: Singles, x: Floats, y: Floats) -> Singles:
        """Fields (n, rows, cols) at x (k,) by y (m,) [m], bilinear, (n, m, k); beyond the lattice its edge's."""
        hats = [
            np.clip(1 - np.abs(np.clip(at, own[0], own[-1])[:, None] - own) / self.lattice.cell, 0, 1)
            for at, own in ((y, self.lattice.y), (x, self.lattice.x))
        ]
        rows, cols = (slice(used[0], used[-1] + 1) for used in (np.flatnonzero(hat.any(0)) for hat in hats))
        return hats[0][:, rows].astype(np.float32) @ fields[:, rows, cols] @ hats[1][:, cols].T.astype(np.float32)


def _kriged(
    level: Floats, ground: Ground, here: Columns, there: Columns, shared: tuple[str, ...], own: tuple[str, ...]
) -> tuple[Singles, Singles, Floats]:
    """One feature of cells that share a recipe, from levels at UEs, (ue, bs), NaN where none.

    What is expected at the lattice's points and the deviation of a measurement round it, (bs, points), and residuals of
    UEs by all others over their standard deviation, (ue, bs), else NaN.
    """
    at = ground.at
    ue, lattice = (Design.of(columns, shared, own) for columns in (here, there))
    found = mixed_model(level, ue, declustered(at[:, 0], at[:, 1], np.isfinite(level)))
    rest = level.T - ue.levels(found.shared, found.effects)
    process = likeliest_shadowing([Means.of(at[:, 0], at[:, 1], of, POINT) for of in rest])
    noise, prior = process.noise**2 * (1 + COMMON), found.spread**2
    mean, sd = np.empty((2, len(rest), len(ground.away)), np.float32)
    left_out = np.full(level.shape, np.nan)
    for b, of in enumerate(level.T):
        used = np.flatnonzero(np.isfinite(of))
        used = used[:: -(-len(used) // MOST_UES)]
        mine, h = at[used], ue.own[b][used]
        covariance = (h * prior) @ h.T + process.sd**2 * np.exp(-cdist(mine, mine) / process.length)
        root = np.linalg.cholesky(covariance + noise * np.eye(len(mine)))
        pull = cho_solve((root, True), of[used] - ue.shared[b][used] @ found.shared)
        to = process.sd**2 * np.exp(ground.away[:, used] / np.float32(-process.length))
        to += ((lattice.own[b] * prior) @ h.T).astype(np.float32)
        mean[b] = to @ pull.astype(np.float32) + lattice.shared[b] @ found.shared
        known = solve_triangular(root.astype(np.float32), to.T, lower=True, check_finite=False)
        before = (lattice.own[b] ** 2 @ prior) + process.sd**2
        sd[b] = np.sqrt(np.maximum(before - (known**2).sum(0), 0.0) + noise)
        inverse = np.diag(cho_solve((root, True), np.eye(len(mine))))
        left_out[used, b] = pull / np.sqrt(inverse)  # Rasmussen and Williams 2006, eq. 5.12
    return mean, sd, left_out


def _hearing(heard: Bools, at: Floats, away: Singles) -> Singles:
    """Share of UEs that hear each cell, (bs, points), kriged from who does, (ue, bs), `away` from points [m]."""
    share = heard.mean(0)
    percent = 10 * (heard - share)  # of the size of decibels, which the search of a process starts from
    process = likeliest_shadowing([Means.of(at[:, 0], at[:, 1], of) for of in percent.T])
    covariance = process.sd**2 * np.exp(-cdist(at, at) / process.length)
    pull = np.linalg.solve(covariance + process.noise**2 * (1 + COMMON) * np.eye(len(at)), percent)
    found = process.sd**2 * np.exp(away / np.float32(-process.length)) @ pull / 10
    return np.clip(share[:, None] + found.T, RARELY, 1 - RARELY).astype(np.float32)


def _correlation(residual: Floats) -> Floats:
    """Correlation of residuals, (ue, n), NaN where missing: of pairs that are there, shrunk, positive definite."""
    there, z = np.isfinite(residual).astype(float), np.nan_to_num(np.clip(residual, -OUTLYING, OUTLYING))
    scale = np.sqrt((z**2).sum(0) / np.maximum(there.sum(0), 1))
    found = z.T @ z / (there.T @ there + SHRUNK) / np.outer(scale, scale)
    np.fill_diagonal(found, 1.0)
    values, vectors = np.linalg.eigh(found)
    found = (vectors * np.maximum(values, LEAST)) @ vectors.T
    return found / np.sqrt(np.outer(np.diag(found), np.diag(found)))


@dataclass(frozen=True)
class KrigedOptions:
    """What of the fields counts, and how much: chosen on validation."""

    features: int = 2  #: the first so many of LEVELS
    correlated: bool = True  #: residuals of a UE are; else independent
    silence: bool = True  #: who hears which cells counts, too
    measured: float = 0.0  #: share of the prior that lies at places of training UEs; the rest on streets and off them
    off_street: float = 0.0  #: share of that rest that lies anywhere in the central square: fixes err, maps have gaps
    freedom: float | None = None  #: of a multivariate t, whose scale is the UE's own; None: residuals are normal
    temper: float = 1.0  #: exponent on the likelihood
    lapse: float = 0.0  #: share of the prior that is mixed into the posterior: fields may say nothing of a UE


class KrigedPosterior:
    """Posterior of a UE's position on the fields of cells; `links`, of the same UEs as the batches', hold them.

    `within` the "square", as a model would, only cells that stand inside the crop count; in the "city" all do, also
    those of unknown position. Places of training UEs and streets, inside the central square, are the prior.
    """

    def __init__(
        self, fields: CellFields, links: xr.Dataset, crops: CropParams, options: KrigedOptions, *,
        within: Literal["square", "city"] = "city", name: str = "posterior_kriged",
    ) -> None:  # fmt: skip
        self.name, self.crops, self.fields, self.options, self.within = name, crops, fields, options, within
        mine = links.isel(bs=fields.cells)
        self._bs: Floats = np.column_stack([mine["bs_x"].values, mine["bs_y"].values])
        self._heard = mine["heard"].values
        count = min(options.features, len(fields.features))
        self._level = np.concatenate([mine[name].values.astype(float) for name in fields.features[:count]], axis=1)
        self._mean, self._sd = (of[:count].reshape(-1, *fields.lattice.shape) for of in (fields.mean, fields.sd))
        self._places = cKDTree(fields.places)

    def _log_likelihood(self, ue: int, centre: Floats, size: float, x: Floats, y: Floats, open_: Bools) -> Floats:
        """Of one UE at the candidates x (k,) by y (m,) [m] that are open, (m, k); minus infinity at the others."""
        fields, log = self.fields, np.full(open_.shape, -np.inf)
        inside: Bools = np.all(np.abs(self._bs - centre) <= size / 2, axis=1)
        use = inside if self.within == "square" else np.ones_like(inside)
        which = np.flatnonzero(np.isfinite(self._level[ue]) & np.tile(use, len(self._mean) // len(use)))
        sd = fields.at(self._sd[which], x, y)[:, open_]
        z = (self._level[ue, which, None] - fields.at(self._mean[which], x, y)[:, open_]) / sd
        if self.options.correlated:
            root = np.linalg.cholesky(fields.correlation[np.ix_(which, which)])
            z = solve_triangular(root, z, lower=True, check_finite=False)
        square, freedom = (z**2).sum(0), self.options.freedom
        misfit = square if freedom is None else (freedom + len(which)) * np.log1p(square / freedom)
        log[open_] = -0.5 * misfit - np.log(sd).sum(0)
        if self.options.silence:
            share, heard = fields.at(fields.hearing[use], x, y)[:, open_], self._heard[ue, use][:, None]
            log[open_] += np.log(np.where(heard, share, 1 - share)).sum(0)
        return log

    def posterior(self, batch: Batch) -> Floats:
        """Tempered posterior on the crop grid, (B, G, G)."""
        across, down = cell_centres(batch.size, self.crops.output)
        x, y = across + batch.centre[:, 0, None, None], down + batch.centre[:, 1, None, None]
        prior = street_prior(batch, self.crops)
        prior = (1 - self.options.off_street) * prior + self.options.off_street * jitter_prior(self.crops)
        if self.options.measured:
            away, _ = self._places.query(np.stack([x, y], axis=-1))
            near = jitter_prior(self.crops) * np.exp(-0.5 * (away / NEARBY) ** 2)
            total = near.sum(axis=(1, 2), keepdims=True)
            share = self.options.measured * (total > 0)
            prior = (1 - share) * prior + share * near / np.where(total > 0, total, 1)
        each = enumerate(zip(batch.ue, batch.centre, batch.size, strict=True))
        log = np.stack([self._log_likelihood(*of, x[b, 0], y[b, :, 0], prior[b] > PRIOR_LEAST) for b, of in each])
        with np.errstate(divide="ignore"):
            answer = normalised(self.options.temper * log + np.log(prior))
        return (1 - self.options.lapse) * answer + self.options.lapse * prior
