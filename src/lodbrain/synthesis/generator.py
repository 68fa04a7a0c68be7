"""Draw a scan once, render it at any level of detail.

`draw_plan` fixes everything about one synthetic scan: shape, contrast, field of view, artefacts. `render` computes
image and target of that scan on any grid: the whole head at 4 mm, a crop of it at 1 mm. All levels of the ladder see
the same head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from lodbrain.labels import N_CLASSES
from lodbrain.synthesis.artefacts import Acquisition, Bias, Defacing, Stripping, Tone
from lodbrain.synthesis.contrast import N_SUBCLASSES, Contrast, draw_contrast
from lodbrain.synthesis.deform import EXTENT_MM, Deformation, draw_deformation
from lodbrain.synthesis.fields import Grid, SmoothField, random_control
from lodbrain.synthesis.labelmaps import CLASS_OF_CODE, DISTANCE_STEP_MM, MIRROR_OF_CODE, LabelMap
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.synthesis.resemblance import settings_like
from lodbrain.synthesis.settings import Settings
from lodbrain.synthesis.tailored import draw_from_profile

__all__ = ["Plan", "Settings", "draw_plan", "render"]

_CSF_CLASS = 16
_CHUNK_POINTS = 2_000_000


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that was drawn about one scan.

    `scan` is the grid of the scan itself; `seed` starts the noise of each rendering.
    """

    deformation: Deformation
    contrast: Contrast
    scan: Grid
    subclasses: SmoothField
    texture: SmoothField
    texture_strength: float
    bias: Bias
    acquisition: Acquisition
    background: tuple[str, float]
    stripping: Stripping | None
    defacing: Defacing | None
    tone: Tone
    seed: int

    def to(self, device: torch.device | str) -> Plan:
        """The same scan, to be rendered on another device."""
        stripping = self.stripping
        return replace(
            self,
            deformation=replace(self.deformation, displacement=self.deformation.displacement.to(device)),
            subclasses=self.subclasses.to(device),
            texture=self.texture.to(device),
            bias=replace(self.bias, log_field=self.bias.log_field.to(device)),
            stripping=None if stripping is None else replace(stripping, error=stripping.error.to(device)),
        )


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _chance(share: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) < share


def draw_plan(labels: LabelMap, settings: Settings, generator: torch.Generator) -> Plan:
    """Draw one scan of a label map.

    Parameters
    ----------
    labels : LabelMap
    settings : Settings
    generator : torch.Generator
        On the CPU, so that a seed means the same scan on every device.
    """
    profile = None
    if settings.profile is not None and _chance(settings.profile_share, generator):
        profile = settings.profile
        settings = settings_like(profile, settings)
    brain = labels.brain_box_mm
    deformation = draw_deformation(settings.shapes, brain.mean(0), labels.ventricle_mm, generator)
    if profile is None:
        contrast = draw_contrast(settings.contrasts, generator)
    else:
        contrast = draw_from_profile(profile, generator)
    stripping = defacing = None
    if _chance(settings.stripped_share, generator):
        margin, error = _uniform(-0.5, 7.0, generator), _uniform(0.0, 2.0, generator) ** 2 / 2
        stripping = Stripping(margin, SmoothField(random_control(1, 15.0, EXTENT_MM, generator), 15.0), error)
    elif _chance(settings.defaced_share, generator):
        slope = _uniform(0.3, 1.2, generator)
        defacing = Defacing((0.0, 1.0, -slope), _uniform(55.0, 95.0, generator))
    scan = _draw_field_of_view(labels, deformation, settings, stripping is not None, generator)
    white = max(contrast.white_matter, 40.0)
    lattice = _uniform(6.0, 20.0, generator)
    return Plan(
        deformation=deformation,
        contrast=contrast,
        scan=scan,
        subclasses=SmoothField(random_control(1, 22.0, EXTENT_MM, generator), 22.0),
        texture=SmoothField(random_control(1, lattice, EXTENT_MM, generator), lattice),
        texture_strength=_uniform(0.0, settings.texture, generator),
        bias=_draw_bias(settings, generator),
        acquisition=Acquisition(
            blur_fwhm_vox=_uniform(0.0, settings.blur_fwhm_vox, generator),
            slice_axis=int(torch.randint(3, (), generator=generator)),
            slice_mm=_uniform(1.0, settings.thick_mm, generator) if _chance(settings.thick_share, generator) else 0.0,
            noise=settings.noise * _uniform(0.0, 1.0, generator) ** 1.5 * white,
            rician=_chance(0.5, generator) if profile is None else profile.background.kind == "rician",
        ),
        background=_draw_background(profile, stripping is not None, white, generator),
        stripping=stripping,
        defacing=defacing,
        tone=Tone(
            gamma=float(torch.exp(settings.gamma_sd * torch.randn((), generator=generator))),
            clip=_uniform(0.95, 1.2, generator) if _chance(settings.clip_share, generator) else 0.0,
        ),
        seed=int(torch.randint(2**62, (), generator=generator)),
    )


def _draw_bias(settings: Settings, generator: torch.Generator) -> Bias:
    lattice = _uniform(40.0, 110.0, generator)
    control = random_control(1, lattice, EXTENT_MM, generator)
    if not _chance(settings.uhf_share, generator):
        strength = _uniform(0.0, settings.bias, generator)
        return Bias(SmoothField(control * strength, lattice))
    strength = _uniform(0.2, 0.6, generator)
    sides = [
        (s * _uniform(40, 65, generator), _uniform(-25, 15, generator), _uniform(-55, -25, generator)) for s in (-1, 1)
    ]
    below = (_uniform(-25, 25, generator), _uniform(-75, -40, generator), _uniform(-75, -45, generator))
    places = tuple((*at, _uniform(18, 35, generator), _uniform(0.0, 1.2, generator)) for at in (*sides, below))
    return Bias(
        SmoothField(control * strength, lattice), _uniform(0.0, 0.9, generator), _uniform(45, 80, generator), places
    )


def _draw_background(
    profile: ContrastProfile | None, stripped: bool, white: float, generator: torch.Generator
) -> tuple[str, float]:
    """Kind of background and its strength: nothing, Rician noise, or MP2RAGE's noise of full range."""
    if profile is not None:
        # A profile's magnitude noise is that of the acquisition.
        mp2rage = profile.background.kind == "mp2rage"
        return ("mp2rage", profile.background.level * white) if mp2rage else ("zero", 0.0)
    pick = float(torch.rand((), generator=generator))
    if stripped or pick < 0.4:
        return "zero", 0.0
    if pick < 0.85:
        return "rician", _uniform(0.005, 0.06, generator) * white
    return "mp2rage", _uniform(0.5, 1.3, generator) * white


def _draw_field_of_view(
    labels: LabelMap, deformation: Deformation, settings: Settings, stripped: bool, generator: torch.Generator
) -> Grid:
    """Grid of the scan: tight around the brain, or the head with more or less of everything around it."""
    low, high = labels.brain_box_mm
    corners = torch.cartesian_prod(*torch.stack([low, high], 1)).float() - deformation.offset_mm
    corners = torch.linalg.solve(deformation.matrix, corners.T).T
    box = torch.stack([corners.min(0).values, corners.max(0).values])
    # The corners of a turned box reach beyond the brain in it: half of that is taken back.
    centre, half = box.mean(0), (box[1] - box[0]) / 2
    half = half * 0.93
    tight = _chance(0.5 if stripped else 0.15, generator)
    if tight:
        margins = torch.rand((2, 3), generator=generator) * 14 - 2
    else:
        least = torch.tensor([2.0, 4.0, 2.0])
        margins = torch.rand((2, 3), generator=generator) * 45.0 + least
        margins[0, 2] += 50 * torch.rand((), generator=generator)  # the neck
        shift = (torch.rand(3, generator=generator) * 2 - 1) * settings.shift_mm * torch.rand((), generator=generator)
        margins = torch.stack([margins[0] + shift, margins[1] - shift]).clamp(min=0)
    start, stop = centre - half - margins[0], centre + half + margins[1]
    base = _uniform(*settings.voxel_mm, generator)
    stretch = 1 + (torch.rand(3, generator=generator) * 2 - 1) * settings.anisotropy * float(_chance(0.3, generator))
    spacing = (base * stretch / stretch.prod() ** (1 / 3)).tolist()
    shape = [max(16, round(float(n) / v)) for n, v in zip(stop - start, spacing, strict=True)]
    x, y, z = start.tolist()
    return Grid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), (x, y, z))


def render(
    plan: Plan, labels: LabelMap, grid: Grid, *, coarseness: int = 1, supersample: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and target of a plan on a grid, with true partial volume.

    Parameters
    ----------
    plan : Plan
    labels : LabelMap
        The map that the plan was drawn for, or a finer version of it.
    grid : Grid
        The plan's own grid, a coarser one, or a crop.
    coarseness : int
        Voxel side of `grid` in voxels of the scan: a power of two.
    supersample : int
        Samples per voxel and axis.

    Returns
    -------
    image : (X, Y, Z) float32 tensor
    target : (33, X, Y, Z) float32 tensor
        Share of each class in each voxel; sums to 1. Both on the device of the label map.
    """
    device = labels.codes.device
    plan = plan.to(device)
    means, sds, target, distance_mm = _sample(plan, labels, grid, supersample)
    # Salt of the noise: the same crop gives the same scan, another crop or level has its own noise.
    salt = hash((plan.seed, grid.shape, coarseness, tuple(round(c * 1000) for c in grid.corner_mm))) % 2**62
    noise = torch.Generator().manual_seed(salt)
    grain = torch.randn(means.shape, generator=noise).to(device)
    # Anatomy's grain is correlated: it averages out more slowly than noise.
    image = means + sds * grain / coarseness**0.75
    if plan.texture_strength:
        image = image * (1 + plan.texture_strength * plan.texture.on(grid)[0])
    kept = None
    if plan.stripping is not None:
        kept = plan.stripping.mask(distance_mm, grid)
    elif plan.defacing is not None:
        kept = plan.defacing.mask(distance_mm, grid)
    kind, strength = plan.background
    image = plan.bias.apply(image, grid)
    image = plan.acquisition.apply(image, grid, noise, coarseness=coarseness)
    if kind == "rician":
        level = strength / coarseness**1.5 + strength * 0.5
        pair = torch.randn((2, *means.shape), generator=noise).to(device) * level
        image = torch.hypot(image + pair[0], pair[1])
    elif kind == "mp2rage":
        air = means < 1.0
        image = torch.where(air, strength * torch.rand(means.shape, generator=noise).to(device), image)
    image = plan.tone.apply(image, plan.contrast.white_matter)
    if kept is not None:
        image = image * kept
        if plan.stripping is not None:
            target = target * kept
            target[0] = 1 - target[1:].sum(0)
    return image, target


def _sample(
    plan: Plan, labels: LabelMap, grid: Grid, supersample: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Averages over each voxel of class mean, class spread and one-hot labels; distance of its centre to the brain.

    Shapes are (X, Y, Z), but (33, X, Y, Z) for the labels; the distance is in mm.
    """
    device, r = labels.codes.device, supersample
    nx, ny, nz = grid.shape
    class_of_code = CLASS_OF_CODE[MIRROR_OF_CODE] if plan.deformation.flipped else CLASS_OF_CODE
    class_of_code = class_of_code.to(device)
    table_mean = plan.contrast.means.to(device).view(-1)
    table_sd = plan.contrast.sds.to(device).view(-1)
    flat, flat_distance = labels.codes.view(-1), labels.distance.view(-1)
    means, sds = torch.empty(grid.shape, device=device), torch.empty(grid.shape, device=device)
    distance = torch.empty(grid.shape, device=device)
    target = torch.zeros((N_CLASSES, nx * ny * nz), device=device)
    fine = grid.finer(r)
    rows = max(1, _CHUNK_POINTS // (ny * nz * r**3))
    ones = torch.full((1,), 1.0 / r**3, device=device)
    for start in range(0, nx, rows):
        stop = min(nx, start + rows)
        index = _voxel_index(labels, plan.deformation.on(fine, slice(start * r, stop * r)))
        codes = flat[index.view(-1)]
        # (X, r, Y, r, Z, r) -> (r^3, X, Y, Z): the samples of one voxel side by side
        codes = codes.view(stop - start, r, ny, r, nz, r).permute(1, 3, 5, 0, 2, 4).reshape(r**3, stop - start, ny, nz)
        sub = (
            plan.subclasses.on(grid, slice(start, stop))[0].mul(1.5).add_(N_SUBCLASSES / 2).clamp_(0, N_SUBCLASSES - 1)
        )
        look = codes.int() * N_SUBCLASSES + sub.int()
        means[start:stop] = table_mean[look].mean(0)
        sds[start:stop] = table_sd[look].mean(0)
        classes = class_of_code[codes.int()].view(r**3, -1)
        part = target[:, start * ny * nz : stop * ny * nz]
        for sample in classes:
            part.scatter_add_(0, sample[None], ones.expand(1, sample.numel()))
        centre = _voxel_index(labels, plan.deformation.on(grid, slice(start, stop)))
        distance[start:stop] = flat_distance[centre.view(-1)].view(centre.shape) * DISTANCE_STEP_MM
    return means, sds, target.view(N_CLASSES, nx, ny, nz), distance


def _voxel_index(labels: LabelMap, at_mm: list[torch.Tensor]) -> torch.Tensor:
    """Flat index of the map's voxel that holds each point; the border of the map is background."""
    shape, spacing = labels.codes.shape, labels.spacing_mm.tolist()
    x, y, z = (c.div_(v).clamp_(0, n - 1).int() for c, v, n in zip(at_mm, spacing, shape, strict=True))
    return (x * shape[1] + y) * shape[2] + z
