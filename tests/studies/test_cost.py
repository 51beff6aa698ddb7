import pandas as pd
import pytest

from rfloc import config
from rfloc.cli import compose
from rfloc.config import EngineParams, RadioParams, SimulationParams
from rfloc.studies.cost import estimate, probe_city, sizes

PROBE = pd.Series({"city [s]": 2.0, "map [s]": 3.0, "million rays [s]": 1.0, "1000 UEs [s]": 0.5, "map [MB]": 0.001})
B = pd.DataFrame({"parts": [2], "stations": [19], "ues": [64_000], "samples": [10_000_000]}, index=["B"])


def test_cost_by_hand():
    cost = estimate(B, EngineParams(workers=4), PROBE).loc["B"]
    assert (cost["maps"], cost["links"]) == (38, 38 * 64_000)
    assert (cost["links [MB]"], cost["kept maps [MB]"]) == pytest.approx((38 * 64_000 * 8 / 1e6, 0.038))
    assert 60 * cost["time [min]"] == pytest.approx((8 * 2.0 + 38 * (3.0 + 10.0) + 38 * 64 * 0.5) / 4)
    # no worker helps past the last map
    many, most = (estimate(B, EngineParams(workers=n), PROBE)["time [min]"].item() for n in (38, 100))
    assert many == pytest.approx(most)


@pytest.fixture(scope="module")
def paper(project_root, tmp_path_factory):
    return config.read(compose(project_root, ["scale=paper"], tmp_path_factory.mktemp("paper") / "params.yaml"))


def test_sizes_count_patches_deployments_and_stations_across_borders(paper):
    def synthetic(**values):
        common = {"c_patches": [10, 10], "c_regions": ["home"], "c_stations": 10, "c_deployments": 2, "c_take": None}
        return paper.model_copy(update={"synthetic": paper.synthetic.model_copy(update=common | values)})

    alone = sizes(synthetic(c_dense=None, c_border=0.0), 19.0)
    assert list(alone.index) == ["B", "C"] and alone.stations["B"] == 19.0
    assert (alone.parts["C"], alone.stations["C"]) == (200, 10.0)
    bordered = sizes(synthetic(c_dense=600.0, c_border=100.0, c_take=7), 19.0).loc["C"]
    assert bordered.parts == 7 * 2 * 2 and 10.0 < bordered.stations < 90.0
    assert sizes(synthetic(c_patches=[1, 1], c_border=100.0), 19.0).stations["C"] == 10.0


def test_a_probe_measures_a_city(toy_city):
    sim = SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)
    probe = probe_city(toy_city.folder, sim, RadioParams(), 200_000, 1)
    assert probe.name == "toy" and (probe > 0).all() and probe["worker [MB]"] > 100
