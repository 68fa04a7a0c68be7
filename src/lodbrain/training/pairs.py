"""Pairs of image and target for one level of the ladder, with the output of the frozen levels above."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F

from lodbrain.images.intensity import Scaling, brain_scaling, foreground_scaling
from lodbrain.inference.pyramid import pad_to
from lodbrain.models.folded import FoldedLevel, fold
from lodbrain.models.lod import Ladder, LevelOutput
from lodbrain.models.registry import Plain
from lodbrain.training.config_fields import Corruption
from lodbrain.training.samples import BRAIN, Head, LevelView, MultiResolutionSample, SampleSource, Voxels

K = TypeVar("K")
T = TypeVar("T")

#: Number of pairs that are ready or being sampled during a step.
READY = 2


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """Training examples of a level.

    Attributes
    ----------
    image : (B, 1, X, Y, Z) float32 tensor, scaled
    target : (B, 33, X, Y, Z) float32 tensor
    log_voxel : (B,) float32 tensor
        log2 of the voxel side over the level's nominal one.
    coarse : LevelOutput or None
        Output of the frozen level above, cropped to the image.
    """

    image: torch.Tensor
    target: torch.Tensor
    log_voxel: torch.Tensor
    coarse: LevelOutput | None

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors of the pair."""
        output = self.coarse
        coarse = [] if output is None else [t for t in (output.features, output.logits, output.side) if t is not None]
        return [self.image, self.target, self.log_voxel, *coarse]


def brain_of(logits: torch.Tensor) -> torch.Tensor:
    """Return where a level of 33 classes gives brain a higher posterior than background, (X, Y, Z) bool.

    The logits are (1, 33, X, Y, Z).
    """
    return logits.float().softmax(1)[0, BRAIN.to(logits.device)].sum(0) > 0.5


def first_pair(view: LevelView, stride: int) -> TrainingPair:
    """Return the pair of the coarsest level."""
    image = foreground_scaling(view.image).apply(view.image)
    return TrainingPair(pad_to(image[None, None], stride), _pad_target(view.target, stride), view.log_voxel, None)


def scaling_below(view: LevelView, output: LevelOutput) -> Scaling:
    """Return the intensity scaling of the finer levels, from the brain that the coarsest finds in its `view`."""
    x, y, z = view.image.shape
    return brain_scaling(view.image, brain_of(output.logits.detach())[:x, :y, :z])


def next_pair(
    sample: MultiResolutionSample, position: int, scaling: Scaling, above: LevelOutput, stride: int
) -> TrainingPair:
    """Return the pair of the level at a position, given the output of the level `above` it."""
    view = sample.views[position]
    image = pad_to(scaling.apply(view.image)[None, None], stride)
    coarse = crop_below(above, sample.views[position - 1].start, view.start, image.shape[2:])
    return TrainingPair(image, _pad_target(view.target, stride), view.log_voxel, coarse)


def crop_below(output: LevelOutput, start: Voxels, begin: Voxels, shape: Sequence[int]) -> LevelOutput:
    """Return the part of a coarse level under a finer view; outside of it the edge voxels are repeated.

    Parameters
    ----------
    output : LevelOutput
        Output whose first voxel is `start` on its level's grid.
    begin, shape : 3 int
        First voxel and size of the finer view, on the finer grid.
    """

    def cut(t: torch.Tensor) -> torch.Tensor:
        for axis, (s, b, n) in enumerate(zip(start, begin, shape, strict=True), 2):
            index = torch.arange(b // 2 - s, b // 2 - s + -(-n // 2), device=t.device).clamp(0, t.shape[axis] - 1)
            t = t.index_select(axis, index)
        return t

    return output.map(cut)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A head with the output of the coarsest level."""

    head: Head
    output: LevelOutput
    scaling: Scaling


class PairSource:
    """Samples pairs for the level at `position` of a ladder whose levels above are trained and frozen.

    Parameters
    ----------
    ladder : Ladder or Plain
        Levels above `position` are run with the weights they have at construction; the ladder is not modified.
    corruption : Corruption or None
        None for validation.
    bfloat16 : bool
        Whether frozen levels run in bfloat16; the coarsest runs in float32, as in inference.
    heads : int
        Number of heads whose coarse results are kept for further crops.
    """

    def __init__(
        self,
        ladder: Ladder | Plain,
        position: int,
        samples: SampleSource,
        corruption: Corruption | None,
        *,
        bfloat16: bool,
        crops: int = 1,
        heads: int = 1,
    ) -> None:
        self.ladder, self.position, self.samples = ladder, position, samples
        self.corruption, self.crops = corruption, crops
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.frozen = fold(ladder, dtype, last=position - 1) if isinstance(ladder, Ladder) and position else ()
        self._open = lru_cache(heads)(self._open_head)

    @torch.no_grad()
    def draw(self, seed: int, crop: int = 0) -> TrainingPair:
        """Return the pair of a seed and a crop, independent of earlier samples and of the thread.

        Crops of one seed share the results for the whole head, if they are sampled close to each other.
        """
        if self.position == 0:
            return first_pair(self.samples.head(seed, 0).whole, self.ladder.level(0).stride)
        opened = self._open(seed)
        sample, output = opened.head.sample(crop), opened.output
        for position in range(1, self.position + 1):
            pair = next_pair(sample, position, opened.scaling, output, self.ladder.level(position).stride)
            if position < self.position:
                output = run_folded(self.frozen[position], pair)
        assert pair.coarse is not None
        return TrainingPair(pair.image, pair.target, pair.log_voxel, self._corrupt(pair.coarse, sample.random))

    def _open_head(self, seed: int) -> _Opened:
        head = self.samples.head(seed, self.position, self.crops)
        output = run_folded(self.frozen[0], first_pair(head.whole, self.ladder.level(0).stride))
        return _Opened(head, output, scaling_below(head.whole, output))

    def _corrupt(self, output: LevelOutput, random: torch.Generator) -> LevelOutput:
        """Corrupt the coarse level's output.

        It prevents the finer level from relying on a prior that was trained on few brains.
        """
        if self.corruption is None:
            return output
        c = self.corruption
        temperature = math.exp(c.temperature * (2 * float(torch.rand((), generator=random)) - 1))
        keep = (torch.rand(output.features.shape[1], generator=random) >= c.drop).float().to(output.features.device)
        features, logits = output.features * keep.view(1, -1, 1, 1, 1), output.logits * temperature
        if float(torch.rand((), generator=random)) < c.shift_share:
            shifts = tuple(int(torch.randint(-1, 2, (), generator=random)) for _ in range(3))
            features, logits = features.roll(shifts, (2, 3, 4)), logits.roll(shifts, (2, 3, 4))
        return LevelOutput(features, logits, output.side)


def run_folded(level: FoldedLevel, pair: TrainingPair) -> LevelOutput:
    """Return a frozen level's output, float32, for a pair of one example."""
    coarse = None if pair.coarse is None else level.for_next(pair.coarse)
    features = level.features(pair.image, float(pair.log_voxel), coarse)
    x, y, z = pair.image.shape[2:]
    return level.score(features, coarse, ((0, x), (0, y), (0, z))).map(torch.Tensor.float)


def collate(pairs: Sequence[TrainingPair]) -> TrainingPair:
    """Return one batch of several pairs, all padded with background to the largest shape."""
    if len(pairs) == 1:
        return pairs[0]
    shape = [max(pair.image.shape[axis] for pair in pairs) for axis in (2, 3, 4)]
    images = torch.cat([_grow(pair.image, shape) for pair in pairs])
    targets = torch.cat([_grow(pair.target, shape) for pair in pairs])
    targets[:, 0] = 1 - targets[:, 1:].sum(1)
    log_voxel = torch.cat([pair.log_voxel for pair in pairs])
    outputs = [pair.coarse for pair in pairs if pair.coarse is not None]
    if not outputs:
        return TrainingPair(images, targets, log_voxel, None)
    half = [-(-n // 2) for n in shape]
    sides = [_grow(d.side, half) for d in outputs if d.side is not None]
    coarse = LevelOutput(
        torch.cat([_grow(d.features, half) for d in outputs]),
        torch.cat([_grow(d.logits, half) for d in outputs]),
        torch.cat(sides) if sides else None,
    )
    return TrainingPair(images, targets, log_voxel, coarse)


def _grow(t: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    missing = [
        amount for want, n in zip(reversed(shape), reversed(t.shape[2:]), strict=True) for amount in (0, want - n)
    ]
    return F.pad(t, missing) if any(missing) else t


def _pad_target(target: torch.Tensor, multiple: int) -> torch.Tensor:
    """(1, 33, X, Y, Z): the (33, X, Y, Z) target, padded with background to a multiple."""
    padded = pad_to(target[None], multiple)
    padded[:, 0] = 1 - padded[:, 1:].sum(1)
    return padded


def prefetch(
    draw: Callable[[K], T],
    keys: Iterator[K],
    *,
    threads: int = 1,
    device: torch.device | str = "cpu",
) -> Generator[T, None, None]:
    """Sample in a background thread, in the order of the keys.

    On CUDA the sampling has its own stream and runs concurrently with the training step; a pair is complete when it is
    yielded.

    Parameters
    ----------
    threads : int
        Torch threads of the background thread.
    """
    device = torch.device(device)
    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def one(key: K) -> T:
        if stream is None:
            return draw(key)
        with torch.cuda.stream(stream):
            drawn = draw(key)
        stream.synchronize()  # only this thread waits
        return drawn

    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting = [pool.submit(one, next(keys)) for _ in range(READY)]
        while True:
            item = waiting.pop(0).result()
            waiting.append(pool.submit(one, next(keys)))
            if stream is not None:
                _hand_over(item)
            yield item


def _hand_over(item: object) -> None:
    """Prevent the memory of a pair from being reused by the sampling stream while the step still uses it."""
    if isinstance(item, TrainingPair):
        for tensor in item.tensors():
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    elif isinstance(item, MultiResolutionSample):
        for view in item.views:
            for tensor in (view.image, view.target, view.log_voxel):
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
