"""Training loop of one stage: steps, averaged weights, checkpoints; resumable after a kill."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from lodbrain.system.memory import MEBIBYTE, give_back, peak_mib, restart_peak
from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.config_fields import Budget
from lodbrain.training.muon import Muon
from lodbrain.training.pairs import prefetch
from lodbrain.training.schedule import Clock, is_over, rate_of
from lodbrain.training.state import check_same, essence, restore, save
from lodbrain.training.workers import Workers

#: Called with the step and named values.
Log = Callable[[int, dict[str, float]], None]

_LOG_EVERY = 50
#: Number of heads from which crops are taken alternately.
_OPEN_HEADS = 3


@dataclass(frozen=True, eq=False)
class TrainingStage:
    """One stage of a training: a level, or all of them jointly.

    Attributes
    ----------
    name : str
        Name in its checkpoint and curves, such as ``level+2``.
    number : int
        Position of the stage, which gives it its own pairs.
    network : torch.nn.Module
        Network that is trained, averaged and saved.
    loss : torch.nn.Module
        Contains `network`; maps a batch to a loss.
    draw : callable(int, int)
        Function that returns the example of a seed and a crop number.
    collate : callable(list)
        Function that returns a batch of examples.
    validate : callable()
        Function that returns named scores of the network with its present weights.
    """

    name: str
    number: int
    network: nn.Module
    loss: nn.Module
    draw: Callable[[int, int], Any]
    collate: Callable[[Sequence[Any]], Any]
    validate: Callable[[], dict[str, float]]
    budget: Budget
    rate: float
    crops: int = 1


@dataclass(frozen=True)
class Outcome:
    """Outcome of a stage.

    Attributes
    ----------
    skipped : int
        Number of steps skipped because the gradient was not finite.
    seconds : float
        Time spent on the stage, in all calls.
    seconds_per_step : float
        Wall-clock time of this call's steps except the first, which waits for the first examples; 0 without steps.
    peak_bytes : int
        Peak memory during the steps of all calls.
    """

    steps: int
    skipped: int
    seconds: float
    seconds_per_step: float
    peak_bytes: int


def checkpoint_path(config: TrainingConfig, name: str) -> Path:
    """Return the path of a stage's checkpoint."""
    return config.out / f"{name}.safetensors"


def open_heads(config: TrainingConfig, crops: int, processes: int) -> int:
    """Return the number of heads in use at once: at least `_OPEN_HEADS`, and a multiple of the examples per step.

    Thus all examples of a step are from different heads, and each process has its own heads.
    """
    together = config.batch * config.accumulate * processes
    return together * -(-_OPEN_HEADS // together) if crops > 1 else 1


def place_of(index: int, *, crops: int, lanes: int) -> tuple[int, int]:
    """Return the numbers of the head and of its crop for the example at an index.

    Consecutive examples are from different heads. Each of `lanes` lanes takes all crops of a head, then of the next;
    the lanes are offset by a part of a head, so that they do not open new heads at the same time. Three lanes, four
    crops::

        example   0    1    2    3    4    5    6    7    8    9    10   11
        head      0    1    2    0    1    2    0    1    5    0    4    5  ...
        crop      0    1    2    1    2    3    2    3    0    3    0    1

    Examples
    --------
    >>> [place_of(index, crops=1, lanes=1) for index in range(3)]
    [(0, 0), (1, 0), (2, 0)]
    """
    lane = index % lanes
    turn = index // lanes + lane * crops // lanes
    return turn // crops * lanes + lane, turn % crops


def stage_seed(config: TrainingConfig, number: int, index: int) -> int:
    """Return the seed of an example, specific to run, stage and example.

    PyTorch's CPU generator uses the lowest 32 bits of a seed. Within a run these differ, too, for 10^7 examples in
    each of 429 stages. Two runs may share some, and so may a run and validation: these use the same random numbers with
    other label maps.
    """
    return (config.seed * 1000 + number) * 10**7 + index


def make_optimizer(network: nn.Module, config: TrainingConfig, rate: float) -> torch.optim.AdamW:
    """Return the configured optimizer of a network's parameters."""
    kind: type[torch.optim.AdamW] = {"adamw": torch.optim.AdamW, "muon": Muon}[config.optimizer]
    return kind(network.parameters(), lr=rate, weight_decay=config.weight_decay)


def run_stage(
    stage: TrainingStage, config: TrainingConfig, *, workers: Workers, log: Log, accept_changes: bool = False
) -> Outcome:
    """Train a stage to the end of its budget, from its checkpoint if there is one.

    At the end the network holds the averaged weights, frozen.

    Parameters
    ----------
    log : callable(step, values)
        Called with the mean loss every 50 steps, and with validation scores; in the first process only.

    Raises
    ------
    UsageError
        If the checkpoint is of another configuration and changes are not accepted.
    """
    network, path = stage.network, checkpoint_path(config, stage.name)
    device = next(network.parameters()).device
    optimizer = make_optimizer(network, config, stage.rate)
    ema = {name: value.detach().clone() for name, value in network.state_dict().items()}
    settings = essence(config, stage.number + 1, workers.count)
    step, skipped, spent, peak_bytes, over = 0, 0, 0.0, 0, False
    found = load_checkpoint(path)
    if found is not None:
        groups, state = found
        check_same(path, state["config"], settings, accept=accept_changes)
        ema = restore(network, optimizer, groups)
        step, skipped, spent = int(state["step"]), int(state["skipped"]), float(state["seconds"])
        peak_bytes = int(state.get("peak_bytes", 0))  # earlier versions did not keep it
        # A completed stage limited by seconds is final; a stage whose number of steps was raised continues.
        over = stage.budget.seconds is not None and bool(state["over"])
    module = workers.wrap(stage.loss)
    clock = Clock(device, spent)
    batches = _batches(stage, config, workers, step, device)

    def elapsed() -> float:
        return 0.0 if stage.budget.seconds is None else workers.agree(clock.seconds)

    give_back()  # memory that the previous stage freed would count as this one's
    network.train()
    _restart_peak(device)
    losses, counted = torch.zeros((), device=device), 0
    durations, tick = [], time.monotonic()
    over = over or is_over(stage.budget, step, elapsed())
    while not over:
        rate = rate_of(stage.budget, step, elapsed(), stage.rate, config.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        for turn in range(config.accumulate):
            with _gradients_exchanged(module, turn == config.accumulate - 1):
                loss = module(next(batches)) / config.accumulate
                loss.backward()
            losses += loss.detach()
        norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        if torch.isfinite(norm):  # the only synchronisation of a step with the device
            optimizer.step()
        else:
            skipped += 1
        keep = min(config.ema, (step + 1) / (step + 10))  # early averages are over few steps: weights change fast
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                ema[name].lerp_(value.detach(), 1 - keep)
            else:
                ema[name].copy_(value)
        step, counted = step + 1, counted + 1
        durations.append(time.monotonic() - tick)
        tick += durations[-1]
        over = is_over(stage.budget, step, elapsed())
        if step % _LOG_EVERY == 0 or over:
            peak_bytes = max(peak_bytes, _peak_bytes(device))
            if workers.first:
                values = {"loss": float(losses) / counted, "rate": rate, "seconds": fmean(durations[-counted:])}
                log(step, {**values, "skipped": float(skipped), "peak_gib": peak_bytes / 2**30})
            losses.zero_()
            counted = 0
        if (step % config.checkpoint_every == 0 or over) and workers.first:
            counts = {"step": step, "skipped": skipped, "seconds": clock.seconds, "over": over}
            state = {**counts, "peak_bytes": peak_bytes, "config": settings}
            save(path, network, ema, optimizer, state)
        if step % config.validate_every == 0 or over:
            with clock.paused():
                scores = with_weights(network, ema, stage.validate)
                if workers.first:
                    log(step, scores)
            network.train()
            tick = time.monotonic()
    batches.close()
    network.load_state_dict(ema)
    network.eval().requires_grad_(False)
    workers.wait()
    usual = fmean(durations[1:]) if len(durations) > 1 else 0.0
    return Outcome(step, skipped, clock.seconds, usual, peak_bytes)


def _restart_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        restart_peak()


def _peak_bytes(device: torch.device) -> int:
    """Return the peak memory since `_restart_peak`: of tensors on CUDA, else of the process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else int(peak_mib() * MEBIBYTE)


def with_weights(
    network: nn.Module, weights: dict[str, torch.Tensor], call: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Return the result of a call while a network has other weights, in eval mode."""
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    network.eval()
    try:
        return call()
    finally:
        network.load_state_dict(kept)


def _gradients_exchanged(module: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Synchronise gradients between processes only for the last accumulated batch of a step."""
    if last or not isinstance(module, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    return module.no_sync()


def _batches(stage: TrainingStage, config: TrainingConfig, workers: Workers, first: int, device: torch.device) -> Any:
    """Yield batches of this process from a step on, the same ones as in an uninterrupted run.

    All processes together use the examples that one process with a batch of the total size would use.
    """
    lanes = open_heads(config, stage.crops, workers.count)

    def keys() -> Iterator[tuple[int, int]]:
        index = first * config.accumulate * config.batch * workers.count
        while True:
            for n in range(config.batch * workers.count):
                if n // config.batch == workers.rank:
                    head, crop = place_of(index + n, crops=stage.crops, lanes=lanes)
                    yield stage_seed(config, stage.number, head), crop
            index += config.batch * workers.count

    examples = prefetch(lambda key: stage.draw(*key), keys(), device=device)
    try:
        while True:
            yield stage.collate([next(examples) for _ in range(config.batch)])
    finally:
        examples.close()
