"""Costs of datasets by hand, of networks that are only built in outline against closed forms; the paper's own sizes."""

import numpy as np
import pandas as pd
import pytest
import torch

from rfloc import config
from rfloc.cli import compose
from rfloc.frames import LocalFrame
from rfloc.localizers.mlp_unet import MLPUNet
from rfloc.localizers.networks import build_network
from rfloc.studies.cost import A100, MFU, estimate, network_cost, probe_city, sizes, training_costs

PROBE = pd.Series({"city [s]": 2.0, "map [s]": 3.0, "million rays [s]": 1.0, "1000 UEs [s]": 0.5, "map [MB]": 0.001})
B = pd.DataFrame({"parts": [2], "stations": [19], "ues": [64_000], "samples": [10_000_000]}, index=["B"])
CROPS = config.CropParams(pixels=224, output=224, max_bs=10)


def test_cost_by_hand():
    cost = estimate(B, config.EngineParams(workers=4), PROBE).loc["B"]
    assert (cost["maps"], cost["links"]) == (38, 38 * 64_000)
    assert (cost["links [MB]"], cost["kept maps [MB]"]) == pytest.approx((38 * 64_000 * 8 / 1e6, 0.038))
    assert 60 * cost["time [min]"] == pytest.approx((8 * 2.0 + 38 * (3.0 + 10.0) + 38 * 64 * 0.5) / 4)
    # no worker helps past the last map
    many, most = (estimate(B, config.EngineParams(workers=n), PROBE)["time [min]"].item() for n in (38, 100))
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
    sim = config.SimulationParams(cell=20.0, samples=4000, max_depth=1, map_batches=2)
    probe = probe_city(toy_city.folder, sim, config.RadioParams(), 200_000, 1)
    assert probe.name == "toy" and (probe > 0).all() and probe["worker [MB]"] > 100


def test_the_papers_transformer_does_six_operations_a_weight_and_token() -> None:
    """Forward and backward; attention, the head and embeddings, which see fewer tokens, are the rest."""
    cost = network_cost("map_radioformer", config.ModelParams(backbone="dinov2-large", mlp=[256, 1024]), CROPS)
    tokens = 1 + 16**2 + 10
    assert cost["GFLOP a crop"] == pytest.approx(6e-9 * cost["parameters"] * tokens, rel=0.05)
    assert cost["state [GB]"] == pytest.approx(16e-9 * cost["parameters"])
    assert cost["activations [MB a crop]"] > 24 * tokens * 1024 * 4 / 1e6


def test_what_is_counted_in_outline_is_what_a_real_network_has() -> None:
    crops = config.CropParams(pixels=28, output=14)
    net = build_network("unet", config.ModelParams(unet_divisor=16), crops)
    assert isinstance(net, MLPUNet)
    counted = network_cost("mlp_unet", config.ModelParams(unet_divisor=16), crops)["parameters"]
    assert counted == sum(p.numel() for p in net.parameters())
    assert not any(p.is_meta for p in net.parameters()) and torch.get_default_device().type == "cpu"


def test_a_row_pays_for_its_stages_and_for_the_crops_of_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = {"GFLOP a crop": 2.0, "state [GB]": 3.0, "activations [MB a crop]": 500.0}
    monkeypatch.setattr("rfloc.studies.cost.network_cost", lambda *_: dict(made_up))
    first = config.ExperimentParams(label="", start="init", data="Bp", samples=100)
    rows = {
        "Bp": first,
        "Bp_A": first.model_copy(update={"start": "Bp", "samples": 50}),
        "Bp_A_adapt": first.model_copy(update={"start": "Bp", "samples": 50, "adapt": "A"}),
        "pair_A": first.model_copy(update={"model": "pair"}),
    }
    training = config.TrainingParams(batch_size=8)
    found = training_costs(config.Params.model_construct(experiments=rows, model=None, crops=None, training=training))
    assert found.crops.to_dict() == {"Bp": 100, "Bp_A": 150, "Bp_A_adapt": 200}
    assert found.EFLOP["Bp_A"] == pytest.approx(3e-7)
    assert found["A100 h at peak"]["Bp_A"] == pytest.approx(3e11 / A100 / 3600)
    assert found["A100 h"]["Bp_A"] == pytest.approx(3e11 / A100 / 3600 / MFU)
    assert found["a GPU holds [GB]"]["Bp_A"] == pytest.approx(3 + 8 * 0.5)
    assert found["A100 h, paper"]["Bp"] == 40


def test_datasets_b_and_c_have_the_papers_sizes_and_the_region_is_25_by_33_kilometres(paper):
    synthetic = paper.synthetic
    assert (synthetic.b_ues, len(synthetic.b_cities)) == (64_000, 2)
    assert (synthetic.c_patches, synthetic.c_take, synthetic.c_deployments) == ([10, 10], None, 2)
    assert (synthetic.c_stations, synthetic.c_ues, synthetic.c_height) == (10, 5_000, [40.0, 40.0])
    assert synthetic.c_dense is not None
    assert paper.calibration.n_calls == 90
    assert paper.calibration.paper_stations is None
    (region,) = paper.synthetic.c_regions
    lat_min, lat_max, lon_min, lon_max = paper.cities[region].box
    frame = LocalFrame((lat_min + lat_max) / 2, (lon_min + lon_max) / 2)
    x, y = frame.to_local([lat_min, lat_max], [lon_min, lon_max])
    assert sorted((np.ptp(x), np.ptp(y))) == pytest.approx([25_000.0, 33_000.0], rel=0.01)
