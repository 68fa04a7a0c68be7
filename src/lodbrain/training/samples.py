"""Multi-resolution samples: one scan at the resolution of every level, generated from label maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from lodbrain.labels import TISSUE_OF_CLASS
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import GeneratorSettings, ScanPlan, draw_plan, render
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.training.config_fields import LevelSettings

BRAIN = torch.as_tensor(TISSUE_OF_CLASS) > 0

#: Voxels along the three axes: a shape, or a position on a grid.
Voxels = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LevelView:
    """A scan, or a part of it, at the resolution of one level.

    Attributes
    ----------
    image : (X, Y, Z) float32 tensor
        In the scan's own units.
    target : (33, X, Y, Z) float32 tensor
        Share of each class in each voxel.
    log_voxel : (1,) float32 tensor
        log2 of the voxel side over the level's nominal one.
    start : tuple of 3 int
        First voxel, on the grid of the whole scan at this resolution.
    """

    image: torch.Tensor
    target: torch.Tensor
    log_voxel: torch.Tensor
    start: Voxels


@dataclass(frozen=True, eq=False)
class MultiResolutionSample:
    """Views of a scan from the coarsest level (whole head) to the trained level.

    Corruptions are sampled from `random`.
    """

    views: tuple[LevelView, ...]
    random: torch.Generator


@dataclass(frozen=True, eq=False)
class Head:
    """One scan whose crops are generated on request.

    Attributes
    ----------
    finer : callable(int)
        Function that returns the views of the levels below, coarse to fine, for a crop number.
    randoms : tuple of int
        Seed of the corruptions for each crop.
    """

    whole: LevelView
    finer: Callable[[int], tuple[LevelView, ...]]
    randoms: tuple[int, ...]

    def sample(self, crop: int) -> MultiResolutionSample:
        """Return the multi-resolution sample of a crop, independent of earlier crops."""
        return MultiResolutionSample((self.whole, *self.finer(crop)), torch.Generator().manual_seed(self.randoms[crop]))


class SampleSource(Protocol):
    """Source of heads."""

    def head(self, seed: int, position: int, crops: int = 1) -> Head:
        """Return the head of a seed with `crops` crops for the level at a position, independent of earlier samples."""

    def sample(self, seed: int, position: int) -> MultiResolutionSample:
        """Return the multi-resolution sample of a seed, down to the level at a position, with its only crop."""
        return self.head(seed, position).sample(0)


@dataclass(frozen=True)
class Geometry:
    """Positions and sizes of the levels' crops; `strides` is the alignment in voxels of each level's input."""

    levels: tuple[LevelSettings, ...]
    strides: tuple[int, ...]

    def box(self, position: int, *, trained: int, grid: Grid, focus_mm: list[float]) -> tuple[Voxels, Voxels]:
        """Return start and shape of a level's view, in voxels of `grid`, when the level at `trained` is trained.

        Starts are even, to align with coarse voxels. `focus_mm` is relative to the corner of the scan.
        """
        target, above = self.levels[trained], position < trained
        crop = list(grid.shape)
        if target.crop is not None and not (above and self.levels[position].crop is None):
            scale, halo = 2 ** (trained - position), target.halo if above else 0
            crop = [-(-n // scale) + 2 * halo for n in target.crop]
        starts, sizes = [], []
        multiple = 2 * self.strides[position]
        for n, most, at, v in zip(grid.shape, crop, focus_mm, grid.spacing_mm, strict=True):
            size = min(n, -(-most // multiple) * multiple)
            start = min(max(0, round(at / v) - size // 2), n - size)
            starts.append(start - start % 2)
            sizes.append(size)
        return (starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2])


def log_voxel_of(grid: Grid, exponent: int) -> torch.Tensor:
    """(1,): log2 of a grid's mean voxel side over a level's nominal one."""
    return torch.tensor([math.log2(math.prod(grid.spacing_mm) ** (1 / 3)) - exponent])


def foci_of(inside: torch.Tensor, whole: Grid, random: torch.Generator, count: int = 1) -> list[list[float]]:
    """Return points spread over a brain (X, Y, Z), in mm from the corner of the scan; the scan's centre without brain.

    The brain is bisected repeatedly, along one axis after the other, into parts of equal size, and one voxel is chosen
    from each. Every voxel has the same probability, whatever the number of points.
    """
    places = inside.nonzero()
    if len(places) == 0:
        return [[n * v / 2 for n, v in zip(whole.shape, whole.spacing_mm, strict=True)]] * count
    axis = int(torch.randint(3, (), generator=random)) if count > 1 else 0
    chosen = _one_of_each_part(places, count, axis, random)
    return [[(i + 0.5) * v for i, v in zip(place, whole.spacing_mm, strict=True)] for place in chosen]


def _one_of_each_part(places: torch.Tensor, count: int, axis: int, random: torch.Generator) -> list[list[int]]:
    """Return one of the places (N, 3) in each of `count` parts, which are bisected along an axis first."""
    if count == 1 or len(places) < count:
        return [places[int(torch.randint(len(places), (), generator=random))].tolist() for _ in range(count)]
    below = count // 2
    parts = places[places[:, axis].argsort(stable=True)].tensor_split([len(places) * below // count])
    return [
        place
        for part, n in zip(parts, (below, count - below), strict=True)
        for place in _one_of_each_part(part, n, (axis + 1) % 3, random)
    ]


def random_seeds(count: int, random: torch.Generator) -> tuple[int, ...]:
    """Return `count` random seeds."""
    return tuple(torch.randint(2**62, (count,), generator=random).tolist())


def drawn(seed: int, maps: Sequence[LabelMap], generator: GeneratorSettings) -> tuple[int, ScanPlan, torch.Generator]:
    """Return what a seed determines: the map, the plan of its scan, and the generator after sampling both."""
    random = torch.Generator().manual_seed(seed)
    which = int(torch.randint(len(maps), (), generator=random))
    return which, draw_plan(maps[which], generator, random), random


class SyntheticSamples(SampleSource):
    """Multi-resolution samples generated from label maps.

    Parameters
    ----------
    maps, fine : mapping of str to LabelMap
        The trained level is rendered from `fine`: `maps`, or finer versions, which may be opened at each access.
    """

    def __init__(
        self,
        names: Sequence[str],
        maps: Mapping[str, LabelMap],
        fine: Mapping[str, LabelMap],
        generator: GeneratorSettings,
        geometry: Geometry,
    ) -> None:
        self.names, self.fine = tuple(names), fine
        self.maps = [maps[name] for name in names]
        self.generator, self.geometry = generator, geometry

    def head(self, seed: int, position: int, crops: int = 1) -> Head:
        """Return the head of a seed: its coarsest view is rendered at once, the others on request."""
        which, plan, random = drawn(seed, self.maps, self.generator)
        labels, levels = self.maps[which], self.geometry.levels
        # The maps may be on another device: everything is rendered there.
        device, largest = labels.codes.device, 2 ** (len(levels) - 1)
        whole = plan.scan.coarser(largest)
        image, target = render(plan, labels, whole, coarseness=largest)
        view = LevelView(image, target, log_voxel_of(whole, levels[0].exponent).to(device), (0, 0, 0))
        foci = foci_of(target[BRAIN.to(device)].sum(0) > 0.5, whole, random, crops) if position else []

        def finer(crop: int) -> tuple[LevelView, ...]:
            views = []
            for at in range(1, position + 1):
                factor = largest // 2**at
                grid = plan.scan.coarser(factor)
                start, shape = self.geometry.box(at, trained=position, grid=grid, focus_mm=foci[crop])
                part = grid.crop(start, shape)
                source = self.fine[self.names[which]] if at == position else labels
                image, target = render(plan, source, part, coarseness=factor)
                views.append(LevelView(image, target, log_voxel_of(part, levels[at].exponent).to(device), start))
            return tuple(views)

        return Head(view, finer, random_seeds(crops, random))


class MixedSamples(SampleSource):
    """Multi-resolution samples of two sources, from `other` with probability `share`."""

    def __init__(self, one: SampleSource, other: SampleSource, share: float) -> None:
        self.one, self.other, self.share = one, other, share

    def head(self, seed: int, position: int, crops: int = 1) -> Head:
        """Return the head of a seed, from one of the sources."""
        pick = float(torch.rand((), generator=torch.Generator().manual_seed(seed ^ 0x5EED)))
        return (self.other if pick < self.share else self.one).head(seed, position, crops)
