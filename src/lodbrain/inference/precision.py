"""Floating-point precision of inference: bfloat16 where the hardware supports it, else float32."""

from __future__ import annotations

import torch


def working_dtype(asked: str, device: torch.device) -> torch.dtype:
    """Return bfloat16 if requested, or if "auto" is requested and the hardware computes in it; else float32.

    Examples
    --------
    >>> working_dtype("float32", torch.device("cpu"))
    torch.float32
    """
    if asked == "float32":
        return torch.float32
    if asked == "bfloat16":
        return torch.bfloat16
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512_BF16 or AMX)."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities == "AVX512" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _flag("avx512_bf16")


def _flag(name: str) -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return any(line.startswith("flags") and name in line.split() for line in file)
    except OSError:
        return False
