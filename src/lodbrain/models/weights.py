"""Weights files: checks and parsing of safetensors, without unpickling.

The functions take bytes: the caller reads a file once, verifies the SHA-256 of the bytes and parses the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from lodbrain.errors import WeightsError

#: Largest header: it names a few hundred tensors and one card. The format itself allows 100 MB.
MAX_HEADER_BYTES = 4 * 2**20
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".npy", ".npz"})

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_AGAIN = "Fetch or make the file again"


def refuse_pickle(path: Path, data: bytes) -> None:
    """Raise an error unless a file is safetensors, judged by its name and its first bytes.

    Raises
    ------
    WeightsError
        ``"pickle"`` for formats that can run code when loaded, ``"format"`` for any other name.
    """
    zipped = data[:4] == b"PK\x03\x04"
    pickled = data[:1] == b"\x80" and data[8:9] != b"{"  # opcode PROTO; in safetensors byte 8 is {
    if path.suffix.lower() in PICKLE_SUFFIXES or zipped or pickled:
        raise WeightsError(
            "pickle",
            path,
            "pickled weights can run any code when they are loaded and are refused",
            "Convert them to .safetensors where you trust them",
        )
    if path.suffix.lower() != ".safetensors":
        raise WeightsError("format", path, "is not a .safetensors file", "A model file is a .safetensors with its card")


def read_safetensors(data: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises
    ------
    WeightsError
        ``"format"`` if the header is longer than the file or than 4 MiB, is not JSON, or describes tensors that
        overlap, leave gaps or do not end at the end of the file.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise WeightsError("format", path, "is not a safetensors file: its header is cut or too long", _AGAIN)
    try:
        header = json.loads(data[8 : 8 + length])
        # The library checks offsets, sizes and types of all tensors against each other and the file's size.
        tensors = parse_safetensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError("format", path, f"is not a safetensors file: {error}", _AGAIN) from error
    return tensors, dict(header.get("__metadata__") or {})


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a network; the tensors must be exactly those of the network.

    Raises
    ------
    WeightsError
        ``"tensors"``, with the first tensor that is missing, unknown, of another shape or type, or not finite.
    """
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            what = f"lacks the tensor {name}"
        elif name not in wanted:
            what = f"holds a tensor that the network does not have: {name}"
        elif tensors[name].shape != wanted[name].shape:
            what = f"holds {name} as {tuple(tensors[name].shape)}; the network wants {tuple(wanted[name].shape)}"
        elif wanted[name].is_floating_point() and tensors[name].dtype not in _FLOATS:
            what = f"holds {name} as {tensors[name].dtype}; the network wants one of {', '.join(map(str, _FLOATS))}"
        elif not tensors[name].isfinite().all():
            what = f"holds values in {name} that are not finite"
        else:
            continue
        raise WeightsError("tensors", path, what, "The file does not belong to this architecture; " + _AGAIN.lower())
    network.load_state_dict(dict(tensors))
