from __future__ import annotations

import pytest

from rfloc import config
from rfloc.cli import compose
from rfloc.config import EngineParams, RadioParams
from rfloc.studies.cost import CampaignSize, Probe, campaign_cost, campaign_sizes, probe_city, table
from tests.simulation.toy_campaign import SIM

PROBE = Probe(
    "toy", load_seconds=2.0, map_seconds=3.0, ray_seconds=1e-6, read_seconds=0.5, map_bytes=1000, memory_bytes=10**8
)
B = CampaignSize("B", parts=2, stations=19, ues=64_000, samples=10_000_000)


def test_cost_by_hand():
    (cost,) = campaign_cost([B], EngineParams(workers=4), PROBE)
    assert (cost.maps, cost.links, cost.shards) == (38, 38 * 64_000, 38 * 7)
    assert (cost.store_bytes, cost.map_bytes) == (38 * 64_000 * 8, 38_000)
    assert cost.seconds == pytest.approx((8 * 2.0 + 38 * (3.0 + 10.0) + 38 * 64 * 0.5) / 4)


def test_no_worker_helps_past_the_last_map():
    many, most = (campaign_cost([B], EngineParams(workers=n), PROBE)[0] for n in (38, 100))
    assert many.seconds == pytest.approx(most.seconds)


def test_workers_of_slurm_are_those_of_a_job():
    slurm = EngineParams(scheduler="slurm", slurm_cores=16)
    assert campaign_cost([B], slurm, PROBE)[0].workers == 16


def test_the_table_has_a_line_a_campaign():
    small = CampaignSize("C", 1, 1, 1, 1)
    head, *lines = table(campaign_cost([B, small], EngineParams(workers=1), PROBE)).splitlines()
    assert head.split() == ["maps", "shards", "links", "store", "maps", "kept", "workers", "time"]
    assert lines[0].split() == ["B", "38", "266", "2,432,000", "19.5", "MB", "0.0", "MB", "1", "28.6", "min"]
    assert lines[1].split()[-2:] == ["5.0", "s"]


@pytest.fixture(scope="module")
def paper(project_root, tmp_path_factory):
    return config.read(compose(project_root, ["scale=paper"], tmp_path_factory.mktemp("paper") / "params.yaml"))


def test_sizes_count_patches_deployments_and_stations_across_borders(paper):
    def synthetic(**values):
        common = {"c_patches": [10, 10], "c_regions": ["home"], "c_stations": 10, "c_deployments": 2, "c_take": None}
        return paper.model_copy(update={"synthetic": paper.synthetic.model_copy(update=common | values)})

    alone = campaign_sizes(synthetic(c_dense=None, c_border=0.0), 19.0)
    assert [size.name for size in alone] == ["B", "C"]
    assert alone[0].stations == 19.0
    assert (alone[1].parts, alone[1].stations) == (200, 10.0)
    bordered = campaign_sizes(synthetic(c_dense=600.0, c_border=100.0, c_take=7), 19.0)[1]
    assert bordered.parts == 7 * 2 * 2 and 10.0 < bordered.stations < 90.0
    assert campaign_sizes(synthetic(c_patches=[1, 1], c_border=100.0), 19.0)[1].stations == 10.0
    assert len(campaign_sizes(synthetic(c_source="statistical"), 19.0)) == 1


def test_a_probe_measures_a_city(toy_city, client):
    probe = probe_city(toy_city.folder, SIM, RadioParams(), 200_000, 1, client)
    assert probe.city == "toy"
    assert min(probe.load_seconds, probe.map_seconds, probe.ray_seconds, probe.read_seconds) > 0
    assert probe.map_bytes > 100 and probe.memory_bytes > 10**8
    assert "one worker in toy: scene" in str(probe)
