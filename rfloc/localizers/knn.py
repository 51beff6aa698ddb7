"""Weighted k-nearest-neighbour fingerprinting (paper section 7.1), over the whole city or inside the crop's square.

The paper leaves k, the neighbours' weights, the metric and "non-zero count" open. Here: Euclidean distance, inverse
distance weights, and the count of stations that the UE, the fingerprint or both hear.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.config import CropParams
from rfloc.crops import Batch, cell_centres
from rfloc.errors import DataError
from rfloc.localizers import jitter_prior, normalised, require_unturned
from rfloc.schema import require_same_stations

Floats = NDArray[np.float64]


class KNearest:
    """Weighted k-NN on fingerprints of measured UEs.

    Parameters
    ----------
    fingerprints : Dataset
        Links of the training UEs only, e.g. `links.isel(ue=split.role == "train")`.
    links : Dataset
        The links that batches index; the same stations in the same order.
    crops : CropParams
        Output grid and jitter.
    k : int
        Neighbours.
    fill_db : float or None
        Filled in where a feature is missing; None: each feature's weakest value among the fingerprints.
    within : {"city", "square"}
        Where fingerprints are searched. "square" keeps those inside the crop and, as a model would, uses only stations
        inside it; a crop without fingerprints is answered with its centre.
    features : tuple of str
        Features compared; several are scaled by their standard deviation among the fingerprints.
    normalise : bool
        Divide the distance by the number of stations heard by either.
    bandwidth : float
        Each neighbour contributes a Gaussian to the posterior whose standard deviation is that of the neighbours'
        positions per axis, at least this [m].

    Raises
    ------
    DataError
        If there are no fingerprints, or none holds one of the features.
    """

    def __init__(
        self,
        fingerprints: xr.Dataset,
        links: xr.Dataset,
        crops: CropParams,
        *,
        k: int,
        fill_db: float | None = -25.0,
        within: Literal["city", "square"] = "city",
        features: tuple[str, ...] = ("rssi",),
        normalise: bool = True,
        bandwidth: float = 20.0,
        name: str = "",
    ) -> None:
        require_same_stations(links, fingerprints, "the fingerprints")
        if not fingerprints.sizes["ue"]:
            raise DataError("there are no fingerprints", "k-NN answers with places where somebody measured")
        self.name = name or ("knn" if within == "city" else "knn_square")
        self.crops, self.k, self.within = crops, k, within
        self.normalise, self.bandwidth = normalise, bandwidth
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

    def _distances(self, batch: Batch) -> Floats:
        """Distance of each crop's UE to each fingerprint, (B, T); infinite where the fingerprint is out of bounds."""
        half = batch.size[:, None, None] / 2
        if self.within == "city":
            use: NDArray[np.bool_] = np.ones((len(batch), len(self._bs)), bool)
        else:
            use = np.all(np.abs(self._bs - batch.centre[:, None]) <= half, axis=2)
        distances = np.empty((len(batch), len(self._at)))
        for b, (ue, cells) in enumerate(zip(batch.ue, use, strict=True)):
            gap = self._train[:, cells] - self._query[ue][cells]
            distances[b] = np.sqrt((gap**2).sum(axis=(1, 2)))
            if self.normalise:
                distances[b] /= np.maximum((self._train_heard[:, cells] | self._query_heard[ue][cells]).sum(axis=1), 1)
        if self.within == "square":
            near = (np.abs(self._at - batch.centre[:, None]) <= half).all(axis=2)
            distances[~near] = np.inf
        return distances

    def neighbours(self, batch: Batch) -> tuple[Floats, Floats]:
        """Find the k nearest fingerprints of each crop.

        Returns
        -------
        weight : ndarray
            Shape (B, k), inverse distances with sum 1 (an exact match takes all); all 0 where there is none.
        xy : ndarray
            Shape (B, k, 2), relative to the crop centre [m].
        """
        require_unturned(batch, self.name)
        distance = self._distances(batch)
        pick = np.argsort(distance, axis=1, kind="stable")[:, : self.k]
        near = np.take_along_axis(distance, pick, axis=1)
        exact = near == 0
        inverse = 1 / np.where(exact, 1.0, near)
        weight = np.where(exact.any(axis=1, keepdims=True), exact.astype(float), inverse)
        total = weight.sum(axis=1, keepdims=True)
        return weight / np.where(total > 0, total, 1), self._at[pick] - batch.centre[:, None]

    def estimate(self, batch: Batch) -> Floats:
        """Weighted mean of the neighbours, relative to the crop centre [m], (B, 2); may lie outside the crop."""
        weight, xy = self.neighbours(batch)
        return np.einsum("bk,bkc->bc", weight, xy)

    def posterior(self, batch: Batch) -> Floats:
        """Mixture of Gaussians around the neighbours on the crop grid, (B, G, G); the jitter prior without any."""
        weight, xy = self.neighbours(batch)
        x, y = cell_centres(batch.size, self.crops.output)
        square = (x[:, None] - xy[..., 0, None, None]) ** 2 + (y[:, None] - xy[..., 1, None, None]) ** 2
        mean = np.einsum("bk,bkc->bc", weight, xy)
        variance = np.einsum("bk,bkc->b", weight, (xy - mean[:, None]) ** 2) / 2
        variance = np.maximum(variance, self.bandwidth**2)[:, None, None, None]
        log = np.log(np.where(weight > 0, weight, 1e-300))[..., None, None] - square / (2 * variance)
        top = log.max(axis=1)
        mixture = normalised(top + np.log(np.exp(log - top[:, None]).sum(axis=1)))
        return np.where((weight.sum(axis=1) > 0)[:, None, None], mixture, jitter_prior(self.crops))
