"""`TrainingConfig`: configuration of a training run, read from YAML and validated by pydantic."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, TypeAdapter, model_validator

from lodbrain.inference.precision import working_dtype
from lodbrain.synthesis.generator import GeneratorSettings
from lodbrain.synthesis.validated_yaml import read_validated
from lodbrain.training.config_fields import (
    Corruption,
    Joint,
    LevelSettings,
    Losses,
    NamedSet,
    RealScans,
    Strict,
    Tailored,
)
from lodbrain.training.workers import device_named


class TrainingConfig(Strict):
    """A complete run: `lodbrain train CONFIG.yaml`. All fields are documented in docs/howto/training.md."""

    name: str
    description: str = ""
    data: str = "synthetic scans drawn from label maps"
    licence: str = ""
    citation: str = ""
    out: Path
    labelmaps: Path | None = None
    fine_labelmaps: Path | None = None
    train: tuple[str, ...] = ()
    validate_on: tuple[str, ...] = Field(default=(), alias="validate")
    real: RealScans | None = None
    report_on: tuple[NamedSet, ...] = ()
    tailored: Tailored | None = None
    architecture: str = "lod"
    options: dict[str, Any] = Field(default_factory=dict)
    start: str | None = None
    start_share: float = Field(default=0.0, ge=0, lt=1)
    levels: tuple[LevelSettings, ...] = Field(min_length=1)
    joint: Joint | None = None
    generator: GeneratorSettings = GeneratorSettings()
    corruption: Corruption = Corruption()
    losses: Losses = Losses()
    seed: int = 0
    batch: int = Field(default=1, gt=0)
    accumulate: int = Field(default=1, gt=0)
    warm_up: int = Field(default=300, ge=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    bfloat16: bool | None = None
    device: str = "auto"
    threads: int | None = Field(default=None, gt=0)
    validate_every: int = Field(default=500, gt=0)
    validation_scans: int = Field(default=8, gt=0)
    checkpoint_every: int = Field(default=200, gt=0)
    pictures: bool = True

    @property
    def is_ladder(self) -> bool:
        """Whether the run trains the ladder of levels, not one plain network."""
        return self.architecture == "lod"

    @property
    def autocasts(self) -> bool:
        """Whether convolutions compute in bfloat16: as configured, else where the device supports it in hardware."""
        if self.bfloat16 is not None:
            return self.bfloat16
        return working_dtype("auto", torch.device(device_named(self.device))) is torch.bfloat16

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        exponents = [level.exponent for level in self.levels]
        if exponents != list(range(exponents[0], exponents[0] - len(exponents), -1)):
            raise ValueError(f"levels: exponents must fall by one from coarse to fine, got {exponents}")
        for n, level in enumerate(self.levels):
            if self.is_ladder and not level.channels:
                raise ValueError(f"levels.{n}.channels: a level of the ladder needs at least one")
            if level.block > 1 and (n == 0 or n + 1 < len(self.levels)):
                raise ValueError(f"levels.{n}.block: only the finest of several levels can work on blocks")
            if level.fresh and level.steps == 0:
                raise ValueError(f"levels.{n}.fresh: a level of 0 steps is not trained, so it cannot begin afresh")
            if n and level.sided and not self.levels[n - 1].sided:
                raise ValueError(f"levels.{n}.sided: a level that tells sides cannot follow one that does not")
            if level.steps == 0 and self.start is None and self.joint is None:
                raise ValueError(f"levels.{n}.steps: 0 keeps the level of a starting model: name one in `start`")
        if self.is_ladder and not self.levels[0].sided:
            raise ValueError("levels.0.sided: the coarsest level must tell left from right; no level above does it")
        if self.start_share and self.start is None:
            raise ValueError("start_share: there is no starting model to share with: name one in `start`")
        if not self.is_ladder and (len(self.levels) > 1 or self.joint or self.start):
            raise ValueError(f"architecture: {self.architecture} is one network: one level, neither joint nor start")
        synthetic = self.real is None or self.real.share < 1
        if synthetic and not self.train:
            raise ValueError("train: name the label maps to draw synthetic scans from")
        if not self.validate_on and not (self.real and self.real.hold_out):
            raise ValueError("validate: name label maps to validate on, or hold out sites of `real`")
        if both := sorted(set(self.train) & set(self.validate_on)):
            raise ValueError(f"validate: {both[0]} is trained on, so it cannot validate")
        return self


def read_config(path: str | Path) -> TrainingConfig:
    """Read a training configuration from a YAML file.

    Raises
    ------
    UsageError
        If the file is missing, is not YAML, or a field is wrong; the message names the field.
    """
    return read_validated(path, TypeAdapter(TrainingConfig), code="config", hint="see docs/howto/training.md")
