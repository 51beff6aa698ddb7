"""The search over poses: candidate positions come with maps, azimuth and power offset are solved on each map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from rfloc.calibration.objective import (
    MAX_MISSED,
    MIN_SCALE_DB,
    OFFSET_SD_DB,
    LogSilence,
    Profile,
    effective_share,
    level_db,
    missed_share,
    profile,
    student_t,
)
from rfloc.config import CalibrationParams, RadioParams
from rfloc.errors import CalibrationError
from rfloc.frames import wrap_degrees
from rfloc.schema import require_same_stations
from rfloc.simulation.maps import read_maps, sector_gain_db
from rfloc.simulation.radio import reportable_dbm
from rfloc.simulation.stations import Stations
from rfloc.splits import leakage_report

Floats = NDArray[np.float64]

#: Fewest held-out UEs for which a rank correlation is stated.
MIN_HELD_OUT = 8

_GOLDEN_ANGLE = np.pi * (3.0 - np.sqrt(5.0))


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Parameters
    ----------
    stations : Stations
        Calibrated table: `power` is nominal power + offset; stations that could not be calibrated are nominal.
    table : DataFrame
        A row a station: nominal and chosen pose, offset, uncertainty, numbers of UEs, Spearman's rank correlation of
        measured and predicted NRSRP for the nominal and the calibrated pose on training and on held-out UEs, their
        root-mean-square residual [dB], and `reason` where a station was skipped.
    ues : ndarray of bool
        Shape (n_ue,): whose measurements, or silence, could choose a pose.
    """

    stations: Stations
    table: pd.DataFrame
    ues: NDArray[np.bool_]

    def records(self) -> list[dict[str, Any]]:
        """The table for JSON: NaN becomes None."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return [{str(name): value for name, value in row.items()} for row in rows]


def candidate_stations(stations: Stations, n: int, radius: float, seed: int) -> list[Stations]:
    """`n` tables of candidate positions: the nominal one, then a sunflower spread over the disc of `radius` [m].

    The spread is turned by a random angle for each station.
    """
    turn = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, stations.n)
    tables = [stations]
    for k in range(1, n):
        r, angle = radius * np.sqrt((k - 0.5) / (n - 1)), turn + k * _GOLDEN_ANGLE
        tables.append(stations.moved(r * np.cos(angle), r * np.sin(angle)))
    return tables


def calibrate(
    links: xr.Dataset,
    split: xr.Dataset,
    candidate_maps: list[xr.Dataset],
    radio: RadioParams,
    params: CalibrationParams,
) -> Calibration:
    """Choose position, azimuth and power offset of every station from the training UEs' NRSRP.

    UEs that did not report a station count where silence is about level
    (:func:`~rfloc.calibration.objective.missed_share`).

    A station whose azimuth is unknown may stay so: radiating alike to all sides weighs as much as all azimuths
    together, so that a sector has to earn its place. Position has a flat prior over the candidates.

    Parameters
    ----------
    links : xr.Dataset
        Kind `links`; its stations are nominal.
    split : xr.Dataset
        Kind `split` of these links: only role `train` is used, `known` and `unknown` are reported.
    candidate_maps : list of xr.Dataset
        Kind `maps`, isotropic, one a table of :func:`candidate_stations`, the nominal one first.
    radio : RadioParams
        Pattern, downtilt, resource grid, UE height, sensitivity.
    params : CalibrationParams
        Step of the azimuth scan, degrees of freedom, fewest UEs.

    Returns
    -------
    Calibration

    Raises
    ------
    CalibrationError
        If no station can be calibrated.
    SchemaError, FrameError
        If the maps are not those of these links' stations.
    SplitError
        If the split is not of these links, or leaks.
    """
    leakage_report(split, links)
    if not candidate_maps:
        raise CalibrationError("there are no candidate maps", "calibration chooses among them", "trace at least one")
    for k, maps in enumerate(candidate_maps):
        require_same_stations(links, maps, f"candidate maps {k}")
    x, y = links["ue_x"].values, links["ue_y"].values
    gains = np.stack([read_maps(maps, x, y) for maps in candidate_maps])  # (candidate, ue, bs)
    poses = [Stations.from_dataset(maps) for maps in candidate_maps]
    nominal = Stations.from_dataset(links)
    train, test = (np.isin(split["role"].values, roles) for roles in (("train",), ("known", "unknown")))
    measured = links["nrsrp"].values.astype(float)
    reportable = reportable_dbm(measured, links["nsinr"].values, radio)
    fits = [
        _station(
            b,
            nominal,
            [p.take([b]) for p in poses],
            gains[:, :, b],
            measured[:, b],
            reportable,
            x,
            y,
            train,
            test,
            radio,
            params,
        )
        for b in range(nominal.n)
    ]
    table = pd.DataFrame(fits)
    if (table["reason"] != "").all():
        raise CalibrationError(
            f"none of {len(table)} stations can be calibrated",
            "; ".join(f"{row.bs_id}: {row.reason}" for row in table.itertuples()),
            "take more training UEs, or lower calibration.min_ues",
        )
    stations = nominal.replace(**{name: table[name].to_numpy(float) for name in ("x", "y", "h", "azimuth", "power")})
    return Calibration(stations, table, train)


def _station(
    b: int, nominal: Stations, poses: list[Stations], gains: Floats, measured: Floats, reportable: Floats, x: Floats,
    y: Floats, train: NDArray[np.bool_], test: NDArray[np.bool_], radio: RadioParams, params: CalibrationParams,
) -> dict[str, Any]:  # fmt: skip
    """One row of the table; `gains` is (candidate, ue), `measured` and `reportable` (ue,) [dBm]."""
    station = nominal.take([b])
    heard = np.isfinite(measured)
    row: dict[str, Any] = {"bs_id": str(nominal.id[b]), "reason": ""}
    row |= {"n_train": int((heard & train).sum()), "n_held_out": int((heard & test).sum())}
    pose = {name: float(getattr(station, name)[0]) for name in ("x", "y", "h", "azimuth", "power")}
    row |= {f"{name}_nominal": value for name, value in pose.items()} | pose
    row |= {"candidate": 0, "moved": 0.0, "offset_db": 0.0}
    row |= dict.fromkeys(("scale_db", "missed", "weight", "position_sd", "azimuth_sd", "offset_sd"), np.nan)
    used, quiet = heard & train, ~heard & train
    if row["n_train"] < params.min_ues:
        row["reason"] = f"heard by {row['n_train']} training UEs, fewer than {params.min_ues}"
    elif not (gains[:, used] > 0).any():
        row["reason"] = "no ray of any candidate reaches a training UE that heard it"
    positive = gains[gains > 0]
    floor = float(positive.min()) if len(positive) else np.nan

    def levels(pose: Stations, gain: Floats, azimuth: Floats, which: NDArray[np.bool_]) -> Floats:
        turned = pose.take(np.zeros(len(azimuth), int)).replace(azimuth=azimuth)
        sector = sector_gain_db(turned, x[which], y[which], radio)
        return level_db(gain[which], float(station.power[0]), radio, floor) + sector

    if not row["reason"]:
        azimuth, prior = _azimuths(float(station.azimuth[0]), radio, params)
        seen = [measured[used] - levels(p, g, azimuth, used) for p, g in zip(poses, gains, strict=True)]
        scale = max(MIN_SCALE_DB, min(float(student_t(r, params.residual_df)[1].min()) for r in seen))
        missed = missed_share(x[train], y[train], measured[train], reportable[train])
        log_silent = LogSilence(params.residual_df, missed)
        quiet = quiet & (missed <= MAX_MISSED)
        profiles = [
            profile(r, levels(p, g, azimuth, quiet), reportable[quiet], scale, params.residual_df, log_silent)
            for r, p, g in zip(seen, poses, gains, strict=True)
        ]
        row |= _choose(profiles, poses, azimuth, prior, effective_share(x[used], y[used]))
        row |= {"scale_db": scale, "missed": missed, "power": row["power_nominal"] + row["offset_db"]}
        row["moved"] = float(np.hypot(row["x"] - row["x_nominal"], row["y"] - row["y_nominal"]))
        information = (params.residual_df + 1.0) / (params.residual_df + 3.0) / scale**2
        row["offset_sd"] = float((information * row["n_train"] * effective_share(x[used], y[used])) ** -0.5)
    for name, k, turn, offset in (
        ("nominal", 0, row["azimuth_nominal"], 0.0),
        ("calibrated", row["candidate"], row["azimuth"], row["offset_db"]),
    ):
        for where, which in (("train", heard & train), ("held_out", heard & test)):
            predicted = levels(poses[k], gains[k], np.array([turn]), which)[0] + offset if len(positive) else None
            rho, rms = _agreement(measured[which], predicted)
            row |= {f"spearman_{name}_{where}": rho, f"rms_{name}_{where}": rms}
    return row


def _azimuths(nominal: float, radio: RadioParams, params: CalibrationParams) -> tuple[Floats, Floats]:
    """Azimuths to try [deg] and their log prior: NaN (all sides alike) only where the nominal one is unknown."""
    if radio.pattern == "isotropic":
        return np.array([nominal]), np.zeros(1)
    scan = np.arange(0.0, 360.0 - 1e-9, params.azimuth_step)
    flat = np.full(len(scan), -np.log(len(scan)))
    if np.isfinite(nominal):
        return scan, flat
    return np.append(scan, np.nan), np.log(0.5) + np.append(flat, 0.0)


def _choose(
    profiles: list[Profile], poses: list[Stations], azimuth: Floats, prior: Floats, share: float
) -> dict[str, Any]:
    """The pose of greatest posterior weight, and the spread of the posterior.

    Correlated residuals make many measurements worth few: the log-likelihood is scaled by `share`.
    """
    log_weight = share * np.stack([p.log_likelihood for p in profiles]) + prior  # (candidate, azimuth)
    log_weight -= 0.5 * (np.stack([p.offset_db for p in profiles]) / OFFSET_SD_DB) ** 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    k, a = np.unravel_index(int(weight.argmax()), weight.shape)
    position = weight.sum(1)
    px, py = (np.array([getattr(p, c)[0] for p in poses]) for c in ("x", "y"))
    spread = (position * ((px - position @ px) ** 2 + (py - position @ py) ** 2)).sum()
    sectors = np.isfinite(azimuth)
    sd = np.nan
    if np.isfinite(azimuth[a]):
        turn = weight[:, sectors].sum(0)
        sd = float(np.sqrt((turn * wrap_degrees(azimuth[sectors] - azimuth[a]) ** 2).sum() / turn.sum()))
    chosen = {name: float(getattr(poses[k], name)[0]) for name in ("x", "y", "h")}
    return chosen | {
        "candidate": int(k),
        "azimuth": float(azimuth[a]),
        "offset_db": float(profiles[k].offset_db[a]),
        "weight": float(weight[k, a]),
        "position_sd": float(np.sqrt(spread / 2.0)),
        "azimuth_sd": sd,
    }


def _agreement(measured: Floats, predicted: Floats | None) -> tuple[float, float]:
    """Spearman's rank correlation and root-mean-square residual [dB]; NaN with too few UEs or a constant."""
    from scipy.stats import spearmanr

    if predicted is None or len(measured) < MIN_HELD_OUT:
        return np.nan, np.nan
    rms = float(np.sqrt(np.mean((measured - predicted) ** 2)))
    if np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return np.nan, rms
    return float(spearmanr(measured, predicted).statistic), rms
