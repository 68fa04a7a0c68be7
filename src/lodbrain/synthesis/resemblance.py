"""Settings of the generator that resemble the scans of a profile."""

from __future__ import annotations

from dataclasses import replace

from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.synthesis.settings import Settings

#: Standard deviation of a cubic B-spline field between its control points, for random control points of 1:
#: (integral of B^2)^(3/2) = (151/315)^(3/2).
SPLINE_SD = (151 / 315) ** 1.5

#: Mean of what the generator multiplies its largest bias (u) and noise (u^1.5) with, for u uniform in 0 to 1.
MEAN_BIAS, MEAN_NOISE = 0.5, 0.4

#: What is left of random gamma: that of the profile's scans is in their intensities.
GAMMA_SD = 0.05


def settings_like(profile: ContrastProfile, settings: Settings | None = None) -> Settings:
    """Settings whose bias field, noise, blur and voxel size are, on average, those of a profile's scans.

    Shapes, field of view and the share of defaced scans are kept. Noise that is smooth tells of a smooth image, but at
    most: of 0 to so much blur. Class intensities are drawn by
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
    stripped = profile.background.kind == "zero" and not profile.outside
    return replace(
        settings,
        voxel_mm=(min(sides), max(sides)) if thickest < 1.5 else (min(sides), min(sides)),
        stripped_share=1.0 if stripped else 0.0,
        bias=profile.bias.log_sd / SPLINE_SD / MEAN_BIAS,
        uhf_share=0.0,
        noise=profile.noise.sd / MEAN_NOISE,
        blur_fwhm_vox=min(profile.noise.fwhm_mm / profile.voxel_mm, settings.blur_fwhm_vox),
        thick_share=0.0 if thickest < 1.5 else 1.0,
        thick_mm=max(max(sides), 1.2),
        gamma_sd=GAMMA_SD,
        clip_share=0.0,
        texture=0.0,
    )
