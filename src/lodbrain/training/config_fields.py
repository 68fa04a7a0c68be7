"""Settings of a training configuration: levels, losses, real scans, corruption."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Immutable settings without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Budget(Strict):
    """Length of a stage: a number of steps, or of seconds.

    Seconds are processor time on the CPU (so that other processes do not count) and wall-clock time on other devices. A
    run limited by seconds is not reproducible bit for bit.
    """

    steps: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("give either steps or seconds")
        return self


class LevelSettings(Budget):
    """One level of the ladder and its training.

    `exponent` is log2 of the voxel side in mm; `crop` the largest crop in voxels of the level (whole head if absent);
    `halo` the margin of the coarser level around a crop; `labelmap_mm` the voxel side that label maps are
    upsampled to; `crops_per_head` the number of crops, spread over the brain, from each head below the coarsest level.
    `steps: 0` keeps the level of the starting model, or leaves it to the joint stage. `fresh` starts with random
    weights even if the starting model has this level. `block` and `residuals` are those of `models.lod.LevelConfig`.
    """

    exponent: int
    channels: tuple[int, ...] = Field(default=(), max_length=6)
    sided: bool = True
    block: int = Field(default=1, ge=1, le=2)
    residuals: int = Field(default=1, ge=1, le=8)
    fresh: bool = False
    learning_rate: float = Field(default=2e-3, gt=0)
    crop: tuple[int, int, int] | None = None
    halo: int = Field(default=12, ge=0)
    crops_per_head: int = Field(default=4, gt=0)
    labelmap_mm: float | None = Field(default=None, gt=0)


class Joint(Budget):
    """Fine-tuning of all levels together; the default learning rate is a tenth of the finest level's."""

    learning_rate: float | None = Field(default=None, gt=0)


class Corruption(Strict):
    """Corruption of the frozen coarser level's output, the input of the level in training.

    `drop` is the share of feature channels set to 0; logits are scaled by exp(u) with u uniform within +-
    `temperature`; with probability `shift_share`, features and logits are shifted by up to one voxel along each axis.
    """

    drop: float = Field(default=0.1, ge=0, le=1)
    temperature: float = Field(default=0.4, ge=0)
    shift_share: float = Field(default=0.3, ge=0, le=1)


class Losses(Strict):
    """Weights of the losses; 0 disables a loss. `dice` is over the structures, `tissue_dice` over the six tissues."""

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    tissue_dice: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any((self.cross_entropy, self.dice, self.tissue_dice)):
            raise ValueError("at least one weight must be above 0")
        return self


class LabelledSet(Strict):
    """Real scans with labels: a CSV with columns volume, labels, site, or a BIDS dataset with label maps."""

    manifest: Path | None = None
    bids: Path | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.manifest is None) == (self.bids is None):
            raise ValueError("give either manifest or bids")
        return self


class RealScans(LabelledSet):
    """Real scans for training.

    Scans of the sites in `hold_out` are never used in training; each of these sites is reported separately at every
    validation. `share` is the share of real pairs among all; with 1 only real pairs are used. `remap_share` is the
    share of real pairs whose intensities are mapped by a random curve, for models of every contrast.
    """

    hold_out: tuple[str, ...] = ()
    remap_share: float = Field(default=0.0, ge=0, le=1)
    share: float = Field(default=0.5, gt=0, le=1)


class NamedSet(LabelledSet):
    """Named set of real scans that is reported at every validation, but not used to select a model."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")


class Tailored(Strict):
    """Synthetic scans that resemble those of a profile of `lodbrain contrast`, and their share."""

    profile: Path
    share: float = Field(default=0.7, ge=0, le=1)
