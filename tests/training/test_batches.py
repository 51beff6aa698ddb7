"""Which crops are drawn, and what augmentation does to them."""

import numpy as np
import pytest
import shapely
import xarray as xr

from rfloc.config import CropParams, SplitParams, TrainingParams
from rfloc.frames import LocalFrame
from rfloc.splits import held_out, make_split, unknown_area
from rfloc.training.batches import CropSource, TrainingSteps, ValidationSteps, augment, training_ues
from tests.training.conftest import log_distance_links

SPLIT = SplitParams(block=50.0, buffer=10.0)


def test_only_training_ues_of_the_split_are_drawn_and_validation_crops_are_fixed_and_complete(links, plain, crops):
    split = make_split(links, SPLIT, 1)
    source = CropSource((links, plain, split, False), crops, 0)
    drawn = source.draw(300, True, np.random.default_rng(0))
    assert set(split["role"].values[drawn.ue]) == {"train"}
    assert (drawn.bs_mask.sum(1) >= crops.min_heard).all()
    a, b = (ValidationSteps(links, plain, split, crops, 7, 3) for _ in range(2))
    count = sum(len(a[i]["target"]) for i in range(len(a)))
    assert count == (split["role"] == "val").sum()
    np.testing.assert_array_equal(a[0]["target_xy"], b[0]["target_xy"])


def test_training_crops_keep_their_distance_from_held_out_areas(links, plain, crops):
    small = crops.model_copy(update={"size": 160.0, "min_heard": 1})
    split = make_split(links, SPLIT.model_copy(update={"crop_gap": 5.0, "unknown": 0.05, "block": 100.0}), 1)
    batch = CropSource((links, plain, split, False), small, 0).draw(200, True, np.random.default_rng(0))
    area = unknown_area(split)
    x, y = batch.centre.T
    squares = shapely.box(x - 80, y - 80, x + 80, y + 80)
    assert shapely.distance(squares, area).min() > 5.0
    anywhere = split.drop_attrs().assign_attrs({k: v for k, v in split.attrs.items() if k != "crop_gap"})
    free = CropSource((links, plain, anywhere, False), small, 0).draw(200, True, np.random.default_rng(0))
    x, y = free.centre.T
    assert shapely.distance(shapely.box(x - 80, y - 80, x + 80, y + 80), area).min() == 0.0


def test_held_out_streets_bind_links_in_another_frame(links: xr.Dataset, plain: xr.Dataset, crops: CropParams) -> None:
    """A patch has a frame of its own: the same UEs are left out, and the same crops, wherever its origin lies."""
    small = crops.model_copy(update={"size": 100.0, "min_heard": 1})
    split = make_split(links, SPLIT.model_copy(update={"crop_gap": 0.0}), 1)
    simulated = log_distance_links(500, seed=9)
    here = LocalFrame.from_attrs(simulated.attrs)
    there = LocalFrame(here.lat0 + 0.002, here.lon0 - 0.003)
    moved = simulated.assign_attrs(there.to_attrs())
    for kind in ("ue", "bs"):
        x, y = there.to_local(*here.to_geographic(moved[f"{kind}_x"].values, moved[f"{kind}_y"].values))
        moved = moved.assign_coords({f"{kind}_x": (kind, x), f"{kind}_y": (kind, y)})
    allowed = training_ues(simulated, split)
    np.testing.assert_array_equal(training_ues(moved, split), allowed)
    assert allowed.any() and not (allowed & held_out(split, simulated["ue_x"].values, simulated["ue_y"].values)).any()
    at = simulated["ue_x"].values, simulated["ue_y"].values
    allowed = CropSource((simulated, plain, split, True), small, 0)._allowed(*at, np.full(500, 60.0))
    x, y = moved["ue_x"].values, moved["ue_y"].values
    assert 0 < allowed.sum() < 500
    frame_of_patch = CropSource((simulated, plain, split, True), small, 0)
    frame_of_patch.frame = there
    assert (frame_of_patch._allowed(x, y, np.full(500, 60.0)) == allowed).mean() > 0.99


def test_batches_depend_on_seed_and_number_only(links: xr.Dataset, plain: xr.Dataset, crops: CropParams) -> None:
    sources = [CropSource((links, plain, None, True), crops, 0)]
    run = TrainingSteps(sources, TrainingParams(), 8, 5, range(6))
    part = TrainingSteps(sources, TrainingParams(), 8, 5, range(1, 6, 2))
    for ours, theirs in ((1, 0), (3, 1), (5, 2)):
        for name, value in run[ours].items():
            np.testing.assert_array_equal(value, part[theirs][name])
    assert not np.array_equal(run[0]["target_xy"], run[1]["target_xy"])


def test_datasets_mix_in_proportion_to_their_ues(plain: xr.Dataset, crops: CropParams) -> None:
    sources = [(log_distance_links(n, seed=n), plain, None, True) for n in (100, 300)]
    ready = [CropSource(source, crops, 0) for source in sources]
    steps = TrainingSteps(ready, TrainingParams(flips=False, noise_db=0.0), 400, 0, range(1))
    batch = steps.numpy_batch(0)
    truth = batch.centre + batch.target_xy
    small = sources[0][0]
    of_small = [np.hypot(small["ue_x"] - x, small["ue_y"] - y).min() < 1e-3 for x, y in truth]
    assert np.mean(of_small) == pytest.approx(0.25, abs=0.07)


def test_noise_has_the_stated_spread_on_simulated_crops_only(links, plain, crops):
    source = CropSource((links, plain, None, True), crops, 0)
    batch = source.draw(400, False, np.random.default_rng(1))
    noisy = np.arange(400) < 300
    training = TrainingParams(noise_db=8.0, dropout_bs=0.0)
    noise = (augment(batch, noisy, training, 3, np.random.default_rng(2)).rf - batch.rf)[:300]
    there = batch.rf_mask[:300]
    assert noise[there].std() == pytest.approx(8.0, rel=0.1)
    both = batch.bs_mask[:300]
    assert np.corrcoef(noise[both][:, 0], noise[both][:, 2])[0, 1] == pytest.approx(0.75, abs=0.06)
    quiet = augment(batch, noisy, training, 3, np.random.default_rng(2))
    np.testing.assert_array_equal(quiet.rf[300:], batch.rf[300:])
    assert (quiet.rf[~quiet.rf_mask] == 0).all()


def test_dropped_stations_vanish_but_the_strongest_stay(links, plain, crops):
    batch = CropSource((links, plain, None, False), crops, 0).draw(300, False, np.random.default_rng(1))
    after = augment(batch, np.zeros(300, bool), TrainingParams(dropout_bs=1.0), 2, np.random.default_rng(2))
    assert (after.bs_mask[:, :2] == batch.bs_mask[:, :2]).all()
    share = 1 - after.bs_mask[:, 2:].sum() / batch.bs_mask[:, 2:].sum()
    assert share == pytest.approx(0.5, abs=0.05)
    assert not after.rf_mask[~after.bs_mask].any()
