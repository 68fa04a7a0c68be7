"""Train one level after the other, coarse to fine, each frozen before the next.

Killed at any moment, it goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from lodbrain.labels import TISSUE_OF_CLASS
from lodbrain.models.lod import Ladder, LevelConfig, split_sides
from lodbrain.synthesis.labelmaps import LabelMap
from lodbrain.training.checkpoint import Groups, load_checkpoint, save_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.losses import merge, merge_target_sides, segmentation_loss
from lodbrain.training.pairs import Pair, PairSource, prefetch

_VALIDATION_SEED = 10**9
_STATES = ("exp_avg", "exp_avg_sq")


def build_ladder(config: TrainingConfig) -> Ladder:
    """The untrained ladder of a configuration, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Ladder(tuple(LevelConfig(level.exponent, level.channels, level.sided) for level in config.levels))


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Linear warm-up, then a cosine from `peak` down to a hundredth of it."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    along = (step - warm_up) / max(1, steps - warm_up)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, along))) / 2)


def checkpoint_path(config: TrainingConfig, position: int) -> Path:
    """Where the level at a position keeps its state."""
    return config.out / f"level{config.levels[position].exponent:+d}.safetensors"


def load_trained_levels(ladder: Ladder, config: TrainingConfig, upto: int) -> None:
    """Fill the levels before `upto` with the averaged weights of their checkpoints."""
    for position in range(upto):
        found = load_checkpoint(checkpoint_path(config, position))
        if found is None:
            raise FileNotFoundError(f"{checkpoint_path(config, position)}: train this level first")
        ladder.levels[position].load_state_dict(found[0]["ema"])


def validate(source: PairSource, level: nn.Module, n: int, *, bfloat16: bool) -> dict[str, float]:
    """Hard Dice on fixed synthetic scans of the validation maps.

    Parameters
    ----------
    source : PairSource
        Without corruption.
    level : torch.nn.Module
    n : int
        Number of scans.
    bfloat16 : bool

    Returns
    -------
    dict of str to float
        Means over structures and tissues, and each tissue; every class is averaged over the scans where it is present.
    """
    level.eval()
    structures: list[torch.Tensor] = []
    tissues: list[torch.Tensor] = []
    with torch.no_grad():
        for i in range(n):
            pair = source.draw(_VALIDATION_SEED + i)
            with torch.autocast(pair.image.device.type, torch.bfloat16, enabled=bfloat16):
                detail = level(pair.image, pair.log_voxel, pair.coarse)
            logits = detail.logits.float()
            if detail.side is not None:
                logits = split_sides(logits.log_softmax(1), detail.side.float())
            p = nn.functional.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).float()
            t = nn.functional.one_hot(pair.target.argmax(1), logits.shape[1]).movedim(-1, 1).float()
            structures.append(_dice(p, t))
            table = torch.as_tensor(TISSUE_OF_CLASS)
            tissues.append(_dice(merge(p, table, 7), merge(t, table, 7)))
    level.train()
    by_tissue = torch.stack(tissues).nanmean(0)
    return {
        "structures": float(torch.stack(structures).nanmean(0).nanmean()),
        "tissues": float(by_tissue.nanmean()),
        **{f"tissue{i + 1}": float(v) for i, v in enumerate(by_tissue)},
    }


def _dice(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(C - 1,): Dice of each class but background; NaN where the target has fewer than 10 voxels."""
    overlap, size = (p * t).sum((0, 2, 3, 4))[1:], (p + t).sum((0, 2, 3, 4))[1:]
    return torch.where(t.sum((0, 2, 3, 4))[1:] >= 10, 2 * overlap / size.clamp(min=1), torch.nan)


def _step_loss(level: nn.Module, pair: Pair, *, bfloat16: bool) -> torch.Tensor:
    with torch.autocast(pair.image.device.type, torch.bfloat16, enabled=bfloat16):
        detail = level(pair.image, pair.log_voxel, pair.coarse)
    target = pair.target if detail.side is None else merge_target_sides(pair.target)
    return segmentation_loss(detail.logits, target)


def train_level(
    ladder: Ladder,
    position: int,
    config: TrainingConfig,
    sources: tuple[PairSource, PairSource],
    *,
    log: Callable[[int, dict[str, float]], None],
) -> None:
    """Train the level at `position` to the end of its steps, from its checkpoint if there is one.

    Parameters
    ----------
    ladder : Ladder
        Levels before `position` are filled and frozen.
    position : int
    config : TrainingConfig
    sources : tuple of PairSource
        For training and for validation.
    log : callable(step, values)
        Called with the mean loss every 50 steps, and with validation scores.
    """
    settings, level = config.levels[position], ladder.levels[position]
    device = next(level.parameters()).device
    path = checkpoint_path(config, position)
    optimizer = torch.optim.AdamW(level.parameters(), lr=settings.learning_rate, weight_decay=config.weight_decay)
    ema = {name: value.detach().clone() for name, value in level.state_dict().items()}
    first = 0
    found = load_checkpoint(path)
    if found is not None:
        groups, state = found
        level.load_state_dict(groups["model"])
        ema, first = {name: value.to(device) for name, value in groups["ema"].items()}, int(state["step"])
        _restore_optimizer(optimizer, level, groups, first)
    seeds = _seeds(config, position, first)
    pairs = prefetch(sources[0], seeds)
    level.train()
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first, settings.steps):
        rate = learning_rate(step, settings.steps, settings.learning_rate, config.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for _ in range(config.batch):
            loss = _step_loss(level, next(pairs), bfloat16=config.bfloat16) / config.batch
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = nn.utils.clip_grad_norm_(level.parameters(), config.clip)
        if torch.isfinite(norm):
            optimizer.step()
        keep = min(config.ema, (step + 1) / (step + 10))
        for name, value in level.state_dict().items():
            ema[name].lerp_(value.detach(), 1 - keep)
        losses.append(total)
        done = step + 1
        if done % 50 == 0:
            log(
                done,
                {"loss": sum(losses) / len(losses), "rate": rate, "seconds": (time.monotonic() - began) / len(losses)},
            )
            losses, began = [], time.monotonic()
        if done % config.checkpoint_every == 0 or done == settings.steps:
            _save(path, level, ema, optimizer, done, config)
        if done % config.validate_every == 0 or done == settings.steps:
            kept = {name: value.clone() for name, value in level.state_dict().items()}
            level.load_state_dict(ema)
            log(done, validate(sources[1], level, config.validation_scans, bfloat16=config.bfloat16))
            level.load_state_dict(kept)
            losses, began = [], time.monotonic()
    level.load_state_dict(ema)
    level.eval().requires_grad_(False)


def _seeds(config: TrainingConfig, position: int, first: int) -> Iterator[int]:
    """One seed per pair: a resumed run goes on with the pair that an unbroken one would have drawn."""
    index = first * config.batch
    while True:
        yield (config.seed * 1000 + position) * 10**7 + index
        index += 1


def _save(
    path: Path,
    level: nn.Module,
    ema: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
    config: TrainingConfig,
) -> None:
    names = [name for name, _ in level.named_parameters()]
    states = [optimizer.state[p] for p in level.parameters()]
    groups: Groups = {"model": level.state_dict(), "ema": ema}
    for key in _STATES:
        groups[key] = {name: state[key] for name, state in zip(names, states, strict=True) if key in state}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, groups, {"step": step, "config": config.model_dump(mode="json")})


def _restore_optimizer(optimizer: torch.optim.Optimizer, level: nn.Module, groups: Groups, step: int) -> None:
    for name, parameter in level.named_parameters():
        if name in groups["exp_avg"]:
            optimizer.state[parameter] = {key: groups[key][name].to(parameter.device) for key in _STATES}
            optimizer.state[parameter]["step"] = torch.tensor(float(step))


def make_source(
    ladder: Ladder,
    position: int,
    config: TrainingConfig,
    maps: list[LabelMap],
    fine_maps: list[LabelMap],
    *,
    training: bool,
) -> PairSource:
    """The pairs of one level, corrupted for training."""
    corruption = config.corruption if training else None
    return PairSource(
        ladder, position, config.levels, maps, fine_maps, config.generator, corruption, bfloat16=config.bfloat16
    )
