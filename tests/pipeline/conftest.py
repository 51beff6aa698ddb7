"""A project folder of one tiny notebook."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from rfloc.cli import compose

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
METADATA = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
PARAMETERS = """\
seed = 0
crops_size = 1.0
splits_block = 1.0
note = "as written"
factor = 2.0
"""


@pytest.fixture(scope="session")
def smoke_params(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """params.yaml of scale smoke."""
    target = tmp_path_factory.mktemp("params") / "params.yaml"
    return compose(project_root, ["scale=smoke"], target).read_text()


@pytest.fixture
def project(project_root: Path, tmp_path: Path, smoke_params: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty project folder, in which pages run as a stage that DVC does not know."""
    monkeypatch.setenv("DVC_ROOT", "/nowhere")
    monkeypatch.setenv("DVC_STAGE", "tiny")
    shutil.copytree(project_root / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text(smoke_params)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path


Write = Callable[..., Path]


@pytest.fixture
def write(project: Path) -> Write:
    """Write notebooks/tiny.ipynb with the given cells after its parameters."""

    def write_notebook(*sources: str, parameters: str = PARAMETERS) -> Path:
        cells = [new_markdown_cell("# Tiny"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        nb = new_notebook(cells=cells + [new_code_cell(source) for source in sources], metadata=METADATA)
        (project / "notebooks").mkdir(exist_ok=True)
        nbformat.write(nb, project / "notebooks" / "tiny.ipynb")
        return Path("notebooks/tiny.ipynb")

    return write_notebook
