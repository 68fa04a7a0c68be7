"""Scenes from real scans with labels, pooled to every level as in inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from lodbrain.datasets.labelled import Labelled, read_bids, read_manifest
from lodbrain.errors import InputError
from lodbrain.images.grid import to_ras
from lodbrain.images.intensity import from_black
from lodbrain.images.io import read_image, read_labels
from lodbrain.inference.pyramid import LARGEST_RATIO, pool
from lodbrain.labels import CLASS_OF_INDEX, N_CLASSES, STRUCTURES
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.freesurfer import classes_of
from lodbrain.synthesis.steps.tone import bend
from lodbrain.training.scenes import BRAIN, Geometry, Scene, View, focus_of, log_voxel_of
from lodbrain.training.settings import LabelledSet

#: Scans that stay in memory: reading a compressed one takes a second.
_KEPT = 8
_MIRROR = torch.tensor([CLASS_OF_INDEX[label.mirror] for label in STRUCTURES])


@dataclass(frozen=True)
class Augmentation:
    """What is done to a real scan besides mirroring: largest log bias field, noise over its bright voxels, gamma."""

    bias: float = 0.3
    noise: float = 0.04
    gamma_sd: float = 0.15


def read_set(settings: LabelledSet) -> tuple[Labelled, ...]:
    """The scans of a manifest or of a BIDS data set."""
    return read_manifest(settings.manifest) if settings.manifest else read_bids(str(settings.bids))


class RealScenes:
    """Scenes of real scans.

    A scan enters the ladder at the level of its own voxel size and is pooled by 2 from there. A level finer than the
    scan is not trained on it.

    Parameters
    ----------
    scans : sequence of Labelled
    geometry : Geometry
    augmentation : Augmentation or None
        None for reporting: scan number `seed` as it is.
    device : str
        Where the scans are pooled and changed.
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
        self._read = lru_cache(_KEPT)(_read)

    def usable(self, position: int) -> list[int]:
        """Numbers of the scans that are fine enough for the level at a position."""
        exponent = self.geometry.levels[position].exponent
        return [n for n, (_, _, own) in enumerate(self.scans) if own <= exponent]

    def scene(self, seed: int, position: int) -> Scene:
        """The scene of a seed, down to the level at a position.

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
        scan, grid, own = self.scans[numbers[pick]]
        data, labels = self._read(scan)
        image = torch.from_numpy(data).to(self.device).float()
        classes = torch.from_numpy(labels).to(self.device).long()
        if self.augmentation is not None:
            image, classes = _vary(image, classes, grid, self.augmentation, random)
        levels = self.geometry.levels
        images, steps = [image], levels[0].exponent - own
        for _ in range(steps):
            images.append(pool(images[-1]))
        views: list[View] = []
        focus = [0.0, 0.0, 0.0]
        for at in range(position + 1):
            halvings = levels[at].exponent - own
            here = grid.coarser(2**halvings)
            start, shape = (0, 0, 0), here.shape
            if at:
                start, shape = self.geometry.box(at, trained=position, grid=here, focus_mm=focus)
            window = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
            target = _shares(classes, window, halvings)
            log_voxel = log_voxel_of(here, levels[at].exponent).to(self.device)
            views.append(View(images[halvings][window], target, log_voxel, start))
            if at == 0:
                focus = focus_of(target[BRAIN.to(self.device)].sum(0) > 0.5, here, random)
        return Scene(tuple(views), random)


def _below(n: int, random: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=random))


def _grid_of(scan: Labelled) -> tuple[Grid, int]:
    """The scan's grid in RAS order, centred on the origin, and the exponent of its voxel size."""
    image, _ = to_ras(read_image(scan.volume))
    a, b, c = image.spacing_mm.tolist()
    if max(a, b, c) / min(a, b, c) > LARGEST_RATIO:
        what = f"has voxels of {a:.2g} x {b:.2g} x {c:.2g} mm: training takes sides that differ by up to 20%"
        raise InputError("thick-slices", scan.volume, what, "Leave it out, or resample it and its labels")
    x, y, z = image.shape
    corner = (-x * a / 2, -y * b / 2, -z * c / 2)
    return Grid((x, y, z), (a, b, c), corner), round(math.log2((a * b * c) ** (1 / 3)))


def _read(scan: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Intensities (X, Y, Z) float32, black at 0 as bias and gamma expect; classes (X, Y, Z) uint8; in RAS order."""
    image = read_image(scan.volume)
    ras, reorientation = to_ras(image)
    classes = reorientation.apply(classes_of(read_labels(scan.labels), image, scan.labels))
    return from_black(np.ascontiguousarray(ras.data, np.float32)), np.ascontiguousarray(classes)


def _vary(
    image: torch.Tensor, classes: torch.Tensor, grid: Grid, how: Augmentation, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirrored in half of the cases, with a bias field, gamma and noise."""
    flip, strength, lattice, noise = torch.rand(4, generator=random).tolist()
    gamma = math.exp(how.gamma_sd * float(torch.randn((), generator=random)))
    lattice_mm = 40.0 + 70.0 * lattice
    control = random_control(1, lattice_mm, 300.0, random) * (strength * how.bias)
    if flip < 0.5:
        image, classes = image.flip(0), _MIRROR.to(classes.device)[classes.flip(0)]
    field = SmoothField(control.to(image.device), lattice_mm)
    bright = float(torch.quantile(image.flatten()[:: max(1, image.numel() // 100_000)], 0.95))
    image = bend(image * field.on(grid)[0].exp(), gamma, bright if bright > 0 else 1.0)
    grain = torch.Generator(image.device).manual_seed(int(torch.randint(2**62, (), generator=random)))
    sd = how.noise * noise**1.5 * bright
    return image + sd * torch.randn(image.shape, generator=grain, device=image.device), classes


def _shares(classes: torch.Tensor, window: tuple[slice, ...], halvings: int) -> torch.Tensor:
    """(33, X, Y, Z): share of each class in the voxels of a window, pooled from (X', Y', Z') classes."""
    size = 2**halvings
    part = classes[tuple(slice(w.start * size, w.stop * size) for w in window)]
    shape = tuple(w.stop - w.start for w in window)
    target = torch.zeros((N_CLASSES, *shape), device=classes.device)
    for each in range(N_CLASSES):
        # one class at a time: all at once would take 33 times the scan
        share = (part == each).float()
        for _ in range(halvings):
            share = pool(share)
        target[each] = share
    return target
