"""What calibration says of stations: where each stands and looks, its levels, and maps that know them."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfloc.arrays import Bools, Floats
from rfloc.calibration.sectors import FLOOR_DB, PIVOT_DB, Facing, Regression, Survey
from rfloc.city import City
from rfloc.config import RadioParams
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.statistical import regressors
from rfloc.errors import DataError
from rfloc.files import load_json
from rfloc.frames import Grid, LocalFrame, wrap_degrees
from rfloc.simulation.maps import nrsrp_map, read_error_db, read_maps, sector_gain_db
from rfloc.stations import Stations

#: What a station table says of a pose.
_COLUMNS = ("x", "y", "h", "azimuth", "power")


@dataclass(frozen=True)
class SectorPose:
    """Pose and levels of one station, and how sure they are; NaN where that is not known."""

    x: float  #: [m]
    y: float
    h: float  #: above ground [m]
    azimuth: float  #: [deg], NaN: see `told`
    downtilt: float  #: [deg]
    power: float  #: [dBm]
    offset_db: float = 0.0  #: of the power over the nominal one
    slope: float = 0.0  #: path loss exponent that rays lack: the gain falls by 10 slope log10(d / 300 m) more
    contrast: float = 1.0  #: how far measured levels differ from place to place, relative to simulated ones
    obstruction_db: float = 0.0  #: loss of a line that lies in buildings from end to end, beyond what rays say [dB]
    scale: float = np.nan  #: of its residual, relative to that of all stations
    azimuth_sd: float = np.nan  #: posterior's standard deviation [deg], NaN where omnidirectional
    told: str = ""  #: who says the azimuth: "data", "stated", "unknown", "omnidirectional"
    position_sd: float = np.nan  #: posterior's standard deviation per axis [m], where it was searched for
    h_sd: float = np.nan
    pays_nat: float = np.nan  #: what moving adds to the log-likelihood of UEs left out in blocks
    reason: str = ""  #: why it stays nominal, "" where it was calibrated

    @classmethod
    def nominal(cls, stations: Stations, b: int, radio: RadioParams, reason: str) -> Self:
        """Station `b` as its table has it."""
        x, y, h, azimuth, power = (float(getattr(stations, name)[b]) for name in _COLUMNS)
        return cls(x, y, h, azimuth, radio.downtilt, power, reason=reason)

    def solved(self, of: Regression, facing: Facing, effects: Floats, scale: float) -> Self:
        """The nominal pose with what was solved for it."""
        offset, slope, obstruction, contrast = of.shared.tolist()
        level, exponent, rays = effects.tolist()
        return replace(
            self, azimuth=facing.azimuth, downtilt=facing.downtilt, power=self.power + offset + level,
            offset_db=offset + level, slope=slope + exponent, contrast=contrast + rays, obstruction_db=obstruction,
            scale=scale, azimuth_sd=facing.sd, told=facing.told,
        )  # fmt: skip


@dataclass(frozen=True)
class Search:
    """What was found out about where one site stands."""

    members: NDArray[np.intp]  #: its stations, as indices of the table's
    cloud: Floats  #: candidates: positions and heights above ground [m], (candidate, 3), the nominal one first
    weight: Floats  #: their posterior weights, (candidate,)
    pose: Floats  #: posterior's mean of position and height, (3,) [m]
    position_sd: float  #: its standard deviation per axis [m]
    h_sd: float
    pays_nat: float  #: what moving adds to the log-likelihood of UEs left out in blocks
    seconds: float  #: that it took; what was kept costs nothing


@dataclass(frozen=True)
class Calibration:
    """What calibration found."""

    nominal: Stations  #: what was to be calibrated
    poses: list[SectorPose]  #: one a station
    facings: dict[int, Facing]  #: where stations that were calibrated look, by number
    regression: Regression  #: what they share
    survey: Survey  #: the reports that were used
    searches: list[Search] = field(default_factory=list)  #: where masts were searched for

    @property
    def stations(self) -> Stations:
        """Calibrated table: `power` is nominal power + offset; skipped stations are nominal."""
        return self.nominal.replace(**{name: [getattr(pose, name) for pose in self.poses] for name in _COLUMNS})

    def records(self) -> list[dict[str, Any]]:
        """A row a station for tables and JSON, nominal pose and distance moved [m] included."""
        rows = []
        for b, pose in enumerate(self.poses):
            was = {f"{k}_nominal": float(getattr(self.nominal, k)[b]) for k in _COLUMNS}
            moved = float(np.hypot(pose.x - was["x_nominal"], pose.y - was["y_nominal"]))
            counts = {"n_train": int(self.survey.heard[b, 0]), "n_held_out": int(self.survey.heard[b, 1])}
            rows.append({"bs_id": str(self.nominal.id[b]), "moved": moved} | was | counts | asdict(pose))
        return rows

    def maps(self, traced: xr.Dataset, city: City, radio: RadioParams) -> xr.Dataset:
        """Radio maps traced at :attr:`stations`, with what was solved for each station worked in.

        Readers turn the antenna by the scenario's downtilt: `path_gain` takes the ratio to the station's own along the
        straight line. `ray_gain`, `ray_error`, maps of skipped stations and cells where nothing arrives stay the same.
        """
        grid, stations = Grid.from_attrs(traced.attrs), Stations.from_dataset(traced)
        x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
        gain = traced["path_gain"].values.copy()
        for b, pose in ((b, pose) for b, pose in enumerate(self.poses) if not pose.reason):
            one, arrives = stations.take([b]), gain[b].ravel() > 0
            at = x[arrives], y[arrives]
            columns = {k: v[:, 0] for k, v in regressors(city, one, *at, radio).items()}
            rays = np.maximum(10 * np.log10(gain[b].ravel()[arrives].astype(float)), FLOOR_DB)
            level = PIVOT_DB + pose.contrast * (rays - PIVOT_DB) + pose.slope * columns["decades"]
            level += pose.obstruction_db * columns["obstructed"]
            own = radio.model_copy(update={"downtilt": pose.downtilt})
            level += (sector_gain_db(one, *at, own) - sector_gain_db(one, *at, radio))[0]
            gain[b][arrives.reshape(grid.shape)] = 10 ** (level / 10)
        return traced.assign(path_gain=traced["path_gain"].copy(data=gain)).assign_attrs(calibrated=1)


def calibrated_links(city: City, maps: xr.Dataset, like: xr.Dataset, radio: RadioParams) -> xr.Dataset:
    """Dataset B': links read off calibrated radio maps at the very UEs of other links, those of B."""
    city.frame.require_same(LocalFrame.from_attrs(maps.attrs), "these maps")
    x, y, source = like["ue_x"].values, like["ue_y"].values, "simulated, calibrated poses (B')"
    gain, error = read_maps(maps, x, y, radio), read_error_db(maps, x, y)
    return links_from_gain(city, gain, Stations.from_dataset(maps), x, y, radio, source, gain_error=error)


def pose_errors(found: Stations, truth: Stations) -> dict[str, float]:
    """Medians over stations of the errors of azimuth [deg], where it is stated, and position [m]."""
    off, away = wrap_degrees(found.azimuth - truth.azimuth), np.hypot(found.x - truth.x, found.y - truth.y)
    return {"azimuth_error_deg": float(np.nanmedian(np.abs(off))), "position_error_m": float(np.median(away))}


def levelled_maps(maps: xr.Dataset, links: xr.Dataset, train: Bools, radio: RadioParams) -> xr.Dataset:
    """Maps with powers set to the measured median NRSRP of training UEs (ue,), so that poses are compared, not powers.

    A station that no training UE hears where its map has a level stays as it is.
    """
    row, column, inside = Grid.from_attrs(maps.attrs).index(links["ue_x"].values, links["ue_y"].values)
    level = np.where(inside, nrsrp_map(maps, radio)[:, row, column], np.nan)  # (bs, ue)
    gap, power = (links["nrsrp"].values.T - level)[:, train], maps["bs_power"].values.astype(float)
    for b in np.flatnonzero(np.isfinite(gap).any(axis=1)):
        power[b] += np.nanmedian(gap[b])
    return maps.assign_coords(bs_power=maps["bs_power"].copy(data=power))


def corrected_stations(links: xr.Dataset, path: Path) -> Stations:
    """Stations of links where a file of corrections (`conf/sites`) puts them; others stay where they are.

    A station is the published one within the file's `tolerance_m`. Raises DataError if no station is.
    """
    content, stations = load_json(path), Stations.from_dataset(links)
    to_local, sites = LocalFrame.from_attrs(links.attrs).to_local, content["sites"]
    published, corrected = (
        np.array(to_local(*np.array([site[key] for site in sites], float).T)) for key in ("published", "corrected")
    )
    away = np.hypot(stations.x[:, None] - published[0], stations.y[:, None] - published[1])
    nearest, known = away.argmin(axis=1), away.min(axis=1) <= content["tolerance_m"]
    if not known.any():
        raise DataError(
            f"none of {stations.n} stations is among the sites of {path.name}",
            f"the nearest lies {away.min():.0f} m from one, more than {content['tolerance_m']:g} m",
            "set campaign.manifest to the data set that these links come from",
        )
    x, y = np.where(known, corrected[:, nearest], [stations.x, stations.y])
    return stations.replace(x=x, y=y)
