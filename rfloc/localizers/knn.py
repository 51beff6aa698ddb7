"""Weighted k-nearest-neighbour fingerprinting, over the whole city or inside the crop's square.

*As published* (paper section 7.1): RSSI, missing levels filled with -25 dB, which is above all that is measured, and
distances divided by the count of stations. What the paper leaves open was chosen to meet its error on Oslo's known
streets (Table 3): Euclidean distance over all stations, the count of those that both hear, inverse distance weights.
*Plain*: NRSRP, missing levels filled with the weakest, scikit-learn's `KNeighborsRegressor(k, weights="distance")`.
"""

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.arrays import Bools, Floats
from rfloc.config import BaselineParams, CropParams
from rfloc.crops import Batch, cell_centres
from rfloc.errors import DataError
from rfloc.localizers.base import jitter_prior, normalised
from rfloc.schema import measured, require_same_stations

#: Smallest standard deviation per axis of a neighbour's contribution to the posterior [m].
BANDWIDTH = 20.0


class KNearest:
    """Weighted k-NN on fingerprints, links of the training UEs only (raises DataError where none holds a feature).

    `links` are those that batches index, of the same stations. A missing feature is filled with `fill_db`; None: with
    its weakest value among the fingerprints. Several `features` are scaled by their standard deviation among them.
    `within` the "square" only fingerprints inside the crop count, and unless `beyond`, as a model would, only stations
    inside it; a crop without any is answered with its centre. `per_station` divides by how many stations both hear.
    """

    def __init__(
        self, fingerprints: xr.Dataset, links: xr.Dataset, crops: CropParams, *, k: int, fill_db: float | None = None,
        within: Literal["city", "square"] = "city", beyond: bool = False, features: tuple[str, ...] = ("rssi",),
        per_station: bool = True, name: str = "knn",
    ) -> None:  # fmt: skip
        require_same_stations(links, fingerprints, "the fingerprints")
        self.name, self.crops, self.k, self.within, self.per_station = name, crops, k, within, per_station
        self.inside = within == "square" and not beyond
        self._bs: Floats = np.stack([links["bs_x"].values, links["bs_y"].values], axis=1)
        self._at: Floats = np.stack([fingerprints["ue_x"].values, fingerprints["ue_y"].values], axis=1)
        train, query = (np.stack([d[f].values for f in features], axis=2).astype(float) for d in (fingerprints, links))
        for feature, values in zip(features, np.moveaxis(train, 2, 0), strict=True):
            if np.isnan(values).all():
                raise DataError(f"no fingerprint holds {feature}", "k-NN was asked to compare it", "drop that feature")
        fill = np.nanmin(train, axis=(0, 1)) if fill_db is None else np.full(len(features), fill_db)
        spread = np.nanstd(train, axis=(0, 1))
        scale = np.where(spread > 0, spread, 1.0) if len(features) > 1 else np.ones(1)
        self._train, self._query = (np.where(np.isnan(v), fill, v) / scale for v in (train, query))
        self._train_heard, self._query_heard = fingerprints["heard"].values, links["heard"].values

    def _distances(self, ue: ArrayLike, centre: Floats, size: ArrayLike) -> Floats:
        """Distance of each UE to each fingerprint, (B, T); infinite where the fingerprint is out of bounds."""
        ue = np.asarray(ue, int)
        half = np.broadcast_to(np.asarray(size, float) / 2, len(ue))[:, None, None]
        use: Bools = np.ones((len(ue), len(self._bs)), bool)
        if self.inside:
            use = np.all(np.abs(self._bs - centre[:, None]) <= half, axis=2)
        near: Bools = np.ones((len(ue), len(self._at)), bool)
        if self.within == "square":
            near = np.all(np.abs(self._at - centre[:, None]) <= half, axis=2)
        distances = np.full(near.shape, np.inf)
        for b, (which, cells, some) in enumerate(zip(ue, use, near, strict=True)):
            gap = self._train[some][:, cells] - self._query[which][cells]
            distances[b, some] = np.sqrt((gap**2).sum(axis=(1, 2)))
            if self.per_station:
                both = self._train_heard[some][:, cells] & self._query_heard[which][cells]
                distances[b, some] /= np.maximum(both.sum(axis=1), 1)
        return distances

    def neighbours(self, ue: ArrayLike, centre: Floats, size: ArrayLike) -> tuple[Floats, Floats]:
        """The k nearest fingerprints of UEs in crops with these centres (B, 2) and edges [m].

        Returns their weights (B, k), inverse distances with sum 1 (an exact match takes all), all 0 where there is
        none, and their x, y relative to the crop centre [m], (B, k, 2).
        """
        distance = self._distances(ue, centre, size)
        pick = np.argsort(distance, axis=1, kind="stable")[:, : self.k]
        near = np.take_along_axis(distance, pick, axis=1)
        exact = near == 0
        inverse = 1 / np.where(exact, 1.0, near)
        weight = np.where(exact.any(axis=1, keepdims=True), exact.astype(float), inverse)
        total = weight.sum(axis=1, keepdims=True)
        return weight / np.where(total > 0, total, 1), self._at[pick] - centre[:, None]

    def estimate_at(self, ue: ArrayLike, centre: Floats, size: ArrayLike | None = None) -> Floats:
        """As :meth:`estimate`, of UEs by index in crops with these centres (B, 2) and edges (default: all) [m]."""
        weight, xy = self.neighbours(ue, centre, self.crops.size if size is None else size)
        return np.einsum("bk,bkc->bc", weight, xy)

    def estimate(self, batch: Batch) -> Floats:
        """Weighted mean of the neighbours, relative to the crop centre [m], (B, 2); may lie outside the crop."""
        return self.estimate_at(batch.ue, batch.centre, batch.size)

    def posterior(self, batch: Batch) -> Floats:
        """Mixture of Gaussians around the neighbours on the crop grid, (B, G, G); the jitter prior without any."""
        weight, xy = self.neighbours(batch.ue, batch.centre, batch.size)
        x, y = cell_centres(batch.size, self.crops.output)
        square = (x[:, None] - xy[..., 0, None, None]) ** 2 + (y[:, None] - xy[..., 1, None, None]) ** 2
        mean = np.einsum("bk,bkc->bc", weight, xy)
        variance = np.einsum("bk,bkc->b", weight, (xy - mean[:, None]) ** 2) / 2
        variance = np.maximum(variance, BANDWIDTH**2)[:, None, None, None]
        log = np.log(np.where(weight > 0, weight, 1e-300))[..., None, None] - square / (2 * variance)
        top = log.max(axis=1)
        mixture = normalised(top + np.log(np.exp(log - top[:, None]).sum(axis=1)))
        return np.where((weight.sum(axis=1) > 0)[:, None, None], mixture, jitter_prior(self.crops))


def fingerprinting(
    links: xr.Dataset, split: xr.Dataset, crops: CropParams, params: BaselineParams
) -> dict[str, KNearest]:
    """The k-NN rows of every table, on fingerprints of training UEs; without RSSI, those as published take NRSRP."""
    fingerprints = links.isel(ue=split["role"].values == "train")
    known = measured(fingerprints)
    published = {"features": ("rssi" if "rssi" in known else "nrsrp",), "fill_db": params.fill_db}
    plain = {"features": ("nrsrp",), "per_station": False}
    options: dict[str, dict[str, Any]] = {
        "knn": published,
        "knn_filled": published | {"fill_db": None},
        "knn_plain": plain,
        "knn_square": published | {"within": "square", "beyond": True},
        "knn_square_plain": plain | {"within": "square"},
        "knn_square_4": {"features": known, "within": "square"},
    }
    return {name: KNearest(fingerprints, links, crops, k=params.k, name=name, **how) for name, how in options.items()}
