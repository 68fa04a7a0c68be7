"""A stand-in for network and inference: the intensities of a scan are its classes."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.inference.brain_search import NetworkInput
from lodbrain.inference.calibration import Calibration
from lodbrain.inference.decide import repooled
from lodbrain.models import zoo

#: Oblique, left-handed, 0.5 x 0.8 x 1.2 mm: RAS order needs a permutation and flips.
AFFINE = np.eye(4)
_TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
AFFINE[:3, :3] = _TURN @ np.array([[0, 0.8, 0], [0, 0, -1.2], [0.5, 0, 0]])
AFFINE[:3, 3] = [-10, 20, 5]


@dataclass
class FakeModel:
    """What the stand-in was asked, and what it answers."""

    labels: str = "structures"
    sha256: str = "a" * 64
    error: Exception | None = None
    notes: tuple[str, ...] = ("It was seen whole.",)
    quality: dict[str, float] = field(default_factory=lambda: {"certainty": 0.75})
    calls: list[SimpleNamespace] = field(default_factory=list)

    def card(self) -> zoo.Card:
        return zoo.Card("default", "lod", self.labels, {}, "", self.sha256, "", "", "", "", 0)  # type: ignore[arg-type]

    def predict(
        self, given: NetworkInput, spacing_mm: np.ndarray, *, card: Any, network: Any, options: Any, progress: Any
    ) -> SimpleNamespace:
        data = given.volume
        self.calls.append(SimpleNamespace(data=data, spacing_mm=spacing_mm, options=options))
        if self.error is not None:
            raise self.error
        if progress is not None:
            progress(0.5, "half")
        classes = data.astype(np.uint8)
        n_classes = 33 if self.labels == "structures" else 7
        # every class keeps three quarters of its voxels, the rest is background's
        posteriors = (np.arange(n_classes)[:, None, None, None] == classes) * np.float16(0.75)
        posteriors[0] = 1 - posteriors[1:].sum(axis=0)
        return SimpleNamespace(
            classes=classes,
            soft_volume_vox=posteriors.sum(axis=(1, 2, 3), dtype=np.float64),
            posteriors=repooled(posteriors, options.pooling) if options.posteriors else None,
            quality=self.quality,
            certainty=None,
            peak_bytes=None,
            coarse=None,
            disagreement=None,
            variance_vox=None,
            calibration=Calibration(),
            notes=self.notes,
        )


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    fake = FakeModel()
    module = SimpleNamespace(Options=lambda **options: SimpleNamespace(**options), predict=fake.predict)
    monkeypatch.setitem(sys.modules, "lodbrain.inference.predict", module)
    monkeypatch.setattr(zoo, "cards", lambda: {"default": fake.card()})
    monkeypatch.setattr(zoo, "load", lambda name: (fake.card(), None))
    return fake


@pytest.fixture
def classes() -> np.ndarray:
    """(16, 15, 14) float32: blobs of all 33 classes in a background, different along every axis."""
    volume = np.zeros((16, 15, 14), np.float32)
    volume[2:13, 3:13, 2:13] = np.arange(11 * 10 * 11).reshape(11, 10, 11) // 37 % 33
    return volume


@pytest.fixture
def write_scan(tmp_path: Path, classes: np.ndarray) -> Callable[[str], Path]:
    def write(name: str = "in/scan.nii.gz") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, classes, Image(classes, AFFINE))
        return path

    return write
