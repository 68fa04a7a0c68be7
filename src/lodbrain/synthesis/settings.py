"""What the generator draws from."""

from __future__ import annotations

from dataclasses import dataclass, field

from lodbrain.synthesis.contrast import Contrasts
from lodbrain.synthesis.deform import Shapes
from lodbrain.synthesis.profile import ContrastProfile


@dataclass(frozen=True)
class Settings:
    """What the generator draws from; shares are probabilities.

    Noise is relative to white matter; `bias` is the largest standard deviation of the log field; `uhf_share` is the
    share of scans with the strong fields of 7 T and above. A share `profile_share` of the scans looks like those of
    `profile`, if there is one: intensities, bias field, noise, blur, voxel size and background are then its own
    (`lodbrain.synthesis.resemblance.settings_like`), whatever else is said here.
    """

    shapes: Shapes = field(default_factory=Shapes)
    contrasts: Contrasts = field(default_factory=Contrasts)
    voxel_mm: tuple[float, float] = (0.6, 1.4)
    anisotropy: float = 0.15
    stripped_share: float = 0.4
    defaced_share: float = 0.15
    bias: float = 0.5
    uhf_share: float = 0.2
    noise: float = 0.08
    blur_fwhm_vox: float = 1.5
    thick_share: float = 0.15
    thick_mm: float = 3.0
    gamma_sd: float = 0.25
    clip_share: float = 0.1
    texture: float = 0.08
    shift_mm: float = 40.0
    profile: ContrastProfile | None = None
    profile_share: float = 1.0
