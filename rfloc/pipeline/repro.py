"""The pipeline with several stages at once: DVC runs them one after another, and most of them keep one core busy.

Each stage is `dvc repro --single-item` in a process of its own, once those that it depends on are done; DVC itself says
what has changed, locks what is written and keeps dvc.lock.
"""

import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path

from rfloc.errors import NotebookError


def repro(root: Path, jobs: int) -> list[str]:
    """Run what `dvc repro` would in the repository `root`, `jobs` stages at once; returns their names.

    Of stages that could begin, the one begins on which most others wait. After a failure no further stage begins
    (NotebookError, which names it); what runs is waited for.
    """
    import networkx as nx
    from dvc.repo import Repo  # a second of imports

    with Repo(root) as project:
        graph = nx.DiGraph((of.addressing, on.addressing) for of, on in project.index.graph.edges)
        graph.add_nodes_from(stage.addressing for stage in project.index.stages if stage.cmd)
        changed = {name for name in project.status() if name in graph}
    asked = changed.union(*(nx.ancestors(graph, name) for name in changed))  # edges lead to what a stage depends on
    order = TopologicalSorter({name: asked & set(graph.successors(name)) for name in asked})
    order.prepare()
    ready: list[str] = []
    running: dict[Future[int], str] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while order.is_active():
            ready = sorted({*ready, *order.get_ready()}, key=lambda name: (-len(nx.ancestors(graph, name)), name))
            while ready and len(running) < jobs:
                name = ready.pop(0)
                running[pool.submit(_stage, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                order.done(name := running.pop(future))
                if future.result() != 0:
                    mend = f"mend that, then run `dvc repro {name}`"
                    raise NotebookError(f"stage {name} failed", "what it said stands above", mend)
    return sorted(asked)


def _stage(name: str) -> int:
    """The exit status of a stage, named as DVC names it from here."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
    return subprocess.run(command, check=False).returncode
