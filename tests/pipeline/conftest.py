"""A project folder of one tiny notebook."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
METADATA = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
PARAMETERS = """\
seed = 0
crops_size = 1.0
splits_block = 1.0
note = "as written"
factor = 2.0
"""


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
