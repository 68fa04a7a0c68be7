"""Settings of the generator that resemble the scans of a profile."""

from __future__ import annotations

from dataclasses import replace

from lodbrain.synthesis.fields import SPLINE_SD
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.synthesis.settings import Settings
from lodbrain.synthesis.steps.background import RandomBackground
from lodbrain.synthesis.steps.blur import RandomBlur
from lodbrain.synthesis.steps.noise import RandomNoise
from lodbrain.synthesis.steps.slices import RandomSlices
from lodbrain.synthesis.steps.texture import RandomTexture
from lodbrain.synthesis.steps.tone import RandomTone

#: Mean of what the generator multiplies its largest bias (u) and noise (u^1.5) with, for u uniform in 0 to 1.
MEAN_BIAS, MEAN_NOISE = 0.5, 0.4

#: What is left of random gamma: that of the profile's scans is in their intensities.
GAMMA_SD = 0.05

#: Voxels whose sides differ by more are slices.
_ANISOTROPIC = 1.5


def settings_like(profile: ContrastProfile, settings: Settings | None = None) -> Settings:
    """Settings whose bias field, noise, blur, voxel size and background are, on average, those of a profile's scans.

    Shapes, lesions, artefacts, field of view and the share of defaced scans are kept. Noise that is smooth tells of a
    smooth image, but at most: of 0 to so much blur. Intensities are drawn by
    `lodbrain.synthesis.tailored.draw_from_profile`.

    Parameters
    ----------
    profile : ContrastProfile
    settings : Settings, optional
        What to keep the rest of.
    """
    settings = settings or Settings()
    sides = [side for scan in profile.scans for side in scan.voxel_mm]
    thickest = max(max(scan.voxel_mm) / min(scan.voxel_mm) for scan in profile.scans)
    thick = thickest >= _ANISOTROPIC
    stripped = profile.background.kind == "zero" and not profile.outside
    return replace(
        settings,
        field_of_view=replace(
            settings.field_of_view, voxel_mm=(min(sides), min(sides)) if thick else (min(sides), max(sides))
        ),
        texture=RandomTexture(0.0),
        uhf_share=0.0,
        bias=replace(settings.bias, strength=profile.bias.log_sd / SPLINE_SD / MEAN_BIAS),
        blur=RandomBlur(min(profile.noise.fwhm_mm / profile.voxel_mm, settings.blur.fwhm_vox)),
        slices=RandomSlices(1.0 if thick else 0.0, max(max(sides), 1.2)),
        noise=RandomNoise(profile.noise.sd / MEAN_NOISE, float(profile.background.kind == "rician")),
        background=_background(profile),
        tone=RandomTone(GAMMA_SD, 0.0),
        stripping=replace(settings.stripping, share=float(stripped)),
    )


def _background(profile: ContrastProfile) -> RandomBackground:
    """The profile's kind of background alone; its magnitude noise is that of the scan, which is drawn as noise."""
    kind, level = profile.background.kind, profile.background.level
    return RandomBackground(
        zero_share=float(kind == "zero"),
        rician_share=0.0,
        mp2rage_share=float(kind == "mp2rage"),
        mp2rage_level=(0.8 * level, 1.2 * level),
    )
