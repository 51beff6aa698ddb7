from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm

from rfloc.crops import CropBatcher, CropPlacer, cell_centres, cell_index, evaluation_crops, size_bins, turn
from rfloc.errors import DataError, FrameError, SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import FEATURES
from tests.handmade import crop_params, make_links, make_raster, make_split, open_raster, scattered


@pytest.fixture
def links():
    return scattered()[0]


@given(st.integers(0, 27), st.integers(0, 27))
def test_cell_index_inverts_cell_centres(row, col):
    x, y = cell_centres(560, 28)
    assert cell_index([x[row, col], y[row, col]], 560, 28) == row * 28 + col
    assert y[0, 0] > y[-1, 0]


def test_batch_takes_the_strongest_stations_inside_the_crop():
    bs = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 270.0], [400.0, 0.0], [-50.0, -50.0]])
    level = np.array([[-90.0, -70.0, -80.0, -40.0, np.nan]])
    rssi = np.array([[-60.0, np.nan, -50.0, -10.0, np.nan]])
    links = make_links(np.array([[10.0, 20.0]]), bs, level, rssi=rssi)
    batch = CropBatcher(links, open_raster(), crop_params(max_bs=2)).batch([0], [5.0], [0.0])
    assert batch.bs_index.tolist() == [[1, 2]]  # station 3 is outside, 4 is not heard, 0 is the weakest
    np.testing.assert_allclose(batch.bs_xy, [[[95.0, 0.0], [-5.0, 270.0]]])
    np.testing.assert_allclose(batch.target_xy, [[5.0, 20.0]])
    order = list(FEATURES)
    assert batch.rf[0, :, order.index("nrsrp")].tolist() == [-70.0, -80.0]
    assert batch.rf_mask[0, :, order.index("rssi")].tolist() == [False, True]
    assert batch.rf[0, 0, order.index("rssi")] == 0 and np.isfinite(batch.rf).all()
    wide = CropBatcher(links, open_raster(), crop_params(max_bs=9)).batch([0], [5.0], [0.0])
    assert wide.bs_mask.sum() == 3 and wide.bs_mask.shape == (1, 9)
    assert not any(values[~wide.bs_mask].any() for values in (wide.rf_mask, wide.bs_xy))
    assert not wide.bs_boresight.any()  # no azimuth is known


def test_zooming_moves_the_picture_and_keeps_the_reports():
    """As a crop cut there, but for stations: all of the larger crop, also those outside; a UE may lie outside."""
    links, bs = scattered(12, reach=220.0)
    stripes = np.add.outer(np.arange(1000), np.arange(1000)) % 170 < 40
    batcher = CropBatcher(links, make_raster(stripes), crop_params(max_bs=8))
    ue, at = np.arange(12), np.stack([links["ue_x"], links["ue_y"]], axis=1)
    near = at - 30.0
    zoomed = batcher.zoom(batcher.batch(ue, np.zeros(12), np.zeros(12)), near, 100.0)
    alone = batcher.batch(ue, *near.T, size=100.0)
    for name in ("image", "target_xy", "target", "centre", "size"):
        np.testing.assert_allclose(getattr(zoomed, name), getattr(alone, name), atol=1e-4)
    heard = zoomed.bs_mask
    assert heard.sum() == links["heard"].values.sum() > alone.bs_mask.sum()
    np.testing.assert_allclose(zoomed.bs_xy[heard], (bs[zoomed.bs_index] - near[:, None])[heard], atol=1e-3)
    far = batcher.zoom(zoomed, np.add(at, [0.0, 80.0]), 100.0)
    assert (far.target // 28 == 27).all() and (far.target_xy[:, 1] < -50).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_flips_and_turns_move_map_stations_and_target_together(flip, turns):
    bs = np.array([[200.0, 130.0]])
    road = np.zeros((1000, 1000))
    road[630:640, 700:710] = 1  # the station's own pixel, at x 200..210, y 130..140
    road[560:570, 400:410] = 1  # the UE's, at x -100..-90, y 60..70
    links = make_links(np.array([[-95.0, 65.0]]), bs + 5, np.array([[-70.0]]))
    links["bs_azimuth"][:] = np.degrees(np.arctan2(-300.0, -70.0))  # it looks at the UE
    params = crop_params(output=56)
    batch = CropBatcher(links, make_raster(road * 0, road), params).batch([0], [0.0], [0.0], flip=[flip], turns=[turns])
    lit = set(np.flatnonzero(batch.image[0, 1].ravel() > 0.5))
    assert lit == {int(batch.target[0]), int(cell_index(batch.bs_xy[0, 0], 560, 56))}
    toward = batch.target_xy[0] - batch.bs_xy[0, 0]
    np.testing.assert_allclose(np.hypot(300, 70) * batch.bs_boresight[0, 0], toward, rtol=1e-5)


@given(st.floats(-9, 9), st.floats(-9, 9))
def test_one_turn_is_counter_clockwise_and_four_are_none(x, y):
    xy = np.array([[x, y]])
    plain, mirrored = np.array([False]), np.array([True])
    np.testing.assert_allclose(turn(xy, plain, np.array([1])), [[-y, x]])
    np.testing.assert_allclose(turn(xy, plain, np.array([4])), xy)
    np.testing.assert_allclose(turn(turn(xy, mirrored, np.array([0])), mirrored, np.array([0])), xy)


def test_other_frames_a_foreign_split_and_a_ue_outside_its_crop_are_refused(links):
    raster = open_raster()
    with pytest.raises(DataError, match="from the centre of its crop"):
        CropBatcher(links, raster, crop_params()).batch([0], [2000.0], [0.0])
    raster.attrs.update(LocalFrame(41.0, 12.0).to_attrs())
    with pytest.raises(FrameError):
        CropBatcher(links, raster, crop_params())
    with pytest.raises(SplitError, match="made for other links"):
        evaluation_crops(links.isel(ue=slice(1, None)), make_split(links, _roles(60)), crop_params(), seed=0)


def _roles(n):
    return np.array(["known", "unknown", "train"])[np.arange(n) % 3]


@pytest.mark.parametrize("variable", [False, True])
def test_evaluation_crops_hold_enough_stations_and_their_ue_in_the_central_share_and_repeat(variable):
    links, bs = scattered(300)
    params, split = crop_params(min_heard=3, per_ue=2), make_split(links, _roles(300))
    ds, again, other = (evaluation_crops(links, split, params, seed=k, variable=variable) for k in (3, 3, 4))
    assert ds.identical(again) and not np.array_equal(ds.crop_x, other.crop_x)
    for role in ("known", "unknown"):
        mine = ds.isel(sample=ds.role.values == role)
        assert mine.sizes["sample"] == 2 * len(set(mine.ue.values)) > 0
    alone = evaluation_crops(links, split, params, roles=["unknown"], seed=3, variable=variable)
    np.testing.assert_array_equal(alone.crop_x, mine.crop_x)
    assert ds.attrs["known_ues"] == 100 and ds.attrs["crop_size"] == (600 if variable else 560)
    size = ds["size"].values if variable else np.full(ds.sizes["sample"], 560.0)
    assert len(np.unique(size)) == (ds.sizes["sample"] if variable else 1)
    inside = CropBatcher(links, open_raster(), params).inside(ds.ue, ds.crop_x, ds.crop_y, size)
    assert inside.sum(axis=1).min() >= 3
    centre = np.stack([ds.crop_x, ds.crop_y], axis=1)
    near = np.abs(bs - centre[:, None]).max(axis=2) <= size[:, None] / 2
    np.testing.assert_array_equal(inside, near & links.heard.values[ds.ue])
    assert (np.abs(np.stack([ds.x, ds.y], axis=1) - centre) / size[:, None]).max() <= 0.45


@pytest.mark.parametrize("variable", [False, True])
def test_another_ue_moves_no_crop(links, variable):
    split = make_split(links, np.full(60, "known"))
    every = evaluation_crops(links, split, crop_params(per_ue=2), roles=["known"], seed=3, variable=variable)
    order = np.random.default_rng(0).permutation(60)[:40]
    some = links.isel(ue=order), make_split(links.isel(ue=order), np.full(40, "known"))
    fewer = evaluation_crops(*some, crop_params(per_ue=2), roles=["known"], seed=3, variable=variable)
    where = {(x, k % 2): k for k, x in enumerate(every.x.values)}
    same = [where[x, k % 2] for k, x in enumerate(fewer.x.values)]
    assert len(same) > 60
    for name in ("crop_x", "crop_y", *(["size"] if variable else [])):
        np.testing.assert_array_equal(fewer[name], every[name][same])


def test_ues_that_hear_too_little_are_counted_not_kept(links):
    links["heard"][0] = False
    for name in FEATURES:
        links[name][0] = np.nan
    ds = evaluation_crops(links, make_split(links, _roles(60)), crop_params(), roles=["known"], seed=0)
    assert 0 not in ds.ue.values and ds.attrs["known_dropped"] >= 1
    with pytest.raises(SplitError, match="none of the 20 UEs"):
        evaluation_crops(links, make_split(links, _roles(60)), crop_params(min_heard=9), seed=0)


def test_a_crop_that_is_not_allowed_is_drawn_again_and_sizes_follow_the_truncated_normal(links):
    placer = CropPlacer(links, crop_params())
    x, y, size, found = placer.eligible(np.arange(60), np.random.default_rng(0), lambda x, y, size: x + size / 2 < 250)
    assert found.mean() > 0.5 and (x[found] + 280 < 250).all() and (size == 560).all()
    assert (np.abs(placer.ue_xy - np.stack([x, y], axis=1)).max(axis=1) <= 252).all()
    free = placer.eligible(np.arange(60), np.random.default_rng(0))
    assert free[3].all() and (free[0] + 280 >= 250).any()
    assert not placer.eligible(np.arange(60), np.random.default_rng(0), lambda x, *_: np.zeros(len(x), bool))[3].any()
    half = CropPlacer(links, crop_params(), variable=True).sizes(20_000, np.random.default_rng(0)) / 2
    law = truncnorm(-2, 3, 300, 100)
    assert half.min() >= 100 and half.max() <= 600
    assert kstest(half, law.cdf).pvalue > 1e-3
    assert (CropPlacer(links, crop_params()).sizes(3, np.random.default_rng(0)) == 560).all()


@given(st.floats(200, 1200))
def test_bins_of_200_m_from_200_to_1200(size):
    index, limits = size_bins([size], crop_params())
    assert limits.tolist() == [200, 400, 600, 800, 1000, 1200]
    assert limits[index[0]] <= size <= limits[index[0] + 1] and (size < limits[index[0] + 1] or size == 1200)


def test_a_batch_takes_a_size_a_crop(links):
    road = np.random.default_rng(0).random((1000, 1000)) < 0.5
    params = crop_params()
    batcher = CropBatcher(links, make_raster(road * 0, road), params)
    ue, size = np.array([3, 4, 5]), np.array([200.0, 560.0, 1000.0])
    mixed = batcher.batch(ue, *(batcher.ue_xy[ue] + 30).T, size=size)
    for b, edge in enumerate(size):
        alone = CropBatcher(links, make_raster(road * 0, road), params.model_copy(update={"size": edge}))
        want = alone.batch(ue[b], *(batcher.ue_xy[ue[b]] + 30))
        got = mixed.take([b])
        for field in fields(want):
            np.testing.assert_array_equal(getattr(got, field.name), getattr(want, field.name), err_msg=field.name)
    assert mixed.take([2, 0]).size.tolist() == [1000, 200]
    with pytest.raises(DataError, match="a crop of 50 m reaches 25 m"):
        batcher.batch(ue, *(batcher.ue_xy[ue] + 30).T, size=[200.0, 50.0, 560.0])
