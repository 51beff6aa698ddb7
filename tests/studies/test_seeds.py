"""Experiments from several seeds: a chain starts from its own seed's checkpoint, and what is trained is kept."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from rfloc import config, files, schema
from rfloc.city import City
from rfloc.config import Params, SplitParams
from rfloc.crops import evaluation_crops
from rfloc.errors import DataError, TrainingError
from rfloc.splits import make_split
from rfloc.studies import seeds_study
from rfloc.studies.seeds import ablations
from rfloc.training import open_sources, open_targets, told
from tests.handmade import path_loss

SMALL = {
    "crops": {"size": 300.0, "min_heard": 1, "max_bs": 4, "pixels": 28, "output": 14},
    "model": {"width": 16, "depth": 1, "heads": 2, "mlp": [8]},
    "training": {"batch_size": 8, "max_epochs": 1},
}


@pytest.fixture
def params(project_root: Path) -> Params:
    """The project's, small, with a pair score on B and another that continues it on A."""
    raw = yaml.safe_load((project_root / "params.yaml").read_text())
    for section, changes in SMALL.items():
        raw[section] |= changes
    first = {"label": "B", "start": "init", "data": "B", "samples": 16, "model": "pair"}
    raw["experiments"] = {"one": first, "two": first | {"label": "B → A", "start": "one", "data": "A"}}
    return config.check(Params, raw)


@pytest.fixture
def build(tmp_path: Path, toy_city: City, params: Params) -> Path:
    """What the pipeline built: the toy city, links A and B, a split, crops."""
    (tmp_path / "cities").mkdir()
    (tmp_path / "cities/home").symlink_to(toy_city.folder)
    x, y = toy_city.street_points(300, np.random.default_rng(0))
    bs = np.array([[-60.0, -60.0], [60.0, 60.0], [-60.0, 60.0]])
    level = path_loss(np.stack([x, y], 1), bs)
    features = {"nrsrp": level, "rssi": level + 27, "nsinr": level + 100, "nrsrq": 0 * level - 11}
    station = {"x": bs[:, 0], "y": bs[:, 1], "h": np.full(3, 30.0), "azimuth": np.full(3, np.nan)}
    station |= {"power": np.full(3, 43.0), "id": np.array(["a", "b", "c"])}
    frame, about = toy_city.frame, {"source": "made by hand", "city": "home", "carrier_hz": 0.8e9}
    links = schema.links_dataset(features, {"x": x, "y": y}, station, frame, **about)
    split = make_split(links, SplitParams(block=60.0, buffer=5.0), 1)
    for name in ("A", "B"):
        schema.save(links, tmp_path / "links" / name / "home.zarr", "links")
    schema.save(split, tmp_path / "splits/home.zarr", "split")
    schema.save(evaluation_crops(links, split, params.crops, seed=1), tmp_path / "crops/home.zarr", "crops")
    return tmp_path


def test_a_study_has_an_entry_a_seed_and_is_continued(build, params, project_root, monkeypatch):
    monkeypatch.syspath_prepend(str(project_root / "book/_ext"))
    found = seeds_study(build, params, ["two", "one"], 2)
    assert [row["seeds"] for row in found.values()] == [[params.seed, params.seed + 1]] * 2
    for row in found.values():
        assert all(type(left) is bool for left in row["left_plateau"]) and len(set(row["unknown"])) == 2
        assert len(row["curves"]) == 2 and row["curves"][0]["samples"] == [16]
    made = {path: path.stat().st_mtime_ns for path in (build / "seeds").iterdir()}
    assert len(made) == 2 * (1 + 2 + 2)  # a seed: where both start, and of both a checkpoint and a record
    assert seeds_study(build, params, ["one", "two"], 2) == {key: found[key] for key in ("one", "two")}
    assert {path: path.stat().st_mtime_ns for path in (build / "seeds").iterdir()} == made
    shown = importlib.import_module("rfloc_tables").seeds_table(found)
    assert "B → A" in shown and " of 2 |" in shown


def test_what_the_pipeline_has_trained_from_the_same_seed_is_not_trained_again(build: Path, params: Params) -> None:
    key = "one"
    by_study = seeds_study(build, params, [key], 2)[key]
    trained = build / "seeds"
    (held,) = trained.glob(f"{key}-{params.seed}-*.safetensors")
    curve = by_study["curves"][0]
    (build / "checkpoints").mkdir()
    held.rename(build / f"checkpoints/{key}.safetensors")
    held.with_suffix(".json").unlink()
    results = build.parent / f"results/{params.scale}/experiments"
    results.mkdir(parents=True)
    history = {name: curve[name] for name in ("samples", "losses", "val_errors")}
    files.save_json({"history": history}, results / f"{key}.json")
    assert seeds_study(build, params, [key], 2)[key] == by_study
    assert not held.exists()
    # Trained anew by the pipeline: what was found of the checkpoint before is not taken for it.
    again = build / f"checkpoints/{key}.safetensors"
    again.write_bytes(next(trained.glob(f"{key}-{params.seed + 1}-*.safetensors")).read_bytes())
    assert len(set(seeds_study(build, params, [key], 2)[key]["unknown"])) == 1


def test_an_ablation_is_a_row_of_the_study(build: Path, params: Params) -> None:
    assert list(ablations(params.experiments)) == ["one-pair_no_azimuth", "one-pair_no_obstruction"]
    (row,) = seeds_study(build, params, ["one-pair_no_obstruction"], 1).values()
    assert row["label"] == "B without obstruction" and row["curves"][0]["streets"] > 0


def test_calibrated_azimuths_are_told_to_those_who_train_on_them(build: Path, params: Params) -> None:
    links = schema.load(build / "links/A/home.zarr", "links")
    turned = links.assign_coords(bs_azimuth=links["bs_azimuth"].copy(data=np.array([10.0, 20.0, 30.0])))
    schema.save(turned, build / "links/Bp/home.zarr", "links")
    assert np.isnan(told(build, params, "two", links)["bs_azimuth"]).all()
    params.experiments["one"] = params.experiments["one"].model_copy(update={"data": "Bp"})
    sources, _ = open_sources(build, params, "two")  # trains on A, and starts from what B' taught
    for asked in (sources[0][0], told(build, params, "one", links)):
        assert asked["bs_azimuth"].values.tolist() == [10.0, 20.0, 30.0]
    elsewhere = links.assign_attrs(city="other")
    assert np.isnan(told(build, params, "one", elsewhere)["bs_azimuth"]).all()


def test_a_dataset_that_was_not_made_is_named_and_the_second_city_is_trained_on_like_the_first(build, params):
    params.experiments["two"] = params.experiments["two"].model_copy(update={"data": "oslo"})
    with pytest.raises(DataError, match="no links dataset at"):
        open_sources(build, params, "two")
    folder = build / "links/oslo"
    folder.mkdir()
    (folder / "city").symlink_to(build / "cities/home")
    schema.save(schema.load(build / "links/A/home.zarr", "links"), folder / "oslo.zarr", "links")
    schema.save(schema.load(build / "splits/home.zarr", "split"), folder / "split.zarr", "split")
    (source,), val = open_sources(build, params, "two")
    assert source[3] is False and val is not None and all(a.equals(b) for a, b in zip(val, source[:3], strict=True))
    (row,) = seeds_study(build, params, ["two"], 1).values()
    assert row["curves"][0]["samples"] == [16] and row["left_plateau"] != [None]
    params.experiments["two"] = params.experiments["two"].model_copy(update={"data": "B", "adapt": "oslo"})
    (target,) = open_targets(build, params, "two")
    assert target[0].equals(source[0]) and target[2].equals(source[2]) and target[3] is False
    params.experiments["one"] = params.experiments["one"].model_copy(update={"data": "Bp"})
    with pytest.raises(TrainingError, match="there is no dataset Bp"):
        open_sources(build, params, "one")
