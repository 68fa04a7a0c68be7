"""Memory of a training step, counted without allocating it: for a device that is not present, and for any crop.

A step is run on tensors that have shapes but no values (PyTorch's fake tensors); every storage is counted when it is
allocated and when it is freed. Internal allocations of libraries (workspaces of convolutions) are not included.
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
from lodbrain.training.pairs import TrainingPair
from lodbrain.training.samples import Voxels
from lodbrain.training.stage import make_optimizer
from lodbrain.training.stage_networks import LevelLoss, channels_last, level_configs


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of all live tensors (`now`), and their peak, while the mode is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step.

    Attributes
    ----------
    peak : int
        Peak of all live tensors: weights, averages, the optimizer's state, gradients, pair, activations.
    pair : int
        One batch of pairs; the background thread holds more of them.
    """

    peak: int
    pair: int


def step_memory(config: TrainingConfig, position: int, shape: Voxels, *, batch: int | None = None) -> StepMemory:
    """Return the memory of a step of the level at a position.

    Parameters
    ----------
    shape : tuple of 3 int
        Shape of the input in voxels; rounded up to the level's alignment.
    """
    batch = batch or config.batch
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        network: Ladder | Plain
        if config.is_ladder:
            network = Ladder(level_configs(config))
        else:
            network = Plain(config.architecture, config.options, config.levels[0].exponent)
        level = network.level(position)
        channels_last(level)
        level.train()
        ema = {name: value.detach().clone() for name, value in level.state_dict().items()}
        optimizer = make_optimizer(level, config, config.levels[position].learning_rate)
        pair = _pair(network, position, shape, batch)
        loss = LevelLoss(level, config.losses, bfloat16=config.autocasts)
        for _ in range(2):  # the second step includes the optimizer's state
            optimizer.zero_grad(set_to_none=True)
            loss(pair).backward()
            nn.utils.clip_grad_norm_(level.parameters(), config.clip, foreach=False)
            optimizer.step()
        assert len(ema) > 0
        pair_bytes = sum(t.numel() * t.element_size() for t in pair.tensors())
        return StepMemory(live.peak, pair_bytes)


def _pair(network: Ladder | Plain, position: int, shape: Voxels, batch: int) -> TrainingPair:
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
    return TrainingPair(
        torch.zeros(batch, 1, x, y, z), torch.zeros(batch, N_CLASSES, x, y, z), torch.zeros(batch), coarse
    )
