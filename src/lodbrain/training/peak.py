"""The most memory that is held since some moment: on CUDA by tensors, else by the process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

from lodbrain.system.memory import MEBIBYTE, peak_mib, resident_bytes


def held_bytes(device: torch.device) -> int:
    """Bytes that are held now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()


class Peak:
    """The most that is held since it was made; where nothing can set it back, since the process began."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform.startswith("linux"):
            # Writing 5 sets the peak of this process back to what it holds now (man 5 proc); not every sandbox lets us.
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        """Bytes."""
        return (
            torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else int(peak_mib() * MEBIBYTE)
        )
