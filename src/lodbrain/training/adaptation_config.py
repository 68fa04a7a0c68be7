"""Settings of an adaptation, and the training configuration that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.models.lod import Ladder
from lodbrain.system.download import cache_folder
from lodbrain.training.config import TrainingConfig
from lodbrain.training.config_fields import LevelSettings, Tailored

#: Crops in voxels, and voxel sides of the label maps that synthetic scans are rendered from, by a level's exponent.
CROPS = {1: (64, 80, 64), 0: (80, 80, 80), -1: (96, 96, 96)}
FINE_MM = {0: 0.5, -1: 0.25}

#: Share of tuning scans that resemble the given ones; the rest prevents forgetting of other contrasts.
TAILORED_SHARE = 0.7

#: Learning rate: a tenth of the one that the levels were trained with.
RATE = 2e-4


@dataclass(frozen=True)
class AdaptSettings:
    """Settings of an adaptation.

    Attributes
    ----------
    base : str
        Model to start from: a name, or a file.
    minutes : float
        Minutes of fine-tuning, without analysis and evaluation.
    levels : int
        Number of levels to tune, from the finest that the scans use.
    held_out : int
        Number of held-out synthetic scans of each kind.
    scans : int
        Number of the given scans on which consistency is measured.
    labelmaps : Path or None
        Folder of label maps for synthesis, of which every fifth is held out. Default: the published label maps.
    """

    base: str = "default"
    minutes: float = 30.0
    levels: int = 2
    held_out: int = 16
    scans: int = 4
    device: str = "auto"
    threads: int | None = None
    labelmaps: Path | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")
        for name in ("levels", "held_out", "scans"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def tuning_config(
    base: Ladder,
    last: int,
    out: Path,
    settings: AdaptSettings,
    device: str,
) -> TrainingConfig:
    """Return the configuration that tunes the levels up to position `last` with the contrast profile beside `out`."""
    names = [path.name.split(".nii")[0] for path in find_labelmaps(settings.labelmaps)]
    # The published maps 17 to 20 are for validation everywhere; of other maps every fifth is.
    held = names[16:] if settings.labelmaps is None else names[4::5] or names[-1:]
    tuned = range(max(0, last + 1 - settings.levels), last + 1)
    levels = []
    for position, level in enumerate(base.configs[: last + 1]):
        budget = {"seconds": settings.minutes * 60 / len(tuned)} if position in tuned else {"steps": 0}
        levels.append(
            LevelSettings(
                **budget,
                exponent=level.exponent,
                channels=level.channels,
                sided=level.sided,
                block=level.block,
                residuals=level.residuals,
                learning_rate=RATE,
                crop=CROPS.get(level.exponent),
                labelmap_mm=FINE_MM.get(level.exponent) if settings.labelmaps is None else None,
            )
        )
    return TrainingConfig(
        name="tuned",
        out=out.with_name(f"{out.stem}_work"),
        labelmaps=settings.labelmaps,
        fine_labelmaps=cache_folder("fine"),
        train=tuple(name for name in names if name not in held),
        validate=tuple(held),
        tailored=Tailored(profile=out.with_name(f"{out.stem}_contrast.yaml"), share=TAILORED_SHARE),
        start=settings.base,
        levels=tuple(levels),
        warm_up=20,
        ema=0.99,
        device=device,
        threads=settings.threads,
        validate_every=10**6,
        validation_scans=4,
        checkpoint_every=50,
    )
