"""Intensities of the classes: means and standard deviations, sampled from priors of a T1w scan or at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import PlainSerializer, PlainValidator

from lodbrain.labels import STRUCTURES
from lodbrain.synthesis.label_map import CODE_OF_RAW, MIRROR_OF_CODE, N_CODES, OUTSIDE, RAW_LABELS

#: Sub-classes of a tissue outside of the brain: fat, muscle and bone vary in intensity.
N_SUBCLASSES = 4
SPLIT_LABELS = (507, 511, 515, 516)

# Mean and standard deviation on a scale of 0 to 255 where white matter is 160 (SynthSeg's prior_means_t1).
_T1W: dict[str, tuple[float, float]] = {
    "Cerebral-White-Matter": (160, 16), "Cerebral-Cortex": (96, 19), "Hippocampus": (96, 19), "Amygdala": (96, 19),
    "Caudate": (96, 19), "Accumbens-area": (96, 19), "Putamen": (124, 14), "Pallidum": (152, 9), "Thalamus": (130, 20),
    "VentralDC": (143, 21), "Brain-Stem": (130, 18),
    "Cerebellum-Cortex": (88, 17), "Cerebellum-White-Matter": (136, 15),
    "CSF": (44, 26), "Lateral-Ventricle": (44, 26), "Inf-Lat-Vent": (44, 26), "3rd-Ventricle": (44, 26),
    "4th-Ventricle": (44, 26), "Background": (0, 0),
}  # fmt: skip
# Lesions, hypointensities, choroid plexus, vessels, fifth ventricle, chiasm: by raw label.
_T1W_OTHER = {
    25: (116, 19), 57: (116, 19), 78: (116, 19), 79: (116, 19), 136: (60, 24), 137: (60, 24), 163: (60, 24),
    164: (60, 24), 30: (60, 24), 62: (60, 24), 72: (44, 26), 85: (130, 20),
}  # fmt: skip


def _prior_table() -> torch.Tensor:
    rows = [(0.0, 0.0)] * N_CODES
    for label in STRUCTURES:
        rows[CODE_OF_RAW[label.index]] = _T1W[label.sideless]
    for raw, row in _T1W_OTHER.items():
        rows[CODE_OF_RAW[raw]] = row
    return torch.tensor(rows, dtype=torch.float32)


#: (N_CODES, 2) float32: mean and standard deviation of each code in a T1w scan; 0 for background and outside of the
#: brain.
T1W_PRIOR = _prior_table()

_WM, _GM, _CSF = (CODE_OF_RAW[raw] for raw in (2, 3, 24))
_OUTSIDE_CODES = torch.tensor([CODE_OF_RAW[raw] for raw in OUTSIDE])
_SPLIT_CODES = torch.tensor([CODE_OF_RAW[raw] for raw in SPLIT_LABELS])


def _codes_of(*names: str) -> torch.Tensor:
    """Codes of structures, by their names without sides."""
    return torch.tensor([CODE_OF_RAW[label.index] for label in STRUCTURES if label.sideless in names])


#: Deep grey matter, whose intensity iron and myelin shift towards white matter.
_DEEP = _codes_of("Thalamus", "Caudate", "Putamen", "Pallidum", "Accumbens-area", "VentralDC", "Brain-Stem")
#: Tissues with regional differences of intensity (the same ones as in SIAM and FetalSynGen).
_REGIONAL = _codes_of(
    "Cerebral-White-Matter", "Cerebral-Cortex", "Thalamus", "Cerebellum-Cortex", "Cerebellum-White-Matter"
)


@dataclass(frozen=True)
class Contrasts:
    """Probabilities of each kind of contrast, and their ranges.

    Attributes
    ----------
    t1w_share, ordered_share, any_order_share : float
        Shares of scans around the T1w prior, of scans of any contrast with CSF < grey < white matter, and of scans of
        these tissues in any order, such as T2w and FLAIR; the rest, up to 1, is fully random.
    spread : float
        Factor of the T1w prior's standard deviations.
    within : float
        Largest standard deviation inside a class, on the scale where white matter is 160.
    same_sides_share : float
        Share of scans with the same intensities left and right.
    bright_deep_share : float
        Share of T1w and ordered scans whose deep grey matter is shifted by half to all of its difference to white
        matter, as in scans that are normalised until white matter saturates, where shape is the only cue.
    regional : float
        Standard deviation of regional means of a tissue (cortex, white matter, thalamus, cerebellum) around the
        tissue's mean, on the scale where white matter is 160.
    """

    t1w_share: float = 0.6
    ordered_share: float = 0.25
    any_order_share: float = 0.0
    spread: float = 1.5
    within: float = 14.0
    same_sides_share: float = 0.9
    bright_deep_share: float = 0.0
    regional: float = 0.0


def _by_label(table: torch.Tensor) -> dict[str, list[float]]:
    """A table as JSON: raw label to the values of its sub-classes, or to one value where they are equal."""
    rows = [row if len(set(row)) > 1 else row[:1] for row in table.tolist()]
    return {str(raw): row for raw, row in zip(RAW_LABELS, rows, strict=True)}


def _as_table(value: Any) -> torch.Tensor:
    """Return the table from the output of `_by_label`, or from a table."""
    if not isinstance(value, torch.Tensor):
        if not isinstance(value, dict) or set(value) != {str(raw) for raw in RAW_LABELS}:
            raise ValueError("one row for each label is expected")
        rows = [value[str(raw)] for raw in RAW_LABELS]
        table = torch.tensor([row * N_SUBCLASSES if len(row) == 1 else row for row in rows], dtype=torch.float32)
    else:
        table = value
    if table.shape != (N_CODES, N_SUBCLASSES):
        raise ValueError(f"a table of {N_CODES} x {N_SUBCLASSES} is expected, got {tuple(table.shape)}")
    return table


Table: TypeAlias = Annotated[torch.Tensor, PlainValidator(_as_table), PlainSerializer(_by_label)]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Class intensities of one scan.

    Attributes
    ----------
    means, sds : (N_CODES, N_SUBCLASSES) float32 tensors
        Mean and standard deviation inside each class on a scale of 0 to 255.
    kind : {"t1w", "ordered", "any order", "random", "profile"}
        Prior from which they were sampled.
    """

    means: Table
    sds: Table
    kind: str

    @property
    def white_matter(self) -> float:
        """Mean of the cerebral white matter, the unit of noise."""
        return float(self.means[_WM].mean())


def draw_contrast(contrasts: Contrasts, generator: torch.Generator) -> Contrast:
    """Sample the class intensities of one scan, from a generator on the CPU."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    pick = float(uniform(0, 1))
    kind = "random"
    if pick < contrasts.t1w_share:
        kind = "t1w"
    elif pick < contrasts.t1w_share + contrasts.ordered_share:
        kind = "ordered"
    elif pick < contrasts.t1w_share + contrasts.ordered_share + contrasts.any_order_share:
        kind = "any order"
    prior_mean, prior_sd = T1W_PRIOR[:, 0], T1W_PRIOR[:, 1]
    # Structures of one tissue vary together more than alone: a protocol shifts the whole grey matter.
    tissue = (prior_mean - prior_mean[_GM]) / (prior_mean[_WM] - prior_mean[_GM])  # CSF about -0.8, grey 0, white 1
    if kind == "random":
        means = uniform(10, 250, N_CODES)
    else:
        if kind == "t1w":
            csf, gm, wm = _ordered_t1w(contrasts.spread, normal)
        elif kind == "ordered":
            csf, gm, wm = _ordered_random(uniform)
        else:
            csf, gm, wm = _in_any_order(uniform)
        along = torch.where(tissue >= 0, gm + tissue * (wm - gm), gm + tissue / tissue[_CSF].abs() * (gm - csf))
        means = along + 0.35 * contrasts.spread * prior_sd * normal(N_CODES) * min(1.0, abs(wm - gm) / 64)
    means = torch.where(
        torch.isin(torch.arange(N_CODES), _OUTSIDE_CODES), uniform(0, 255, N_CODES) ** 2 / 255 * 1.1, means
    )
    if float(uniform(0, 1)) < contrasts.same_sides_share:
        means = (means + means[MIRROR_OF_CODE]) / 2
    # These two steps consume no random numbers when switched off, so that later samples do not change.
    brightens = contrasts.bright_deep_share and kind in ("t1w", "ordered")
    if brightens and float(uniform(0, 1)) < contrasts.bright_deep_share:
        white, way = means[MIRROR_OF_CODE[_WM]].add(means[_WM]) / 2, uniform(0.5, 1.0, N_CODES)
        way = torch.maximum(way, way[MIRROR_OF_CODE])  # the same on both sides
        means[_DEEP] += (way * (white - means))[_DEEP]
    means = means.clamp(0, 300)
    means[0] = 0
    table = means[:, None].repeat(1, N_SUBCLASSES)
    if contrasts.regional:
        shift = contrasts.regional * normal(N_CODES, N_SUBCLASSES)
        shift = (shift + shift[MIRROR_OF_CODE]) / 2**0.5
        table[_REGIONAL] = (table + shift)[_REGIONAL].clamp(0, 300)
    table[_SPLIT_CODES] = uniform(0, 255, len(_SPLIT_CODES), N_SUBCLASSES)
    sds = (uniform(0, 1, N_CODES) * uniform(0, contrasts.within))[:, None].repeat(1, N_SUBCLASSES)
    sds[_OUTSIDE_CODES] = sds[_OUTSIDE_CODES] + uniform(0, 12, len(_OUTSIDE_CODES), N_SUBCLASSES)
    sds[0] = 0
    return Contrast(table, sds, kind)


def _ordered_t1w(spread: float, normal: Callable[[int], torch.Tensor]) -> tuple[float, float, float]:
    """CSF, grey and white matter around the T1w prior, at least 8 apart; the prior itself if ten samples fail."""
    anchors = T1W_PRIOR[[_CSF, _GM, _WM]]
    for _ in range(10):
        csf, gm, wm = (anchors[:, 0] + 0.7 * spread * anchors[:, 1] * normal(3)).tolist()
        if csf >= 0 and gm - csf >= 8 and wm - gm >= 16:
            return csf, gm, wm
    csf, gm, wm = anchors[:, 0].tolist()
    return csf, gm, wm


def _ordered_random(uniform: Callable[[float, float, int], torch.Tensor]) -> tuple[float, float, float]:
    """CSF < grey < white matter with gaps of at least 12 and 18."""
    csf, gm, wm = (uniform(0, 210, 3).sort().values + torch.tensor([0.0, 12.0, 30.0])).tolist()
    return csf, gm, wm


def _in_any_order(uniform: Callable[[float, float, int], torch.Tensor]) -> tuple[float, float, float]:
    """CSF, grey and white matter in any order, with gaps of at least 12 and 18."""
    values = torch.tensor(_ordered_random(uniform))
    csf, gm, wm = values[uniform(0, 1, 3).argsort()].tolist()
    return csf, gm, wm
