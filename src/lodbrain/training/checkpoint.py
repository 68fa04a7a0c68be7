"""Checkpoints that survive a kill: one safetensors file, replaced in one step, the one before kept.

Never pickle: optimizer states are tensors under flat names, counters are JSON in the file's metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lodbrain.images.atomic import atomic

Groups = dict[str, dict[str, torch.Tensor]]


def save_checkpoint(path: Path, groups: Groups, state: dict[str, Any]) -> None:
    """Write a checkpoint; the previous one stays beside it as ``<name>.previous``.

    Parameters
    ----------
    path : Path
    groups : dict of dict of tensors
        Such as ``{"model": ..., "ema": ..., "exp_avg": ...}``.
    state : dict
        Anything JSON holds: step, seed, settings.
    """
    flat = {
        f"{group}/{name}": t.detach().contiguous().cpu()
        for group, tensors in groups.items()
        for name, t in tensors.items()
    }
    if path.exists():
        path.replace(path.with_name(path.name + ".previous"))
    with atomic(path) as temporary:
        save_file(flat, temporary, metadata={"state": json.dumps(state)})


def load_checkpoint(path: Path) -> tuple[Groups, dict[str, Any]] | None:
    """The newest whole checkpoint: `path`, else its predecessor, else None.

    Returns
    -------
    groups : dict of dict of tensors
    state : dict
        As they were saved.
    """
    for candidate in (path, path.with_name(path.name + ".previous")):
        try:
            with safe_open(candidate, framework="pt") as file:
                groups: Groups = {}
                for key in file.keys():  # noqa: SIM118 (a file of tensors is no dict)
                    group, name = key.split("/", 1)
                    groups.setdefault(group, {})[name] = file.get_tensor(key)
                return groups, json.loads((file.metadata() or {})["state"])
        except (OSError, SafetensorError, KeyError, ValueError):
            continue
    return None
