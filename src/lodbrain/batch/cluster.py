"""Processes on this machine, or a Dask cluster that is running already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType

import dask
from distributed import Client, LocalCluster

from lodbrain.errors import UsageError

#: Where Dask's own users look for the dashboard.
_DASHBOARD_PORT = 8787

#: How often a scan whose worker is killed goes to another one before it is set aside. Not less: a kill says little of
#: the scan, since any process of the machine may have eaten the memory.
_ALLOWED_KILLS = 2

#: Waiting threads that sleep: processes that share cores otherwise slow each other several-fold.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True, eq=False)
class Cluster:
    """Where tasks go.

    Attributes
    ----------
    client : distributed.Client
    processes : int
        Workers, when they were last counted.
    machines : int
        Machines that they run on.
    dashboard : str or None
        Address of the live dashboard; None where bokeh is not installed.
    """

    client: Client
    processes: int
    machines: int
    dashboard: str | None

    def counted(self) -> Cluster:
        """Return the same with its workers counted anew: those of a scheduler come and go."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return replace(self, processes=len(workers), machines=len({worker["host"] for worker in workers}))


@contextmanager
def local_cluster(processes: int, *, scratch: Path | None = None) -> Iterator[Cluster]:
    """Give worker processes on this machine, reachable for the same user only; they end with the block.

    Parameters
    ----------
    processes : int
        How many.
    scratch : Path, optional
        Folder for Dask's own files; default: the system's temporary folder.
    """
    # Dask speaks through logging; what matters to users is said in our own words.
    for name in ("distributed", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = {
        "distributed.scheduler.allowed-failures": _ALLOWED_KILLS,
        "distributed.scheduler.worker-saturation": 1.0,  # a killed worker takes one scan with it, not two
        "distributed.worker.memory.terminate": False,  # memory is planned by each scan
        "distributed.worker.memory.pause": False,
        "distributed.nanny.environ": _ENVIRONMENT,
    }
    with (
        tempfile.TemporaryDirectory(prefix="lodbrain-", dir=scratch, ignore_cleanup_errors=True) as folder,
        dask.config.set(config),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # such as: the dashboard's port is taken, another is used
        with _unbroken():
            cluster = LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                host="127.0.0.1",
                protocol="tls",
                security=True,  # without it every user of this machine could run code as this one
                memory_limit=0,
                dashboard_address=f"127.0.0.1:{_free_port(_DASHBOARD_PORT)}",
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
    """Let the first Ctrl-C or SIGTERM wait for the end of the block: Dask does not start or stop halfway.

    Ctrl-C is masked as well. Processes that are started inherit that, and so do those that Dask's thread, started here,
    starts later: a Ctrl-C, which reaches all processes of a terminal, is the main one's, which then ends the workers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    waiting: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        signal.signal(number, before[signal.Signals(number)])  # the second one breaks in

    for number in before:
        signal.signal(number, remember)
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # or whichever process is started first undoes the mask: it starts this one
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        signal.raise_signal(waiting[0])


@contextmanager
def remote_cluster(address: str) -> Iterator[Cluster]:
    """Give the cluster of a Dask scheduler that runs elsewhere; it goes on running after the block.

    Parameters
    ----------
    address : str
        Such as ``"tcp://10.0.0.1:8786"``, or the path of a scheduler file.

    Raises
    ------
    UsageError
        If no scheduler answers there.
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


def _free_port(wanted: int) -> int:
    """Return the port if nobody listens there, else 0: any."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted
