"""A whole campaign in the toy city, with rays: resumed, skipped, shared out."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from rfloc import calibration
from rfloc.calibration import Calibration, calibrate, levelled_maps, move, paper_stations
from rfloc.calibration.sectors import Survey, missed_share
from rfloc.city import City
from rfloc.config import CalibrationParams, CampaignParams, RadioParams, SimulationParams, SplitParams
from rfloc.datasets.hidden import hidden_campaign
from rfloc.datasets.statistical import regressors
from rfloc.errors import CalibrationError
from rfloc.simulation.maps import nrsrp_map, read_maps, sector_gain_db
from rfloc.simulation.plane import Plane, Rays
from rfloc.splits import make_split
from rfloc.stations import Stations
from tests.simulation.scenes import traced

SIM = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)
RADIO = RadioParams(load=0.05)
PARAMS = CalibrationParams(
    candidates=16, traces=4, samples=4000, azimuth_step=30.0, min_ues=8, n_calls=11, paper_stations=1
)  # fmt: skip
RAYS = Rays(SIM, RADIO, PARAMS.samples, 5)

Campaign = tuple[xr.Dataset, xr.Dataset]


@pytest.fixture(scope="module")
def campaign(toy_city: City) -> Campaign:
    asked = CampaignParams(kind="hidden", cities=["toy"], stations=3, height=[20.0, 30.0], ues=160, position_sd=4.0)
    links = hidden_campaign(toy_city, asked, SIM, RADIO, seed=3)[0]
    return links, make_split(links, SplitParams(block=60.0, buffer=5.0), 0)


def plane_of(city: City) -> Plane:
    return Plane(city, SIM.cell, RADIO.ue_height)


@pytest.fixture(scope="module")
def found(toy_city: City, campaign: Campaign) -> Calibration:
    return calibrate(*campaign, plane_of(toy_city), RAYS, PARAMS)


def column(found: Calibration, name: str) -> np.ndarray:
    return np.array([row[name] for row in found.records()], float)


def test_every_station_has_levels_and_an_azimuth_where_it_stands(found: Calibration, campaign: Campaign) -> None:
    links, split = campaign
    nominal, rows = Stations.from_dataset(links), found.records()
    assert [row["bs_id"] for row in rows] == nominal.id.tolist()
    assert {row["reason"] for row in rows} == {""}
    assert (column(found, "moved") == 0).all()
    assert found.stations.power == pytest.approx(nominal.power + column(found, "offset_db"))
    assert (found.survey.ues == (split.role.values == "train")).all()
    assert all(facing.weights.sum() == pytest.approx(1.0) for facing in found.facings.values())
    assert {type(value) for row in rows for value in row.values()} <= {str, int, float, type(None)}


def test_masts_that_move_are_solved_anew_and_kept_traces_say_the_same(found, campaign, tmp_path):
    once, again = (move(found, campaign[0], RAYS, RAYS, PARAMS, cache=tmp_path) for _ in range(2))
    moved, pays = column(once, "moved"), column(once, "pays_nat")
    assert ((moved > 0) == (pays > 0)).all()
    assert len(list(tmp_path.glob("*.npz"))) >= 3 * PARAMS.traces
    for name in ("x", "y", "h", "azimuth", "offset_db", "position_sd"):
        assert column(again, name) == pytest.approx(column(once, name), nan_ok=True)


def test_who_stands_in_a_building_does_not_calibrate(toy_city: City, campaign: Campaign) -> None:
    links, split = campaign
    plane = plane_of(toy_city)
    row, col = np.argwhere(plane.outdoors[0] == 0)[0]
    ue = int(np.flatnonzero(split.role.values == "train")[0])
    x, y = links.ue_x.values.copy(), links.ue_y.values.copy()
    x[ue], y[ue] = plane.grid.x[col], plane.grid.y[row]
    moved = links.assign_coords(ue_x=("ue", x), ue_y=("ue", y))
    split = make_split(moved, SplitParams(block=60.0, buffer=5.0), 0)
    train = split.role.values == "train"
    found = calibrate(moved, split, plane, RAYS, PARAMS).survey.ues
    assert train[ue] and np.flatnonzero(found != train).tolist() == [ue]


def test_what_was_solved_goes_into_the_maps(found: Calibration, toy_city: City) -> None:
    maps = traced(toy_city, found.stations, SIM, 5, radio=RADIO)
    baked = found.maps(maps, toy_city, RADIO)
    row, col = np.nonzero((maps.path_gain.values > 1e-14).all(axis=0))
    x, y = maps.x.values[col], maps.y.values[row]
    before, after = read_maps(maps, x, y, RADIO), read_maps(baked, x, y, RADIO)
    stations = Stations.from_dataset(maps)
    rays, told = 10 * np.log10(read_maps(maps, x, y)) + 95.0, regressors(toy_city, stations, x, y, RADIO)
    extra = (column(found, "contrast") - 1.0) * rays + column(found, "slope") * told["decades"]
    extra += column(found, "obstruction_db") * told["obstructed"]
    for b, tilt in enumerate(column(found, "downtilt")):
        own = sector_gain_db(stations, x, y, RADIO.model_copy(update={"downtilt": float(tilt)}))[b]
        extra[:, b] += own - sector_gain_db(stations, x, y, RADIO)[b]
    assert 10 * np.log10(after / before) == pytest.approx(extra, abs=1e-3)
    assert baked.ray_gain.values.tolist() == maps.ray_gain.values.tolist()
    first, second, third = found.poses
    again = replace(found, poses=[first, replace(second, reason="too few"), third]).maps(maps, toy_city, RADIO)
    assert again.path_gain.values[1].tolist() == maps.path_gain.values[1].tolist()


def test_levels_are_set_by_the_median_of_training_ues(toy_city: City, campaign: Campaign) -> None:
    links, split = campaign
    nominal = Stations.from_dataset(links)
    maps = traced(toy_city, nominal, SIM, 5, radio=RADIO)
    row, column, _ = plane_of(toy_city).grid.index(links.ue_x.values, links.ue_y.values)
    told = nrsrp_map(maps, RADIO)[:, row, column].T
    train = split.role.values == "train"
    shift = np.array([3.0, -2.0, 0.0])
    measured = np.where(train[:, None], told + shift, told + 50.0)  # what others measured does not count
    measured[:, 2] = np.nan
    levelled = levelled_maps(maps, links.assign(nrsrp=(("ue", "bs"), measured)), train, RADIO)
    assert levelled.bs_power.values - nominal.power == pytest.approx(shift)
    assert maps.bs_power.values == pytest.approx(nominal.power)


def test_a_station_that_cannot_be_calibrated_stays_nominal_and_says_why(toy_city: City, campaign: Campaign) -> None:
    links, split = campaign[0].copy(deep=True), campaign[1]
    train = np.flatnonzero((split.role.values == "train") & links.heard.values[:, 0])
    for name in ("rssi", "nsinr", "nrsrp", "nrsrq"):
        links[name][train[3:], 0] = np.nan
        links[name][:, 1] = links[name][:, 1] * 0.0 - 70.0
    links["heard"] = links.nrsrp.notnull()
    skipped = Survey.of(links, split, plane_of(toy_city), RADIO, PARAMS.min_ues, 0).skipped
    assert skipped[0] == "heard by 3 training UEs, fewer than 8" and list(skipped) == [0, 1]
    assert "its level is the same at all" in skipped[1]
    others = links.bs_id != links.bs_id[1]
    few = campaign[0].assign({name: links[name].where(others, campaign[0][name]) for name in links})
    found, nominal = calibrate(few, split, plane_of(toy_city), RAYS, PARAMS), Stations.from_dataset(links)
    assert [pose.reason for pose in found.poses] == [skipped[0], "", ""] and list(found.facings) == [1, 2]
    assert found.stations.azimuth[0] == nominal.azimuth[0]
    with pytest.raises(CalibrationError, match="none of 3 stations"):
        calibrate(links, split, plane_of(toy_city), RAYS, PARAMS.model_copy(update={"min_ues": 1000}))


def test_an_error_that_is_stated_is_a_prior_unless_it_comes_of_the_same_levels(campaign, found):
    sure = campaign[0].assign_coords(bs_position_error=("bs", np.full(3, 0.05)))

    def spread(source: str) -> np.ndarray:
        stated = sure.assign_coords(bs_position_source=("bs", [source] * 3))
        return column(move(found, stated, RAYS, RAYS, PARAMS), "position_sd")

    assert (spread("table") < 0.2).all()
    assert spread("estimated") == pytest.approx(column(move(found, campaign[0], RAYS, RAYS, PARAMS), "position_sd"))


def test_only_training_ues_are_looked_at(toy_city: City, campaign: Campaign, found: Calibration) -> None:
    links, split = campaign
    other, away = links.copy(deep=True), split.role.values != "train"
    for name in ("rssi", "nsinr", "nrsrp", "nrsrq"):
        other[name][away] = other[name][away] - 20.0
    again = calibrate(other, split, plane_of(toy_city), RAYS, PARAMS)
    for name in ("x", "y", "h", "azimuth", "offset_db"):
        assert column(again, name) == pytest.approx(column(found, name), nan_ok=True)


def test_the_papers_search_runs_on_the_same_rays(toy_city: City, campaign: Campaign) -> None:
    fits = calibration.calibrate_as_paper(*campaign, plane_of(toy_city), RAYS, PARAMS)
    nominal = Stations.from_dataset(campaign[0])
    moved = paper_stations(nominal, fits)
    assert moved.x.tolist() == [fits[0].pose.x[0], *nominal.x[1:]] != nominal.x.tolist()
    assert (list(fits), len(fits[0].spearman)) == ([0], PARAMS.n_calls)
    assert -1.0 <= fits[0].spearman.min() <= fits[0].spearman.max() <= 1.0


def test_missed_share_of_strong_stations() -> None:
    x = np.repeat(np.arange(25) * 100.0, 4)
    level = np.tile([-60.0, -60.0, np.nan, np.nan], 25)
    assert missed_share(x, np.zeros(100), level, np.full(100, -100.0)) == pytest.approx(51 / 110)
    assert missed_share(x, np.zeros(100), np.full(100, np.nan), np.full(100, -100.0)) == 0.1
