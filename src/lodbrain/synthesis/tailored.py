"""Class intensities sampled from a profile of real scans."""

from __future__ import annotations

import numpy as np
import torch

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, STRUCTURES
from lodbrain.synthesis.intensities import N_SUBCLASSES, SPLIT_LABELS, T1W_PRIOR, Contrast
from lodbrain.synthesis.label_map import CODE_OF_RAW, MIRROR_OF_CODE, N_CODES, OUTSIDE, RAW_LABELS
from lodbrain.synthesis.profile import ContrastProfile, Intensity

#: Least variation between scans of a protocol, in units of white matter; a profile of one scan has no estimate.
LEAST_BETWEEN = 0.03

#: Variation between scans of the spread within a structure (standard deviation of its logarithm).
SPREAD_OF_SD = 0.15

#: Largest spread within a tissue outside of the brain, in units of white matter.
OUTSIDE_SD = 0.1

_NAME_OF_CODE = {code: SIDELESS[SIDELESS_OF_CLASS[code]] for code in range(1, len(STRUCTURES))}
_LEFT_OF_CODE = torch.minimum(torch.arange(N_CODES), MIRROR_OF_CODE)
_IS_OUTSIDE = torch.tensor([raw in OUTSIDE for raw in RAW_LABELS])[:, None]
_IS_SPLIT = torch.tensor([raw in SPLIT_LABELS for raw in RAW_LABELS])[:, None]

#: Reference structures for labels absent from the profile: the first one of each kind that it has is used.
_ANCHORS = (("CSF", "Lateral-Ventricle"), ("Cerebral-Cortex",), ("Cerebral-White-Matter",))


def draw_from_profile(profile: ContrastProfile, generator: torch.Generator) -> Contrast:
    """Sample, from a generator on the CPU, the class intensities of one scan that resembles those of a profile.

    Structures vary by their variation between scans, equally left and right. Labels absent from the profile (lesions,
    vessels, choroid plexus) are placed between fluid, grey and white matter as in a T1w scan. Tissues outside of the
    brain are sampled from all intensities of the head outside of the brain.

    Returns
    -------
    Contrast
        Of kind ``"profile"``. Its spreads exclude the noise, which the generator adds separately.
    """
    expected = [_look(profile, code) for code in range(N_CODES)]
    white = profile.structures["Cerebral-White-Matter"].mean
    means, sds, between = torch.tensor(expected, dtype=torch.float32).T
    between = between.clamp(min=LEAST_BETWEEN * white)
    sds = (sds**2 - (profile.noise.sd * white) ** 2).clamp(min=0).sqrt()
    stray, swell = torch.randn((2, N_CODES), generator=generator)[:, _LEFT_OF_CODE]
    means = means + between * stray
    sds = sds * torch.exp(SPREAD_OF_SD * swell)
    # Outside of the brain each tissue, and each part of the large ones, may have any intensity of the head.
    rank, grain = torch.rand((2, N_CODES, N_SUBCLASSES), generator=generator)
    rank = torch.where(_IS_SPLIT, rank, rank[:, :1])
    table = torch.where(_IS_OUTSIDE, _head(profile, rank), means[:, None]).clamp(min=0)
    spread = torch.where(_IS_OUTSIDE, grain * OUTSIDE_SD * white, sds[:, None])
    table[0], spread[0] = 0, 0
    return Contrast(table, spread, "profile")


def _look(profile: ContrastProfile, code: int) -> tuple[float, float, float]:
    """Return mean, spread within, and spread between scans of a code."""
    look = profile.structures.get(_NAME_OF_CODE.get(code, ""))
    if look is not None:
        return look.mean, look.sd, look.between_scans or 0.0
    anchors: list[tuple[float, Intensity]] = []
    for names in _ANCHORS:
        for name in names:
            if name in profile.structures:
                raw = next(label.index for label in STRUCTURES if label.sideless == name)
                anchors.append((float(T1W_PRIOR[CODE_OF_RAW[raw], 0]), profile.structures[name]))
                break
    at, where = float(T1W_PRIOR[code, 0]), [prior for prior, _ in anchors]
    mean, sd, between = (
        float(np.interp(at, where, column))
        for column in zip(*((look.mean, look.sd, look.between_scans or 0.0) for _, look in anchors), strict=True)
    )
    return mean, sd, between


def _head(profile: ContrastProfile, rank: torch.Tensor) -> torch.Tensor:
    """Return intensities of the head outside of the brain at ranks of 0 to 1; random ones if the profile has none."""
    if len(profile.outside) < 2:
        return 255 * rank**2
    levels = torch.tensor(profile.outside, dtype=torch.float32)
    at = rank * (len(levels) - 1)
    low = at.long().clamp(max=len(levels) - 2)
    return torch.lerp(levels[low], levels[low + 1], at - low)
