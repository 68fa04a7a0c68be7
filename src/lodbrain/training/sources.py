"""Data of a run: multi-resolution samples for training, and named sets for validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from lodbrain.errors import UsageError
from lodbrain.models.lod import Ladder
from lodbrain.models.registry import Plain
from lodbrain.synthesis.generator import GeneratorSettings
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.profile import read_profile
from lodbrain.training.config import TrainingConfig
from lodbrain.training.maps import fine_maps
from lodbrain.training.real import Augmentation, RealSamples, read_set
from lodbrain.training.samples import Geometry, MixedSamples, SampleSource, SyntheticSamples

#: Name of the set that is generated from the maps of `validate`: its scores have no prefix.
SYNTHETIC = ""


@dataclass(frozen=True, eq=False)
class Sources:
    """Multi-resolution samples of one stage.

    `training` is None where a configuration has no training data; `validation` holds by name the source of each set
    and its number of examples.
    """

    training: SampleSource | None
    validation: dict[str, tuple[SampleSource, int]]


def geometry_of(config: TrainingConfig, network: Ladder | Plain) -> Geometry:
    """Return the geometry of a configuration's levels."""
    return Geometry(config.levels, tuple(network.level(n).stride for n in range(len(config.levels))))


def generator_of(config: TrainingConfig) -> GeneratorSettings:
    """Return the generator's settings, adapted to a profile if configured; UsageError if it cannot be read."""
    if config.tailored is None:
        return config.generator
    profile = read_profile(config.tailored.profile)
    return replace(config.generator, profile=profile, profile_share=config.tailored.share)


def make_sources(
    config: TrainingConfig,
    geometry: Geometry,
    maps: Mapping[str, LabelMap],
    position: int,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> Sources:
    """Return the data of the stage of the level at a position.

    Parameters
    ----------
    maps : mapping of str to LabelMap
        All label maps that the configuration names, on the device.
    position : int
        Position of the level; for the joint stage the finest level's.

    Raises
    ------
    UsageError
        If a held-out site has no scans, or no scan is left for training.
    """
    fine = fine_maps(config, maps, config.levels[position].labelmap_mm, report)
    settings = generator_of(config)

    def synthetic(names: tuple[str, ...]) -> SyntheticSamples:
        return SyntheticSamples(names, maps, fine, settings, geometry)

    training: SampleSource | None = synthetic(config.train) if config.train else None
    validation: dict[str, tuple[SampleSource, int]] = {}
    if config.validate_on:
        validation[SYNTHETIC] = (synthetic(config.validate_on), config.validation_scans)

    def reported(name: str, samples: RealSamples) -> None:
        if usable := len(samples.usable(position)):
            validation[name] = (samples, min(usable, config.validation_scans))

    if config.real is not None:
        scans = read_set(config.real)
        held = set(config.real.hold_out)
        if unknown := sorted(held - {scan.site for scan in scans}):
            known = ", ".join(sorted({scan.site for scan in scans}))
            raise UsageError("site", None, f"real.hold_out: no scan is of site {unknown[0]!r}", f"Sites: {known}")
        own = [scan for scan in scans if scan.site not in held]
        if not own:
            raise UsageError("site", None, "real.hold_out: every site is held out", "Leave one to train on")
        augmentation = Augmentation(remap_share=config.real.remap_share)
        real = RealSamples(own, geometry, augmentation=augmentation, device=device)
        training = (
            real if training is None or config.real.share == 1 else MixedSamples(training, real, config.real.share)
        )
        for site in sorted(held):
            there = [scan for scan in scans if scan.site == site]
            reported(f"site-{site}", RealSamples(there, geometry, augmentation=None, device=device))
    for named in config.report_on:
        reported(named.name, RealSamples(read_set(named), geometry, augmentation=None, device=device))
    return Sources(training, validation)
