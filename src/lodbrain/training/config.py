"""What a training run is: read from YAML, checked by pydantic, every field named in the error if it is wrong."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lodbrain.errors import UsageError
from lodbrain.synthesis.generator import Settings


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LevelSettings(_Strict):
    """One level of the ladder and its training.

    `crop` is the largest shape in voxels of the level (whole head if absent); `halo` the margin of the level above
    around a crop.
    """

    exponent: int
    channels: tuple[int, ...] = Field(min_length=1)
    sided: bool = True
    steps: int = Field(gt=0)
    learning_rate: float = Field(2e-3, gt=0)
    crop: tuple[int, int, int] | None = None
    halo: int = Field(12, ge=0)
    labelmap_mm: float | None = None


class Corruption(_Strict):
    """How the frozen level above is made worse while the next one trains."""

    drop: float = 0.1
    temperature: float = 0.4
    shift_share: float = 0.3


class TrainingConfig(_Strict):
    """A whole run: `lodbrain train CONFIG.yaml`."""

    name: str
    description: str = ""
    data: str = "synthetic scans drawn from label maps"
    licence: str = ""
    citation: str = ""
    out: Path
    labelmaps: Path | None = None
    train: tuple[str, ...]
    validate_on: tuple[str, ...] = Field(alias="validate")
    levels: tuple[LevelSettings, ...]
    generator: Settings = Settings()
    corruption: Corruption = Corruption()
    seed: int = 0
    batch: int = Field(1, gt=0)
    warm_up: int = 300
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    bfloat16: bool = True
    device: str = "auto"
    threads: int | None = None
    validate_every: int = Field(500, gt=0)
    validation_scans: int = Field(8, gt=0)
    checkpoint_every: int = Field(200, gt=0)


def read_config(path: str | Path) -> TrainingConfig:
    """Read a training configuration.

    Parameters
    ----------
    path : path
        A YAML file, such as ``configs/default.yaml``.

    Raises
    ------
    UsageError
        If the file is missing, is not YAML, or a field is wrong; the message names the field.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(
            "config", path, f"cannot be read ({error.strerror})", "give the path of a training configuration"
        ) from None
    except yaml.YAMLError as error:
        raise UsageError("config", path, f"is not YAML: {error}", "see configs/default.yaml") from None
    if not isinstance(raw, dict):
        raise UsageError("config", path, "is not a mapping of settings", "see configs/default.yaml")
    try:
        return TrainingConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError("config", path, f"{where}: {first['msg']}", "see configs/default.yaml") from None
