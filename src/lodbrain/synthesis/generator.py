"""Generator of synthetic scans: sampling of a scan's plan, and rendering of the plan on any grid.

`draw_plan` fixes all parameters of one synthetic scan. `render` computes image and labels of that scan on any grid,
such as the whole head at 4 mm or a crop of it at 1 mm, so that all levels of the ladder see the same head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F

from lodbrain.synthesis.anatomy import Anatomy, Body
from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.generator_settings import GeneratorSettings
from lodbrain.synthesis.grain import grain
from lodbrain.synthesis.intensities import Contrast, draw_contrast
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.steps.background_noise import Background
from lodbrain.synthesis.steps.blur import Blur
from lodbrain.synthesis.steps.defacing import Defacing
from lodbrain.synthesis.steps.ghosts import Ghosts
from lodbrain.synthesis.steps.lesions import Lesions
from lodbrain.synthesis.steps.motion import Motion
from lodbrain.synthesis.steps.noise import Noise
from lodbrain.synthesis.steps.receive import Bias
from lodbrain.synthesis.steps.skull_stripping import Stripping
from lodbrain.synthesis.steps.susceptibility import Susceptibility
from lodbrain.synthesis.steps.texture import Texture
from lodbrain.synthesis.steps.thick_slices import Slices
from lodbrain.synthesis.steps.tone import Tone
from lodbrain.synthesis.steps.transmit import Transmit
from lodbrain.synthesis.steps.ventricles import Ventricles
from lodbrain.synthesis.steps.view import Step, View
from lodbrain.synthesis.steps.wrap import Wrap
from lodbrain.synthesis.streams import Stream
from lodbrain.synthesis.tailored import draw_from_profile, settings_like

__all__ = ["GeneratorSettings", "ScanPlan", "draw_plan", "render"]

#: Approximate size of the regions that a tissue's sub-classes form, mm.
_PARTS_MM = 22.0

#: Least intensity of white matter as the unit of noise: in a random contrast it may be 0, which would mean no noise.
_LEAST_WHITE = 40.0

#: Number of the scan's voxels processed at a time: fits a processor's cache and keeps a GPU busy.
_CHUNK_VOXELS = {"cpu": 200_000, "cuda": 64_000_000}


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """All sampled parameters of one scan, in the order in which they act on it.

    Attributes
    ----------
    seed : int
        Seed of each rendering's noise.
    scan : Grid
        Field of view and voxels of the scan.
    deformation ... defacing
        One step each, with its sampled parameters; None if the scan does not have it.
    """

    seed: int
    scan: Grid
    deformation: Deformation
    lesions: Lesions | None
    contrast: Contrast
    parts: RandomField
    ventricles: Ventricles | None = None
    # the head in the magnet
    texture: Texture | None = None
    transmit: Transmit | None = None
    susceptibility: Susceptibility | None = None
    bias: Bias | None = None
    wrap: Wrap | None = None
    # the measurement
    blur: Blur | None = None
    slices: Slices | None = None
    motion: Motion | None = None
    ghosts: Ghosts | None = None
    noise: Noise | None = None
    # the processing
    background: Background | None = None
    tone: Tone | None = None
    stripping: Stripping | None = None
    defacing: Defacing | None = None

    @property
    def white_matter(self) -> float:
        """Intensity of cerebral white matter, the unit of noise; at least `_LEAST_WHITE`."""
        return max(self.contrast.white_matter, _LEAST_WHITE)

    @property
    def magnet(self) -> tuple[Step | None, ...]:
        """Steps in the coordinates of the tissue, before acquisition."""
        return self.texture, self.transmit, self.susceptibility, self.bias

    @property
    def acquisition(self) -> tuple[Step | None, ...]:
        """Steps that act on the whole image."""
        return self.blur, self.slices, self.motion, self.ghosts

    @property
    def voxelwise(self) -> tuple[Step | None, ...]:
        """Steps that act on each voxel of the scan separately: noise and non-linear ones."""
        return self.noise, self.background, self.tone


def draw_plan(
    labels: LabelMap, settings: GeneratorSettings, generator: torch.Generator, *, voxel_mm: float | None = None
) -> ScanPlan:
    """Sample one scan of a label map.

    Each step has its own stream of random numbers, so that changing one step does not change the others.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU, so that a seed gives the same scan on every device.
    voxel_mm : float, optional
        Voxel side of an isotropic scan; overrides the settings.
    """
    seed = int(torch.randint(2**53, (), generator=generator))

    def stream(step: str) -> Stream:
        return Stream(seed, step)

    profile = settings.profile if stream("profile").chance(settings.profile_share) else None
    if profile is not None:
        settings = settings_like(profile, settings)
    if voxel_mm is not None:
        size = replace(settings.field_of_view, voxel_mm=(voxel_mm, voxel_mm), anisotropy=0.0)
        settings = replace(settings, field_of_view=size)
    box = labels.brain_box_mm
    deformation = settings.shapes.draw(stream("shape"), box.mean(0), labels.ventricle_mm)
    x, y, z = (box[1] - box[0]).tolist()
    stripping = settings.stripping.draw(stream("stripping"), (x, y, z))
    stripped = stripping is not None
    uhf = stream("field strength").chance(settings.uhf_share)
    random = stream("contrast").generator
    contrast = draw_contrast(settings.contrasts, random) if profile is None else draw_from_profile(profile, random)
    return ScanPlan(
        seed=seed,
        scan=settings.field_of_view.draw(stream("field of view"), box, deformation, stripped=stripped),
        deformation=deformation,
        lesions=settings.lesions.draw(stream("lesions")),
        contrast=contrast,
        parts=RandomField(stream("parts").seed(), _PARTS_MM),
        texture=settings.texture.draw(stream("texture")),
        transmit=settings.transmit.draw(stream("transmit")) if uhf else None,
        susceptibility=settings.susceptibility.draw(stream("susceptibility")) if uhf else None,
        bias=settings.bias.draw(stream("bias"), uhf=uhf),
        wrap=None if stripped else settings.wrap.draw(stream("wrap")),
        blur=settings.blur.draw(stream("blur")),
        slices=settings.slices.draw(stream("slices")),
        motion=settings.motion.draw(stream("motion")),
        ghosts=settings.ghosts.draw(stream("ghosts")),
        noise=settings.noise.draw(stream("noise")),
        background=None if stripped else settings.background.draw(stream("background")),
        tone=settings.tone.draw(stream("tone")),
        stripping=stripping,
        defacing=None if stripped else settings.defacing.draw(stream("defacing")),
        ventricles=settings.ventricles.draw(stream("ventricles")),
    )


def render(
    plan: ScanPlan,
    labels: LabelMap,
    grid: Grid | None = None,
    *,
    coarseness: int = 1,
    supersample: int = 2,
    target: Literal["shares", "classes"] = "shares",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and target of a plan on a grid, with true partial volume.

    A coarse image has the mean and the standard deviation of the scan pooled to the same grid, as in inference, at a
    fraction of the time. A voxel that contains enough of the scan's voxels is the mean of `supersample` subvoxels along
    each axis; noise, background and tone act on each of the scan's voxels in a subvoxel.

    Parameters
    ----------
    labels : LabelMap
        The map for which the plan was sampled, or a finer version of it.
    grid : Grid, optional
        The plan's own grid (the default), a coarser one, or a crop.
    coarseness : int
        Voxel side of `grid` in voxels of the scan: a power of two.
    supersample : int
        Samples per voxel and axis.
    target : {"shares", "classes"}
        Form of the target.

    Returns
    -------
    image : (X, Y, Z) float32 tensor
    target : (33, X, Y, Z) float32 tensor, or (X, Y, Z) uint8
        Shares of the classes in each voxel, which sum to 1; or the largest class. Both on the label map's device.
    """
    grid = grid or plan.scan
    if plan.ventricles is not None:
        labels = plan.ventricles.narrow(labels)
    body = Body(labels, plan.deformation, plan.lesions, plan.contrast, plan.parts)
    masks = [mask for mask in (plan.stripping, plan.defacing) if mask is not None]
    subvoxels = math.gcd(supersample, coarseness)  # along each axis
    fine, supersample = grid.finer(subvoxels), supersample // subvoxels
    anatomy = body.on(fine, supersample=supersample, target=target if subvoxels == 1 else "none", distance=bool(masks))
    view = View(
        grid=fine,
        fov_mm=plan.scan.extent_mm,
        pose=plan.deformation,
        white_matter=plan.white_matter,
        seed=plan.seed,
        coarseness=coarseness // subvoxels,
        signal=anatomy.signal,
        distance_mm=anatomy.distance_mm,
    )
    image = _apply(plan.magnet, _with_grain(anatomy, view), view)
    if plan.wrap is not None:
        image = plan.wrap.apply(image, view, _beyond_fov(plan, body, supersample))
    image = _voxelwise(plan, _apply(plan.acquisition, image, view), view)
    stripped: torch.Tensor | None = None
    for mask in masks:
        kept = mask.kept(view)
        image = image * kept
        if mask is plan.stripping:
            stripped = kept
    if subvoxels == 1:
        truth = anatomy.target
        assert truth is not None
        if stripped is not None:
            truth *= stripped  # in place: it is by far the largest array
            if target == "shares":
                truth[0] = 1 - truth[1:].sum(0)
        return image, truth
    pooled = F.avg_pool3d(image[None, None], subvoxels)[0, 0]
    coarse = body.on(grid, supersample=supersample * subvoxels, target=target, distance=False, kept=stripped)
    assert coarse.target is not None
    return pooled, coarse.target


def _apply(steps: Sequence[Step | None], image: torch.Tensor, view: View) -> torch.Tensor:
    for step in steps:
        if step is not None:
            image = step.apply(image, view)
    return image


def _with_grain(anatomy: Anatomy, view: View) -> torch.Tensor:
    """Return the signal plus random variation within each class."""
    return torch.addcmul(anatomy.signal, anatomy.spread, grain(view, anatomy.spread.device))


def _voxelwise(plan: ScanPlan, image: torch.Tensor, view: View) -> torch.Tensor:
    """Apply the voxelwise steps to the scan's voxels inside each voxel of the view, and return their mean."""
    samples = view.coarseness**3
    if samples == 1:
        return _apply(plan.voxelwise, image, view)
    nx, ny, nz = image.shape
    step = max(1, _CHUNK_VOXELS.get(image.device.type, _CHUNK_VOXELS["cpu"]) // (samples * ny * nz))
    out = torch.empty_like(image)
    for start in range(0, nx, step):
        rows = slice(start, min(nx, start + step))
        many = image[rows].expand(samples, -1, -1, -1)
        out[rows] = _apply(plan.voxelwise, many, view.rows(rows.start, rows.stop)).mean(0)
    return out


def _beyond_fov(plan: ScanPlan, body: Body, supersample: int) -> Callable[[View], torch.Tensor]:
    """Return a function that computes the head's signal in views beyond the field of view."""

    def signal(view: View) -> torch.Tensor:
        anatomy = body.on(view.grid, supersample=supersample, target="none", distance=False)
        return _apply(plan.magnet, _with_grain(anatomy, view), view)

    return signal
