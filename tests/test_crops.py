from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfloc.crops import AreaPooler, CropBatcher, cell_centres, cell_index, evaluation_crops, turn
from rfloc.errors import DataError, FrameError, SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import FEATURES
from tests.handmade import crop_params, make_links, make_raster, make_split, open_raster, scattered


def test_pooling_is_the_mean_of_whole_cells():
    rng = np.random.default_rng(1)
    building = rng.random((1000, 1000)) < 0.3
    pooler = AreaPooler(make_raster(building), ["building"])
    got = pooler.window(20.0, -40.0, 560, 56)[0]
    south, west = 500 - 40 - 280, 500 + 20 - 280
    block = building[south : south + 560, west : west + 560]
    want = block.reshape(56, 10, 56, 10).mean(axis=(1, 3))[::-1]
    np.testing.assert_allclose(got, want, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-400, 400), st.floats(-400, 400), st.sampled_from([(560.0, 56), (97.3, 13), (8.4, 24)]))
def test_pooling_is_exact_at_any_offset_and_zero_outside(x, y, window):
    size, pixels = window
    building = np.zeros((600, 500))
    building[100:250, 50:320] = 1
    pooler = AreaPooler(make_raster(building, x0=-250, y0=-300), ["building"])
    got = pooler.window(x, y, size, pixels)[0]
    edges_x = x - size / 2 + size / pixels * np.arange(pixels + 1)
    edges_y = y - size / 2 + size / pixels * np.arange(pixels + 1)

    def overlap(edges, low, high):
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (size / pixels)

    want = np.outer(overlap(edges_y, -200, -50), overlap(edges_x, -200, 70))[::-1]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert got.min() >= 0 and not got[want == 0].any()  # nothing where nothing is, not even rounding


def test_north_is_up_and_east_is_right():
    road = np.zeros((1000, 1000))
    road[900:, :] = 1  # north
    road[:, 950:] = 1  # east
    links = make_links(np.array([[220.0, 220.0]]), np.array([[300.0, 200.0]]), np.array([[-80.0]]))
    image = CropBatcher(links, make_raster(road * 0, road), crop_params()).batch([0], [220.0], [220.0]).image[0, 1]
    assert image[0].mean() == 1 and image[-1, :-20].mean() == 0
    assert image[:, -1].mean() == 1 and image[20:, 0].mean() == 0


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
    assert not wide.rf_mask[~wide.bs_mask].any() and not wide.bs_xy[~wide.bs_mask].any()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_flips_and_turns_move_map_stations_and_target_together(flip, turns):
    bs = np.array([[200.0, 130.0]])
    road = np.zeros((1000, 1000))
    road[630:640, 700:710] = 1  # the station's own pixel, at x 200..210, y 130..140
    road[560:570, 400:410] = 1  # the UE's, at x -100..-90, y 60..70
    links = make_links(np.array([[-95.0, 65.0]]), bs + 5, np.array([[-70.0]]))
    params = crop_params(output=56)
    batch = CropBatcher(links, make_raster(road * 0, road), params).batch([0], [0.0], [0.0], flip=[flip], turns=[turns])
    lit = set(np.flatnonzero(batch.image[0, 1].ravel() > 0.5))
    assert lit == {int(batch.target[0]), int(cell_index(batch.bs_xy[0, 0], 560, 56))}
    np.testing.assert_allclose(np.linalg.norm(batch.bs_xy[0, 0] - batch.target_xy[0]), np.hypot(300, 70), rtol=1e-6)


@given(st.floats(-9, 9), st.floats(-9, 9))
def test_one_turn_is_counter_clockwise_and_four_are_none(x, y):
    xy = np.array([[x, y]])
    np.testing.assert_allclose(turn(xy, [False], [1]), [[-y, x]])
    np.testing.assert_allclose(turn(xy, [False], [4]), xy)
    np.testing.assert_allclose(turn(turn(xy, [True], [0]), [True], [0]), xy)


def test_a_ue_outside_its_crop_is_an_error():
    links, _ = scattered()
    with pytest.raises(DataError, match="from the centre of its crop"):
        CropBatcher(links, open_raster(), crop_params()).batch([0], [2000.0], [0.0])


def test_frames_must_agree():
    links, _ = scattered()
    raster = open_raster()
    raster.attrs.update(LocalFrame(41.0, 12.0).to_attrs())
    with pytest.raises(FrameError):
        CropBatcher(links, raster, crop_params())


def test_jitter_is_uniform_in_the_central_square():
    links, _ = scattered()
    batcher = CropBatcher(links, open_raster(), crop_params())
    ue = np.zeros(4000, int)
    x, y = batcher.jittered(ue, np.random.default_rng(0))
    offset = np.stack([x, y]) - batcher.ue_xy[0][:, None]
    assert np.abs(offset).max() <= 252 and np.abs(offset).max() > 250
    np.testing.assert_allclose(offset.std(axis=1), 504 / np.sqrt(12), rtol=0.03)
    assert abs(np.corrcoef(offset)[0, 1]) < 0.05


def _roles(n):
    return np.array(["known", "unknown", "train"])[np.arange(n) % 3]


def test_evaluation_crops_hold_enough_stations_and_repeat():
    links, bs = scattered()
    params = crop_params(min_heard=3, per_ue=2, max_eval=7)
    split = make_split(links, _roles(60))
    ds = evaluation_crops(links, split, params, seed=3)
    assert ds.identical(evaluation_crops(links, split, params, seed=3))
    assert not np.array_equal(ds.crop_x, evaluation_crops(links, split, params, seed=4).crop_x)
    for role in ("known", "unknown"):
        mine = ds.isel(sample=ds.role.values == role)
        assert len(set(mine.ue.values)) == 7 and mine.sizes["sample"] == 14
    inside = CropBatcher(links, open_raster(), params).inside(ds.ue, ds.crop_x, ds.crop_y)
    assert inside.sum(axis=1).min() >= 3
    near = np.abs(bs - np.stack([ds.crop_x, ds.crop_y], axis=1)[:, None]).max(axis=2) <= 280
    np.testing.assert_array_equal(inside, near & links.heard.values[ds.ue])
    alone = evaluation_crops(links, split, params, roles=["unknown"], seed=3)
    shared = ds.isel(sample=ds.role.values == "unknown")
    np.testing.assert_array_equal(alone.crop_x, shared.crop_x)
    assert ds.attrs["known_ues"] == 20


def test_ues_that_hear_too_little_are_counted_not_kept():
    links, _ = scattered()
    links["heard"][0] = False
    for name in FEATURES:
        links[name][0] = np.nan
    ds = evaluation_crops(links, make_split(links, _roles(60)), crop_params(), roles=["known"], seed=0)
    assert 0 not in ds.ue.values and ds.attrs["known_dropped"] >= 1
    with pytest.raises(SplitError, match="none of the 20 UEs"):
        evaluation_crops(links, make_split(links, _roles(60)), crop_params(min_heard=9), seed=0)


def test_a_foreign_split_is_refused():
    links, _ = scattered()
    split = make_split(links, _roles(60))
    with pytest.raises(SplitError, match="not made for these links"):
        evaluation_crops(links.isel(ue=slice(1, None)), split, crop_params(), seed=0)
    with pytest.raises(SplitError, match="no role"):
        evaluation_crops(links, split, crop_params(), roles=["nowhere"], seed=0)
