import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc import files
from rfloc.errors import DataError


def test_a_file_or_folder_is_written_whole_or_stays_as_it_was_and_a_place_that_refuses_is_named(tmp_path):
    path = tmp_path / "a/b.txt"
    for text in ("old", "new"):
        with files.write(path) as part:
            part.write_text(text)
    with pytest.raises(ZeroDivisionError), files.write(path) as part:
        part.write_text(str(1 / 0))
    with files.write(tmp_path / "a/folder") as part:
        part.mkdir()
        (part / "x").write_text("1")
    assert path.read_text() == "new"
    assert sorted(p.name for p in path.parent.iterdir()) == ["b.txt", "folder"]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"), files.write(tmp_path / "file/x"):
        pass
    with pytest.raises(FileNotFoundError, match="absent"), files.write(tmp_path / "y"):
        (tmp_path / "absent").read_text()


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()))
def test_a_digest_is_of_values_whatever_their_order(values):
    assert files.digest(values) == files.digest(dict(reversed(values.items()))) != files.digest([values])


def test_a_digest_is_of_what_arrays_and_files_hold(tmp_path):
    a = np.arange(6.0).reshape(2, 3)
    assert files.digest(a) == files.digest(a.copy()) != files.digest(a.astype(np.float32))
    (tmp_path / "x").write_text("1")
    before = files.digest(tmp_path)
    (tmp_path / "x").write_text("23")
    assert files.digest(tmp_path) != before


def test_what_is_kept_is_made_once_and_again_where_it_is_damaged(tmp_path):
    made = []

    def make() -> files.Arrays:
        made.append(1)
        return {"a": np.arange(3.0)}

    key = tmp_path / "k.npz"
    for _ in range(2):
        assert files.kept(key, make)["a"].tolist() == [0.0, 1.0, 2.0]
    key.write_bytes(key.read_bytes()[:40])
    with pytest.warns(UserWarning, match=r"k\.npz is damaged"):
        files.kept(key, make)
    assert len(made) == 2 and files.kept(None, make) and len(made) == 3


def test_json_that_is_missing_or_damaged_is_named(tmp_path):
    path = files.save_json({"b": float("nan"), "a": 1}, tmp_path / "x.json")
    assert path.read_text().endswith("}\n") and files.load_json(path) == {"a": 1, "b": None}
    with pytest.raises(ValueError, match="JSON compliant"):
        files.save_json({"a": float("inf")}, path)
    with pytest.raises(DataError, match="there is no"):
        files.load_json(tmp_path / "y.json")
    path.write_text(json.dumps({"a": 1})[:-1])
    for bad in (path, tmp_path):
        with pytest.raises(DataError, match="no valid JSON"):
            files.load_json(bad)


def test_a_trial_reads_what_the_project_has_and_writes_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv(files.TRIAL, "")  # so that what files.trial sets is undone at the end
    project = tmp_path / "project"
    for name in ("build/links/A/home", "build/links/B/home", "build/cache/maps/one", "results/demo/table.json"):
        files.save_json({"made by": "the pipeline"}, project / name)
    folder = files.trial(project, tmp_path / "there")
    for name in ("build/links/A/home", "build/links/A/new", "results/demo/table.json", "build/cache/maps/two"):
        files.save_json({"made by": "the trial"}, folder / name)
    with files.write(folder / "build/links/B") as part:
        part.mkdir()
    held = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    cache = {"build/cache/maps/one", "build/cache/maps/two"}
    assert held == {"build/links/A/home", "build/links/B/home", "results/demo/table.json"} | cache
    assert files.load_json(project / "build/links/A/home") == {"made by": "the pipeline"}
    assert files.load_json(project / "results/demo/table.json") == {"made by": "the pipeline"}
    assert files.load_json(folder / "build/links/A/home") == {"made by": "the trial"}
    assert not list((folder / "build/links/B").iterdir())
