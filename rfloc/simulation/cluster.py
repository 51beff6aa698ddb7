"""Where a campaign runs: processes of this machine, jobs of SLURM, or any Dask scheduler."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rfloc.backend import cuda_devices
from rfloc.config import EngineParams
from rfloc.errors import SimulationError

if TYPE_CHECKING:
    from distributed import Client

#: Time that a scheduler at an address has to answer, and its first worker to join [s].
PATIENCE = 20.0

#: Memory of a worker is its scene's, not Dask's: what Dask does past these shares of it frees none.
_MEMORY = ("target", "spill", "pause")


@contextlib.contextmanager
def connect(engine: EngineParams) -> Iterator[Client]:
    """A Dask client on the scheduler that `engine` names; what is opened here is closed at the end.

    "local": processes of one thread each, `workers` of them (None: one a core, or one in all on a GPU); each may take
    its share of the memory and is restarted past it. "slurm": jobs of `slurm_cores` such processes, replaced when
    their time is up. Else the address of a scheduler, whose workers see the folders of cities and store.

    Raises
    ------
    SimulationError
        If SLURM's client is missing here, or no scheduler with a worker answers at the address. Jobs of SLURM may stay
        in its queue for as long as they do.
    """
    from distributed import Client

    with contextlib.ExitStack() as stack:
        target: Any = engine.scheduler
        if engine.scheduler in ("local", "slurm"):
            target = stack.enter_context(_local(engine) if engine.scheduler == "local" else _slurm(engine))
        try:
            client = stack.enter_context(Client(target, timeout=PATIENCE, set_as_default=False))
        except (OSError, ValueError) as error:
            raise SimulationError(
                f"no Dask scheduler answers at {engine.scheduler}",
                str(error).partition("\n")[0],
                "start one with `dask scheduler`, or set engine.scheduler to local",
            ) from error
        if engine.scheduler not in ("local", "slurm"):
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError:
                raise SimulationError(
                    f"the Dask scheduler at {engine.scheduler} has no worker",
                    f"none joined it in {PATIENCE:g} s",
                    "start some with `dask worker`",
                ) from None
        yield client


def _local(engine: EngineParams) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=engine.workers or (1 if cuda_devices() else None),
        threads_per_worker=1,
        processes=True,
        scheduler_kwargs={"dashboard": False, "dashboard_address": ":0"},
        silence_logs=logging.ERROR,
        config={f"distributed.worker.memory.{key}": False for key in _MEMORY},
    )


def _slurm(engine: EngineParams) -> Any:
    mend = "run where SLURM's commands are, or set engine.scheduler to local"
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise SimulationError("dask-jobqueue is not installed", str(error), "pip install dask-jobqueue") from error
    if shutil.which("sbatch") is None:
        raise SimulationError("there is no `sbatch` on this machine", "engine.scheduler is slurm", mend)
    cluster = SLURMCluster(
        queue=engine.slurm_queue, cores=engine.slurm_cores, processes=engine.slurm_cores,
        memory=f"{engine.slurm_memory_gb}GB", walltime=engine.slurm_walltime, scheduler_options={"dashboard": False},
        job_script_prologue=[f"export DASK_DISTRIBUTED__WORKER__MEMORY__{key.upper()}=False" for key in _MEMORY],
    )  # fmt: skip
    workers = engine.workers or engine.slurm_cores
    cluster.adapt(minimum=workers, maximum=workers)
    return cluster
