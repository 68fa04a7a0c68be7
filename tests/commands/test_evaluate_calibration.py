import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lodbrain.commands import evaluate_calibration as module
from lodbrain.commands.evaluate_calibration import calibrate
from lodbrain.commands.validation_options import ValidationOptions
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation import calibration_fit
from lodbrain.evaluation.validation_scans import ValidationScan, draw_scan
from lodbrain.inference.calibration import read_calibration
from lodbrain.inference.prediction import Options, Prediction
from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder

#: The network of these tests is as much too sure of itself.
TEMPERATURE = 2.0


@pytest.fixture
def model() -> Any:
    config = {"levels": [{"exponent": 3, "channels": [4]}]}
    network = Ladder.from_config(config)
    parameters = sum(value.numel() for value in network.parameters())
    card = Card("tiny", "lod", "structures", config, "old.safetensors", "", "", "", "", "", parameters)
    return SimpleNamespace(card=card, network=network, device="cpu", sha256="")


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[ValidationScan]:
    """What was drawn: the network below knows it."""
    drawn: list[ValidationScan] = []

    def spy(*given: Any, **named: Any) -> ValidationScan:
        drawn.append(draw_scan(*given, **named))
        return drawn[-1]

    monkeypatch.setattr(module, "draw_scan", spy)
    return drawn


def test_overconfident_network_is_calibrated_and_intervals_hold(
    model: Any, map_file: Path, scans: list[ValidationScan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    asked: list[float] = []

    def predict(data: np.ndarray, spacing_mm: tuple, *, card: Card, network: Any, options: Options) -> Prediction:
        asked.append(float(np.prod(spacing_mm)) ** (1 / 3))
        if len(asked) == 5:
            raise InputError("no-brain", None, "no brain found in it")
        truth = scans[-1].classes.long()
        odds = torch.full((33, *truth.shape), 0.0)
        odds.scatter_(0, truth[None], 1.0)
        odds = 3 * odds + torch.from_numpy(rng.standard_normal(odds.shape)).float()
        honest = odds.softmax(0)
        calibration = read_calibration(card.calibration)[3]
        p = (honest.log() * TEMPERATURE / calibration.temperature).softmax(0).numpy()
        # The truth is drawn again, from what the network believes when it is honest.
        drawn = torch.multinomial(honest.flatten(1).T.double(), 1)[:, 0].view(truth.shape)
        scans[-1].classes.copy_(drawn)
        scans[-1].volume_vox[:] = np.bincount(drawn.flatten(), minlength=33)
        return Prediction(
            p.argmax(0).astype(np.uint8),
            p.sum((1, 2, 3), dtype=np.float64),
            p.astype(np.float16),
            variance_vox=(p * (1 - p)).sum((1, 2, 3), dtype=np.float64),
        )

    monkeypatch.setattr(calibration_fit, "predict", predict)
    monkeypatch.setattr(
        calibration_fit, "DILATION_MM", 1e6
    )  # a choice that looks at the truth would not be honest here
    found = calibrate(tmp_path / "out", 36, model, ValidationOptions(maps=[map_file]))[3]
    assert len(asked) == 36
    assert all(0.74 * 8 < voxel < 1.41 * 8 for voxel in asked)
    assert found.calibration.temperature == pytest.approx(TEMPERATURE, rel=0.05)
    assert found.after.error < found.before.error / 3
    assert found.refused == 1
    assert found.coverage() > 0.8
    content = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert content["3"]["coverage"]["found"] == pytest.approx(found.coverage(), abs=1e-4)
    with (tmp_path / "out" / "intervals.tsv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert {"Cerebral-White-Matter", "brain", "TIV"} <= set(rows)
    assert (tmp_path / "out" / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    card, _ = zoo.load(tmp_path / "out" / "tiny.safetensors")
    assert read_calibration(card.calibration)[3].temperature == pytest.approx(TEMPERATURE, rel=0.05)
    beside = Card.from_json((tmp_path / "out" / "tiny.json").read_text(), tmp_path)
    assert beside.sha256 == card.sha256


def test_wrong_usage_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few"):
        calibrate(tmp_path, 8, model, ValidationOptions())
    with pytest.raises(UsageError, match="cannot be had"):
        calibrate(tmp_path, 9, model, ValidationOptions(), coverage=1.0)
    other = SimpleNamespace(card=model.card, network=torch.nn.Identity(), device="cpu", sha256="")
    with pytest.raises(UsageError, match="no ladder"):
        calibrate(tmp_path, 9, other, ValidationOptions())
