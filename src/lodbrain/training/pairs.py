"""Synthetic pairs for one level of the ladder, the same for a seed whatever runs beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from lodbrain.images.intensity import brain_scaling, foreground_scaling
from lodbrain.inference.pyramid import pad_to
from lodbrain.labels import TISSUE_OF_CLASS
from lodbrain.models.lod import Detail, Ladder
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import Settings, draw_plan, render
from lodbrain.synthesis.labelmaps import LabelMap
from lodbrain.training.config import Corruption, LevelSettings

_BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0


@dataclass(frozen=True, eq=False)
class Pair:
    """One training example of a level.

    Attributes
    ----------
    image : (1, 1, X, Y, Z) float32 tensor, scaled
    target : (1, 33, X, Y, Z) float32 tensor
    log_voxel : (1,) float32 tensor
        log2 of the voxel side over the level's nominal one.
    coarse : Detail or None
        Of the frozen level above, cropped to the image.
    """

    image: torch.Tensor
    target: torch.Tensor
    log_voxel: torch.Tensor
    coarse: Detail | None


def _pad_target(target: torch.Tensor, multiple: int) -> torch.Tensor:
    """(1, 33, X, Y, Z): the (33, X, Y, Z) target, with background up to a multiple."""
    padded = pad_to(target[None], multiple)
    padded[:, 0] = 1 - padded[:, 1:].sum(1)
    return padded


def brain_of(logits: torch.Tensor) -> torch.Tensor:
    """Where a level of 33 classes sees more brain than not: (X, Y, Z) bool, from logits (1, 33, X, Y, Z)."""
    return logits.float().softmax(1)[0, _BRAIN.to(logits.device)].sum(0) > 0.5


def log_voxel_of(grid: Grid, exponent: int) -> torch.Tensor:
    """(1,): log2 of a grid's mean voxel side over the nominal one of a level."""
    return torch.tensor([math.log2(math.prod(grid.spacing_mm) ** (1 / 3)) - exponent])


class PairSource:
    """Draws pairs for the level at `position` of a ladder whose levels above are trained and frozen.

    Parameters
    ----------
    ladder : Ladder
        In eval mode; its levels above `position` are run, none is changed.
    position : int
        Position of the level to train, 0 the coarsest.
    settings : tuple of LevelSettings
        Of all levels.
    maps, fine_maps : list of LabelMap
        For whole heads, and for the level itself (the same list, or finer versions in the same order).
    generator : Settings
        Of the synthesis.
    corruption : Corruption or None
        None for validation.
    bfloat16 : bool
        Whether frozen levels run in bfloat16.
    """

    def __init__(
        self,
        ladder: Ladder,
        position: int,
        settings: tuple[LevelSettings, ...],
        maps: list[LabelMap],
        fine_maps: list[LabelMap],
        generator: Settings,
        corruption: Corruption | None,
        *,
        bfloat16: bool,
    ) -> None:
        self.ladder, self.position, self.settings = ladder, position, settings
        self.maps, self.fine_maps = maps, fine_maps
        self.generator, self.corruption, self.bfloat16 = generator, corruption, bfloat16

    @torch.no_grad()
    def draw(self, seed: int) -> Pair:
        """The pair of a seed: the same whatever was drawn before, and in whichever thread."""
        random = torch.Generator().manual_seed(seed)
        which = int(torch.randint(len(self.maps), (), generator=random))
        labels = self.maps[which]
        plan = draw_plan(labels, self.generator, random)
        factor = 2 ** (len(self.settings) - 1)
        whole = plan.scan.coarser(factor)
        image, target = render(plan, labels, whole, coarseness=factor)
        stride = self.ladder.level(0).stride
        x = pad_to(foreground_scaling(image).apply(image)[None, None], stride)
        padded = _pad_target(target, stride)
        log_voxel = log_voxel_of(whole, self.settings[0].exponent).to(x.device)
        if self.position == 0:
            return Pair(x, padded, log_voxel, None)
        detail = self._run(0, x, log_voxel, None)
        scaling = brain_scaling(image, brain_of(detail.logits)[: image.shape[0], : image.shape[1], : image.shape[2]])
        inside = target[_BRAIN.to(target.device)].sum(0) > 0.5
        focus = self._focus(inside, whole, random)
        start = (0, 0, 0)  # where `detail` begins on its own grid
        for position in range(1, self.position + 1):
            factor //= 2
            last = position == self.position
            source = self.fine_maps[which] if last else labels
            grid = plan.scan.coarser(factor)
            begin, shape = self._box(position, grid, focus)
            crop = grid.crop(begin, shape)
            image, target = render(plan, source, crop, coarseness=factor)
            stride = self.ladder.level(position).stride
            x = pad_to(scaling.apply(image)[None, None], stride)
            coarse = self._crop(detail, start, begin, x.shape[2:])
            log_voxel = log_voxel_of(crop, self.settings[position].exponent).to(x.device)
            if last:
                return Pair(x, _pad_target(target, stride), log_voxel, self._corrupt(coarse, random))
            detail, start = self._run(position, x, log_voxel, coarse), begin
        raise AssertionError("the loop returns at its last position")

    def _run(self, position: int, x: torch.Tensor, log_voxel: torch.Tensor, coarse: Detail | None) -> Detail:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            detail: Detail = self.ladder.levels[position](x, log_voxel, coarse)
        return detail.map(torch.Tensor.float)

    def _focus(self, inside: torch.Tensor, whole: Grid, random: torch.Generator) -> list[float]:
        """A random place in the brain, in mm from the corner of the scan; the centre where there is no brain."""
        places = inside.nonzero()
        if len(places) == 0:
            return [n * v / 2 for n, v in zip(whole.shape, whole.spacing_mm, strict=True)]
        place = places[int(torch.randint(len(places), (), generator=random))].tolist()
        return [(i + 0.5) * v for i, v in zip(place, whole.spacing_mm, strict=True)]

    def _box(self, position: int, grid: Grid, focus: list[float]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Start and shape of the crop of a level, in voxels of its grid; starts are even, so that coarse voxels fit."""
        target, above = self.settings[self.position], position < self.position
        crop = list(grid.shape)
        if target.crop is not None and not (above and self.settings[position].crop is None):
            scale, halo = 2 ** (self.position - position), target.halo if above else 0
            crop = [-(-n // scale) + 2 * halo for n in target.crop]
        starts, sizes = [], []
        multiple = 2 * self.ladder.level(position).stride
        for n, most, at, v in zip(grid.shape, crop, focus, grid.spacing_mm, strict=True):
            size = min(n, -(-most // multiple) * multiple)
            start = min(max(0, round(at / v) - size // 2), n - size)
            starts.append(start - start % 2)
            sizes.append(size)
        return (starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2])

    @staticmethod
    def _crop(detail: Detail, start: tuple[int, int, int], begin: tuple[int, int, int], shape: torch.Size) -> Detail:
        """The part of a coarse level under a finer crop; beyond its edge the last voxels are repeated."""

        def cut(t: torch.Tensor) -> torch.Tensor:
            for axis, (s, b, n) in enumerate(zip(start, begin, shape, strict=True), 2):
                index = torch.arange(b // 2 - s, b // 2 - s + -(-n // 2), device=t.device).clamp(0, t.shape[axis] - 1)
                t = t.index_select(axis, index)
            return t

        return detail.map(cut)

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


def prefetch(source: PairSource, seeds: Iterator[int], *, ahead: int = 2, threads: int = 1) -> Iterator[Pair]:
    """Draw pairs in a background thread, in the order of their seeds.

    Parameters
    ----------
    source : PairSource
    seeds : iterator of int
        Without end.
    ahead : int
        Pairs that are drawn before they are asked for.
    threads : int
        Of torch, in the background.

    Yields
    ------
    Pair
    """
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting = [pool.submit(source.draw, next(seeds)) for _ in range(ahead)]
        while True:
            pair = waiting.pop(0).result()
            waiting.append(pool.submit(source.draw, next(seeds)))
            yield pair
