"""Checkpoints as safetensors files with a checksum; the previous one is kept as a backup.

Pickle is never used: optimizer states are tensors under flat names, counters are JSON in the file's metadata.
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
    """Write a checkpoint; the previous one, if it is intact, is kept as ``<name>.previous``.

    After the first checkpoint at least one intact checkpoint exists at any time: a damaged `path` never replaces an
    intact ``.previous``.

    Parameters
    ----------
    groups : dict of dict of tensors
        Such as ``{"model": ..., "ema": ..., "exp_avg": ...}``.
    state : dict
        Any JSON data: step, seed, settings.

    Raises
    ------
    OutputError
        If it cannot be written, because the disk is full or the folder read-only. Existing files are kept.
    """
    flat = {
        f"{group}/{name}": t.detach().contiguous().cpu()
        for group, tensors in groups.items()
        for name, t in tensors.items()
    }
    text = json.dumps(state)
    with atomic(path) as temporary:
        # Not the library's own writer, which hides the cause of a failure (disk full, read-only).
        temporary.write_bytes(save(flat, metadata={"state": text, "sha256": _digest(flat, text)}))
        # Only after the new file is complete: a kill between this rename and `atomic`'s leaves `.previous`.
        if _read(path) is not None:
            path.replace(_previous(path))


def load_checkpoint(path: Path) -> tuple[Groups, dict[str, Any]] | None:
    """Return the newest intact checkpoint: `path`, else its predecessor, else None.

    A file is intact if its tensors and state match the checksum that was written with them. Files of versions before
    0.2 have no checksum and are accepted.
    """
    return _read(path) or _read(_previous(path))


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> tuple[Groups, dict[str, Any]] | None:
    """Return a checkpoint, or None if it does not exist or is not intact."""
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
    """Return the SHA-256 of the state and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(flat):
        tensor = flat[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
