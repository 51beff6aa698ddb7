"""Every block is held out once, what is held out is not looked at, and scores are what they are called."""

import numpy as np
import pytest
import xarray as xr

from rfloc.calibration import calibrated_links
from rfloc.config import BaselineParams, EvaluationParams, Params, SimulationParams, SplitParams
from rfloc.datasets.statistical import fit
from rfloc.simulation import read_maps
from rfloc.simulation.maps import trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.splits import all_train, folds
from rfloc.stations import Stations
from rfloc.studies import Unmeasured, statistical_maps
from tests.handmade import crop_params
from tests.studies.test_sensitivity import RADIO, STATIONS

SPLITS = SplitParams(kind="blocks", block=60.0, buffer=5.0, unknown=0.3, known=0.1, val=0.0)
PARAMS = Params.model_construct(
    radio=RADIO, crops=crop_params(), baselines=BaselineParams(k=3), seed=1,
    evaluation=EvaluationParams(bootstrap=40, block=60.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def maps(toy_city):
    sim = SimulationParams(cell=10.0, samples=20_000, max_depth=1, map_batches=2)
    return trace_maps(Plane(toy_city, 10.0, RADIO.ue_height), STATIONS, Rays(sim, RADIO, 20_000, 0), progress=False)


@pytest.fixture(scope="module")
def links(toy_city, maps):
    x, y = toy_city.street_points(120, np.random.default_rng(3))
    return calibrated_links(toy_city, maps, xr.Dataset({"ue_x": ("ue", x), "ue_y": ("ue", y)}), RADIO)


def test_what_is_right_ranks_first_and_no_fold_is_shown_what_it_holds_out(toy_city, maps, links):
    shown, dealt = [], folds(links, SPLITS, 3, 0)

    def wrong(split):
        shown.append(split)
        noise = 10 ** np.random.default_rng(0).normal(0.0, 1.0, maps.path_gain.shape)
        return maps.assign(path_gain=maps.path_gain * noise)

    louder = maps.assign_coords(bs_power=maps.bs_power + 7.0)  # powers are levelled
    found = Unmeasured.of(dealt, {"right": lambda _: louder, "wrong": wrong}, links, links, toy_city, PARAMS)
    assert all(one is other for one, other in zip(shown, dealt, strict=True))
    assert found.measured.sizes["ue"] == links.sizes["ue"]  # each once
    row = found.over("wrong", range(3))
    right, worse = row["right"], row["wrong"]
    assert right["rho"]["value"] == pytest.approx(1.0, abs=0.01)
    assert right["rms"]["value"] == pytest.approx(0.0, abs=0.05)
    for measure, entry in right.items():
        assert entry["gain"] > 0 and entry["interval"][0] <= entry["gain"] <= entry["interval"][1], measure
        assert worse[measure]["gain"] == 0.0
    assert right["rms"]["gain"] == pytest.approx(1.0 - right["rms"]["value"] / worse["rms"]["value"])
    assert found.over("wrong", [0])["wrong"]["rho"]["value"] != worse["rho"]["value"]


def test_maps_of_the_statistical_simulator_say_what_it_expects(toy_city, maps, links):
    split = all_train(links, [], 0)
    found = statistical_maps(links, split, maps, toy_city, RADIO)
    model = fit(links, np.ones(links.sizes["ue"], bool), toy_city, RADIO)
    row, col = np.nonzero((maps.path_gain.values > 0).all(0))
    x, y = maps.x.values[col], maps.y.values[row]
    expected = model.path_gain_db(toy_city, Stations.from_dataset(maps), x, y, RADIO)
    assert 10 * np.log10(read_maps(found, x, y, RADIO)) == pytest.approx(expected, abs=0.01)
