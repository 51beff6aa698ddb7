"""Datasets B and C: what they draw, and that patches agree about it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import shapely
import xarray as xr

from rfloc import config
from rfloc.calibration import calibrated_links
from rfloc.city import cut
from rfloc.config import EngineParams, RadioParams, SimulationParams, SplitParams, SyntheticParams
from rfloc.datasets import hidden, synthetic
from rfloc.datasets.build import features, links_from_gain
from rfloc.datasets.hidden import place_stations
from rfloc.datasets.statistical import StationEffects, StatisticalModel
from rfloc.datasets.synthetic import Deployment, areas, draw_stations, draw_ues
from rfloc.errors import ConfigError, SimulationError, SplitError
from rfloc.schema import validate
from rfloc.simulation.maps import read_error_db, read_maps, trace_maps
from rfloc.splits import held_out, make_split, near, val_area
from rfloc.stations import ROOF_CLEARANCE, Stations
from tests.conftest import PROJECT
from tests.toy import city_params

RADIO = RadioParams(sensitivity_dbm=-150.0, detection_db=-60.0)
SIM = SimulationParams(cell=10.0, samples=20_000, max_depth=2, map_batches=2)
TOY = {"toy": city_params("toy")}
P = config.read(PROJECT / "params.yaml")
P = P.model_copy(update={"cities": TOY, "radio": RADIO, "simulation": SIM, "seed": 3})
C = SyntheticParams(
    c_regions=["toy"], c_patches=[2, 2], c_deployments=2, c_stations=3, c_ues=60, c_height=[25.0, 30.0],
    c_margin=70.0, c_border=70.0, c_dense=80.0, c_samples=5000,
)  # fmt: skip


def asking(params: SyntheticParams, seed: int = 3) -> config.Params:
    return P.model_copy(update={"synthetic": params, "seed": seed})


def parts_of_c(params: SyntheticParams, folder: Path, splits=(), seed: int = 3) -> list[synthetic.Part]:
    return synthetic.parts_of_c(asking(params, seed), PROJECT / "data", folder, splits)


def places(part: synthetic.Part) -> dict[str, tuple[float, ...]]:
    """Station -> latitude, longitude, height, azimuth, power."""
    table = part.stations
    lat, lon = part.plane.city.frame.to_geographic(table.x, table.y)
    rows = zip(lat, lon, table.h, table.azimuth, table.power, strict=True)
    return dict(zip(table.id.tolist(), rows, strict=True))


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def parts(build) -> list[synthetic.Part]:
    return parts_of_c(C, build)


def test_every_patch_has_every_deployment_clear_of_roofs_with_ues_on_streets(parts, build):
    keys = [patch.key for patch in cut("toy", TOY["toy"], [2, 2], 70.0)]
    assert [part.name for part in parts] == [f"{k}-{d}" for k in keys for d in ("0", "0-dense", "1", "1-dense")]
    assert sorted(path.name for path in (build / "patches").iterdir()) == keys
    assert len({part.rays.seed for part in parts}) == len(parts)
    for part in parts:
        city, x, y = part.plane.city, part.x, part.y
        table = part.stations.take(np.char.startswith(part.stations.id, city.key))
        assert (x.size, table.n) == (60, 3)
        roof = city.height_at(table.x, table.y)
        assert (table.h >= roof + ROOF_CLEARANCE * (roof > 0)).all() and (table.h <= 30.0).all() and table.h.min() >= 25
        x_min, y_min, x_max, y_max = city.bounds
        assert (x >= x_min - 1).all() and (x <= x_max + 1).all() and (y >= y_min - 1).all() and (y <= y_max + 1).all()
        row, col, inside = city.grid.index(x, y)
        assert inside.all() and city.road[row, col].all()


def test_patches_agree_about_the_stations_at_their_border(parts):
    shared = 0
    for at in {(part.drawn["deployment"], part.drawn["dense"]) for part in parts}:
        mine = [part for part in parts if (part.drawn["deployment"], part.drawn["dense"]) == at]
        own = {k: v for part in mine for k, v in places(part).items() if k.startswith(part.plane.city.key)}
        for part in mine:
            found = places(part)
            for name, place in found.items():
                np.testing.assert_allclose(place[:2], own[name][:2], atol=1e-10)  # degrees: 0.01 mm
                assert place[2:] == own[name][2:]
            box = shapely.box(*part.plane.city.bounds)
            lat, lon = np.array([place[:2] for place in own.values()]).T
            near = box.distance(shapely.points(*part.plane.city.frame.to_local(lat, lon)))
            assert set(found) == {name for name, d in zip(own, near, strict=True) if d <= C.c_border}
            shared += len(found) - 3
    assert shared > 10


def test_a_patch_does_not_depend_on_which_others_are_taken(parts, tmp_path):
    some = parts_of_c(C.model_copy(update={"c_take": 1}), tmp_path)
    assert len(some) == 4 and len(list((tmp_path / "patches").iterdir())) == 1, "neighbours are not kept"
    for part in some:
        (same,) = (other for other in parts if other.name == part.name)
        assert places(part) == places(same) and part.drawn == same.drawn and part.rays.seed == same.rays.seed
        np.testing.assert_array_equal([part.x, part.y], [same.x, same.y])


def test_masts_stand_where_roofs_have_no_room(toy_city, monkeypatch):
    low = draw_stations(toy_city, asking(C.model_copy(update={"c_height": [8.0, 10.0]}), 1), Deployment(0))
    assert not toy_city.height_at(low.x, low.y).any(), "every roof is taller"
    monkeypatch.setattr(hidden, "ATTEMPTS", 12)  # so few that not every station finds a roof
    table = place_stations(toy_city, 24, (20.0, 30.0), 43.0, np.random.default_rng(0), toy_city.bounds, masts=True)
    roof = toy_city.height_at(table.x, table.y)
    assert 10 <= (roof > 0).sum() < 24 and (roof[:10] > 0).all(), "roofs come first"
    apart = np.hypot(table.x[:, None] - table.x, table.y[:, None] - table.y)[~np.eye(24, dtype=bool)]
    assert apart.min() >= 20.0 and (table.h >= np.maximum(20.0, roof + ROOF_CLEARANCE * (roof > 0))).all()


def test_dense_areas_bring_stations_together(toy_city):
    params = C.model_copy(update={"c_stations": 10, "c_ues": 300, "c_dense": 120.0})
    share = {}
    for at in synthetic.deployments(params)[:2]:
        boxes = shapely.box(*np.transpose(areas(toy_city, asking(params, 5), at)))
        assert len(boxes) == (2 if at.dense else 1)
        assert shapely.box(*toy_city.bounds).covers(boxes).all()
        assert shapely.area(shapely.intersection(boxes[0], boxes[-1])) == (0 if at.dense else boxes[0].area)
        table, (x, y) = (draw(toy_city, asking(params, 5), at) for draw in (draw_stations, draw_ues))
        assert shapely.union_all(boxes).buffer(1.0).covers(shapely.points(table.x, table.y)).all()
        assert shapely.union_all(boxes).buffer(1.0).covers(shapely.points(x, y)).all()
        inside = (np.abs(x[:, None] - table.x) <= 50) & (np.abs(y[:, None] - table.y) <= 50)
        share[at.dense] = (inside.sum(axis=1) >= 3).mean()
    assert share[True] > 0.3 > 0.1 > share[False]
    with pytest.raises(SimulationError, match="has room for 0 sub-regions of 400 m"):
        areas(toy_city, asking(params.model_copy(update={"c_dense": 400.0}), 5), Deployment(0, True))


def test_links_are_read_off_kept_maps(parts, tmp_path):
    some = parts[:2]
    for part, (name, links) in zip(some, synthetic.simulate(some, tmp_path, EngineParams(workers=1)), strict=True):
        assert name == part.name and validate(links, "links").attrs["city"] == part.plane.city.key
        maps = trace_maps(part.plane, part.stations, part.rays, tmp_path, progress=False)
        about = maps, part.x, part.y
        want = features(read_maps(*about, RADIO), part.stations.power, RADIO)
        want["gain_error"] = np.where(links.heard, read_error_db(*about), np.nan)
        read = calibrated_links(part.plane.city, maps, links, RADIO)
        for variable, values in want.items():
            np.testing.assert_allclose(links[variable], values, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(read[variable], values, rtol=1e-5)
        assert links.heard.any() and read.gain_error.attrs["units"] == "dB"
    assert len(list(tmp_path.iterdir())) == sum(part.stations.n for part in some)


def test_links_without_rays_are_the_simulators_with_stations_of_their_own_or_the_effects_fitted_to_them(parts):
    model = StatisticalModel(-6.0, 3.2, 18.0, 5.0, 45.0, 3.0, level_sd=3.0, exponent_sd=0.2, source="fitted")
    for part in parts[:2]:
        links, again = (part.links_without_rays(model) for _ in range(2))
        assert validate(links, "links").attrs["city"] == part.plane.city.key and "fitted" in links.attrs["source"]
        assert links.attrs["region"] == part.drawn["region"] and links.heard.any()
        xr.testing.assert_identical(links, again)
    n = part.stations.n
    effects = StationEffects(np.linspace(-9.0, 9.0, n), np.zeros(n), np.full(n, np.nan))
    model = dataclasses.replace(model, shadowing_sd=0.0, noise_sd=0.0, effects=effects)
    gain = model.path_gain_db(part.plane.city, part.stations, part.x, part.y, RADIO)
    links = part.links_without_rays(model, measured=True)
    level = links.nrsrp.values - gain - part.stations.power
    assert np.nanstd(level) < 1e-3
    assert np.nanstd(part.links_without_rays(model).nrsrp.values - gain) > 1.0


@pytest.mark.parametrize("where", ["streets", "outdoor", "box"])
def test_ues_of_b_stand_where_they_are_asked_to(toy_city, where):
    corners = np.array([-150.0, 150.0])
    stations = Stations(corners, corners, [30, 30], [np.nan] * 2, [43, 43], ["a", "b"])  # type: ignore[arg-type]
    part = synthetic.part_of_b(toy_city, stations, asking(SyntheticParams(b_ues=400, b_where=where), 1))
    assert part.x.size == 400 and (part.rays.seed, part.rays.samples) == (1, SIM.samples)
    assert max(abs(part.x).max(), abs(part.y).max()) <= 120.5
    row, col, _ = toy_city.grid.index(part.x, part.y)
    on_road, outdoors = toy_city.road[row, col].mean(), toy_city.outdoor[row, col].mean()
    assert (on_road == 1.0) == (where == "streets") and (outdoors == 1.0) == (where != "box")
    if where == "outdoor":
        inner = toy_city.outdoor[60:300, 60:300]
        assert on_road == pytest.approx(toy_city.road[60:300, 60:300].sum() / inner.sum(), abs=0.08)


def test_nothing_stands_where_another_city_tests(parts, build):
    part = parts[0]
    gain = np.full((part.x.size, part.stations.n), 1e-9)
    links = links_from_gain(part.plane.city, gain, part.stations, part.x, part.y, RADIO, "as given")
    split = make_split(links, SplitParams(block=40.0, unknown=0.3, known=0.1, val=0.1, buffer=5.0), 1)
    assert split.attrs["city"] == parts[0].plane.city.key
    inside = held_out(split, links.ue_x, links.ue_y) | near(val_area(split), links.ue_x, links.ue_y)
    mine = links.ue_x.values, links.ue_y.values
    assert inside.any() and synthetic.outside_held_out(part.plane.city, *mine, [split]).all(), "its roles see to it"
    split.attrs["city"] = "elsewhere"
    np.testing.assert_array_equal(synthetic.outside_held_out(parts[0].plane.city, *mine, [split]), ~inside)
    less = parts_of_c(C.model_copy(update={"c_deployments": 1}), build, [split])[0]
    assert less.x.tolist() == links.ue_x.values[~inside].tolist()

    with pytest.raises(SplitError, match="are held out of 'elsewhere'"):
        synthetic.require_unseen(links, [split])
    safe = links.isel(ue=np.flatnonzero((split.role == "train").values))
    synthetic.require_unseen(safe, [split])


def test_parameters_that_contradict_each_other_are_refused():
    params = config.read(PROJECT / "params.yaml").model_dump()
    with pytest.raises(ConfigError, match="c_border 600 m is past c_margin 320 m"):
        config.check(SyntheticParams, params["synthetic"] | {"c_border": 600.0})
    params["cities"]["home"]["patches_only"] = True
    with pytest.raises(ConfigError, match="of which only patches are built"):
        config.check(config.Params, params)
