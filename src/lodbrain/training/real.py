"""Multi-resolution samples from real scans with hard or soft labels, pooled to every level as in inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lodbrain.datasets.labelled import Labelled, read_bids, read_manifest
from lodbrain.errors import InputError
from lodbrain.inference.pyramid import pool
from lodbrain.labels import CLASS_OF_INDEX, MIRROR_OF_CLASS
from lodbrain.synthesis.degradations import DEGRADATIONS, LabelledScan
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.steps.tone import bend
from lodbrain.training.config_fields import LabelledSet
from lodbrain.training.real_scan import RealScan, grid_of, read_scan, shares
from lodbrain.training.samples import (
    BRAIN,
    Geometry,
    Head,
    LevelView,
    SampleSource,
    foci_of,
    log_voxel_of,
    random_seeds,
)

#: Scans are kept in memory up to this size, since reading one takes a second and resampling several: some 100 heads.
_KEPT_BYTES = 3 * 2**30
_MIRROR = torch.as_tensor(MIRROR_OF_CLASS, dtype=torch.uint8)
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
    remap_share : float
        Share of scans of another contrast: intensities are mapped by a random curve that need not be monotone, black
        stays black. For models of every contrast.
    """

    bias: float = 0.3
    noise: float = 0.04
    gamma_sd: float = 0.15
    clip_share: float = 0.15
    fault_share: float = 0.3
    remap_share: float = 0.0


def read_set(settings: LabelledSet) -> tuple[Labelled, ...]:
    """Return the scans of a manifest or of a BIDS dataset."""
    return read_manifest(settings.manifest) if settings.manifest else read_bids(str(settings.bids))


class RealSamples(SampleSource):
    """Multi-resolution samples of real scans.

    A scan enters the ladder at the level of its own voxel size and is pooled by 2 from there; one whose sides differ
    by more than 20% is resampled first, as in inference. Levels finer than the scan are not trained on it.

    Parameters
    ----------
    augmentation : Augmentation or None
        None for validation: scan number `seed` without changes.
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
        self.scans = [(scan, *grid_of(scan)) for scan in scans]
        self._kept: dict[int, RealScan] = {}

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

        def view(at: int, focus: list[float]) -> LevelView:
            halvings = levels[at].exponent - own
            here = grid.coarser(2**halvings)
            start, shape = (0, 0, 0), here.shape
            if at:
                start, shape = self.geometry.box(at, trained=position, grid=here, focus_mm=focus)
            window = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
            target = shares(case, window, halvings)
            log_voxel = log_voxel_of(here, levels[at].exponent).to(self.device)
            return LevelView(images[halvings][window], target, log_voxel, start)

        whole = view(0, [])
        brain = whole.target[BRAIN.to(self.device)].sum(0) > 0.5
        foci = foci_of(brain, grid.coarser(2 ** (levels[0].exponent - own)), random, crops)

        def finer(crop: int) -> tuple[LevelView, ...]:
            return tuple(view(at, foci[crop]) for at in range(1, position + 1))

        return Head(whole, finer, random_seeds(crops, random))

    def _scan(self, number: int) -> RealScan:
        """Return a scan, read once as long as all fit in `_KEPT_BYTES`; else the oldest are read again."""
        if number not in self._kept:
            scan, grid, _ = self.scans[number]
            self._kept[number] = read_scan(scan, grid)
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return self._kept[number]


def _below(n: int, random: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=random))


def _vary(case: RealScan, grid: Grid, how: Augmentation, random: torch.Generator) -> RealScan:
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
        pair = LabelledScan(image.cpu(), case.best.cpu(), grid.spacing_mm)
        strongest = fault.steps[1]
        image = fault.function(pair, severity * strongest, random).image.to(image.device)
    white = image[torch.isin(case.best, _WHITE.to(case.best.device))]
    field = SmoothField(control.to(image.device), lattice_mm)
    bright = float(torch.quantile(image.flatten()[:: max(1, image.numel() // 100_000)], 0.95))
    if clipped < how.clip_share and len(white):
        image = image.clamp(max=float(white.median()) * (0.95 + 0.2 * clip))
    if how.remap_share and float(torch.rand((), generator=random)) < how.remap_share:
        image = remapped(image, bright, random)
    image = bend(image * field.on(grid)[0].exp(), gamma, bright if bright > 0 else 1.0)
    grain = torch.Generator(image.device).manual_seed(int(torch.randint(2**62, (), generator=random)))
    sd = how.noise * noise**1.5 * bright
    return replace(case, image=image + sd * torch.randn(image.shape, generator=grain, device=image.device))


def remapped(image: torch.Tensor, bright: float, random: torch.Generator) -> torch.Tensor:
    """Return an image whose intensities are mapped by a random piecewise linear curve through 0.

    Parameters
    ----------
    bright : float
        Intensity of bright tissue: the curve has six pieces from 0 to 1.2 times this.

    Returns
    -------
    float tensor
        Of the same shape; the first and the last piece go on beyond the curve.
    """
    pieces = 6
    width = 1.2 * bright / pieces
    values = bright * torch.cat([torch.zeros(1), torch.rand(pieces, generator=random)]).to(image.device)
    piece = (image / width).floor().clamp(0, pieces - 1).long()
    slopes = values.diff() / width
    return values[piece] + slopes[piece] * (image - width * piece)
