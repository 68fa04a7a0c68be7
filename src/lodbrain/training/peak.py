"""The most memory that is held since some moment: on CUDA by tensors, else by the process."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

import psutil
import torch


def held_bytes(device: torch.device) -> int:
    """Bytes that are held now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


class Peak:
    """The most that is held since it was made; where nothing can set it back, since the process began."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif platform.system() == "Linux":
            # Writing 5 sets the peak of this process back to what it holds now (man 5 proc); not every sandbox lets us.
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        """Bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if platform.system() == "Linux":
            rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            return int(rows["VmHWM"].split()[0]) * 1024
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
