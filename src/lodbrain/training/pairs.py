"""Pairs for one level of the ladder: its view of a scene, and what the frozen levels above said of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F

from lodbrain.images.intensity import Scaling, brain_scaling, foreground_scaling
from lodbrain.inference.pyramid import pad_to
from lodbrain.models.lod import Detail, Ladder
from lodbrain.models.registry import Plain
from lodbrain.training.scenes import BRAIN, Scene, Scenes, Triple, View
from lodbrain.training.settings import Corruption

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Pair:
    """Training examples of a level.

    Attributes
    ----------
    image : (B, 1, X, Y, Z) float32 tensor, scaled
    target : (B, 33, X, Y, Z) float32 tensor
    log_voxel : (B,) float32 tensor
        log2 of the voxel side over the level's nominal one.
    coarse : Detail or None
        Of the frozen level above, cropped to the image.
    """

    image: torch.Tensor
    target: torch.Tensor
    log_voxel: torch.Tensor
    coarse: Detail | None

    def tensors(self) -> list[torch.Tensor]:
        """All tensors of the pair."""
        detail = self.coarse
        told = [] if detail is None else [t for t in (detail.features, detail.logits, detail.side) if t is not None]
        return [self.image, self.target, self.log_voxel, *told]


def brain_of(logits: torch.Tensor) -> torch.Tensor:
    """Where a level of 33 classes sees more brain than not: (X, Y, Z) bool, from logits (1, 33, X, Y, Z)."""
    return logits.float().softmax(1)[0, BRAIN.to(logits.device)].sum(0) > 0.5


def first_pair(view: View, stride: int) -> Pair:
    """The pair of the coarsest level."""
    image = foreground_scaling(view.image).apply(view.image)
    return Pair(pad_to(image[None, None], stride), _pad_target(view.target, stride), view.log_voxel, None)


def scaling_below(view: View, detail: Detail) -> Scaling:
    """What the finer levels scale a scan by, once the coarsest has found the brain in its `view`."""
    x, y, z = view.image.shape
    return brain_scaling(view.image, brain_of(detail.logits.detach())[:x, :y, :z])


def next_pair(scene: Scene, position: int, scaling: Scaling, above: Detail, stride: int) -> Pair:
    """The pair of the level at a position, given what the level `above` it said."""
    view = scene.views[position]
    image = pad_to(scaling.apply(view.image)[None, None], stride)
    coarse = crop_below(above, scene.views[position - 1].start, view.start, image.shape[2:])
    return Pair(image, _pad_target(view.target, stride), view.log_voxel, coarse)


def crop_below(detail: Detail, start: Triple, begin: Triple, shape: Sequence[int]) -> Detail:
    """The part of a coarse level under a finer view; beyond its edge the last voxels are repeated.

    Parameters
    ----------
    detail : Detail
        Begins at the voxel `start` of its own grid.
    begin, shape : 3 int
        First voxel and size of the finer view, on the finer grid.
    """

    def cut(t: torch.Tensor) -> torch.Tensor:
        for axis, (s, b, n) in enumerate(zip(start, begin, shape, strict=True), 2):
            index = torch.arange(b // 2 - s, b // 2 - s + -(-n // 2), device=t.device).clamp(0, t.shape[axis] - 1)
            t = t.index_select(axis, index)
        return t

    return detail.map(cut)


class PairSource:
    """Draws pairs for the level at `position` of a ladder whose levels above are trained and frozen.

    Parameters
    ----------
    ladder : Ladder or Plain
        In eval mode; its levels above `position` are run, none is changed.
    position : int
        Position of the level to train, 0 the coarsest.
    scenes : Scenes
    corruption : Corruption or None
        None for validation.
    bfloat16 : bool
        Whether frozen levels run in bfloat16.
    """

    def __init__(
        self, ladder: Ladder | Plain, position: int, scenes: Scenes, corruption: Corruption | None, *, bfloat16: bool
    ) -> None:
        self.ladder, self.position, self.scenes = ladder, position, scenes
        self.corruption, self.bfloat16 = corruption, bfloat16

    @torch.no_grad()
    def draw(self, seed: int) -> Pair:
        """The pair of a seed: the same whatever was drawn before, and in whichever thread."""
        scene = self.scenes.scene(seed, self.position)
        pair = first_pair(scene.views[0], self.ladder.level(0).stride)
        if self.position == 0:
            return pair
        detail = self._run(0, pair)
        scaling = scaling_below(scene.views[0], detail)
        for position in range(1, self.position + 1):
            pair = next_pair(scene, position, scaling, detail, self.ladder.level(position).stride)
            if position < self.position:
                detail = self._run(position, pair)
        assert pair.coarse is not None
        return Pair(pair.image, pair.target, pair.log_voxel, self._corrupt(pair.coarse, scene.random))

    def _run(self, position: int, pair: Pair) -> Detail:
        with torch.autocast(pair.image.device.type, torch.bfloat16, enabled=self.bfloat16):
            detail: Detail = self.ladder.levels[position](pair.image, pair.log_voxel, pair.coarse)
        return detail.map(torch.Tensor.float)

    def _corrupt(self, detail: Detail, random: torch.Generator) -> Detail:
        """The coarse level made worse, so that the finer one does not trust a prior that has seen few brains."""
        if self.corruption is None:
            return detail
        c = self.corruption
        temperature = math.exp(c.temperature * (2 * float(torch.rand((), generator=random)) - 1))
        keep = (torch.rand(detail.features.shape[1], generator=random) >= c.drop).float().to(detail.features.device)
        features, logits = detail.features * keep.view(1, -1, 1, 1, 1), detail.logits * temperature
        if float(torch.rand((), generator=random)) < c.shift_share:
            shifts = tuple(int(torch.randint(-1, 2, (), generator=random)) for _ in range(3))
            features, logits = features.roll(shifts, (2, 3, 4)), logits.roll(shifts, (2, 3, 4))
        return Detail(features, logits, detail.side)


def collate(pairs: Sequence[Pair]) -> Pair:
    """One batch of several pairs, all padded with background to the largest shape."""
    if len(pairs) == 1:
        return pairs[0]
    shape = [max(pair.image.shape[axis] for pair in pairs) for axis in (2, 3, 4)]
    images = torch.cat([_grow(pair.image, shape) for pair in pairs])
    targets = torch.cat([_grow(pair.target, shape) for pair in pairs])
    targets[:, 0] = 1 - targets[:, 1:].sum(1)
    log_voxel = torch.cat([pair.log_voxel for pair in pairs])
    details = [pair.coarse for pair in pairs if pair.coarse is not None]
    if not details:
        return Pair(images, targets, log_voxel, None)
    half = [-(-n // 2) for n in shape]
    sides = [_grow(d.side, half) for d in details if d.side is not None]
    told = Detail(
        torch.cat([_grow(d.features, half) for d in details]),
        torch.cat([_grow(d.logits, half) for d in details]),
        torch.cat(sides) if sides else None,
    )
    return Pair(images, targets, log_voxel, told)


def _grow(t: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    missing = [
        amount for want, n in zip(reversed(shape), reversed(t.shape[2:]), strict=True) for amount in (0, want - n)
    ]
    return F.pad(t, missing) if any(missing) else t


def _pad_target(target: torch.Tensor, multiple: int) -> torch.Tensor:
    """(1, 33, X, Y, Z): the (33, X, Y, Z) target, with background up to a multiple."""
    padded = pad_to(target[None], multiple)
    padded[:, 0] = 1 - padded[:, 1:].sum(1)
    return padded


def prefetch(
    draw: Callable[[int], T],
    seeds: Iterator[int],
    *,
    ahead: int = 2,
    threads: int = 1,
    device: torch.device | str = "cpu",
) -> Generator[T, None, None]:
    """Draw in a background thread, in the order of the seeds.

    On CUDA the drawing has a stream of its own, so that it runs beside the training step, and what it drew is complete
    when it is handed over.

    Parameters
    ----------
    draw : callable(int)
        Such as `PairSource.draw`.
    seeds : iterator of int
        Without end.
    ahead : int
        How many are drawn before they are asked for.
    threads : int
        Of torch, in the background.
    device : device
        That is drawn on.

    Yields
    ------
    What `draw` returns.
    """
    device = torch.device(device)
    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def one(seed: int) -> T:
        if stream is None:
            return draw(seed)
        with torch.cuda.stream(stream):
            drawn = draw(seed)
        stream.synchronize()  # only this thread waits
        return drawn

    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting = [pool.submit(one, next(seeds)) for _ in range(ahead)]
        while True:
            item = waiting.pop(0).result()
            waiting.append(pool.submit(one, next(seeds)))
            if stream is not None:
                _hand_over(item)
            yield item


def _hand_over(item: object) -> None:
    """Keep the memory of a drawn pair from being reused by the drawing stream while the step still works on it."""
    if isinstance(item, Pair):
        for tensor in item.tensors():
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    elif isinstance(item, Scene):
        for view in item.views:
            for tensor in (view.image, view.target, view.log_voxel):
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
