"""Checkpoints that survive a kill and a bad disk: one safetensors file with a checksum, the one before kept.

Never pickle: optimizer states are tensors under flat names, counters are JSON in the file's metadata.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lodbrain.system.atomic import atomic

Groups = dict[str, dict[str, torch.Tensor]]


def save_checkpoint(path: Path, groups: Groups, state: dict[str, Any]) -> None:
    """Write a checkpoint; the previous one, if it is whole, stays beside it as ``<name>.previous``.

    At every moment at least one whole checkpoint is there, once there was one: a damaged `path` never takes the place
    of a good ``.previous``.

    Parameters
    ----------
    path : Path
    groups : dict of dict of tensors
        Such as ``{"model": ..., "ema": ..., "exp_avg": ...}``.
    state : dict
        Anything JSON holds: step, seed, settings.

    Raises
    ------
    OutputError
        If it cannot be written: the disk is full, or the folder read-only. What was there stays.
    """
    flat = {
        f"{group}/{name}": t.detach().contiguous().cpu()
        for group, tensors in groups.items()
        for name, t in tensors.items()
    }
    text = json.dumps(state)
    with atomic(path) as temporary:
        # Written by ourselves: the library's own writer hides what the disk says (full, read-only).
        temporary.write_bytes(save(flat, metadata={"state": text, "sha256": _digest(flat, text)}))
        # Only now, with the new one complete: a kill between this rename and `atomic`'s leaves `.previous`.
        if _read(path) is not None:
            path.replace(_previous(path))


def load_checkpoint(path: Path) -> tuple[Groups, dict[str, Any]] | None:
    """The newest whole checkpoint: `path`, else its predecessor, else None.

    Whole is a file whose tensors and state have the checksum that was written with them. Files of versions before 0.2
    bear none and are taken as they are.

    Returns
    -------
    groups : dict of dict of tensors
    state : dict
        As they were saved.
    """
    return _read(path) or _read(_previous(path))


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> tuple[Groups, dict[str, Any]] | None:
    """A checkpoint, None unless it is there and whole."""
    try:
        with safe_open(path, framework="pt") as file:
            flat = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a file of tensors is no dict)
            metadata = file.metadata() or {}
        text = metadata["state"]
        if "sha256" in metadata and metadata["sha256"] != _digest(flat, text):
            return None
        groups: Groups = {}
        for key, tensor in flat.items():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = tensor
        return groups, json.loads(text)
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _digest(flat: dict[str, torch.Tensor], text: str) -> str:
    """SHA-256 of the state and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(flat):
        tensor = flat[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
