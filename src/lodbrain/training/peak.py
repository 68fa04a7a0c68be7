"""Peak memory since a reset: of tensors on CUDA, else of the process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

from lodbrain.system.memory import MEBIBYTE, peak_mib, resident_bytes


def held_bytes(device: torch.device) -> int:
    """Return the bytes held at present."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()


class Peak:
    """Peak memory since construction; where it cannot be reset, since the start of the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform.startswith("linux"):
            # Writing 5 resets the peak of this process to its present size (man 5 proc); some sandboxes forbid it.
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        """Return the peak in bytes."""
        return (
            torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else int(peak_mib() * MEBIBYTE)
        )
