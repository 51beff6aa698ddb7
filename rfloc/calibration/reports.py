"""What training UEs reported of a station, as one number a link, and which stations share a mast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rfloc.config import RadioParams
from rfloc.datasets.radio import SUBCARRIERS, reportable_dbm
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: A station that arrives this far above the weakest report is strong enough to be reported [dB], and so near it [m].
STRONG_DB, NEAR = 20.0, 25.0
#: Where at least this share of UEs reports the greatest number of stations, that number is a limit.
FULL = 0.02
#: Silent UEs of one square of this edge repeat each other: one is kept [m].
SQUARE = 50.0
#: More reports of a station than this are thinned, at random: neighbours on a street repeat each other.
MOST = 400
#: Stations nearer to each other than this are sectors of one site [m].
SITE = 1.0


@dataclass(frozen=True)
class Reports:
    """What training UEs say about one station: n that reported it, and m that did not, one a square."""

    ue: NDArray[np.intp]  #: indices of those that reported it among the training UEs, (n,)
    x: Floats  #: where they stand [m], (n,)
    y: Floats
    gain_db: Floats  #: path gain, antenna included: reported level minus nominal power a resource element [dB], (n,)
    quiet_ue: NDArray[np.intp]  #: indices of those that did not, (m,)
    threshold_db: Floats  #: path gain below which each of them reports nothing [dB], (m,)
    missed: float  #: probability that a UE does not report the station however strong

    @property
    def n(self) -> int:
        """UEs that reported the station."""
        return len(self.x)


def reported_level(links: xr.Dataset, radio: RadioParams) -> Floats:
    """Level of every station by all that was measured of it [dBm a resource element], shape (ue, bs), NaN not heard.

    A link's features hold the level twice: as NRSRP; and, as RSSI is the power of the station, the others and noise
    over all resource elements, and NSINR the ratio g of the first to the rest, as RSSI / N_RE * g / (1 + g) (3GPP TS
    36.214, section 5.1). Other stations cancel; NRSRQ follows. Both weigh the same, or the one that is there.
    """
    nrsrp, rssi, nsinr = (links[name].values.astype(float) for name in ("nrsrp", "rssi", "nsinr"))
    implied = rssi - 10 * np.log10(SUBCARRIERS * radio.resource_blocks) - 10 * np.log10(1 + 10 ** (-nsinr / 10))
    both = np.where(np.isfinite(implied), (nrsrp + implied) / 2, nrsrp)
    return np.where(np.isfinite(nrsrp), both, implied)


def reports_of(links: xr.Dataset, use: NDArray[np.bool_], radio: RadioParams, seed: int) -> list[Reports]:
    """The reports of every station of links by the UEs in `use` (bool, shape (ue,)), at most :data:`MOST` each."""
    rng = np.random.default_rng(seed)
    x, y = links["ue_x"].values[use], links["ue_y"].values[use]
    power = Stations.from_dataset(links).power - 10 * np.log10(SUBCARRIERS * radio.resource_blocks)
    level = reported_level(links, radio)[use]
    threshold = reportable_dbm(links["nrsrp"].values.astype(float), links["nsinr"].values, radio)[use]
    count = np.isfinite(level).sum(axis=1)
    full = (count == count.max(initial=0)) & (count > 0)
    if full.mean() >= FULL:  # such UEs may have stopped counting, and report nothing weaker than their weakest
        threshold[full] = np.maximum(threshold[full], np.nanmin(level[full], axis=1))
    found = []
    for b in range(level.shape[1]):
        heard = np.sort(rng.permutation(np.flatnonzero(np.isfinite(level[:, b])))[:MOST])
        quiet = np.flatnonzero(np.isnan(level[:, b]))
        squares = np.floor(np.column_stack([x[quiet], y[quiet]]) / SQUARE)
        quiet = quiet[np.unique(squares, axis=0, return_index=True)[1]]
        missed = missed_share(x, y, level[:, b], threshold)
        gain, least = level[heard, b] - power[b], threshold[quiet] - power[b]
        found.append(Reports(heard, x[heard], y[heard], gain, quiet, least, missed))
    return found


def missed_share(x: Floats, y: Floats, measured: Floats, threshold: Floats) -> float:
    """Probability that a UE does not report a station although it is strong enough, from the measurements themselves.

    The share of silent UEs beside a UE with a strong report, pulled towards 0.1 by ten imagined UEs. Scanners miss
    cells: in Rome a quarter to a half of such UEs are silent, so that silence there is not about level. All of shape
    (ue,): positions [m], reports [dBm], NaN = silent, and the weakest level that each UE could have reported [dBm].
    """
    points, strong = np.column_stack([x, y]), measured > threshold + STRONG_DB
    if not strong.any():
        return 0.1
    distance = cKDTree(points[strong]).query(points, k=2)[0]  # a strong UE is its own nearest
    near = np.where(strong, distance[:, 1], distance[:, 0]) < NEAR
    return float((np.isnan(measured[near]).sum() + 1.0) / (near.sum() + 10.0))


def sites_of(stations: Stations) -> list[NDArray[np.intp]]:
    """Stations that share a mast, as index arrays in the order of their first members."""
    left, found = np.arange(stations.n), []
    while left.size:
        near = np.hypot(stations.x[left] - stations.x[left[0]], stations.y[left] - stations.y[left[0]]) <= SITE
        found.append(left[near])
        left = left[~near]
    return found
