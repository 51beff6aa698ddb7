"""Stages at once: what `dvc repro` would run, in an order that it could have had."""

import subprocess

import pytest
import yaml

from rfloc.errors import NotebookError
from rfloc.pipeline.repro import repro

#: Says that it began, then waits for the other to say so, for ten seconds at most.
MEETS = (
    "touch {0}.began; for i in $(seq 100); do test -e {1}.began && echo {0} > {0}; sleep 0.1; test -e {0} && exit; done"
)


def stages(root, **commands):
    """dvc.yaml of a repository: by name, a command and the stages that it depends on; its out is called like it."""
    made = {
        name: {"cmd": command, "deps": ["source", *deps], "outs": [name]} for name, (command, *deps) in commands.items()
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": made}))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (("git", "init", "-q"), ("dvc", "init", "-q")):
        subprocess.run(command, check=True)
    (tmp_path / "source").write_text("1")
    return tmp_path


def test_two_stages_run_at_once_and_what_depends_on_both_after_them(root):
    stages(root, a=(MEETS.format("a", "b"),), b=(MEETS.format("b", "a"),), both=("cat a b > both", "a", "b"))
    assert repro(root, 2) == ["a", "b", "both"]
    assert (root / "both").read_text() == "a\nb\n"
    assert repro(root, 2) == []
    said = subprocess.run(["dvc", "repro"], check=True, capture_output=True, text=True).stdout
    assert "up to date" in said, "dvc.lock has every stage"


def test_what_changed_runs_again_with_all_that_depends_on_it(root):
    stages(root, a=("cp source a",), b=("wc -c < a > b", "a"), c=("echo c > c",))
    repro(root, 2)
    stages(root, a=("cp source a; echo 2 >> a",), b=("wc -c < a > b", "a"), c=("echo c > c",))
    assert repro(root, 1) == ["a", "b"]
    assert (root / "b").read_text().strip() == "3"


def test_of_those_that_could_begin_the_one_on_which_most_wait_does(root):
    stages(root, a=("echo a | tee -a order > a",), b=("echo b | tee -a order > b",), c=("cp b c", "b"))
    repro(root, 1)
    assert (root / "order").read_text().split() == ["b", "a"]


def test_after_a_failure_nothing_begins(root):
    stages(root, a=("exit 3",), b=("cp a b", "a"), c=("echo c > c", "a"))
    with pytest.raises(NotebookError, match=r"stage a failed(?s:.*)dvc repro a"):
        repro(root, 1)
    assert not (root / "b").exists() and not (root / "c").exists()
