"""Placing stations: right where the model is right, blind to test UEs, honest about its error."""

import numpy as np
import pytest
import xarray as xr

from rfloc import config
from rfloc.cli import compose
from rfloc.datasets.measured import read_campaign
from rfloc.datasets.positions import estimate_positions
from rfloc.errors import DataError
from rfloc.splits import make_split
from tests.datasets.files import city
from tests.handmade import make_links

WIDE = (-np.inf, -np.inf, np.inf, np.inf)


def campaign(n_bs: int = 6, n_ue: int = 600, seed: int = 0) -> tuple[xr.Dataset, np.ndarray]:
    """UEs in a square of 1 km, stations in its middle, log-distance levels with noise; heard down to a level."""
    rng = np.random.default_rng(seed)
    ue, bs = rng.uniform(-500, 500, (n_ue, 2)), rng.uniform(-350, 350, (n_bs, 2))
    d = np.hypot(np.linalg.norm(ue[:, None] - bs, axis=-1), 30.0)
    level = -80.0 - 35.0 * np.log10(d / 100.0) + rng.normal(0, 5.0, d.shape)
    level[level < -100.0] = np.nan
    return make_links(ue, bs, level), bs


def forget(links: xr.Dataset, unknown: list[int]) -> xr.Dataset:
    """The links with the positions of some stations unknown."""
    lost = np.isin(np.arange(links.sizes["bs"]), unknown)
    coords = {name: ("bs", np.where(lost, np.nan, links[name].values), {"units": "m"}) for name in ("bs_x", "bs_y")}
    return links.assign_coords(coords | {"bs_position_source": ("bs", np.where(lost, "unknown", "table"))})


def test_stations_are_found_where_they_stand():
    links, bs = campaign()
    placed, report = estimate_positions(forget(links, [0, 1, 2]), np.ones(600, bool), bounds=WIDE)
    error = np.hypot(placed["bs_x"].values - bs[:, 0], placed["bs_y"].values - bs[:, 1])
    assert (error[:3] < 60.0).all() and (error[3:] == 0).all()
    assert placed["bs_position_source"].values.tolist() == ["estimated"] * 3 + ["table"] * 3
    sd = placed["bs_position_error"].values
    assert (sd[:3] > 0).all() and np.isnan(sd[3:]).all() and (error[:3] < 3 * sd[:3]).all()
    check = report["position_check"]
    assert set(check["stations"]) == {"b3", "b4", "b5"} and report["estimated"] == 3
    assert check["median_m"] == np.median([s["error_m"] for s in check["stations"].values()]) < 60.0


def test_nothing_that_is_stated_of_positions_is_left_where_every_station_is_placed():
    links, _ = campaign()
    elsewhere = links.assign_coords(bs_x=links["bs_x"] + 200.0)
    both, train = (forget(links, [0]), forget(elsewhere, [0])), np.arange(600) < 500
    placed, other = (estimate_positions(at, train, bounds=WIDE, every=True) for at in both)
    assert set(placed[0]["bs_position_source"].values) == {"estimated"} and placed[1]["known"] == 0
    assert placed[0]["bs_x"].equals(other[0]["bs_x"])
    assert set(placed[1]["position_check"]["stations"]) == {f"b{k}" for k in range(1, 6)}


def test_a_sector_seen_from_one_side_is_not_put_among_its_ues():
    rng = np.random.default_rng(1)
    ue = np.column_stack([rng.uniform(100, 900, 500), rng.uniform(-300, 300, 500)])
    d = np.hypot(np.linalg.norm(ue, axis=1), 30.0)
    level = (-70.0 - 35.0 * np.log10(d / 100.0) + rng.normal(0, 3.0, 500))[:, None]
    level[level < -98.0] = np.nan
    links = forget(make_links(ue, np.zeros((1, 2)), level), [0])
    placed, _ = estimate_positions(links, np.ones(500, bool), bounds=WIDE)
    heard = links["heard"].values[:, 0]
    weight = 10 ** (links["nrsrp"].values[heard, 0] / 10)
    centroid = weight @ ue[heard] / weight.sum()
    assert np.hypot(placed["bs_x"].item(), placed["bs_y"].item()) < np.hypot(*centroid)


def test_test_ues_and_interpolated_levels_change_nothing():
    links, _ = campaign()
    train = np.random.default_rng(2).random(600) < 0.6
    first, report = estimate_positions(forget(links, [0, 1]), train, bounds=WIDE)
    spoilt = links.copy(deep=True)
    spoilt["nrsrp"][~train] = -50.0
    spoilt["heard"][~train] = True
    spoilt = spoilt.assign({name: spoilt[name].where(spoilt["heard"]) for name in ("rssi", "nsinr", "nrsrq")})
    again, same = estimate_positions(forget(spoilt, [0, 1]), train, bounds=WIDE)
    assert np.array_equal(first["bs_x"], again["bs_x"]) and np.array_equal(first["bs_y"], again["bs_y"])
    assert np.array_equal(first["bs_position_error"], again["bs_position_error"], equal_nan=True) and report == same
    assert not first["ue_placed"].values[~train].any() and first["ue_placed"].values[train].mean() > 0.9
    nobody, _ = estimate_positions(forget(links, []), train, bounds=WIDE)  # nothing to place: no UE was used for it
    assert not nobody["ue_placed"].any()
    rng = np.random.default_rng(3)
    extra = ~links["heard"].values & (rng.random(links["heard"].shape) < 0.3)
    filled = links.copy(deep=True)
    filled["nrsrp"] = filled["nrsrp"].where(~extra, -60.0)
    filled["heard"] = filled["heard"] | extra
    filled["interpolated"] = (("ue", "bs"), extra)
    everyone = np.ones(600, bool)
    placed, _ = estimate_positions(forget(filled, [0]), everyone, bounds=WIDE)
    want, _ = estimate_positions(forget(links, [0]), everyone, bounds=WIDE)
    assert placed["bs_x"].values[0] == want["bs_x"].values[0]


def test_stations_that_cannot_be_placed_are_dropped_by_reason():
    links, bs = campaign()
    links = links.assign(heard=links["heard"] & (np.arange(600)[:, None] < [600, 20, 600, 600, 600, 600]))
    links = links.assign({name: links[name].where(links["heard"]) for name in ("rssi", "nsinr", "nrsrp", "nrsrq")})
    away = (bs[0, 0] + 150.0, -500.0, 500.0, 500.0)
    placed, report = estimate_positions(forget(links, [0, 1]), np.ones(600, bool), bounds=away)
    assert placed["bs_id"].values.tolist() == ["b2", "b3", "b4", "b5"] and placed.sizes["ue"] == 600
    reasons = ("heard by fewer than 30 training UEs", "estimated outside the city's raster")
    assert report["dropped"] == dict.fromkeys(reasons, 1)
    with pytest.raises(DataError, match=r"no station could be placed[\s\S]*fewer than 30"):
        estimate_positions(forget(links, [0, 1, 2, 3, 4, 5]), np.arange(600) < 25, bounds=WIDE)


def test_romes_known_cells_are_found_within_the_error_that_is_stated(rome_data, project_root, tmp_path):
    """Eleven cells of published position, placed from the training UEs of the scale's own split."""
    changes = ["scale=rome_tiny", "campaign.positions=all"]
    params = config.read(compose(project_root, changes, tmp_path / "params.yaml"))
    where = city(tuple(params.cities["home"].box), 320.0)
    links, _ = read_campaign(params.campaign, params.radio, rome_data, project_root, where)
    train = (make_split(links, params.splits, params.seed)["role"] == "train").values
    placed, report = estimate_positions(links, train, bounds=where.grid.bounds)
    check = report["position_check"]
    assert len(check["stations"]) == 11 and report["known"] + report["estimated"] == placed.sizes["bs"]
    assert sum(report["dropped"].values()) + placed.sizes["bs"] == links.sizes["bs"] == 120
    assert check["mean_m"] < 300 and 0.4 < check["chi2"] < 2.0
    assert not placed["ue_placed"].values[~train].any() and np.isfinite(placed["bs_x"]).all()
