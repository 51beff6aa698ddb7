"""The same task for many stations, here one after the other or on Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rfloc.backend import run_on_one_thread
from rfloc.config import EngineParams
from rfloc.errors import CalibrationError
from rfloc.simulation.cluster import connect

Result = TypeVar("Result")


def each(
    task: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], names: Sequence[str], engine: EngineParams | None
) -> Iterator[tuple[int, Result]]:
    """Number and result of every job, as they are finished.

    Parameters
    ----------
    task : callable
        A function of a module, called with the arguments of a job.
    jobs : sequence of tuple
    names : sequence of str
        What errors call the jobs.
    engine : EngineParams or None
        None, or a single job: here.

    Raises
    ------
    CalibrationError
        Naming the job that failed on a worker.
    """
    if engine is None or len(jobs) < 2:
        for k, job in enumerate(jobs):
            yield k, task(*job)
        return
    from distributed import as_completed

    with connect(engine) as client:
        futures = {client.submit(_on_worker, task, *job, pure=False): k for k, job in enumerate(jobs)}
        for future in as_completed(futures, loop=client.loop):
            k = futures[future]
            if future.status != "finished":
                why = future.exception()
                raise CalibrationError(
                    f"the search of {names[k]} failed",
                    f"{type(why).__name__}: {why}" if why else f"its task was {future.status}",
                    "mend it and run again: what was traced is kept",
                )
            yield k, future.result()


def _on_worker(task: Callable[..., Result], *job: Any) -> Result:
    run_on_one_thread()
    return task(*job)
