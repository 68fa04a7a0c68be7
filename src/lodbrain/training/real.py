"""Multi-resolution samples from real scans with hard or soft labels, pooled to every level as in inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.datasets.labelled import Labelled, read_bids, read_manifest
from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.intensity import from_black
from lodbrain.images.io import read_image, read_labels
from lodbrain.images.scan_labels import classes_of
from lodbrain.inference.pyramid import WorkingGrid, interpolation_matrix, pool, resample, working_grid
from lodbrain.labels import CLASS_OF_INDEX, N_CLASSES, STRUCTURES
from lodbrain.synthesis.degradations import DEGRADATIONS
from lodbrain.synthesis.degradations import Pair as Degraded
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.steps.tone import bend
from lodbrain.training.scenes import BRAIN, Geometry, Head, Scenes, View, foci_of, log_voxel_of, random_seeds
from lodbrain.training.settings import LabelledSet

#: Largest ratio of voxel sides of a scan that is used; it is resampled.
LARGEST_RATIO = 1.4
#: Scans are kept in memory up to this size, since reading one takes a second and resampling several: some 100 heads.
_KEPT_BYTES = 3 * 2**30
_MIRROR = torch.tensor([CLASS_OF_INDEX[label.mirror] for label in STRUCTURES], dtype=torch.uint8)
_WHITE = torch.tensor([CLASS_OF_INDEX[index] for index in (2, 41)], dtype=torch.uint8)


#: Degradations that may be applied to a real scan, each up to its second strength.
_FAULTS = ("bias field", "noise", "resolution", "thick slices", "motion")


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of a real scan in addition to mirroring.

    Attributes
    ----------
    bias : float
        Largest log bias field.
    noise : float
        Largest standard deviation of noise, as a share of the bright level.
    gamma_sd : float
        Standard deviation of the logarithm of gamma.
    clip_share : float
        Share of scans clipped at 0.95 to 1.15 of white matter, as by the normalisation of some programs.
    fault_share : float
        Share of scans with one of the degradations of `lodbrain.synthesis.degradations`.
    """

    bias: float = 0.3
    noise: float = 0.04
    gamma_sd: float = 0.15
    clip_share: float = 0.15
    fault_share: float = 0.3


@dataclass(frozen=True, eq=False)
class _Scan:
    """A scan with its target, on its working grid, in RAS order.

    Attributes
    ----------
    image : (X, Y, Z) float32 tensor
    best, second : (X, Y, Z) uint8 tensors
        Likeliest and second-likeliest class; equal where labels are hard.
    probability : (X, Y, Z) uint8 tensor
        Probability of the likeliest, times 255.
    """

    image: torch.Tensor
    best: torch.Tensor
    second: torch.Tensor
    probability: torch.Tensor

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> _Scan:
        """Apply a function to each of the volumes."""
        return _Scan(*(function(t) for t in (self.image, self.best, self.second, self.probability)))

    def cut(self, box: tuple[slice, ...]) -> _Scan:
        """Return the part in a box."""
        return self.map(lambda volume: volume[box])

    @property
    def nbytes(self) -> int:
        """Size of the volumes in bytes."""
        return sum(t.numel() * t.element_size() for t in (self.image, self.best, self.second, self.probability))


def read_set(settings: LabelledSet) -> tuple[Labelled, ...]:
    """Return the scans of a manifest or of a BIDS data set."""
    return read_manifest(settings.manifest) if settings.manifest else read_bids(str(settings.bids))


class RealScenes(Scenes):
    """Multi-resolution samples of real scans.

    A scan enters the ladder at the level of its own voxel size and is pooled by 2 from there; one whose sides differ
    by more than 20% is resampled first, as in inference. Levels finer than the scan are not trained on it.

    Parameters
    ----------
    scans : sequence of Labelled
    geometry : Geometry
    augmentation : Augmentation or None
        None for validation: scan number `seed` without changes.
    device : str
        Device on which scans are pooled and augmented.
    """

    def __init__(
        self,
        scans: Sequence[Labelled],
        geometry: Geometry,
        *,
        augmentation: Augmentation | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.geometry, self.augmentation, self.device = geometry, augmentation, torch.device(device)
        self.scans = [(scan, *_grid_of(scan)) for scan in scans]
        self._kept: dict[int, _Scan] = {}

    def usable(self, position: int) -> list[int]:
        """Return the indices of scans that are fine enough for the level at a position."""
        exponent = self.geometry.levels[position].exponent
        return [n for n, (_, _, own) in enumerate(self.scans) if own <= exponent]

    def head(self, seed: int, position: int, crops: int = 1) -> Head:
        """Return the scan of a seed, pooled to the level at a position.

        Raises
        ------
        InputError
            If no scan is fine enough for it.
        """
        random = torch.Generator().manual_seed(seed)
        numbers = self.usable(position)
        if not numbers:
            what = f"no scan is fine enough for the level of {2.0 ** self.geometry.levels[position].exponent:g} mm"
            raise InputError("too-coarse", self.scans[0][0].volume, what, "Leave the level out, or add finer scans")
        pick = seed % len(numbers) if self.augmentation is None else _below(len(numbers), random)
        _, grid, own = self.scans[numbers[pick]]
        case = self._scan(numbers[pick]).map(lambda volume: volume.to(self.device))
        if self.augmentation is not None:
            case = _vary(case, grid, self.augmentation, random)
        levels = self.geometry.levels
        images, steps = [case.image], levels[0].exponent - own
        for _ in range(steps):
            images.append(pool(images[-1]))

        def view(at: int, focus: list[float]) -> View:
            halvings = levels[at].exponent - own
            here = grid.coarser(2**halvings)
            start, shape = (0, 0, 0), here.shape
            if at:
                start, shape = self.geometry.box(at, trained=position, grid=here, focus_mm=focus)
            window = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
            target = _shares(case, window, halvings)
            log_voxel = log_voxel_of(here, levels[at].exponent).to(self.device)
            return View(images[halvings][window], target, log_voxel, start)

        whole = view(0, [])
        brain = whole.target[BRAIN.to(self.device)].sum(0) > 0.5
        foci = foci_of(brain, grid.coarser(2 ** (levels[0].exponent - own)), random, crops)

        def finer(crop: int) -> tuple[View, ...]:
            return tuple(view(at, foci[crop]) for at in range(1, position + 1))

        return Head(whole, finer, random_seeds(crops, random))

    def _scan(self, number: int) -> _Scan:
        """Return a scan, read once as long as all fit in `_KEPT_BYTES`; else the oldest are read again."""
        if number not in self._kept:
            scan, grid, _ = self.scans[number]
            self._kept[number] = _read(scan, grid)
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return self._kept[number]


def _below(n: int, random: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=random))


def _grid_of(scan: Labelled) -> tuple[Grid, int]:
    """Return the scan's working grid in RAS order, centred on the origin, and the exponent of its voxel size."""
    image, _ = to_ras(read_image(scan.volume))
    a, b, c = image.spacing_mm.tolist()
    if max(a, b, c) / min(a, b, c) > LARGEST_RATIO:
        what = f"has voxels of {a:.2g} x {b:.2g} x {c:.2g} mm: training takes sides that differ by up to 40%"
        raise InputError("thick-slices", scan.volume, what, "Leave it out: its slices show less than the voxels say")
    x, y, z = image.shape
    grid = working_grid((x, y, z), (a, b, c), 0.0)
    corner = tuple(-n * v / 2 for n, v in zip(grid.shape, grid.spacing_mm, strict=True))
    return Grid(grid.shape, grid.spacing_mm, (corner[0], corner[1], corner[2])), round(math.log2(grid.voxel_mm))


def _read(scan: Labelled, grid: Grid) -> _Scan:
    """Read a scan, with an intensity offset that makes black 0 for bias and gamma, and its target."""
    image = read_image(scan.volume)
    ras, reorientation = to_ras(image)
    data = from_black(np.ascontiguousarray(ras.data, np.float32))

    def classes(path: Path) -> NDArray[np.uint8]:
        return np.ascontiguousarray(reorientation.apply(classes_of(read_labels(path), image, path)))

    best = classes(scan.labels)
    second, probability = best, np.full(best.shape, 255, np.uint8)
    if scan.soft is not None:
        second = classes(scan.soft[0])
        share = reorientation.apply(read_image(scan.soft[1]).data)
        probability = np.ascontiguousarray(np.rint(255 * share).astype(np.uint8))
    case = _Scan(*(torch.from_numpy(volume) for volume in (data, best, second, probability)))
    a, b, c = ras.spacing_mm.tolist()
    x, y, z = data.shape
    return case if (x, y, z) == grid.shape else _resampled(case, working_grid((x, y, z), (a, b, c), 0.0), (a, b, c))


def _resampled(case: _Scan, to: WorkingGrid, spacing_mm: tuple[float, float, float]) -> _Scan:
    """Resample a scan to another grid: intensities and shares of classes are interpolated linearly."""
    x, y, z = case.image.shape
    own = WorkingGrid((x, y, z), spacing_mm, True)
    matrices = [
        interpolation_matrix(to.shape[axis], to.spacing_mm[axis], own.shape[axis], own.spacing_mm[axis])
        for axis in range(3)
    ]
    best, second = (torch.zeros(to.shape, dtype=torch.uint8) for _ in range(2))
    most, next_most, rest = torch.zeros(to.shape), torch.zeros(to.shape), torch.ones(to.shape)

    def rank(each: int, share: torch.Tensor, box: tuple[slice, ...]) -> None:
        above, runner_up = share > most[box], share > next_most[box]
        second[box] = torch.where(above, best[box], second[box].masked_fill(runner_up, each))
        next_most[box] = torch.where(above, most[box], torch.maximum(share, next_most[box]))
        best[box] = best[box].masked_fill(above, each)
        most[box] = torch.maximum(share, most[box])

    for each, filled in _boxes_of_classes(case).items():
        share, box = _share(case.cut(filled), each), list[slice]()
        for axis in (2, 1, 0):  # the last axis first: the fewest strided passes
            matrix = matrices[axis][:, filled[axis]]
            rows = matrix.any(1).nonzero().flatten()
            box.insert(0, slice(int(rows[0]), int(rows[-1]) + 1))
            share = torch.tensordot(matrix[box[0]], share, dims=([1], [axis])).movedim(0, axis)
        rank(each, share, tuple(box))
        rest[tuple(box)] -= share
    rank(0, rest, (slice(None),) * 3)
    probability = (255 * most / (most + next_most)).round().to(torch.uint8)
    return _Scan(resample(case.image.numpy(), own, to), best, second, probability)


def _boxes_of_classes(case: _Scan) -> dict[int, tuple[slice, ...]]:
    """Return the box of each class but background: where it is the likeliest or the second-likeliest."""
    boxes: dict[int, tuple[slice, ...]] = {}
    for volume in (case.best, case.second):
        for each, box in enumerate(ndimage.find_objects(volume.cpu().numpy()), 1):
            if box is not None:
                pairs = zip(box, boxes.get(each, box), strict=True)
                boxes[each] = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)
    return boxes


def _share(case: _Scan, each: int) -> torch.Tensor:
    """(X, Y, Z) float32: share of one class in each voxel."""
    p = case.probability / 255
    return torch.where(case.best == each, p, 0.0) + torch.where(case.second == each, 1 - p, 0.0)


def _vary(case: _Scan, grid: Grid, how: Augmentation, random: torch.Generator) -> _Scan:
    """Augment a scan: mirroring in half of the cases, a degradation, bias field, gamma, noise, clipping."""
    flip, strength, lattice, noise, faulty, severity, clipped, clip = torch.rand(8, generator=random).tolist()
    gamma = math.exp(how.gamma_sd * float(torch.randn((), generator=random)))
    lattice_mm = 40.0 + 70.0 * lattice
    control = random_control(1, lattice_mm, 300.0, random) * (strength * how.bias)
    if flip < 0.5:
        mirror = _MIRROR.to(case.best.device)
        case = case.map(lambda volume: volume.flip(0))
        case = replace(case, best=mirror[case.best.long()], second=mirror[case.second.long()])
    image = case.image
    if faulty < how.fault_share:
        fault = DEGRADATIONS[_FAULTS[_below(len(_FAULTS), random)]]
        pair = Degraded(image.cpu(), case.best.cpu(), grid.spacing_mm)
        strongest = fault.steps[1]
        image = fault.function(pair, severity * strongest, random).image.to(image.device)
    white = image[torch.isin(case.best, _WHITE.to(case.best.device))]
    field = SmoothField(control.to(image.device), lattice_mm)
    bright = float(torch.quantile(image.flatten()[:: max(1, image.numel() // 100_000)], 0.95))
    if clipped < how.clip_share and len(white):
        image = image.clamp(max=float(white.median()) * (0.95 + 0.2 * clip))
    image = bend(image * field.on(grid)[0].exp(), gamma, bright if bright > 0 else 1.0)
    grain = torch.Generator(image.device).manual_seed(int(torch.randint(2**62, (), generator=random)))
    sd = how.noise * noise**1.5 * bright
    return replace(case, image=image + sd * torch.randn(image.shape, generator=grain, device=image.device))


def _shares(case: _Scan, window: tuple[slice, ...], halvings: int) -> torch.Tensor:
    """(33, X, Y, Z): share of each class in the voxels of a window, pooled from the scan's own voxels."""
    size = 2**halvings
    fine = tuple(slice(w.start * size, w.stop * size) for w in window)
    part = case.cut(fine)
    target = torch.zeros((N_CLASSES, *(w.stop - w.start for w in window)), device=part.best.device)
    # One class at a time in its own box: all at once would take 33 times the scan, and most are small.
    for each, box in _boxes_of_classes(part).items():
        coarse = tuple(slice(b.start // size, -(-b.stop // size)) for b in box)
        inner = tuple(slice(c.start * size, c.stop * size) for c in coarse)
        share = _share(part.cut(inner), each)
        for _ in range(halvings):
            share = pool(share)
        target[each][coarse] = share
    target[0] = 1 - target[1:].sum(0)
    return target
