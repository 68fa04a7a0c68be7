"""Dask clusters: worker processes on this machine, or the workers of an external scheduler."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from lodbrain.errors import UsageError
from lodbrain.system.signals import uninterrupted

#: Dask's default port of the dashboard; if it is in use, Dask takes another one.
_DASHBOARD_PORT = 8787

#: Number of times that a scan is passed on to another worker when its worker is killed. Not fewer, because any other
#: process of the machine may have used up the memory.
_ALLOWED_KILLS = 2

#: Environment of workers. Waiting threads sleep; busy waiting slows down processes that share cores several-fold.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True, eq=False)
class Cluster:
    """Connection to a Dask cluster: its workers and their machines at the last count, its dashboard's URL if any."""

    client: Client
    processes: int
    machines: int
    dashboard: str | None

    def counted(self) -> Cluster:
        """Return the cluster with its current number of workers, which can change with an external scheduler."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return replace(self, processes=len(workers), machines=len({worker["host"] for worker in workers}))


@contextmanager
def local_cluster(processes: int, *, scratch: Path | None = None) -> Iterator[Cluster]:
    """Yield a cluster of worker processes on this machine, accessible to the same user only; it stops after the block.

    `scratch` is a folder for Dask's own files; default: the system's temporary folder.
    """
    # Dask's log messages are suppressed; lodbrain reports what users need to know.
    for name in ("distributed", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = {
        "distributed.scheduler.allowed-failures": _ALLOWED_KILLS,
        "distributed.scheduler.worker-saturation": 1.0,  # a killed worker affects one scan, not two
        "distributed.worker.memory.terminate": False,  # each scan plans its memory
        "distributed.worker.memory.pause": False,
        "distributed.nanny.environ": _ENVIRONMENT,
    }
    with (
        tempfile.TemporaryDirectory(prefix="lodbrain-", dir=scratch, ignore_cleanup_errors=True) as folder,
        dask.config.set(config),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # such as that the dashboard's port is in use
        with _unbroken():
            cluster = LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                host="127.0.0.1",
                protocol="tls",
                security=True,  # else any user of this machine could run code as this user
                memory_limit=0,
                dashboard_address=f"127.0.0.1:{_DASHBOARD_PORT}",
                silence_logs=logging.CRITICAL,
                local_directory=folder,
            )
            client = Client(cluster, set_as_default=False)
        try:
            yield Cluster(client, processes, 1, _dashboard(client))
        finally:
            with _unbroken():
                client.close()
                cluster.close()


@contextmanager
def _unbroken() -> Iterator[None]:
    """Defer the first Ctrl-C or SIGTERM to the end of the block, so that Dask is not interrupted at start or stop.

    SIGINT is also masked. Processes started in the block inherit the mask, as do those that Dask's thread starts later.
    A Ctrl-C, which is sent to all processes of a terminal, is therefore handled by the main process only, which then
    stops the workers.
    """
    masked = hasattr(signal, "pthread_sigmask") and threading.current_thread() is threading.main_thread()
    with uninterrupted(first_only=True):
        if masked:
            resource_tracker.ensure_running()  # else starting the first process starts it, which unblocks SIGINT
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            if masked:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextmanager
def remote_cluster(address: str) -> Iterator[Cluster]:
    """Yield the cluster of an external Dask scheduler, given by address or file, which keeps running after the block.

    Raises
    ------
    UsageError
        If no scheduler responds at the address.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        where = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
        client = Client(**where, timeout="20s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        hint = "Check that it runs, and that this machine can reach it"
        raise UsageError("scheduler", address, "no Dask scheduler answers there", hint) from error
    with client:
        yield Cluster(client, 0, 0, _dashboard(client)).counted()


def _dashboard(client: Client) -> str | None:
    try:
        import bokeh  # noqa: F401
    except ImportError:
        return None
    return str(client.dashboard_link)
