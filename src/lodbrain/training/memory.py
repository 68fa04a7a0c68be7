"""Memory of a training step, predicted without allocating it.

A step is run on tensors that have shapes but no values (PyTorch's fake tensors); every storage is counted when it is
allocated and when it is freed. Internal allocations of libraries (workspaces of convolutions) are not included. Blocks
in the heap of the C library are also counted separately, since freed ones leave holes in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lodbrain.labels import N_CLASSES, SIDELESS
from lodbrain.models.lod import Detail, Ladder
from lodbrain.models.registry import Plain
from lodbrain.training.config import TrainingConfig
from lodbrain.training.levels import LevelLoss, channels_last, checkpoint_blocks, level_configs
from lodbrain.training.pairs import Pair

Shape = tuple[int, int, int]

#: glibc takes smaller blocks from its heap after a few have been freed; larger ones are mapped and returned to the
#: system at once (DEFAULT_MMAP_THRESHOLD_MAX in malloc.c, on machines of 64 bits).
HEAP_BLOCK = 32 * 2**20


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of all live tensors, and their peak, while the mode is active.

    `heap_peak` is the peak of those in blocks below `HEAP_BLOCK`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.heap = self.heap_peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out

    def add(self, tensor: torch.Tensor) -> None:
        """Count an existing tensor."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self._count(size, 1)
        self.peak, self.heap_peak = max(self.peak, self.now), max(self.heap_peak, self.heap)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._count(size, -1)

    def _count(self, size: int, sign: int) -> None:
        self.now += sign * size
        if size < HEAP_BLOCK:
            self.heap += sign * size


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step.

    Attributes
    ----------
    peak : int
        Peak of all live tensors: weights, averages, Adam's state, gradients, pair, activations.
    weights : int
        Weights alone.
    pair : int
        One batch of pairs; the background thread holds more of them.
    heap : int
        Peak of live blocks in the C library's heap, on the CPU.
    """

    peak: int
    weights: int
    pair: int
    heap: int


def step_memory(config: TrainingConfig, position: int, shape: Shape, *, batch: int | None = None) -> StepMemory:
    """Predict the memory of a step of the level at a position.

    Parameters
    ----------
    config : TrainingConfig
    position : int
    shape : tuple of 3 int
        Shape of the input; rounded up to the level's alignment.
    batch : int, optional
        Overrides the configuration's batch size.
    """
    batch = batch or config.batch
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        network = _build(config)
        level = network.level(position)
        for other in range(len(config.levels)):
            if other != position:
                network.level(other).requires_grad_(False)
        channels_last(level)
        level.train()
        if config.checkpointing:
            checkpoint_blocks(level)
        weights = sum(p.numel() * p.element_size() for p in level.parameters())
        ema = {name: value.detach().clone() for name, value in level.state_dict().items()}
        optimizer = torch.optim.AdamW(level.parameters())
        pair = _pair(network, position, shape, batch)
        loss = LevelLoss(level, config.losses, bfloat16=config.autocasts)
        for _ in range(2):  # the second step includes Adam's state
            optimizer.zero_grad(set_to_none=True)
            loss(pair).backward()
            nn.utils.clip_grad_norm_(level.parameters(), config.clip, foreach=False)
            optimizer.step()
        assert len(ema) > 0
        pair_bytes = sum(t.numel() * t.element_size() for t in pair.tensors())
        return StepMemory(live.peak, weights, pair_bytes, live.heap_peak)


def _build(config: TrainingConfig) -> Ladder | Plain:
    if config.is_ladder:
        return Ladder(level_configs(config))
    return Plain(config.architecture, config.options, config.levels[0].exponent)


def _pair(network: Ladder | Plain, position: int, shape: Shape, batch: int) -> Pair:
    stride = network.level(position).stride
    x, y, z = (-(-n // stride) * stride for n in shape)
    coarse = None
    if position and isinstance(network, Ladder):
        above = network.configs[position - 1]
        half = tuple(-(-n // 2) for n in (x, y, z))
        classes = N_CLASSES if above.sided else len(SIDELESS)
        coarse = Detail(
            torch.zeros(batch, above.channels[0], *half),
            torch.zeros(batch, classes, *half),
            None if above.sided else torch.zeros(batch, 1, *half),
        )
    return Pair(torch.zeros(batch, 1, x, y, z), torch.zeros(batch, N_CLASSES, x, y, z), torch.zeros(batch), coarse)
