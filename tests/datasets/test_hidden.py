from types import SimpleNamespace

import numpy as np
import pytest

from rfloc.city import City
from rfloc.config import CampaignParams, RadioParams, SimulationParams
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.hidden import STRONGEST, hidden_campaign, place_stations
from rfloc.errors import SimulationError
from rfloc.schema import FEATURES, validate
from rfloc.simulation.maps import read_maps
from rfloc.stations import Stations

RADIO = RadioParams()
SIM = SimulationParams(cell=10.0, samples=20_000, max_depth=2)
CAMPAIGN = CampaignParams(kind="hidden", cities=["toy"], stations=6, height=[22.0, 32.0], ues=150)


def made(city: City, params: CampaignParams, seed: int = 3) -> SimpleNamespace:
    links, maps = hidden_campaign(city, params, SIM, RADIO, seed)
    return SimpleNamespace(links=links, true_maps=maps, true_stations=Stations.from_dataset(maps))


@pytest.fixture(scope="module")
def campaign(toy_city) -> SimpleNamespace:
    return made(toy_city, CAMPAIGN)


def test_stations_stand_apart_on_roofs_and_what_has_no_room_or_is_not_heard_is_refused(toy_city):
    table = place_stations(toy_city, 8, (20.0, 30.0), 43.0, np.random.default_rng(0), toy_city.bounds)
    roof = toy_city.height_at(table.x, table.y)
    assert (roof > 0).all() and (table.h >= np.maximum(roof + 2.0, 20.0)).all() and (table.h <= 30.0).all()
    apart = np.hypot(table.x[:, None] - table.x, table.y[:, None] - table.y)[~np.eye(8, dtype=bool)]
    assert apart.min() >= 30.0
    assert len(set(table.id)) == 8
    with pytest.raises(SimulationError, match="has room for"):
        place_stations(toy_city, 5, (5.0, 6.0), 43.0, np.random.default_rng(0), toy_city.bounds)
    deaf = RADIO.model_copy(update={"sensitivity_dbm": 0.0})
    with pytest.raises(SimulationError, match=r"nothing is heard in 'toy'(.|\n)*sensitivity_dbm 0,"):
        hidden_campaign(toy_city, CAMPAIGN, SIM, deaf, seed=3)


def test_one_seed_one_campaign_and_more_ues_and_looser_tables_move_none(toy_city, campaign):
    again, differing = (made(toy_city, CAMPAIGN, seed).links for seed in (3, 4))
    assert (differing["bs_azimuth"] != campaign.links["bs_azimuth"]).all()
    for name in ("ue_x", "bs_azimuth", *FEATURES):
        np.testing.assert_array_equal(again[name], campaign.links[name])
    other = CAMPAIGN.model_copy(update={"ues": 160, "position_sd": 1.0})
    more = made(toy_city, other)
    np.testing.assert_array_equal(more.links["ue_x"][:150], campaign.links["ue_x"])
    for name in ("x", "y", "h", "azimuth", "power"):
        np.testing.assert_array_equal(getattr(more.true_stations, name), getattr(campaign.true_stations, name))
    for name in FEATURES:
        np.testing.assert_array_equal(more.links[name][:150], campaign.links[name])


def test_the_report_hides_the_truth_and_is_censored_quantised_and_short(campaign):
    nominal, truth = Stations.from_dataset(campaign.links), campaign.true_stations
    assert validate(campaign.links, "links") is campaign.links
    assert validate(campaign.true_maps, "maps") is campaign.true_maps
    assert nominal.id.tolist() == truth.id.tolist()
    assert (nominal.power == RADIO.power_dbm).all() and truth.power.std() > 0
    assert (np.hypot(nominal.x - truth.x, nominal.y - truth.y) > 0).all()
    assert (nominal.azimuth != truth.azimuth).all()
    assert campaign.links.attrs["source"].startswith("simulated reality")
    links, heard = campaign.links, campaign.links["heard"].values
    assert np.median(heard.sum(1)) >= 1 and heard.sum(1).max() <= STRONGEST
    for name in FEATURES:
        values = links[name].values[heard]
        np.testing.assert_array_equal(values, np.round(values))
    assert links["nrsrp"].values[heard].min() >= RADIO.sensitivity_dbm - 0.5
    assert links["nsinr"].values[heard].min() >= RADIO.detection_db - 0.5


def test_strongest_are_kept(toy_city, campaign):
    x, y = campaign.links["ue_x"].values, campaign.links["ue_y"].values
    gain = read_maps(campaign.true_maps, x, y, RADIO)
    about = (toy_city, gain, campaign.true_stations, x, y, RADIO, "test")
    everything, two = (links_from_gain(*about, strongest=n)["nrsrp"].values for n in (None, 2))
    assert (np.isfinite(two).sum(1) == np.minimum(np.isfinite(everything).sum(1), 2)).all()
    best = [np.fmax.reduce(levels, axis=1, initial=-np.inf) for levels in (two, everything)]
    np.testing.assert_array_equal(*best)
