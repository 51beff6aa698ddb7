from __future__ import annotations

import nbformat
import pytest
import yaml

from rfloc import config
from rfloc.errors import NotebookError
from rfloc.pipeline.parameters import Item, declared, parse_set, resolve, source_of
from rfloc.pipeline.run_notebook import read_notebook


@pytest.fixture
def params(smoke_params):
    return config.check(config.Params, yaml.safe_load(smoke_params))


@pytest.fixture
def tiny(project, write):
    return read_notebook(project / write())


def test_values_come_from_params_and_defaults_stay_where_nothing_else_is_known(tiny, params):
    values = resolve(tiny, params).values
    assert values["scale"] == "smoke"
    assert values["seed"] == params.seed
    assert values["crops_size"] == params.crops.size
    assert values["splits_block"] == params.splits.block
    assert set(values["cities"]) == set(params.cities)
    assert (values["note"], values["factor"]) == ("as written", 2.0)


def test_a_section_is_built_back_from_the_variables_of_a_notebook(write, project, params):
    lines = "\n".join(f"splits_{key} = 0.0" for key in config.SplitParams.model_fields)
    values = resolve(read_notebook(project / write(parameters=lines)), params).values
    assert config.section("splits", values) == params.splits


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("seed", ("seed",)),
        ("cities", ("cities",)),
        ("crops_max_bs", ("crops", "max_bs")),
        ("city", None),
        ("cropssize", None),
    ],
)
def test_where_a_variable_comes_from(variable, path, params):
    assert source_of(variable, params.model_dump()) == path


def test_a_name_like_a_sections_but_unknown_there_names_the_nearest(params):
    with pytest.raises(NotebookError, match=r"did you mean crops_jitter\?"):
        source_of("crops_jiter", params.model_dump())


def test_item_hands_over_an_entry_and_those_of_its_fields_that_are_declared(write, project, params):
    nb = read_notebook(project / write(parameters='experiment = "A"\nexperiment_start = ""\nexperiment_samples = 1'))
    values = resolve(nb, params, [Item.parse("experiment=experiments.Bp_A")]).values
    assert values == {"experiment": "Bp_A", "experiment_start": "Bp", "experiment_samples": 16}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("experiment=experiments", "has the form name=section.key"),
        ("factor=experiments.Z", r"no experiments\.Z"),
        ("experiment=experiments.A", "has no parameter 'experiment'"),
    ],
)
def test_items_that_cannot_be(tiny, params, item, said):
    with pytest.raises(NotebookError, match=said):
        resolve(tiny, params, [Item.parse(item)])


@pytest.mark.parametrize(
    ("given", "value"), [("seed=3", 3), ("crops_size=400.0", 400.0), ("note=x y", "x y"), ("factor=3", 3.0)]
)
def test_set_overrides(tiny, params, given, value):
    name, parsed = parse_set(given)
    assert resolve(tiny, params, overrides={name: parsed}).values[name] == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("crop_size=400.0", r"has no parameter 'crop_size'\n.*crops_size, factor[^?]*did you mean 'crops_size'\?"),
        ("crops_size=wide", r"crops\.size: .*valid number"),
        ("crops_size=-1.0", r"crops\.size: .*greater than 0"),
        ("note=3", "of type str"),
        ("factor=true", "of type float"),
        ("seed=1.5", "seed: .*integer"),
    ],
)
def test_set_refuses_unknown_names_and_wrong_types(tiny, params, given, said):
    with pytest.raises(NotebookError, match=f"(?s){said}"):
        resolve(tiny, params, overrides=dict([parse_set(given)]))


@pytest.mark.parametrize("text", ["seed", "=3", "a b=3", "seed=[1"])
def test_set_that_cannot_be_read(text):
    with pytest.raises(NotebookError, match="cannot read"):
        parse_set(text)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("size = 2 * 3", "line 1 .* no parameter: size = 2"),
        ("a = 1\nimport os", "line 2"),
        ("a = b = 1", "line 1"),
        ("a: int", "line 1"),
    ],
)
def test_a_parameters_cell_holds_literals_only(write, project, parameters, said):
    with pytest.raises(NotebookError, match=said):
        declared(read_notebook(project / write(parameters=parameters)))


def test_a_parameters_cell_may_hold_comments_annotations_and_a_docstring(write, project):
    parameters = '"""What it takes."""\n# size of a crop [m]\nsize: float = -1.5\nnames = [\n    "a",\n    None,\n]\n'
    assert declared(read_notebook(project / write(parameters=parameters))) == {"size": -1.5, "names": ["a", None]}


@pytest.mark.parametrize("tagged", [0, 2])
def test_exactly_one_cell_is_tagged(tagged):
    cells = [nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]}) for _ in range(tagged)]
    with pytest.raises(NotebookError, match=f"{tagged} cells tagged"):
        declared(nbformat.v4.new_notebook(cells=cells))


def test_missing_and_damaged_notebooks(tmp_path):
    with pytest.raises(NotebookError, match="there is no notebook"):
        read_notebook(tmp_path / "x.ipynb")
    (tmp_path / "x.ipynb").write_text("print(1)")
    with pytest.raises(NotebookError, match="is no notebook"):
        read_notebook(tmp_path / "x.ipynb")
