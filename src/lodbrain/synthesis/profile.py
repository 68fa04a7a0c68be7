"""`ContrastProfile`: appearance of a set of scans, as a readable YAML file and as input of the generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter

from lodbrain.labels import SIDELESS
from lodbrain.synthesis.validated_yaml import read_validated
from lodbrain.system.atomic import write_text

BackgroundKind = Literal["zero", "rician", "mp2rage", "unknown"]

VERSION = 1

_HEADER = """\
# Contrast of MRI scans, fitted by `lodbrain contrast`. Intensities are on a scale where cerebral white matter is 160.
# structures: mean, and sd within one scan, of pure voxels (no partial volume, no bias field, noise included);
#   between_scans: sd of the mean from scan to scan (null: one scan); own: 1 where the mean is the structure's own,
#   0 where too few voxels left that of similar structures.
# contrast_to_noise: difference of means / root mean square of sds.
# bias: sd of the log field over the brain, and the distance over which it changes. noise: sd / white matter.
# outside: intensities of the head outside of the brain, in equal steps from darkest to brightest.
"""


class _Strict:
    """Records without unknown fields or numbers that are not finite."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Intensity(_Strict):
    """Intensity of one structure.

    Attributes
    ----------
    mean, sd : float
        Mean and standard deviation of pure voxels, noise included.
    between_scans : float or None
        Standard deviation of the mean between scans; None for one scan.
    volume_ml, pure_ml : float
        Volume of the labels, and of the voxels that are purely this structure; averages of the scans.
    own : float
        Weight of the structure's own mean against its group's, 0 to 1.
    """

    mean: float
    sd: float
    between_scans: float | None
    volume_ml: float
    pure_ml: float
    own: float


@dataclass(frozen=True)
class BiasStatistics(_Strict):
    """Bias field: standard deviation of its logarithm over the brain, and its correlation length."""

    log_sd: float
    scale_mm: float


@dataclass(frozen=True)
class NoiseStatistics(_Strict):
    """Noise: standard deviation in units of white matter, smoothness, and where each was measured."""

    sd: float
    fwhm_mm: float
    measured_in: str


@dataclass(frozen=True)
class Air(_Strict):
    """Background: one constant value, magnitude noise, MP2RAGE's noise over the full range, or tissue in all corners.

    The level is, in units of white matter, the constant value; the noise's standard deviation before the magnitude is
    taken; the largest value.
    """

    kind: BackgroundKind
    level: float


@dataclass(frozen=True)
class ScanRecord(_Strict):
    """Measurements of one of the scans.

    Attributes
    ----------
    outliers : float
        Share of outliers among the voxels near borders.
    mismatch : float
        Distance of the fitted from the observed histogram, in units of the difference of white matter and cortex.
    iterations : int
        Iterations of the fit.
    """

    name: str
    voxel_mm: tuple[float, float, float]
    bias: BiasStatistics
    noise: NoiseStatistics
    background: Air
    outliers: float
    mismatch: float
    iterations: int


@dataclass(frozen=True)
class ContrastProfile(_Strict):
    """Appearance of a set of scans. Intensities are on a scale where cerebral white matter is 160.

    Attributes
    ----------
    structures : dict of str to Intensity
        By names of `lodbrain.labels.SIDELESS`; structures that are in no scan are absent.
    contrast_to_noise : dict of str to float
        Between kinds of tissue.
    bias, noise, background
        Averages of the scans; the background is the most frequent one.
    voxel_mm : float
        Cube root of the voxel's volume, average of the scans.
    outside : tuple of float
        Quantiles of intensity in the head outside of the brain; empty if no scan shows it.
    scans : tuple of ScanRecord
        The scans that the profile was computed from.
    """

    structures: dict[str, Intensity]
    contrast_to_noise: dict[str, float]
    bias: BiasStatistics
    noise: NoiseStatistics
    background: Air
    voxel_mm: float
    outside: tuple[float, ...]
    scans: tuple[ScanRecord, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        unknown = sorted(set(self.structures) - set(SIDELESS[1:]))
        if unknown:
            raise ValueError(f"structures must be names of the label table, got {unknown[0]!r}")
        missing = sorted({"Cerebral-White-Matter", "Cerebral-Cortex"} - set(self.structures))
        if missing:
            raise ValueError(f"structures must hold {missing[0]}")
        for name, look in self.structures.items():
            if look.sd < 0 or (look.between_scans or 0) < 0:
                raise ValueError(f"structures.{name}: standard deviations must not be negative")
        if min(self.bias.log_sd, self.noise.sd, self.noise.fwhm_mm, self.background.level) < 0:
            raise ValueError("bias, noise and background must not be negative")
        if min(self.bias.scale_mm, self.voxel_mm) <= 0:
            raise ValueError("bias.scale_mm and voxel_mm must be positive")
        if self.version != VERSION:
            raise ValueError(f"version must be {VERSION}, got {self.version}")


_ADAPTER = TypeAdapter(ContrastProfile)


def write_profile(path: str | PathLike[str], profile: ContrastProfile) -> None:
    """Write a profile as YAML, atomically, numbers rounded to four significant digits.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    tree = _rounded(_ADAPTER.dump_python(profile, mode="json"))
    write_text(path, _HEADER + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=120))


def read_profile(path: str | PathLike[str]) -> ContrastProfile:
    """Read a profile.

    Raises
    ------
    UsageError
        If the file is missing, is not YAML, or is not a profile; the message names the field.
    """
    return read_validated(path, _ADAPTER, code="contrast", hint="Make one with: lodbrain contrast")


class _Dumper(yaml.SafeDumper):
    """YAML with one line for each structure and for each list of numbers."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        leaf = not any(isinstance(value, (dict, list)) for value in dict(mapping).values())
        return super().represent_mapping(tag, mapping, flow_style=leaf and len(mapping) > 1)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=not any(isinstance(v, dict) for v in sequence))


def _rounded(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _rounded(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_rounded(value) for value in tree]
    if isinstance(tree, float) and math.isfinite(tree):
        return float(f"{tree:.4g}")
    return tree
