"""Content of a stage's checkpoint: weights, averages, optimizer state, counters, configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from lodbrain.errors import UsageError
from lodbrain.training.checkpoint import Groups, save_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.config_fields import Joint, LevelSettings, RealScans

_STATES = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer")

#: Fields that do not affect the result: they may differ between a run and its continuation.
FREE = frozenset(
    {"name", "description", "data", "licence", "citation", "out", "labelmaps", "fine_labelmaps", "device", "threads"}
    | {
        "start_share",
        "report_on",
        "validate_every",
        "validation_scans",
        "checkpoint_every",
        "pictures",
        "levels",
        "joint",
    }
)


def essence(config: TrainingConfig, upto: int, workers: int) -> dict[str, Any]:
    """Return the settings that determine the result of a stage: all but the `FREE` ones, and the first `upto` levels.

    For the joint stage `upto` is one more than there are levels.
    """
    fields = config.model_dump(mode="json", by_alias=True)
    kept = {name: value for name, value in fields.items() if name not in FREE}
    kept["bfloat16"] = config.autocasts  # the effective value on this device
    kept["levels"] = fields["levels"][:upto]
    if upto > len(config.levels):
        kept["joint"] = fields["joint"]
    return {**kept, "processes": workers}


def differences(
    before: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any] | None = None, prefix: str = ""
) -> list[str]:
    """Return lines ``field: was A, is B`` for all differences; a field that `before` lacks had its default."""
    defaults, lines = defaults or {}, []
    for name in sorted(before.keys() | now.keys(), key=str):
        b, where, default = now.get(name), f"{prefix}{name}", defaults.get(name)
        a = before.get(name, None if b is None else default)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, default, f"{where}.")
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and any(isinstance(x, dict) for x in a):
            each: dict[Any, Any] = dict.fromkeys(range(len(a)), default)
            lines += differences(dict(enumerate(a)), dict(enumerate(b)), each, f"{where}.")  # type: ignore[arg-type]
        elif a != b:
            lines.append(f"{where}: was {a}, is {b}")
    return lines


def _defaults() -> dict[str, Any]:
    """Return the defaults of a configuration; ``levels`` and optional sections have those of their own fields."""
    sections: dict[str, type[BaseModel]] = {"levels": LevelSettings, "real": RealScans, "joint": Joint}
    fields = TrainingConfig.model_construct().model_dump(mode="json", by_alias=True)
    return fields | {name: kind.model_construct().model_dump(mode="json") for name, kind in sections.items()}


def check_same(path: Path, saved: dict[str, Any], now: dict[str, Any], *, accept: bool) -> None:
    """Raise UsageError, with the differences, if a checkpoint is of another configuration, unless that is accepted.

    A field that the checkpoint lacks, since its version had none, counts as its default.
    """
    if saved.get("losses", {}).get("boundary") == 0:  # a loss of earlier versions, which was not used
        saved = {**saved, "losses": {name: weight for name, weight in saved["losses"].items() if name != "boundary"}}
    changed = differences(saved, now, _defaults())
    if changed and not accept:
        what = f"was trained with other settings ({'; '.join(changed[:4])}{'; ...' if len(changed) > 4 else ''})"
        hint = "Use another `out`, or continue with --accept-changes"
        raise UsageError("changed-config", path, what, hint)


def save(
    path: Path,
    network: nn.Module,
    ema: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write a checkpoint of a stage."""
    # Clones: some weights have two names, which the file format does not allow for shared memory.
    model = {name: value.detach().clone() for name, value in network.state_dict().items()}
    groups: Groups = {"model": model, "ema": ema}
    for key in _STATES:
        groups[key] = {
            name: optimizer.state[p][key] for name, p in network.named_parameters() if key in optimizer.state.get(p, {})
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, groups, state)


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, groups: Groups) -> dict[str, torch.Tensor]:
    """Load a checkpoint into network and optimizer; return the averages, on the network's device."""
    network.load_state_dict(groups["model"])
    for name, parameter in network.named_parameters():
        for key in _STATES:
            if name in groups.get(key, {}):
                # Adam's step count is on the CPU and is its own: skipped steps do not count.
                value = groups[key][name]
                optimizer.state[parameter][key] = value if key == "step" else value.to(parameter.device)
    device = next(network.parameters()).device
    return {name: value.to(device) for name, value in groups["ema"].items()}
