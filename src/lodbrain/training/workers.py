"""Distributed training: several processes started by `torchrun`, or a single one."""

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
    """One of `count` processes that train together; ranks count from 0."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over all processes, and weights of the first one."""
        if self.count == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: float) -> float:
        """Return the first process's value."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float32, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join(device: str) -> Iterator[Workers]:
    """Join the other processes of `torchrun`, if any, on one device each.

    Parameters
    ----------
    device : str
        As in `device_named`. Without a number the process of local rank n uses GPU n.

    Raises
    ------
    UsageError
        If the device is not available.
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
    """Return PyTorch's name of a device.

    ``"rocm"`` and ``"rocm:1"`` are AMD devices, which PyTorch addresses as CUDA devices; they are rejected if PyTorch
    was not built for ROCm. All other names as in `lodbrain.segmentation.settings.choose_device`.

    Raises
    ------
    UsageError
        If the device is not available.
    """
    kind, colon, number = name.partition(":")
    if kind != "rocm":
        return choose_device(name)
    if torch.version.hip is None:
        what = "this PyTorch was not built for ROCm"
        raise UsageError("device", None, what, "Install PyTorch for ROCm (pytorch.org), or use another device")
    return choose_device(f"cuda{colon}{number}")
