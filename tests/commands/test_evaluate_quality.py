import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lodbrain.commands.evaluate_quality import validate_quality
from lodbrain.commands.validation_options import ValidationOptions
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation import quality_validation
from lodbrain.evaluation.quality_validation import conclude, tissue_dice
from lodbrain.inference.prediction import Prediction
from lodbrain.labels import TISSUE_OF_CLASS
from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder
from lodbrain.segmentation.predicted_dice import SIGNS, read_fit


def model(labels: str = "structures") -> Any:
    config = {"levels": [{"exponent": 3, "channels": [4]}]}
    network = Ladder.from_config(config)
    parameters = sum(value.numel() for value in network.parameters())
    card = Card("fake", "lod", labels, config, "", "", "", "", "", "", parameters)  # type: ignore[arg-type]
    return SimpleNamespace(card=card, network=network, device="cpu", sha256="")


def rows_of(n: int, *, noise: float = 0.0) -> list[dict[str, Any]]:
    """Draws whose Dice is half their confidence and half of one less their entropy."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n):
        features = dict(zip(SIGNS, rng.random(len(SIGNS)).tolist(), strict=True))
        dice = 0.5 * features["confidence"] + 0.5 * (1 - features["border_entropy"]) + noise * rng.standard_normal()
        rows.append({"role": ("fit", "judge")[number % 2], "dice": dice, **features})
    return rows


def test_fit_is_made_on_one_half_and_judged_on_the_other() -> None:
    found = conclude(rows_of(400), "fake")
    weights = found.fit["weights"]
    assert weights["confidence"] == pytest.approx(-weights["border_entropy"], rel=0.05)
    assert weights["confidence"] > 2 > 10 * max(abs(weights[name]) for name in ("asymmetry", "volume_misfit"))
    assert (found.judged.n, found.fitted.n, found.refused) == (200, 200, 0)
    assert min(found.judged.pearson, found.judged.spearman, found.judged.auc) > 0.99
    rows = rows_of(400)
    for row in rows[1::2]:  # what is judged must not have been fitted on
        row["dice"] = 1 - row["dice"]
    opposed = conclude(rows, "fake")
    assert opposed.fit == found.fit
    assert opposed.judged.pearson < -0.99


def test_limits_are_what_one_in_twenty_good_results_goes_beyond() -> None:
    rows = rows_of(2000)
    good = np.array([row["confidence"] for row in rows[::2] if row["dice"] >= 0.8])
    limit, words = conclude(rows, "fake").fit["limits"]["confidence"]
    assert (good < limit).mean() == pytest.approx(0.05, abs=0.02)
    assert words == "low confidence over the brain"


def test_refused_scans_are_counted_and_not_fitted() -> None:
    rows = rows_of(40)
    rows += [{"role": "judge", "dice": 0.0, **dict.fromkeys(SIGNS, "n/a")}] * 3
    found = conclude(rows, "fake")
    assert (found.refused, found.judged.n) == (3, 20)
    with pytest.raises(InputError, match="fewer than three scans"):
        conclude(rows_of(4), "fake")


def test_consensus_is_fitted_on_scans_that_both_members_saw() -> None:
    rows = rows_of(40)
    for row in rows[:6]:
        row["disagreement"] = "n/a"
    found = conclude(rows, "fake")
    assert (found.refused, found.judged.n, found.fitted.n) == (0, 17, 17)
    assert "disagreement" in found.fit["weights"]
    for row in rows:
        row["disagreement"] = "n/a"
    assert "disagreement" not in conclude(rows, "fake").fit["weights"]


def test_tissue_dice_of_hand_made_maps() -> None:
    pred, ref = np.zeros((4, 1, 1), np.uint8), np.zeros((4, 1, 1), np.uint8)
    cortex = int(np.flatnonzero(TISSUE_OF_CLASS == 1)[0])
    pred[:3], ref[1:2] = cortex, cortex
    found = tissue_dice(pred, ref)
    assert found["Grey-Matter"] == 0.5
    assert np.isnan(found["White-Matter"])


def test_draws_are_segmented_scored_and_kept(map_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, ...]] = []

    def predict(data: np.ndarray, spacing_mm: tuple[float, ...], **rest: Any) -> Prediction:
        asked.append(spacing_mm)
        if len(asked) == 3:
            raise InputError("no-brain", None, "no brain found in it")
        classes = np.where(data > data.mean(), 1, 0).astype(np.uint8)
        return Prediction(classes, np.zeros(33), None, {"moved_share": 0.0}, (), np.full(data.shape, 200, np.uint8))

    monkeypatch.setattr(quality_validation, "predict", predict)
    found = validate_quality(tmp_path / "out", 12, model(), ValidationOptions(maps=[map_file]), voxel_mm=(9.0, 11.0))
    assert len(asked) == 12
    assert all(8.9 < np.prod(spacing) ** (1 / 3) < 11.1 for spacing in asked)
    with (tmp_path / "out" / "cases.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["role"] for row in rows] == ["fit", "judge"] * 6
    assert (rows[2]["dice"], rows[2]["confidence"], found.refused) == ("0", "n/a", 1)
    assert all(0 < float(row["dice"]) < 1 for row in rows[:2])
    assert {row["confidence"] for row in rows if row["confidence"] != "n/a"} == {"0.7843"}
    assert len({row["degradation"] for row in rows}) > 1
    content = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert set(content["score"]["weights"]) == set(SIGNS) - {"disagreement"}
    assert (tmp_path / "out" / "quality.png").read_bytes()[:4] == b"\x89PNG"
    card, _ = zoo.load(tmp_path / "out" / "fake.safetensors")
    assert read_fit(card.quality) == read_fit(content["score"])
    again = validate_quality(tmp_path / "out", 12, model(), ValidationOptions(maps=[map_file]), voxel_mm=(9.0, 11.0))
    assert len(asked) == 12  # nothing was done again
    with pytest.raises(UsageError, match="samples of another model"):
        validate_quality(
            tmp_path / "out", 12, model(), ValidationOptions(maps=[map_file], contrasts="any"), voxel_mm=(9.0, 11.0)
        )
    assert again.judged.pearson == pytest.approx(found.judged.pearson, abs=1e-4, nan_ok=True)


def test_tissue_models_and_too_few_draws_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gives tissue classes"):
        validate_quality(tmp_path, 10, model("tissue"), ValidationOptions())
    with pytest.raises(UsageError, match="too few"):
        validate_quality(tmp_path, 7, model(), ValidationOptions())
