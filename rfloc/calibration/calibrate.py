"""Every site of a campaign calibrated, in parallel: station poses, how sure they are, and maps that know them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from rfloc.calibration.candidates import Site, Turns
from rfloc.calibration.likelihood import FLOOR_DB, Solved, believed_db
from rfloc.calibration.reports import Reports, reports_of, sites_of
from rfloc.calibration.site import NOMINAL, SiteFit, Turned, search_site, turned
from rfloc.calibration.tracing import Tracer, World
from rfloc.city import open_city
from rfloc.config import CalibrationParams, EngineParams, RadioParams
from rfloc.datasets.statistical import decades_db
from rfloc.errors import CalibrationError
from rfloc.frames import Grid
from rfloc.simulation.many import each
from rfloc.simulation.maps import nrsrp_map, sector_gain_db
from rfloc.simulation.plane import Plane
from rfloc.splits import leakage_report
from rfloc.stations import Stations

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SiteResult:
    """What calibration knows of one site; of its sectors, one entry each.

    Parameters
    ----------
    members : ndarray of int
        Its stations, as indices of the links' stations.
    x, y, h, weight : ndarray, shape (candidate,)
        Candidate poses [m] and their posterior weights; empty where the site was skipped.
    traced : ndarray of int, shape (trace,)
        Candidates that were traced, in order; `evidence` (trace,) is their tempered log-evidence, `best` (trace,) the
        candidate that led after each.
    azimuths, azimuth_weights : ndarray, shape (sector, azimuth)
        Azimuths tried [deg], NaN = alike to all sides, and their posterior weights at the calibrated pose.
    rows, unmoved : list of dict
        A table row a sector; and what else it would say had nobody moved the site.
    seconds : float
        Time that the search took; for traces that were kept from an earlier run, what they took then.
    """

    members: NDArray[np.intp]
    x: Floats
    y: Floats
    h: Floats
    weight: Floats
    traced: NDArray[np.intp]
    evidence: Floats
    best: NDArray[np.intp]
    azimuths: list[Floats]
    azimuth_weights: list[Floats]
    rows: list[dict[str, Any]]
    unmoved: list[dict[str, Any]]
    seconds: float

    def __str__(self) -> str:
        row = self.rows[0]
        found = row["reason"] or f"moved {row['moved']:.0f} m, h {row['h']:.0f} m"
        return f"{len(self.traced)} traces in {self.seconds:.0f} s, {found}"


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Parameters
    ----------
    nominal : Stations
        What was to be calibrated.
    table : DataFrame
        A row a station: nominal and chosen pose, `downtilt` [deg], `offset_db`, `slope` (path loss exponent that is
        missing from rays: the measured gain falls by 10 slope log10(d / 300 m) more), `contrast` (how far measured
        levels differ from place to place, relative to simulated ones), uncertainties, numbers of UEs and traces, and
        `reason` where it was skipped.
    sites : list of SiteResult
        Posteriors and the course of the search.
    ues : ndarray of bool, shape (ue,)
        Whose measurements, or silence, could choose a pose: training UEs, but for those that stand in a cell which
        buildings cover, where no ray of any pose arrives.
    """

    nominal: Stations
    table: pd.DataFrame
    sites: list[SiteResult]
    ues: NDArray[np.bool_]

    @cached_property
    def stations(self) -> Stations:
        """Calibrated table: `power` is nominal power + offset; skipped stations are nominal."""
        names = ("x", "y", "h", "azimuth", "power")
        return self.nominal.replace(**{name: self.table[name].to_numpy(float) for name in names})

    @property
    def unmoved(self) -> Calibration:
        """The same, had nobody moved a station: azimuth, downtilt and levels as solved at the nominal positions.

        What calibrated poses have to beat.
        """
        table = self.table.copy()
        for site in self.sites:
            for b, row in zip(site.members, site.unmoved, strict=True):
                table.loc[b, list(row)] = list(row.values())
        return replace(self, table=table)

    def records(self) -> list[dict[str, Any]]:
        """The table for JSON: NaN becomes None."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return [{str(name): value for name, value in row.items()} for row in rows]

    def draw(self, rng: np.random.Generator) -> Stations:
        """A table drawn from the posterior: position and height of each site, azimuth of each sector, offsets as found.

        Azimuths are drawn from their weights at the calibrated pose.
        """
        columns = {name: getattr(self.stations, name).copy() for name in ("x", "y", "h", "azimuth")}
        for site in self.sites:
            if not len(site.weight):
                continue
            k = rng.choice(len(site.weight), p=site.weight)
            for name in ("x", "y", "h"):
                columns[name][site.members] = getattr(site, name)[k]
            for b, azimuth, weight in zip(site.members, site.azimuths, site.azimuth_weights, strict=True):
                columns["azimuth"][b] = rng.choice(azimuth, p=weight)
        return self.stations.replace(**columns)


def calibrate(
    links: xr.Dataset,
    split: xr.Dataset,
    world: World,
    params: CalibrationParams,
    engine: EngineParams | None = None,
    progress: bool = True,
) -> Calibration:
    """Find position, height, azimuth, downtilt and levels of every station from what training UEs reported.

    Sites are searched one by one (:func:`rfloc.calibration.site.search_site`), in parallel where there is an engine;
    sectors of one site share its position and height. A run that was interrupted finds what it traced before in the
    folder that `world` keeps.

    Parameters
    ----------
    links : Dataset of kind "links"
        Its stations are nominal; `bs_position_error` [m], where it is finite, is a prior of their positions, but not
        where positions were estimated: that error came of the very levels that are judged here.
    split : Dataset of kind "split"
        Of these links: only role `train` is used.
    world : World
        City, rays, antennas.
    params : CalibrationParams
        Ranges, numbers of candidates and traces, fewest UEs.
    engine : EngineParams, optional
        Where sites are searched in parallel; None: here, one after the other.

    Raises
    ------
    CalibrationError
        If no station can be calibrated, or naming the site whose search failed.
    SplitError
        If the split is not of these links, or leaks.
    """
    leakage_report(split, links)
    nominal = Stations.from_dataset(links)
    role = split["role"].values.astype(str)
    x, y = links["ue_x"].values, links["ue_y"].values
    city = open_city(world.folder)
    train = (role == "train") & Plane(city, world.sim.cell, world.radio.ue_height).in_the_open(x, y)
    test = np.isin(role, ("known", "unknown"))
    heard = links["heard"].values
    reports = reports_of(links, train, world.radio, world.seed)
    x, y = x[train], y[train]
    error = links["bs_position_error"].values if "bs_position_error" in links.variables else np.full(nominal.n, np.nan)
    if "bs_position_source" in links.variables:
        error = np.where(links["bs_position_source"].values.astype(str) == "estimated", np.nan, error)
    skipped: dict[int, str] = {}
    jobs = []
    for members in sites_of(nominal):
        usable = []
        for b in members:
            n = int((heard[:, b] & train).sum())
            if n < params.min_ues:
                skipped[int(b)] = f"heard by {n} training UEs, fewer than {params.min_ues}"
            elif np.ptp(reports[b].gain_db) == 0:
                skipped[int(b)] = f"its level is the same at all {n} training UEs"
            else:
                usable.append(int(b))
        if usable:
            given = [reports[b] for b in usable]
            jobs.append(
                (np.array(usable), nominal.take(usable), given, x, y, world, params, _prior(error[usable[0]], params))
            )
    names = ["+".join(job[1].id.tolist()) for job in jobs]
    done: dict[int, SiteResult] = {}
    for k, result in each(fit_site, jobs, [f"the search of {name}" for name in names], engine):
        done[k] = result
        if progress:
            print(f"site {len(done)}/{len(jobs)} {names[k]}: {result}", flush=True)
    found = [done[k] for k in sorted(done)]
    rows: dict[int, dict[str, Any]] = {}
    for result in found:
        rows |= dict(zip(result.members.tolist(), result.rows, strict=True))
    for b, reason in skipped.items():
        rows[b] = _nominal_row(nominal.take([b]), world.radio, reason)
    for b, row in rows.items():
        row |= {"n_train": int((heard[:, b] & train).sum()), "n_held_out": int((heard[:, b] & test).sum())}
    table = pd.DataFrame([rows[b] for b in range(nominal.n)])
    if (table["reason"] != "").all():
        raise CalibrationError(
            f"none of {len(table)} stations can be calibrated",
            "; ".join(f"{row.bs_id}: {row.reason}" for row in table.itertuples()),
            "take more training UEs, or lower calibration.min_ues",
        )
    return Calibration(nominal, table, found, train)


def _prior(stated: float, params: CalibrationParams) -> float | None:
    """Standard deviation of a position [m]: what its table states, else what the parameters do."""
    return float(stated) if np.isfinite(stated) else params.position_sd


def calibrated_maps(calibration: Calibration, maps: xr.Dataset, radio: RadioParams) -> xr.Dataset:
    """Radio maps at calibrated poses with what readers do not know of: each station's slope, contrast and downtilt.

    Readers turn the antenna by the scenario's downtilt; the ratio to the station's own, along the straight line, the
    power of distance and contrast go into `path_gain`. `ray_gain` and `ray_error` stay what rays brought. Stations that
    were skipped keep their maps.

    Parameters
    ----------
    maps : Dataset of kind "maps"
        Traced at `calibration.stations`.
    """
    grid, stations = Grid.from_attrs(maps.attrs), Stations.from_dataset(maps)
    x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
    gain = maps["path_gain"].values.copy()
    for b in np.flatnonzero(calibration.table["reason"] == ""):
        row, one = calibration.table.loc[b], stations.take([b])
        arrives = gain[b].ravel() > 0
        at = x[arrives], y[arrives]
        traced = 10 * np.log10(gain[b].ravel()[arrives].astype(float))
        level = believed_db(traced, decades_db(one, *at, radio.ue_height)[:, 0], row["slope"], row["contrast"])
        if row["downtilt"] != radio.downtilt:
            own = radio.model_copy(update={"downtilt": float(row["downtilt"])})
            level += (sector_gain_db(one, *at, own) - sector_gain_db(one, *at, radio))[0]
        gain[b][arrives.reshape(grid.shape)] = 10 ** (level / 10)
    return maps.assign(path_gain=maps["path_gain"].copy(data=gain)).assign_attrs(calibrated=1)


def levelled_maps(maps: xr.Dataset, links: xr.Dataset, train: NDArray[np.bool_], radio: RadioParams) -> xr.Dataset:
    """Radio maps with each station's power set so that its median NRSRP at training UEs is the measured one.

    Poses are then compared, not powers. A station that no training UE hears where its map has a level stays as it is.

    Parameters
    ----------
    maps : Dataset of kind "maps"
        In the order of the links' stations.
    train : ndarray of bool, shape (ue,)
        Whose measurements set the level.
    """
    row, column, inside = Grid.from_attrs(maps.attrs).index(links["ue_x"].values, links["ue_y"].values)
    level = np.where(inside, nrsrp_map(maps, radio)[:, row, column], np.nan)  # (bs, ue)
    gap, power = (links["nrsrp"].values.T - level)[:, train], maps["bs_power"].values.astype(float)
    for b in np.flatnonzero(np.isfinite(gap).any(axis=1)):
        power[b] += np.nanmedian(gap[b])
    return maps.assign_coords(bs_power=maps["bs_power"].copy(data=power))


def fit_site(
    members: NDArray[np.intp], nominal: Stations, reports: Sequence[Reports], x: Floats, y: Floats, world: World,
    params: CalibrationParams, position_sd: float | None,
) -> SiteResult:  # fmt: skip
    """Search one site, here and now; arguments as of :class:`~rfloc.calibration.candidates.Site`."""
    start = time.perf_counter()
    site = Site(nominal, reports, x, y, world.radio, params, position_sd)
    trace = Tracer(world, x, y)
    fit = search_site(site, trace.city, trace, params, world.seed)
    reached = any((gain[report.ue] > FLOOR_DB).any() for gain in fit.gains for report in site.reports)
    seconds = time.perf_counter() - start + trace.saved_s
    if not reached:
        reason = "no ray of any candidate reaches a training UE that heard it"
        rows = [_nominal_row(site.nominal.take([k]), world.radio, reason) for k in range(len(members))]
        none, nothing = np.empty(0), np.empty(0, np.intp)
        return SiteResult(members, none, none, none, none, nothing, none, nothing, [], [], rows, rows, seconds)
    rows, azimuths, weights = _sectors(fit, world.radio, trace.computed)
    turns = [antenna.turns for antenna in site.fine]
    unmoved = [
        _pose_row(fit.cloud.take([NOMINAL]), site.nominal.power[k], solved, turned(solved, turns[k]), turns[k])
        | {"moved": 0.0}
        for k, solved in enumerate(fit.solved(NOMINAL))
    ]
    cloud = fit.cloud
    return SiteResult(
        members, cloud.x, cloud.y, cloud.h, fit.weights, np.array(fit.traced), fit.evidence, np.array(fit.history),
        azimuths, weights, rows, unmoved, seconds,
    )  # fmt: skip


def _sectors(
    fit: SiteFit, radio: RadioParams, computed: int
) -> tuple[list[dict[str, Any]], list[Floats], list[Floats]]:
    """Table rows, azimuths and their weights, one a sector."""
    rows, azimuths, weights = [], [], []
    pose, sd = fit.pose(), fit.sd()
    mean = fit.mean()
    for k, (solved, antenna) in enumerate(zip(fit.solved(), fit.site.fine, strict=True)):
        turns, turn = antenna.turns, turned(solved, antenna.turns)
        row = _nominal_row(fit.site.nominal.take([k]), radio, "")
        row |= _pose_row(pose, row["power_nominal"], solved, turn, turns) | {
            "white": fit.site.likelihoods[k].correlation.white,
            "decorrelation": fit.site.likelihoods[k].correlation.distance,
            "missed": fit.site.reports[k].missed, "x_mean": mean[0], "y_mean": mean[1], "h_mean": mean[2],
            "position_sd": float(np.hypot(sd[0], sd[1]) / np.sqrt(2.0)), "h_sd": sd[2], "azimuth_sd": turn.azimuth_sd,
            "traces": len(fit.traced), "traced_now": computed,
        }  # fmt: skip
        row["moved"] = float(np.hypot(row["x"] - row["x_nominal"], row["y"] - row["y_nominal"]))
        rows.append(row)
        azimuths.append(turn.azimuths)
        weights.append(turn.weights)
    return rows, azimuths, weights


def _pose_row(pose: Stations, power: float, solved: Solved, turn: Turned, turns: Turns) -> dict[str, Any]:
    """What a table row says of a sector's pose and levels; `power` is nominal."""
    k = turn.best
    levels = {name: float(getattr(solved, name)[k]) for name in ("offset_db", "slope", "contrast", "scale_db")}
    return {
        "x": float(pose.x[0]), "y": float(pose.y[0]), "h": float(pose.h[0]), "azimuth": turn.azimuth,
        "downtilt": float(turns.tilt[k]), "power": float(power) + levels["offset_db"],
    } | levels  # fmt: skip


def _nominal_row(station: Stations, radio: RadioParams, reason: str) -> dict[str, Any]:
    """The row of a station that stays as it is."""
    pose = {name: float(getattr(station, name)[0]) for name in ("x", "y", "h", "azimuth", "power")}
    row: dict[str, Any] = {"bs_id": str(station.id[0]), "reason": reason}
    row |= {f"{name}_nominal": value for name, value in pose.items()} | pose
    row |= {"downtilt": radio.downtilt, "offset_db": 0.0, "slope": 0.0, "contrast": 1.0, "moved": 0.0}
    row |= {"traces": 0, "traced_now": 0}
    unknown = ("scale_db", "white", "decorrelation", "missed", "x_mean", "y_mean", "h_mean")
    return row | dict.fromkeys((*unknown, "position_sd", "h_sd", "azimuth_sd"), np.nan)
