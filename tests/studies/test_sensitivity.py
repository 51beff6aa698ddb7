import numpy as np
import pytest
from scipy.stats import spearmanr

from rfloc.config import EvaluationParams, RadioParams, SensitivityParams, SimulationParams
from rfloc.datasets.build import links_from_gain
from rfloc.errors import DataError, SplitError
from rfloc.simulation.maps import read_maps, trace_maps
from rfloc.simulation.plane import Plane, Rays
from rfloc.stations import Stations
from rfloc.studies import sensitivity
from rfloc.studies.agreement import COMBINATIONS, Judge, rank_correlation
from rfloc.studies.sensitivity import FACTORS, Simulator, stands_out, study, variants
from tests.handmade import crop_params, make_split

SIM = SimulationParams(cell=10.0, samples=5000, max_depth=1, diffuse=False, map_batches=2)
RADIO = RadioParams(sensitivity_dbm=-150.0, load=0.0)
PARAMS = SensitivityParams(
    samples=2000, seeds=1, depths=[0], scatterings=[0.8], carriers_hz=[1.2e9], downtilts=[0.0], azimuth_step=90.0,
    heights=[40.0], shifts=[25.0], directions=1,
)  # fmt: skip
STATIONS = Stations(
    x=[-120.0, 120.0, 0.0], y=[-120.0, 125.0, 60.0], h=[25.0, 30.0, 28.0], azimuth=[45.0, np.nan, 180.0],
    power=[43.0] * 3, id=["a", "b", "c"],
)  # fmt: skip
ROLES = np.array(["train", "train", "known", "unknown", "train"])


def judge_of(city, links, roles=ROLES, **changes):
    split = make_split(links, roles[np.arange(links.sizes["ue"]) % len(roles)])
    frame = city.frame.to_attrs()
    scoring = EvaluationParams(**({"bootstrap": 50, "block": 60.0} | changes))
    return Judge(city, links, split.assign_attrs(frame), RADIO, crop_params(), 3, scoring, seed=1)


@pytest.fixture(scope="module")
def places(toy_city):
    return toy_city.street_points(100, np.random.default_rng(3))


def links_of(city, gain, places):
    """Links as they would be measured; RSSI is that of the station alone."""
    links = links_from_gain(city, gain, STATIONS, *places, RADIO, "made by hand")
    return links.assign(rssi=links["nrsrp"] + 10.0)


@pytest.fixture(scope="module")
def level(places):
    """Path gain by distance, with shadowing, (ue, bs)."""
    x, y = places
    distance = np.hypot(x[:, None] - STATIONS.x, y[:, None] - STATIONS.y) + 20.0
    return 10 ** ((-30.0 - 35.0 * np.log10(distance) + np.random.default_rng(0).normal(0, 4.0, distance.shape)) / 10)


@pytest.fixture(scope="module")
def judge(toy_city, places, level):
    return judge_of(toy_city, links_of(toy_city, level, places))


def test_rank_correlation_is_spearmans_with_ties_weighs_blocks_and_is_0_of_what_does_not_vary():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, 40).astype(float)
    b = a + rng.integers(0, 9, 40)
    found = rank_correlation(a, b, np.arange(40) % 5, np.array([[1.0] * 5, [2.0] * 5, [1.0, 0, 0, 0, 0]]))
    assert found[:2] == pytest.approx(spearmanr(a, b).statistic)
    assert found[2] != pytest.approx(found[0])
    assert rank_correlation(np.ones(9), np.arange(9.0), np.zeros(9, int), np.ones((1, 1))) == [0.0]


class TestJudge:
    def test_a_simulation_that_is_the_measurement_is_perfect_ranks_know_no_level_and_levelling_restores_it(
        self, judge, level
    ):
        found = judge(level)
        assert all(rho == pytest.approx(1.0) for rho in found.rho.values())
        assert {found.score(name) for name in COMBINATIONS} == {float(judge.real.error.mean())}
        assert 0 < judge.real.error.mean() < judge.centre.error.mean()
        assert judge.against(found, found, "nrsrp") == (0.0, (0.0, 0.0))
        assert judge.against(found, found, "sr") == (0.0, (0.0, 0.0))
        off = judge(level * 10 ** np.array([0.5, -0.7, 1.0]))
        assert all(rho == pytest.approx(1.0) for rho in off.rho.values())
        assert off.score("sr") > judge.real.error.mean() + 1.0
        assert off.score("sr_levelled") == pytest.approx(judge.real.error.mean(), abs=0.01)

    @pytest.mark.parametrize("heard_by", [0, 5])
    def test_a_campaign_without_rssi_is_compared_by_nrsrp(self, toy_city, places, level, heard_by):
        links = links_of(toy_city, level, places)
        few = links["rssi"].where(np.arange(100)[:, None] < heard_by)
        judge = judge_of(toy_city, links.assign(rssi=few))
        found = judge(level)
        assert judge.features == ("nrsrp",) and set(found.rho) == {"nrsrp", "train", "held_out"}
        rows = judge.by_station({"it": level, "other": level**2}, "it", [0, 1, 2])
        assert {key for row in rows for key in row} == {"bs_id", "nrsrp_train", "nrsrp_held_out"}
        assert rows[-1]["nrsrp_held_out"]["it"]["rho"] == pytest.approx(1.0)

    def test_silence_is_the_lowest_rank_and_every_station_gets_what_fits_its_training_ues(self, judge, level):
        weak = level < np.quantile(level, 0.3, axis=0)
        assert judge(np.where(weak, 0.0, level)).score("nrsrp") < 1.0
        assert judge(np.where(weak, level, 0.0)).score("nrsrp") < 0.3
        noise = np.random.default_rng(1).uniform(1e-12, 1e-9, level.shape)
        first, second = (np.where(np.array(own), level, noise) for own in ([1, 0, 0], [0, 1, 1]))
        assert np.array_equal(judge.chosen([first, second], [judge(first), judge(second)]), level)

    def test_states_no_interval_from_few_blocks(self, toy_city, places, level):
        judge = judge_of(toy_city, links_of(toy_city, level, places), block=500.0)
        found = judge(level)
        assert judge.against(found, found, "rssi") == (0.0, None)
        rows = judge.by_station({"nominal": level}, "nominal", [0, 1, 2])
        assert all(row["rssi_held_out"]["nominal"]["interval"] is None for row in rows)

    def test_needs_both_roles_stations_that_enough_report_and_its_own_split(self, toy_city, places, level):
        links = links_of(toy_city, level, places)
        for role in ("train", "known"):
            with pytest.raises(DataError, match=role):
                judge_of(toy_city, links, ROLES[role != ROLES])
        with pytest.raises(DataError, match="no station is reported"):
            judge_of(toy_city, links_of(toy_city, level * 1e-20, places))
        split = make_split(links, ROLES[np.arange(100) % 5]).assign_attrs(toy_city.frame.to_attrs())
        with pytest.raises(SplitError, match="other links"):
            Judge(toy_city, links.isel(ue=slice(50)), split, RADIO, crop_params(), 3, EvaluationParams(bootstrap=10), 1)


class TestVariants:
    def test_every_factor_has_the_base_and_one_thing_is_varied_at_a_time(self):
        base, *others = found = variants(PARAMS, SIM, RADIO, STATIONS, 7)
        assert list(dict.fromkeys(v.factor for v in found)) == list(FACTORS)
        assert base.sim.samples == PARAMS.samples
        for factor in FACTORS:
            own = [v for v in found if v.factor == factor]
            assert len(own) > 1 and sum(v.key == base.key for v in own) == 1, factor
        for v in others:
            parts = [getattr(v, name) != getattr(base, name) for name in ("sim", "radio", "seed", "ue_pattern")]
            place = [not np.array_equal(getattr(v.stations, c), getattr(base.stations, c)) for c in ("x", "h")]
            turned = not np.array_equal(v.stations.azimuth, base.stations.azimuth, equal_nan=True)
            assert sum([*parts, *place, turned]) == (v.key != base.key)

    def test_an_unknown_azimuth_is_set_a_known_one_turned_and_positions_are_moved_by_the_distance(self):
        every = variants(PARAMS, SIM, RADIO, STATIONS, 7)
        found = {v.setting: v for v in every if v.factor == "azimuth"}
        assert list(found) == ["unknown", "0°", "90°", "180°", "270°"]
        assert found["270°"].stations.azimuth.tolist() == [315.0, 270.0, 90.0]
        known = STATIONS.replace(azimuth=np.zeros(3))
        labels = [v.setting for v in variants(PARAMS, SIM, RADIO, known, 7) if v.factor == "azimuth"]
        assert labels == ["+0°", "+90°", "+180°", "+270°"]
        moved = [v.stations for v in every if v.factor == "position"][1]
        assert np.hypot(moved.x - STATIONS.x, moved.y - STATIONS.y) == pytest.approx(25.0)


class TestSimulator:
    def test_traces_once_what_rays_depend_on(self, toy_city, places, monkeypatch, tmp_path):
        traced: list[tuple[int, float]] = []

        def without_rays(_plane, stations, rays, x, *_):
            traced.append((rays.sim.max_depth, float(stations.h[0])))
            gain = np.full((len(x), stations.n), 1e-9 * (1 + rays.sim.rooftop))
            return gain, gain

        monkeypatch.setattr(sensitivity, "gain_at", without_rays)
        simulator = Simulator(Plane(toy_city, 10.0, RADIO.ue_height), *places, tmp_path)
        found = variants(PARAMS, SIM, RADIO, STATIONS, 7)
        gains = {(v.factor, v.setting): simulator.gain(v) for v in found}
        free = {"ue_pattern", "pattern", "downtilt", "azimuth"}
        assert len(traced) == 1 + sum(v.key != found[0].key and v.factor not in free for v in found)
        for factor in free:
            settings = [g for (name, _), g in gains.items() if name == factor]
            assert not np.allclose(settings[0], settings[1], rtol=1e-6, atol=0), factor
        assert all(g.shape == (100, 3) for g in gains.values())

    def test_reads_what_the_maps_hold_and_keeps_them(self, toy_city, places, tmp_path):
        base = variants(PARAMS, SIM, RADIO, STATIONS, 7)[0]
        simulator = Simulator(Plane(toy_city, 10.0, RADIO.ue_height), *places, tmp_path)
        simulator.trace([base, base])
        assert len(list(tmp_path.iterdir())) == STATIONS.n
        found = simulator.gain(base)
        rays = Rays(base.sim, RADIO, base.sim.samples, 7)
        maps = trace_maps(Plane(toy_city, 10.0, RADIO.ue_height), STATIONS, rays, tmp_path, False)
        assert np.allclose(found, read_maps(maps, *places, RADIO), rtol=1e-5, atol=0)
        assert len(list(tmp_path.iterdir())) == STATIONS.n
        assert (found > 0).mean() > 0.9


class TestStudy:
    def test_tables_every_setting_beside_the_base(self, judge, level):
        """Rays are level with noise; only turning the stations brings the truth."""
        rng = np.random.default_rng(2)
        found = [v for v in variants(PARAMS, SIM, RADIO, STATIONS, 7) if v.factor in ("rays", "depth", "azimuth")]
        base = level * 10 ** rng.normal(0.0, 0.6, level.shape)

        class Fake:
            def gain(self, variant):
                if variant.key == found[0].key:
                    return base
                if variant.factor == "azimuth":
                    return level
                return base * 10 ** np.random.default_rng(variant.seed).normal(0.0, 0.02, level.shape)

        table = study(found, Fake(), judge)
        assert list(table["factors"]) == ["rays", "depth", "azimuth"]
        assert [(s["factor"], s["setting"]) for s in table["settings"]] == [(v.factor, v.setting) for v in found]
        assert [s["base"] for s in table["settings"]] == [v.key == found[0].key for v in found]
        turned = next(s for s in table["settings"] if s["setting"] == "90°")
        other = next(s for s in table["settings"] if s["factor"] == "rays" and not s["base"])
        assert turned["nrsrp"] == 1.0 and stands_out(turned, "held_out", table["noise"]["held_out"])
        assert not stands_out(other, "held_out", table["noise"]["held_out"])
        chosen = table["factors"]["azimuth"]["chosen"]
        assert chosen["held_out"] == 1.0 and chosen["sr"] == chosen["ss"]
        assert table["factors"]["azimuth"]["nrsrp"] == [table["settings"][0]["nrsrp"], 1.0]


def test_every_station_is_scored_by_role_and_gains_are_counted_from_the_base(judge, toy_city, places, level):
    measured = links_of(toy_city, level, places)
    noise = 10 ** (np.random.default_rng(5).normal(0, 6.0, level.shape) / 10)
    rows = judge.by_station({"nominal": level * noise, "right": level}, "nominal", [0, 1, 2])
    assert [row["bs_id"] for row in rows] == ["a", "b", "c", "mean"]
    train = ROLES[np.arange(100) % len(ROLES)] == "train"
    for b, row in enumerate(rows[:-1]):
        for feature in ("rssi", "nrsrp"):
            for part, which in (("train", train), ("held_out", ~train)):
                entry = row[f"{feature}_{part}"]
                assert entry["right"]["rho"] == pytest.approx(1.0)
                expected = spearmanr((level * noise)[which, b], measured[feature].values[which, b]).statistic
                assert entry["nominal"]["rho"] == pytest.approx(expected)
                assert entry["right"]["gain"] == pytest.approx(1.0 - expected)
                assert entry["nominal"]["gain"] == 0.0
    low, high = rows[-1]["nrsrp_train"]["right"]["interval"]
    assert 0.0 < low <= rows[-1]["nrsrp_train"]["right"]["gain"] <= high
    mean = np.mean([row["nrsrp_train"]["nominal"]["rho"] for row in rows[:-1]])
    assert rows[-1]["nrsrp_train"]["nominal"]["rho"] == pytest.approx(mean)
    some = judge.by_station({"nominal": level * noise, "right": level}, "nominal", [0, 2])
    assert some[:-1] == rows[:-1]
    mean = np.mean([rows[b]["nrsrp_train"]["nominal"]["rho"] for b in (0, 2)])
    assert some[-1]["nrsrp_train"]["nominal"]["rho"] == pytest.approx(mean)
