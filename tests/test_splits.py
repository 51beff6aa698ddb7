"""Splits: every UE has one role, nothing leaks, and a leak that is planted is found."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import xarray as xr
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from scipy.io import loadmat

from rfloc.config import Leak, SplitParams
from rfloc.errors import FrameError, SplitError
from rfloc.schema import load, save
from rfloc.splits import (
    LEAKS,
    all_train,
    blocks_of,
    folds,
    held_out,
    leakage_report,
    make_split,
    split_like,
    unknown_area,
    val_area,
)
from tests.handmade import FRAME, make_links

#: Two touching boxes round the frame's origin, 333 m x 497 m and 222 m x 497 m.
TEST_BOX, VAL_BOX = [41.868, 41.871, 12.458, 12.464], [41.871, 41.873, 12.458, 12.464]
BOXES = SplitParams(kind="boxes", test_box=TEST_BOX, val_box=VAL_BOX, buffer=30.0)
BLOCKS = SplitParams()


def links_at(x: np.ndarray, y: np.ndarray) -> xr.Dataset:
    return make_links(np.column_stack([x, y]), np.zeros((1, 2)), np.full((len(x), 1), -80.0))


def scattered(n: int, seed: int, extent: float = 1000.0) -> xr.Dataset:
    x, y = np.random.default_rng(seed).uniform(-extent / 2, extent / 2, (2, n))
    return links_at(x, y)


@given(seed=st.integers(0, 999), block=st.sampled_from([80.0, 150.0]), buffer=st.sampled_from([0.0, 7.0, 30.0]))
def test_roles_hold_what_they_promise(seed, block, buffer):
    links = scattered(600, seed)
    params = SplitParams(block=block, unknown=0.2, known=0.1, val=0.1, buffer=buffer)
    split = make_split(links, params, seed)
    role, x, y = split["role"].values, links["ue_x"].values, links["ue_y"].values
    block_of = [tuple(b) for b in blocks_of(x, y, block)]
    unknown = {b for b, r in zip(block_of, role, strict=True) if r == "unknown"}
    # independently of the module: distance of every UE to the nearest held-out square
    low, points = np.array(sorted(unknown)) * block, np.column_stack([x, y])[:, None]
    apart = np.maximum(np.maximum(low - points, points - low - block), 0)
    gap = np.hypot(apart[..., 0], apart[..., 1]).min(axis=1)
    assert ((gap == 0) == (role == "unknown")).all()
    assert (gap[role == "buffer"] <= buffer).all()
    assert (gap[np.isin(role, ("train", "val", "known"))] >= buffer).all()
    assert unknown_area(split).area == pytest.approx(len(unknown) * block**2)
    assert unknown_area(split).intersection(val_area(split)).area == 0
    held, largest = (role == "unknown").sum(), max(block_of.count(b) for b in unknown)
    assert len(unknown) >= 2 and largest <= 0.1 * 600 and 0.2 * 600 <= held < 0.2 * 600 + largest
    free = np.isin(role, ("train", "known")).sum()
    assert (role == "known").sum() == round(0.1 * free)
    val = {b for b, r in zip(block_of, role, strict=True) if r == "val"}
    assert not any(b in val and r in ("train", "known") for b, r in zip(block_of, role, strict=True))


@given(seed=st.integers(0, 999), buffer=st.sampled_from([0.0, 30.0]))
def test_boxes_hold_what_they_promise(seed, buffer):
    links = scattered(400, seed)
    split = make_split(links, BOXES.model_copy(update={"buffer": buffer}), seed)
    role, lat, lon = split["role"].values, links["ue_lat"].values, links["ue_lon"].values
    # independently of the module: in degrees, and along the geodesic to the nearest point of the box
    inside, in_val = (
        (lat >= box[0]) & (lat <= box[1]) & (lon >= box[2]) & (lon <= box[3]) for box in (TEST_BOX, VAL_BOX)
    )
    nearest = np.clip(lon, *TEST_BOX[2:]), np.clip(lat, *TEST_BOX[:2])
    _, _, gap = Geod(ellps="WGS84").inv(lon, lat, *nearest)
    assert (inside == (role == "unknown")).all()
    assert (gap[np.isin(role, ("train", "val", "known"))] > buffer - 0.01).all()
    assert (gap[role == "buffer"] < buffer + 0.01).all()
    assert (in_val & (gap > buffer + 0.01) <= (role == "val")).all() and (in_val >= (role == "val")).all()
    assert (role == "known").sum() == round(0.1 * np.isin(role, ("train", "known")).sum())


@given(seed=st.integers(0, 999), count=st.sampled_from([2, 5]))
def test_folds_hold_every_block_out_once(seed, count):
    links = scattered(500, seed)
    params = SplitParams(block=200.0, known=0.1, val=0.1, buffer=20.0)
    made = folds(links, params, count, seed)
    role, block_of = np.array([s["role"].values for s in made]), blocks_of(links["ue_x"], links["ue_y"], 200.0)
    assert ((role == "unknown").sum(axis=0) == 1).all()
    fold = (role == "unknown").argmax(axis=0)
    blocks = {tuple(b): {int(f) for f in fold[(block_of == b).all(axis=1)]} for b in np.unique(block_of, axis=0)}
    assert all(len(of) == 1 for of in blocks.values())
    sizes = np.bincount([of.pop() for of in blocks.values()], minlength=count)
    assert sizes.max() - sizes.min() <= 1
    for split, mine in zip(made, role, strict=True):  # each is an ordinary split
        assert leakage_report(split, links)["leaks"]["buffer"] == 0
        assert (mine == "known").sum() == round(0.1 * np.isin(mine, ("train", "known")).sum())
        assert unknown_area(split).intersection(val_area(split)).area == 0 and (mine == "val").any()
        assert (held_out(split, links["ue_x"], links["ue_y"]) == np.isin(mine, ("unknown", "buffer"))).all()


@given(seed=st.integers(0, 999), params=st.sampled_from([BLOCKS, BOXES]))
def test_the_order_of_ues_does_not_matter(seed, params):
    links = scattered(300, seed)
    order = np.random.default_rng(seed).permutation(300)
    first, shuffled = make_split(links, params, seed), make_split(links.isel(ue=order), params, seed)
    assert (shuffled["role"].values == first["role"].values[order]).all()
    assert shuffled.attrs == first.attrs
    assert (make_split(links, params, seed + 1)["role"].values != first["role"].values).any()


def test_a_position_measured_twice_keeps_to_one_role():
    x, y = np.random.default_rng(5).uniform(0, 900, (2, 200))
    split = make_split(links_at(np.tile(x, 3), np.tile(y, 3)), SplitParams(known=0.3), 0)
    assert (split["role"].values.reshape(3, 200) == split["role"].values[:200]).all()


def test_report_measures_distances_and_crops():
    """Four UEs on a line, the block [0, 100] m x [0, 100] m held out."""
    links = links_at(np.array([10.0, 90.0, 210.0, 310.0]), np.full(4, 10.0))
    split = make_split(links, SplitParams(block=100.0, unknown=0.3, known=0.0, val=0.0, buffer=0.0), 0)
    split["role"][:] = np.array(["unknown", "unknown", "train", "train"])
    split.attrs["unknown_area"] = shapely.box(0, 0, 100, 100).wkt
    report = leakage_report(split, links)
    assert report["counts"] == {"train": 2, "val": 0, "known": 0, "unknown": 2, "buffer": 0}
    assert report["nearest_train"]["unknown"] == pytest.approx({"min": 120.0, "median": 160.0, "max": 200.0})
    assert report["held_out_m2"] == pytest.approx(100.0**2)
    unexamined = dict.fromkeys(("crops", "calibration", "stations", "interpolated"))
    assert report["leaks"] == {"positions": 0, "buffer": 0} | unexamined
    split.attrs |= {"allow": ["crops"], "crop_gap": 15.0}
    crops = np.array([160.0, 200.0, 310.0, 90.0]), np.full(4, 50.0), 100.0
    tests = xr.Dataset({"crop_x": ("sample", [100.0, 10.0]), "crop_y": ("sample", [100.0, -300.0])})
    tests = tests.assign(role=("sample", ["unknown"] * 2)).assign_attrs(crop_size=100.0)
    report = leakage_report(split, links, crops=crops, test_crops=tests)
    # of the first test crop, [50, 150]^2, two training crops that overlap each other show [50, 150] x [50, 100]
    assert report["crops"] == {
        "drawn": 4, "overlapping": 1, "share": 0.25,
        "test_area_shown": {"unknown": pytest.approx({"min": 0.0, "median": 0.25, "max": 0.5})},
    }  # fmt: skip
    assert report["leaks"]["crops"] == 2  # the crop that starts 10 m beside the block counts, too


def test_known_ues_beside_training_ues_are_counted():
    """A row of UEs 0.4 m to 3 m east of training UEs, levels read from a map of 5 m cells."""
    x = np.array([2.0, 2.4, 42.0, 43.0, 64.9, 65.9, 82.0, 85.0, 300.0])
    links = links_at(x, np.full(9, 1.0))
    split = all_train(links, [], 0)
    split["role"][:] = np.array(["train", "known"] * 4 + ["known"])
    report = leakage_report(split, links)
    assert report["beside_train"] == {"known": 3, "unknown": 0} and report["same_cell"] is None
    assert report["leaks"]["positions"] == 0
    assert leakage_report(split, links.assign_attrs(cell=5.0))["same_cell"] == {"known": 2, "unknown": 0}


def plant(leak: Leak, split: xr.Dataset, links: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, dict[str, Any]]:
    """Split, links and further arguments of a report in which one UE, or one crop, leaks."""
    split, role = split.copy(deep=True), split["role"].values
    first = {name: int(np.flatnonzero(role == name)[0]) for name in set(role)}
    mask = role == "train"
    match leak:
        case "positions":
            links = links.isel(ue=[*range(len(role)), first["train"]])
            split = split_like(split, links)
            split["role"][:] = [*role, "known"]
        case "buffer":
            split["role"][first["buffer"]] = "train"
        case "crops":
            held = links.isel(ue=first["unknown"])
            return split, links, {"crops": ([float(held["ue_x"]), 5000.0], [float(held["ue_y"]), 0.0], 50.0)}
        case "interpolated":
            filled = np.zeros(links["heard"].shape, bool)
            filled[[first["train"], first["buffer"]], 0] = True  # who is in no use can hold anything
            links = links.assign(interpolated=(("ue", "bs"), filled))
        case "calibration":
            mask[first["known"]] = True
            return split, links, {"calibration_ues": mask}
        case "stations":
            mask[first["unknown"]] = True
            links = links.assign_coords(ue_placed=("ue", mask))
    return split, links, {}


@pytest.mark.parametrize("params", [BLOCKS, BOXES], ids=["blocks", "boxes"])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_caught_unless_allowed(leak, params):
    links = scattered(400, 2)
    split = make_split(links, params.model_copy(update={"allow": []}), 0)
    leaky, its_links, more = plant(leak, split, links)
    for allowed in ([], [other for other in LEAKS if other != leak]):
        leaky.attrs["allow"] = allowed
        with pytest.raises(SplitError, match=f"leaks: 1 {LEAKS[leak][0]}\n") as caught:
            leakage_report(leaky, its_links, **more)
        assert f"put {leak} into splits.allow" in caught.value.mend
    leaky.attrs["allow"] = [leak]
    report = leakage_report(leaky, its_links, **more)
    assert {name: n for name, n in report["leaks"].items() if n} == {leak: 1} and report["allowed"] == [leak]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_an_allowed_leak_can_be_split():
    links = scattered(400, 2).assign_coords(ue_placed=("ue", np.ones(400, bool)))
    links = links.assign(interpolated=links["heard"].variable)
    with pytest.raises(SplitError, match=r"placed with are test UEs[\s\S]*were interpolated"):
        make_split(links, BLOCKS, 0)
    split = make_split(links, SplitParams(allow=["crops", "stations", "interpolated"]), 0)
    report = leakage_report(split, links)
    out = held_out(split, links["ue_x"], links["ue_y"]) | (split["role"].values == "known")
    assert (report["leaks"]["stations"], report["placed_ues"]) == (out.sum(), 400)
    assert report["interpolated_links"] == report["counts"]  # one station, which every UE hears
    assert report["leaks"]["interpolated"] == 400 - report["counts"]["buffer"]


def test_roles_areas_and_links_must_agree_and_folds_have_blocks_enough():
    with pytest.raises(SplitError, match="7 folds"):
        folds(scattered(50, 1), SplitParams(block=1000.0), 7, 0)
    links = scattered(400, 2)
    split = make_split(links, SplitParams(), 0)
    split["role"][np.flatnonzero(split["role"].values == "train")[0]] = "unknown"
    with pytest.raises(SplitError, match="unknown-street UEs lie outside"):
        leakage_report(split, links)
    with pytest.raises(SplitError, match="other links"):
        leakage_report(split, scattered(400, 3))


@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        (BLOCKS, {"buffer": 5000.0}, "'train'"),
        (BLOCKS, {"block": 2e4, "unknown": 1.0}, "'train' and 'val' and 'known'.*they occupy 4 blocks"),
        (BOXES, {"val_box": [43.0, 43.1, 12.458, 12.464]}, "'val'\n.*of 300 UEs: .*val 0, .*see that test_box"),
        (BOXES, {"test_box": [12.458, 12.464, 41.868, 41.871]}, r"'unknown'\n.*lat 41\.8655 to 41\.87"),
        (BOXES, {"test_box": [41.8, 41.9, 12.4, 12.5]}, "'train' and 'val' and 'known'\n.*unknown 300"),
    ],
    ids=["buffer", "all blocks", "nobody there", "swapped", "everybody"],
)
def test_impossible_splits_say_which_role_is_empty(params, change, message):
    with pytest.raises(SplitError, match=f"(?s)no UE for {message}.*narrow the buffer"):
        make_split(scattered(300, 0), params.model_copy(update=change), 0)


@pytest.mark.parametrize("params", [BLOCKS, BOXES], ids=["blocks", "boxes"])
def test_other_datasets_follow_the_same_areas(params):
    links = scattered(500, 1)
    split = make_split(links, params, 3)
    own = split_like(split, links)["role"].values
    assert (own == split["role"].where(split["role"] != "known", "train").values).all()
    simulated = scattered(2000, 9)
    like = split_like(split, simulated)
    roles, x, y = like["role"].values, simulated["ue_x"].values, simulated["ue_y"].values
    assert (np.isin(roles, ("unknown", "buffer")) == held_out(split, x, y)).all()
    assert set(roles) == {"train", "val", "unknown", "buffer"}
    assert (like.attrs["unknown_area"], like.attrs["allow"]) == (split.attrs["unknown_area"], split.attrs["allow"])
    report = leakage_report(like, simulated)
    assert report["counts"]["known"] == 0
    assert report["nearest_train"]["unknown"]["min"] >= params.buffer
    with pytest.raises(FrameError):
        split_like(split, links.assign_attrs(frame_lat0=48.1))


def test_the_paper_boxes_in_rome(rome_data, project_root):
    file = rome_data / "rome" / "Campaign_data_NBIoT_1_2_3_4_5_6_interpolated.mat"
    rows = loadmat(file, variable_names=["dataSet"])["dataSet"]
    lat, lon = (np.array([float(np.squeeze(row[column])) for row in rows]) for column in (0, 1))
    complete = np.array([np.isfinite(np.atleast_2d(row[2]).astype(float)).all(axis=1).any() for row in rows])
    conf = [yaml.safe_load((project_root / f"conf/splits/{n}.yaml").read_text()) for n in ("blocks", "rome_paper")]
    params = SplitParams(**{key: value for key, value in (conf[0] | conf[1]).items() if key != "defaults"})
    links = links_at(*FRAME.to_local(lat, lon))
    split = make_split(links, params, 7)
    # 2,670 locations; the 2,668 with a complete row leave the 2,353 outside both boxes that the released code splits
    for kept, rest in ((np.ones(len(lat), bool), 2355), (complete, 2353)):
        role = split["role"].values[kept]
        assert ((role == "unknown").sum(), (role == "val").sum()) == (179, 136)
        assert np.isin(role, ("train", "known")).sum() == rest
    report = leakage_report(split, links)
    assert report["held_out_m2"] == pytest.approx(1111 * 498, rel=0.01)
    # the validation box touches the test box, training UEs are far
    assert report["nearest_train"]["unknown"]["min"] > 500


@pytest.mark.parametrize("gap", [None, 12.5])
def test_boxes_are_geometry_in_the_frame_and_survive_the_disk(tmp_path: Path, gap: float | None) -> None:
    split = make_split(scattered(500, 1), BOXES.model_copy(update={"crop_gap": gap}), 3)
    back = load(save(split, tmp_path / "split.zarr", "split"), "split")
    assert back.identical(split) and unknown_area(back) == unknown_area(split)
    for area, (lat_min, lat_max, lon_min, lon_max) in ((unknown_area(split), TEST_BOX), (val_area(split), VAL_BOX)):
        x, y = FRAME.to_local([lat_min, lat_max], [lon_min, lon_max])
        assert area.bounds == pytest.approx((x[0], y[0], x[1], y[1]), abs=0.05)  # meridians converge
