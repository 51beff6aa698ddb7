"""Splits: every UE has one role, nothing leaks, and a leak that is planted is found."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from rfloc.config import SplitParams
from rfloc.errors import FrameError, SplitError
from rfloc.frames import LocalFrame
from rfloc.schema import links_dataset, load, save
from rfloc.splits import blocks_of, held_out, leakage_report, make_split, split_like

FRAME = LocalFrame(41.87, 12.46)


def links_at(x: np.ndarray, y: np.ndarray, frame: LocalFrame = FRAME) -> xr.Dataset:
    bs = {"x": [0.0], "y": [0.0], "h": [30.0], "azimuth": [np.nan], "power": [43.0], "id": ["a"]}
    features = {name: np.full((len(x), 1), -80.0) for name in ("rssi", "nsinr", "nrsrp", "nrsrq")}
    return links_dataset(features, {"x": x, "y": y}, bs, frame, source="test", city="toy", carrier_hz=1e9)


def scattered(n: int, seed: int, extent: float = 1000.0) -> xr.Dataset:
    x, y = np.random.default_rng(seed).uniform(-extent / 2, extent / 2, (2, n))
    return links_at(x, y)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), block=st.sampled_from([80.0, 150.0]), buffer=st.sampled_from([0.0, 7.0, 30.0]))
def test_roles_hold_what_they_promise(seed: int, block: float, buffer: float) -> None:
    links = scattered(600, seed)
    params = SplitParams(block=block, unknown=0.2, known=0.1, val=0.1, buffer=buffer)
    split = make_split(links, params, seed)
    role, x, y = split["role"].values, links["ue_x"].values, links["ue_y"].values
    block_of = [tuple(b) for b in blocks_of(x, y, block)]
    unknown = {b for b, r in zip(block_of, role, strict=True) if r == "unknown"}
    # independently of the module: distance of every other UE to each held-out square, corner by corner
    for i, r in enumerate(role):
        gaps = [
            np.hypot(
                max(bx * block - x[i], x[i] - (bx + 1) * block, 0), max(by * block - y[i], y[i] - (by + 1) * block, 0)
            )
            for bx, by in unknown
        ]
        if r == "unknown":
            assert min(gaps) == 0
        elif r == "buffer":
            assert 0 <= min(gaps) < buffer
        else:
            assert min(gaps) >= buffer and block_of[i] not in unknown
    assert len(unknown) == round(0.2 * len(set(block_of)))
    free = np.isin(role, ("train", "known")).sum()
    assert (role == "known").sum() == round(0.1 * free)
    val = {b for b, r in zip(block_of, role, strict=True) if r == "val"}
    assert not any(b in val and r in ("train", "known") for b, r in zip(block_of, role, strict=True))


def test_same_seed_same_split_and_order_of_ues_does_not_choose_blocks() -> None:
    links, params = scattered(500, 1), SplitParams()
    first, again = make_split(links, params, 3), make_split(links, params, 3)
    xr.testing.assert_identical(first, again)
    assert (make_split(links, params, 4)["role"].values != first["role"].values).any()
    order = np.random.default_rng(0).permutation(500)
    shuffled = make_split(links.isel(ue=order), params, 3)
    assert ((shuffled["role"] == "unknown").values == (first["role"] == "unknown").values[order]).all()


def test_a_position_measured_twice_keeps_to_one_role() -> None:
    x, y = np.random.default_rng(5).uniform(0, 900, (2, 200))
    split = make_split(links_at(np.tile(x, 3), np.tile(y, 3)), SplitParams(known=0.3), 0)
    assert (split["role"].values.reshape(3, 200) == split["role"].values[:200]).all()


def test_report_measures_distances() -> None:
    links = links_at(np.array([10.0, 90.0, 210.0, 310.0]), np.array([10.0, 10.0, 10.0, 10.0]))
    split = make_split(links, SplitParams(block=100.0, unknown=0.3, known=0.0, val=0.0, buffer=0.0), 0)
    split["role"][:] = np.array(["unknown", "unknown", "train", "train"])
    split.attrs["unknown_blocks"] = [[0, 0]]
    report = leakage_report(split, links)
    assert report["counts"] == {"train": 2, "val": 0, "known": 0, "unknown": 2, "buffer": 0}
    assert report["nearest_train"]["unknown"] == pytest.approx({"min": 120.0, "median": 160.0, "max": 200.0})


def test_planted_leaks_are_refused() -> None:
    links = scattered(400, 2)
    split = make_split(links, SplitParams(), 0)
    role = split["role"].values
    near = split.copy(deep=True)
    near["role"][np.flatnonzero(role == "buffer")[0]] = "train"
    with pytest.raises(SplitError, match="within 20 m"):
        leakage_report(near, links)
    inside = split.copy(deep=True)
    inside["role"][np.flatnonzero(role == "unknown")[0]] = "val"
    with pytest.raises(SplitError, match="held-out blocks"):
        leakage_report(inside, links)
    outside = split.copy(deep=True)
    outside["role"][np.flatnonzero(role == "train")[0]] = "unknown"
    with pytest.raises(SplitError, match="1 unknown-street UEs lie outside"):
        leakage_report(outside, links)
    doubled = links_at(
        np.append(links["ue_x"], links["ue_x"][role == "train"][0]),
        np.append(links["ue_y"], links["ue_y"][role == "train"][0]),
    )
    twice = split_like(split, doubled)
    twice["role"][-1] = "known"
    with pytest.raises(SplitError, match="1 positions are both"):
        leakage_report(twice, doubled)


def test_split_of_other_links_is_refused() -> None:
    split = make_split(scattered(400, 2), SplitParams(), 0)
    with pytest.raises(SplitError, match="other links"):
        leakage_report(split, scattered(400, 3))
    with pytest.raises(SplitError, match="other links"):
        leakage_report(split, scattered(300, 2))


def test_impossible_splits_say_which_role_is_empty() -> None:
    links = scattered(50, 0, extent=90.0)
    with pytest.raises(SplitError, match="'train'"):
        make_split(links, SplitParams(block=50.0, buffer=500.0), 0)
    with pytest.raises(SplitError, match="1 are held out"):
        make_split(links_at(np.array([1.0]), np.array([1.0])), SplitParams(), 0)
    with pytest.raises(SplitError, match="'train'"):
        make_split(links, SplitParams(unknown=0.0, val=0.0, known=1.0), 0)


def test_other_datasets_follow_the_same_blocks() -> None:
    split = make_split(scattered(500, 1), SplitParams(buffer=25.0), 3)
    simulated = scattered(2000, 9)
    roles = split_like(split, simulated)["role"].values
    x, y = simulated["ue_x"].values, simulated["ue_y"].values
    assert (np.isin(roles, ("unknown", "buffer")) == held_out(split, x, y)).all()
    assert set(roles) == {"train", "val", "unknown", "buffer"}
    with pytest.raises(FrameError):
        split_like(split, links_at(np.array([0.0]), np.array([0.0]), LocalFrame(48.1, 11.6)))


def test_split_survives_the_disk(tmp_path) -> None:
    split = make_split(scattered(300, 4), SplitParams(), 0)
    back = load(save(split, tmp_path / "split.zarr", "split"), "split")
    assert (back["role"].values == split["role"].values).all()
    x, y = np.random.default_rng(0).uniform(-500, 500, (2, 100))
    assert (held_out(back, x, y) == held_out(split, x, y)).all()
