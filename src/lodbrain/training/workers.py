"""Several processes that train one model together, as `torchrun` starts them; one process without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from lodbrain.errors import UsageError
from lodbrain.segmentation.settings import choose_device


@dataclass(frozen=True)
class Workers:
    """One process among those that train together.

    Attributes
    ----------
    rank, count : int
        Number of this process, from 0, and of all.
    device : torch.device
        Its own.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over all processes, its weights those of the first."""
        if self.count == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: float) -> float:
        """What the first process says."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float32, device=self.device)
        dist.broadcast(told, 0)
        return float(told)

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join(device: str) -> Iterator[Workers]:
    """Join the other processes of `torchrun`, if there are any, on one device each.

    Parameters
    ----------
    device : str
        As in `device_named`. Without a number the process of local rank n takes GPU n.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Workers(0, 1, torch.device(device_named(device)))
        return
    here = device_named(device)
    if here == "cuda":
        here = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        choose_device(here)
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if here.startswith("cuda") else "gloo")
    try:
        yield Workers(dist.get_rank(), dist.get_world_size(), torch.device(here))
    finally:
        dist.destroy_process_group()


def device_named(name: str) -> str:
    """The device that PyTorch knows under another name.

    ``"rocm"`` and ``"rocm:1"`` are AMD's, which PyTorch addresses as CUDA's; they are refused where PyTorch was not
    built for ROCm. All other names as in `lodbrain.segmentation.settings.choose_device`.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    kind, colon, number = name.partition(":")
    if kind != "rocm":
        return choose_device(name)
    if torch.version.hip is None:
        what = "this PyTorch was not built for ROCm"
        raise UsageError("device", None, what, "Install PyTorch for ROCm (pytorch.org), or use another device")
    return choose_device(f"cuda{colon}{number}")
