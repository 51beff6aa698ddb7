"""The same task for many stations: here one after the other, or on Dask, in processes that trace on one thread each.

Dask runs processes of this machine by default, SLURM's jobs as Dask's own configuration describes them
(`~/.config/dask/jobqueue.yaml`), or whatever workers a scheduler at an address has.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rfloc.backend import cuda_devices, one_thread
from rfloc.config import EngineParams
from rfloc.errors import RFLocError, SimulationError

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")
#: Time that a scheduler at an address has to answer, and its first worker to join [s].
PATIENCE = 20.0
#: Memory of a worker is its scene's, not Dask's: what Dask does past these shares of it frees none.
_MEMORY = {f"distributed.worker.memory.{key}": False for key in ("target", "spill", "pause")}


def each(
    task: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], names: Sequence[str], engine: EngineParams | None
) -> Iterator[tuple[int, Result]]:
    """Number and result of every job, as they are finished: `task`, a function of a module, of the job's arguments.

    Without an engine, for a single job, and on a single worker of this machine, in this process. Raises SimulationError
    naming the job (`names`) that failed on a worker.
    """
    if engine is None or len(jobs) < 2 or (engine.scheduler == "local" and _workers(engine) == 1):
        yield from ((k, task(*job)) for k, job in enumerate(jobs))
        return
    from distributed import as_completed

    with connect(engine) as client:
        futures = {client.submit(_on_worker, task, *job, pure=False): k for k, job in enumerate(jobs)}
        for future in as_completed(futures, loop=client.loop):
            k = futures.pop(future)
            if future.status != "finished":
                error, status = future.exception(), future.status
                if isinstance(error, RFLocError):
                    raise SimulationError(f"{names[k]} failed: {error.what}", error.why, error.mend)
                raise SimulationError(
                    f"{names[k]} failed",
                    f"{type(error).__name__}: {error}" if error else f"its task was {status}: the scheduler is gone",
                    "mend it, or give workers more memory by having fewer, and run again: what was traced is kept",
                )
            yield k, future.result()


def _on_worker(task: Callable[..., Result], *job: Any) -> Result:
    with one_thread():
        return task(*job)


@contextlib.contextmanager
def connect(engine: EngineParams) -> Iterator[Client]:
    """A Dask client on the scheduler that `engine` names.

    "local": processes of one thread each, `workers` of them (None: one a core, or one in all on a GPU), held until this
    process ends, with the scenes that they have loaded. "slurm": so many workers as jobs of SLURM, ended with the
    block. Else the address of a scheduler, whose workers see the same folders. Raises SimulationError if that fails.
    """
    from distributed import Client

    if engine.scheduler == "local":
        yield _local(_workers(engine))
        return
    with contextlib.ExitStack() as stack:
        slurm = engine.scheduler == "slurm"
        target = stack.enter_context(_slurm(engine.workers)) if slurm else engine.scheduler
        try:
            client = stack.enter_context(Client(target, timeout=PATIENCE, set_as_default=False))
            if not slurm:
                client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise SimulationError(
                f"no Dask scheduler with a worker answers at {engine.scheduler}",
                str(error).partition("\n")[0],
                "start `dask scheduler` and `dask worker`, or set engine.scheduler to local",
            ) from error
        yield client


def _workers(engine: EngineParams) -> int:
    """Processes of this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return engine.workers or (1 if cuda_devices() else cores or 1)


@functools.cache
def _local(workers: int) -> Client:
    """Processes of this machine; what goes wrong in them futures tell, so that Dask logs nothing of its own."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, silence_logs=logging.CRITICAL, config=_MEMORY,
        scheduler_kwargs={"dashboard": False, "dashboard_address": ":0"},
    )  # fmt: skip
    atexit.register(logging.disable, logging.CRITICAL)  # runs before Dask's own end, of which it logs tracebacks
    return Client(cluster, set_as_default=False)


def _slurm(workers: int | None) -> Any:
    import dask
    from dask_jobqueue import SLURMCluster

    if missing := [key for key in ("cores", "memory") if not dask.config.get(f"jobqueue.slurm.{key}", None)]:
        what = f"jobs of SLURM have no {' nor '.join(missing)}"
        raise SimulationError(what, "Dask's own configuration describes them", "fill ~/.config/dask/jobqueue.yaml")
    cluster = SLURMCluster()
    cluster.adapt(minimum=workers or 1, maximum=workers or 1)
    return cluster
