"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from rfloc import config

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Timings of property tests vary with what else the machine does; each run tries other examples.
settings.register_profile("untimed", deadline=None, max_examples=25)
settings.load_profile("untimed")

if TYPE_CHECKING:
    from rfloc.city import City

PROJECT = Path(__file__).resolve().parents[1]


def _defaults() -> None:
    """Give sections that tests build by hand the values of conf/config.yaml for what they leave out.

    Only the constructor does: what is checked (`config.check`) must be complete, here as everywhere.
    """
    conf = config.defaults(PROJECT)
    values = {info.annotation: conf[name] for name, info in config.Params.model_fields.items() if name in conf}
    plain = config.Section.__init__

    def filled(self: config.Section, **given: Any) -> None:
        plain(self, **(values.get(type(self), {}) | given))

    config.Section.__init__ = filled  # type: ignore[method-assign]


_defaults()


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The project folder."""
    return PROJECT


@pytest.fixture(scope="session")
def toy_city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """The nine-building toy city, built once a session."""
    from rfloc.city import build_city
    from tests.toy import city_params

    return build_city("toy", city_params("toy"), PROJECT / "data", tmp_path_factory.mktemp("cities") / "toy")


def _published(name: str) -> Path:
    root = Path(os.environ.get("RFLOC_DATA") or PROJECT / "data")
    if not (root / name).is_file():
        pytest.skip(f"no {name} in {root}: `rfloc fetch`, or set RFLOC_DATA to the folder that holds it")
    return root


@pytest.fixture(scope="session")
def rome_data() -> Path:
    """Folder that holds `rome/`, the published measurements and the OSM extract; skips where there is none."""
    return _published("rome/buildings.parquet")


@pytest.fixture(scope="session")
def oslo_data() -> Path:
    """Folder that holds `oslo/`, the published measurements; skips where there is none."""
    return _published("oslo/Oslo_NBIoT_data.mat")


@pytest.fixture(scope="session")
def smoke_params(tmp_path_factory: pytest.TempPathFactory) -> str:
    """params.yaml of scale smoke."""
    from rfloc.cli import compose

    target = tmp_path_factory.mktemp("params") / "params.yaml"
    return compose(PROJECT, ["scale=smoke"], target).read_text()


@pytest.fixture
def project(tmp_path: Path, smoke_params: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty project folder, in which pages run as a stage that DVC does not know."""
    monkeypatch.setenv("DVC_ROOT", "/nowhere")
    monkeypatch.setenv("DVC_STAGE", "tiny")
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text(smoke_params)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path


@pytest.fixture(scope="session")
def smoke_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the whole pipeline ran at scale smoke."""
    from tests.clone import make_clone, run

    clone = make_clone(PROJECT, tmp_path_factory.mktemp("smoke") / "clone")
    run(clone, "dvc", "exp", "run", "-S", "scale=smoke")
    return clone


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; skips, saying so, where there is none."""
    from tests.book import checks

    found = checks.chromium()
    if found is None:
        pytest.skip("NO CHROMIUM: the book's pages were not opened in a browser (apt-get install chromium)")
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: a file stays on one worker (`--dist loadfile`).

    A worker that holds two tests or fewer is given the next file beforehand, so that smoke, of more, comes before Rome.
    """
    first = [PROJECT / "tests/pipeline" / name for name in ("test_smoke.py", "test_rome.py")]
    items.sort(key=lambda item: first.index(item.path) if item.path in first else len(first))
