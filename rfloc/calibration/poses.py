"""What calibration says of stations: where each stands and looks, its levels, and maps that know them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.calibration.likelihood import corrected_db
from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.build import links_from_maps
from rfloc.datasets.statistical import decades_db
from rfloc.frames import Grid, wrap_degrees
from rfloc.simulation.maps import nrsrp_map, sector_gain_db
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: What a station table says of a pose.
_COLUMNS = ("x", "y", "h", "azimuth", "power")


@dataclass(frozen=True)
class SectorPose:
    """Pose and levels of one station, and how sure they are; NaN where that is not known."""

    x: float  #: [m]
    y: float
    h: float  #: above ground [m]
    azimuth: float  #: [deg], NaN: omnidirectional
    downtilt: float  #: [deg]
    power: float  #: [dBm]
    offset_db: float = 0.0  #: of the power over the nominal one
    slope: float = 0.0  #: path loss exponent that rays lack: the gain falls by 10 slope log10(d / 300 m) more
    contrast: float = 1.0  #: how far measured levels differ from place to place, relative to simulated ones
    scale_db: float = np.nan  #: of the residual
    white: float = np.nan  #: its white share
    decorrelation: float = np.nan  #: distance of the rest [m]
    missed: float = np.nan  #: share of strong reports that are missing
    x_mean: float = np.nan  #: posterior's mean [m]
    y_mean: float = np.nan
    h_mean: float = np.nan
    position_sd: float = np.nan  #: posterior's standard deviation per axis [m]
    h_sd: float = np.nan
    azimuth_sd: float = np.nan
    traces: int = 0  #: poses of its site that were traced
    traced_now: int = 0  #: those that no earlier run had kept
    reason: str = ""  #: why it stays nominal, "" where it was calibrated

    @classmethod
    def nominal(cls, stations: Stations, b: int, radio: RadioParams, reason: str) -> SectorPose:
        """Station `b` as its table has it."""
        x, y, h, azimuth, power = (float(getattr(stations, name)[b]) for name in _COLUMNS)
        return cls(x, y, h, azimuth, radio.downtilt, power, reason=reason)


@dataclass(frozen=True)
class SiteResult:
    """What calibration knows of one site, of its sectors one entry each."""

    members: NDArray[np.intp]  #: its stations, as indices of the links' stations
    poses: list[SectorPose]
    unmoved: list[SectorPose]  #: azimuth, downtilt and levels solved at the nominal position
    cloud: Floats  #: candidate positions and heights [m], (candidate, 3), none where no ray reached a UE
    weight: Floats  #: their posterior weights, (candidate,)
    azimuths: list[Floats]  #: tried [deg], NaN = omnidirectional, each (azimuth,)
    azimuth_weights: list[Floats]  #: their posterior weights at the calibrated pose
    seconds: float  #: that the search took, kept traces counted as when they were traced


@dataclass(frozen=True)
class Calibration:
    """What calibration found."""

    nominal: Stations  #: what was to be calibrated
    poses: list[SectorPose]  #: one a station
    unmoved_poses: list[SectorPose]  #: the same, had nobody moved
    sites: list[SiteResult]  #: posteriors of those that were searched for
    ues: NDArray[np.bool_]  #: training UEs in the open, whose measurements or silence could choose a pose, (ue,)
    heard: NDArray[np.intp]  #: UEs that report each station: of those, and of held-out ones, (bs, 2)

    @property
    def stations(self) -> Stations:
        """Calibrated table: `power` is nominal power + offset; skipped stations are nominal."""
        return self.nominal.replace(**{name: [getattr(pose, name) for pose in self.poses] for name in _COLUMNS})

    @property
    def unmoved(self) -> Calibration:
        """The same, had nobody moved a station: what calibrated poses have to beat."""
        return replace(self, poses=self.unmoved_poses)

    def records(self) -> list[dict[str, Any]]:
        """A row a station for tables and JSON, nominal pose and distance moved [m] included."""
        rows = []
        for b, pose in enumerate(self.poses):
            was = {f"{k}_nominal": float(getattr(self.nominal, k)[b]) for k in _COLUMNS}
            moved = float(np.hypot(pose.x - was["x_nominal"], pose.y - was["y_nominal"]))
            counts = {"n_train": int(self.heard[b, 0]), "n_held_out": int(self.heard[b, 1])}
            rows.append({"bs_id": str(self.nominal.id[b]), "moved": moved} | was | counts | asdict(pose))
        return rows

    def maps(self, traced: xr.Dataset, radio: RadioParams) -> xr.Dataset:
        """Radio maps traced at :attr:`stations`, with each station's slope, contrast and downtilt worked in.

        Readers turn the antenna by the scenario's downtilt: `path_gain` takes the ratio to the station's own along the
        straight line. `ray_gain` and `ray_error` stay what rays brought. Skipped stations keep their maps.
        """
        grid, stations = Grid.from_attrs(traced.attrs), Stations.from_dataset(traced)
        x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
        gain = traced["path_gain"].values.copy()
        for b, pose in ((b, pose) for b, pose in enumerate(self.poses) if not pose.reason):
            one, arrives = stations.take([b]), gain[b].ravel() > 0
            at = x[arrives], y[arrives]
            isotropic = 10 * np.log10(gain[b].ravel()[arrives].astype(float))
            level = corrected_db(isotropic, decades_db(one, *at, radio.ue_height)[:, 0], pose.slope, pose.contrast)
            if pose.downtilt != radio.downtilt:
                own = radio.model_copy(update={"downtilt": pose.downtilt})
                level += (sector_gain_db(one, *at, own) - sector_gain_db(one, *at, radio))[0]
            gain[b][arrives.reshape(grid.shape)] = 10 ** (level / 10)
        return traced.assign(path_gain=traced["path_gain"].copy(data=gain)).assign_attrs(calibrated=1)


def calibrated_links(city: City, maps: xr.Dataset, like: xr.Dataset, radio: RadioParams) -> xr.Dataset:
    """Dataset B': links that calibrated radio maps give at the very UEs of other links, those of B."""
    x, y = like["ue_x"].values, like["ue_y"].values
    return links_from_maps(city, maps, x, y, radio, source="simulated, calibrated poses (B')")


def pose_errors(found: Stations, truth: Stations) -> dict[str, float]:
    """Medians over stations of the errors of azimuth [deg], where it is stated, and position [m]."""
    off, away = wrap_degrees(found.azimuth - truth.azimuth), np.hypot(found.x - truth.x, found.y - truth.y)
    return {"azimuth_error_deg": float(np.nanmedian(np.abs(off))), "position_error_m": float(np.median(away))}


def levelled_maps(maps: xr.Dataset, links: xr.Dataset, train: NDArray[np.bool_], radio: RadioParams) -> xr.Dataset:
    """Maps with powers set to the measured median NRSRP of training UEs (ue,), so that poses are compared, not powers.

    A station that no training UE hears where its map has a level stays as it is.
    """
    row, column, inside = Grid.from_attrs(maps.attrs).index(links["ue_x"].values, links["ue_y"].values)
    level = np.where(inside, nrsrp_map(maps, radio)[:, row, column], np.nan)  # (bs, ue)
    gap, power = (links["nrsrp"].values.T - level)[:, train], maps["bs_power"].values.astype(float)
    for b in np.flatnonzero(np.isfinite(gap).any(axis=1)):
        power[b] += np.nanmedian(gap[b])
    return maps.assign_coords(bs_power=maps["bs_power"].copy(data=power))
