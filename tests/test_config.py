import copy
from pathlib import Path

import pytest
import yaml

from rfloc import config
from rfloc.config import compose, require_composed
from rfloc.errors import ConfigError

#: A city from files that lacks its box.
FILES = {"source": "file", "buildings": "b", "streets": "s"}


@pytest.fixture(scope="session")
def raw(project_root: Path) -> dict:
    return yaml.safe_load((project_root / "params.yaml").read_text())


def changed(raw: dict, path: str, value) -> dict:
    raw = copy.deepcopy(raw)
    *parents, last = path.split(".")
    place = raw
    for part in parents:
        place = place[part]
    place[last] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("trainning", {}, r"unknown parameter 'trainning'(?s:.*)did you mean 'training'\?"),
        ("training.max_epoch", 1, r"'training\.max_epoch'(?s:.*)did you mean 'max_epochs'\?"),
        ("training.zzz", 1, r"'training\.zzz'(?s:.*)known here: batch_size"),
        ("experiments.A.sample", 3, r"'experiments\.A\.sample'(?s:.*)did you mean 'samples'\?"),
        ("training.max_epochs", "1", r"training\.max_epochs: .*integer \(got '1'\)"),
        ("training.flips", "yes", r"training\.flips: .*boolean"),
        ("training.lr", 0.0, r"training\.lr: .*greater than 0"),
        ("splits.unknown", 1.2, r"splits\.unknown: .*less than or equal to 1"),
        ("radio.pattern", "omni", r"radio\.pattern: .*'isotropic', 'dipole' or 'tr38901'"),
        ("campaign.table", "own.csv", r"kind 'hidden' does not read table"),
        ("campaign.cities", ["home", "paris"], r"names the city 'paris', but cities are home, other"),
        ("experiments.C_A.start", "CC", r"experiments\.C_A\.start is 'CC'"),
        ("crops.pixels", 113, r"crops\.pixels=113 is no multiple of model\.patch=14"),
        ("seed", None, r"seed: .*integer"),
    ],
)
def test_a_slip_is_an_error_that_names_the_key(raw, path, value, said):
    with pytest.raises(ConfigError, match=said):
        config.check(config.Params, changed(raw, path, value))


def test_every_problem_is_named_at_once_and_a_missing_key_is_one(raw):
    with pytest.raises(ConfigError, match=r"training\.lr(?s:.*)'seeed'") as caught:
        config.check(config.Params, changed(changed(raw, "training.lr", -1.0), "seeed", 1))
    assert "did you mean 'seed'?" in caught.value.mend
    with pytest.raises(ConfigError, match="crops: Field required"):
        config.check(config.Params, {key: value for key, value in raw.items() if key != "crops"})


@pytest.mark.parametrize(
    ("city", "said"),
    [
        ({"source": "sionna"}, "needs scene"),
        ({"source": "file", "buildings": "b"}, "needs streets, box"),
        (FILES | {"box": [2.0, 1.0, 0.0, 1.0]}, "no area on the map"),
        (
            FILES | {"box": [-16.85, -16.8, 179.95, -179.95]},
            r"across the 180th meridian write \[-16.85, -16.8, 179.95, 180.05\]",
        ),
        (FILES | {"box": [2.0, 3.0]}, "box"),
    ],
)
def test_a_city_must_be_complete(city, said):
    with pytest.raises(ConfigError, match=said):
        config.check(config.CityParams, {"name": "x", "origin": [41.0, 12.0]} | city)


@pytest.fixture
def project(project, raw, monkeypatch) -> Path:
    (project / "params.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(project)
    return project


def test_a_page_declares_some_knobs_and_loads_the_rest_and_as_written_takes_the_scale_of_params(project, raw):
    assert config.load({"P": None, "np": config}) == config.check(config.Params, raw)
    P = config.load({"crops_size": 400.0, "seed": 3, "rays": 10, "splits": config, "radio": 1.0})
    assert (P.crops.size, P.seed) == (400.0, 3)
    assert P.crops.jitter == raw["crops"]["jitter"]
    (project / "params.yaml").write_text(yaml.safe_dump(changed(raw, "crops.size", 600.0)))
    default = raw["crops"]["size"]
    assert config.load({"crops_size": default}).crops.size == 600.0
    assert config.load({"crops_size": 400.0}).crops.size == 400.0
    injected = ["", "import rfloc", f"# Parameters\ncrops_size = {default}\n"]
    assert config.load({"crops_size": default, "In": injected}).crops.size == default


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"crops_jiter": 0.5}, r"no parameter 'crops_jiter'(?s:.*)did you mean 'crops_jitter'\?"),
        ({"crop_size": 400.0}, r"no parameter 'crop_size'(?s:.*)did you mean 'crops_size'\?"),
        ({"crops_size": "wide"}, r"crops\.size"),
        ({"scale": "rome"}, "rfloc params --scale rome"),
        ({"crops_pixels": 113}, "no multiple of model.patch"),
        ({"experiment": "Z"}, "no experiment 'Z'"),
    ],
)
def test_a_page_refuses_what_papermill_would_let_pass(project, variables, said):
    with pytest.raises(ConfigError, match=said):
        config.load(variables)


def test_a_page_refuses_what_it_neither_declares_nor_knows(project):
    cells = ["", "rays = 10  # rays a station", "# Parameters\nrays = 3\n", "P = config.load(globals())"]
    assert config.load({"rays": 3, "In": cells})
    cells[2] = "# Parameters\nsizes = 3\ncrops_size = 400.0\n"
    with pytest.raises(ConfigError, match="this page has no parameter 'sizes'"):
        config.load({"rays": 10, "sizes": 3, "crops_size": 400.0, "In": cells})


@pytest.mark.parametrize(
    ("path", "written", "said"),
    [
        ("cities.home.name", "NO", "yes, no, on and off as true and false: put it into quotes"),
        ("radio.pattern", "off", "yes, no, on and off"),
        ("cities.home.name", "12:30:00", "12:30 as a number to the base 60"),
        ("cities.home.osm_date", "2021-08-01T00:00:00Z", "as a time: put it into quotes"),
    ],
)
def test_what_yaml_reads_otherwise_than_it_was_meant_is_said(raw, path, written, said):
    with pytest.raises(ConfigError) as caught:
        config.check(config.Params, changed(raw, path, yaml.safe_load(written)))
    assert said in caught.value.mend


def test_numbers_that_yaml_reads_as_text_are_numbers_and_cannot_be_changed_in_passing(raw):
    raw = changed(changed(raw, "training.lr", "1e-5"), "sensitivity.carriers_hz", ["1e9"])
    params = config.check(config.Params, raw)
    assert (params.training.lr, params.sensitivity.carriers_hz) == (1e-5, [1e9])
    params = config.check(config.Params, changed(changed(raw, "training.lr", ".5e-3"), "simulation.samples", "1e6"))
    assert (params.training.lr, params.simulation.samples) == (5e-4, 1_000_000)
    with pytest.raises(ValueError, match="frozen"):
        params.training.lr = 1.0


def test_an_edit_of_conf_asks_for_params_to_be_composed(project, project_root, monkeypatch):
    """Whoever composed params.yaml; what is set by hand, and what changes nothing, may be."""
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    params, conf, city = project / "params.yaml", project / "conf/config.yaml", project / "conf/city/toy.yaml"
    compose(project, ["scale=smoke", "city@cities.home=toy"])
    params.write_text(params.read_text().replace("max_epochs: 2", "max_epochs: 3"))
    city.write_text(f"# a remark\n{city.read_text()}")
    (project / "conf/city/rome.yaml").write_text("name: Roma\n")
    require_composed(project)
    city.write_text(city.read_text().replace("Toy city", "Town"))
    for text in (params.read_text(), yaml.safe_dump(yaml.safe_load(params.read_text()))):  # the second is dvc exp run's
        params.write_text(text)
        if text[0] == "#":
            with pytest.raises(ConfigError, match=r"cities\.home(?s:.*)rfloc params scale=smoke city@cities\.home=toy"):
                require_composed(project)
        else:
            require_composed(project)
            conf.write_text(conf.read_text().replace("seed: 7", "seed: 8"))
            with pytest.raises(ConfigError, match=r"composed: conf/config\.yaml(?s:.*)dvc exp run"):
                require_composed(project)
    compose(project, ["scale=smoke"])
    require_composed(project)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "not valid YAML"), ("- 1", "params: .*dictionary"), ("", "params: .*dictionary"), (None, "rfloc params")],
)
def test_files_that_hold_no_parameters(tmp_path, text, said):
    if text is not None:
        (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        config.read(tmp_path / "params.yaml")


def test_the_project_folder_is_found_from_below_and_nowhere_else(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert config.project_root() == tmp_path
    with pytest.raises(ConfigError, match="lies in no RF-Loc project"):
        config.project_root(tmp_path.parent)


def test_data_root_parameter_beats_environment_beats_project(monkeypatch, tmp_path):
    monkeypatch.setenv("RFLOC_DATA", "/from/environment")
    assert config.data_root(config.DataParams(root="/from/params"), tmp_path) == Path("/from/params")
    assert config.data_root(config.DataParams(), tmp_path) == Path("/from/environment")
    monkeypatch.delenv("RFLOC_DATA")
    assert config.data_root(config.DataParams(), tmp_path) == tmp_path / "data"
    monkeypatch.setenv("RFLOC_WEIGHTS", "/weights")
    assert config.weights_root(config.DataParams()) == Path("/weights")
    monkeypatch.delenv("RFLOC_WEIGHTS")
    assert config.weights_root(config.DataParams()) is None
