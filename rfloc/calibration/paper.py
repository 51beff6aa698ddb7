"""The paper's calibration (section 5.2), to be compared with: a Gaussian process searches offsets, height and azimuth.

Expected improvement picks each of 90 evaluations by Spearman's rank correlation between simulated and measured RSSI;
each traces the station anew. Here only training UEs take part, azimuth is yaw, and where nothing arrives ranks lowest.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from rfloc.arrays import Floats
from rfloc.config import CalibrationParams, EngineParams, RadioParams
from rfloc.files import say
from rfloc.schema import measured
from rfloc.simulation.many import each
from rfloc.simulation.maps import gain_at, sector_gain_db
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations

#: Lateral offsets [m], heights [m] and azimuths [deg] that are searched (paper section 5.2).
OFFSETS, HEIGHTS, AZIMUTHS = (-50.0, 50.0), (20.0, 100.0), (0.0, 360.0)


@dataclass(frozen=True)
class PaperFit:
    """What the paper's search found for one station; what was traced before costs no time."""

    poses: Stations  #: that were tried, a row an evaluation
    spearman: Floats  #: objective of each evaluation, (call,)
    seconds: Floats  #: when each was finished, from the start [s], (call,)
    tracing: float  #: time that traces took [s]; the rest is the Gaussian process's

    @property
    def pose(self) -> Stations:
        """The best of all, a table of one."""
        return self.poses.take([self.spearman.argmax()])

    @property
    def record(self) -> dict[str, float]:
        """What a results file says of it."""
        best, seconds = float(self.spearman.max()), float(self.seconds[-1])
        return {"seconds": seconds, "tracing_s": self.tracing, "calls": len(self.spearman), "best": best}


def paper_search(
    nominal: Stations, rssi: Floats, x: Floats, y: Floats, plane: Plane, rays: Rays, n_calls: int, seed: int,
    cache: Path | None = None,
) -> PaperFit:  # fmt: skip
    """Search the pose of one station, a table of one, as the paper does, here and now.

    `rssi`, (ue,), is what training UEs at x, y [m] measured of it [dBm], NaN where they did not hear it. The first ten
    of `n_calls` evaluations, 90 in the paper, are at random, scikit-optimize's default.
    """
    from skopt import gp_minimize

    start, tracing, finished = time.perf_counter(), 0.0, []

    def pose_at(dx: float, dy: float, h: float, azimuth: float) -> Stations:
        return nominal.moved(dx, dy).replace(h=[h], azimuth=[azimuth])

    def objective(point: list[float]) -> float:
        nonlocal tracing
        pose, before = pose_at(*point), time.perf_counter()
        gain = gain_at(plane, pose, rays, x, y, cache)[0][:, 0]
        tracing += time.perf_counter() - before
        value = -rank_agreement(gain, pose, rssi, x, y, rays.radio)
        finished.append(time.perf_counter() - start)
        return value

    space = [OFFSETS, OFFSETS, HEIGHTS, AZIMUTHS]
    found = gp_minimize(objective, space, acq_func="EI", n_calls=n_calls, random_state=seed)
    poses = Stations.join([pose_at(*point) for point in found.x_iters])
    return PaperFit(poses, -np.asarray(found.func_vals), np.array(finished), tracing)


def calibrate_as_paper(
    links: xr.Dataset, split: xr.Dataset, plane: Plane, rays: Rays, params: CalibrationParams,
    engine: EngineParams | None = None, cache: Path | None = None,
) -> dict[int, PaperFit]:  # fmt: skip
    """The paper's search for the first `params.paper_stations` stations that enough training UEs report, by number.

    Stations of which all UEs report the same level are left out. Without any RSSI it searches by NRSRP.
    """
    train = split["role"].values == "train"
    level = "rssi" if "rssi" in measured(links) else "nrsrp"
    rssi, nominal = links[level].values.astype(float)[train], Stations.from_dataset(links)
    x, y = links["ue_x"].values[train], links["ue_y"].values[train]
    varied = np.fmax.reduce(rssi) > np.fmin.reduce(rssi)
    enough = np.flatnonzero(varied & (np.isfinite(rssi).sum(axis=0) >= params.min_ues))[: params.paper_stations]
    jobs = [(nominal.take([b]), rssi[:, b], x, y, plane, rays, params.n_calls, rays.seed, cache) for b in enough]
    found: dict[int, PaperFit] = {}
    for k, fit in each(paper_search, jobs, [f"the search of {nominal.id[b]}" for b in enough], engine):
        found[int(enough[k])] = fit
        best, seconds = fit.spearman.max(), fit.seconds[-1]
        say(f"paper's search {nominal.id[enough[k]]}: Spearman {best:.2f} on training UEs, {seconds:.0f} s")
    return found


def paper_stations(nominal: Stations, found: dict[int, PaperFit]) -> Stations:
    """The table with stations where the paper's search puts them; others stay nominal."""
    poses = [found[b].pose if b in found else nominal.take([b]) for b in range(nominal.n)]
    return nominal.replace(**{name: [getattr(pose, name)[0] for pose in poses] for name in ("x", "y", "h", "azimuth")})


def rank_agreement(gain: Floats, pose: Stations, rssi: Floats, x: Floats, y: Floats, radio: RadioParams) -> float:
    """Spearman's correlation of measured RSSI with what a pose's antenna makes of isotropic gains, linear.

    0 where the simulation is the same at all UEs that heard it, or the measurement is: nothing is ranked.
    """
    level = 10 * np.log10(np.maximum(gain, 1e-30)) + sector_gain_db(pose, x, y, radio)[0]
    heard = np.isfinite(rssi)
    if np.unique(level[heard]).size < 2 or np.unique(rssi[heard]).size < 2:
        return 0.0
    return float(spearmanr(level[heard], rssi[heard]).statistic)
