"""A book of two pages with made-up numbers, and a browser."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rfloc import config

SCORE = {
    "n": 12, "crops": 12, "mean": 152.4, "lo": 130.0, "hi": 171.2, "rmse": 180.0, "median": 140.0, "p67": 150.0,
    "p90": 200.0, "p95": 210.0, "gain": 0.0, "gain_lo": None, "gain_hi": None,
}  # fmt: skip
ROWS = [
    {"key": "centre", "label": "crop centre", "known": SCORE, "unknown": SCORE},
    {"key": "A", "label": "A", "known": SCORE | {"mean": 20.0, "lo": 18.0}, "unknown": SCORE, "paper_known": 38.5},
    {"key": "true", "label": "told", "known": SCORE | {"mean": 1.0}, "unknown": SCORE | {"mean": 1.0}, "oracle": True},
]  # fmt: skip
ERROR = {
    "localizer": "knn_square", "experiment": None, "city": "home", "street": "unknown", "split": "fixed",
    "positions": "stated", "mean": 152.4, "lo": 130.0, "hi": 171.2, "gain_lo": -9.0, "gain_hi": 9.0, "n_ue": 12,
    "label": "k-NN",
}  # fmt: skip
RECORD = {
    "stage": "results", "notebook": "notebooks/second.ipynb", "revision": None, "dirty": True,
    "packages": {"python": "3.11.2"}, "machine": {"cpu": "a processor", "cores": 2, "system": "Linux"},
    "wall_time_s": 1.0, "peak_memory_mib": 100,
}  # fmt: skip
INDEX = """# First page

Guessing gives {{ rows.centre.unknown.text }}; the best on known streets is {{ best.known.label }}. See [](second).

$$e^{i\\pi} = -1$$

{{ chart }}

{{ table1 }}

{{ paper1 }}

{{ verdicts }}

```{image} _static/logo.svg
:alt: the logo
```
"""
SECOND = "# Second page\n\n## A section\n\nWhat a reader looks for. {cite:p}`hoydis2023`\n\n```{bibliography}\n```\n"


@pytest.fixture(scope="session")
def make_mini(project_root: Path) -> Callable[[Path], Path]:
    """Writer of a project whose book has two pages and uses the real configuration, extension and styles."""

    def make(root: Path) -> Path:
        skip = shutil.ignore_patterns("_build", "executed", "*.md", "__pycache__")
        shutil.copytree(project_root / "book", root / "book", ignore=skip)
        shutil.copy(project_root / "params.yaml", root / "params.yaml")
        (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\nparts: [{chapters: [{file: second}]}]\n")
        (root / "book" / "index.md").write_text(INDEX)
        (root / "book" / "second.md").write_text(SECOND)
        results = root / "results" / config.read(root / "params.yaml").scale
        (results / "provenance").mkdir(parents=True)
        (results / "table1.json").write_text(json.dumps({"rows": ROWS}))
        (results / "errors.json").write_text(json.dumps({"rows": [ERROR]}))
        simulated = {"B": {"home": {"stations": 20, "ues": 6000}}, "C": {}}
        (results / "simulation.json").write_text(json.dumps(simulated))
        for name in ("headline", "departures"):
            (results / f"{name}.json").write_text("{}")
        (results / "provenance" / "results.json").write_text(json.dumps(RECORD))
        return root

    return make


@pytest.fixture
def mini(make_mini: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A project with a book of two pages, not built yet."""
    return make_mini(tmp_path / "project")


@pytest.fixture(scope="session")
def built(make_mini: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of such a book."""
    from rfloc.pipeline.book import build_book

    return build_book(make_mini(tmp_path_factory.mktemp("mini") / "project"))


@pytest.fixture
def plant(built: Path) -> Iterator[Callable[[str, str], Path]]:
    """Spoil the first page by replacing a text in it; mended after the test."""
    page = built / "index.html"
    sound = page.read_text()

    def spoil(old: str, new: str) -> Path:
        assert old in sound
        page.write_text(sound.replace(old, new, 1))
        return built

    yield spoil
    page.write_text(sound)
