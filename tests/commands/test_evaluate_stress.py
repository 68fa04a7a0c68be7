"""Stress with a stand-in for the network: the intensities of a scan are ten times its classes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lodbrain.commands.evaluate_stress import run_stress_test
from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation import stress_test as disturbed
from lodbrain.evaluation.stress_test import FINEST, StressSettings
from lodbrain.images import Image, write_nifti
from lodbrain.inference.prediction import Prediction
from lodbrain.labels import INDEX_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.models.zoo import Card

ONE = StressSettings(("noise", "rotation"), steps=2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stand-in was asked to segment; models by name: default, and tissue, of tissue classes."""
    asked: list[Any] = []

    def predict(data: np.ndarray, spacing_mm: Any, *, card: Card, network: Any, options: Any) -> Prediction:
        asked.append(SimpleNamespace(card=card.name, context=options.context, shape=data.shape))
        classes = np.clip(np.round(data / 10), 0, 32).astype(np.uint8)
        if card.labels == "tissue":
            classes = TISSUE_OF_CLASS[classes].astype(np.uint8)
        if not options.context:
            classes[:4] = 0
        if not classes.any():
            raise InputError("no-brain", None, "no brain found in it")
        return Prediction(classes, np.zeros(33), certainty=np.full(data.shape, 255, np.uint8))

    def load_model(settings: Any) -> Any:
        labels = "tissue" if settings.model == "tissue" else "structures"
        card = Card(settings.model, "lod", labels, {}, "", "", "", "", "", "", 0)  # type: ignore[arg-type]
        return SimpleNamespace(card=card, network=None, device="cpu", sha256="f" * 64)

    monkeypatch.setattr(disturbed, "predict", predict)
    monkeypatch.setattr(disturbed, "load_model", load_model)
    return asked


@pytest.fixture
def classes() -> np.ndarray:
    """(20, 18, 16) float32: blocks of all 33 classes in a background."""
    volume = np.zeros((20, 18, 16), np.float32)
    volume[4:16, 3:15, 3:14] = np.arange(12 * 12 * 11).reshape(12, 12, 11) // 48 % 32 + 1
    return volume


def scan_of(classes: np.ndarray, path: Path) -> Path:
    turned = np.array([[0, 0, 2.0, 0], [-2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    write_nifti(path, classes, Image(classes, turned))
    return path


def test_own_result_on_the_undisturbed_scan_is_the_reference_without_labels(
    calls: list[Any], classes: np.ndarray, tmp_path: Path
) -> None:
    found = run_stress_test([scan_of(10 * classes, tmp_path / "a.nii.gz")], tmp_path / "out", ONE)
    assert found.reference == "each method's own result on the undisturbed scan"
    assert len(calls) == 5  # once as it is, twice two strengths
    strengths, dice = found.curve("default", "noise", "mean")
    assert strengths == [0.0, 0.05, 0.4]
    assert dice[0] == 1.0
    assert dice[0] > dice[1] > dice[2]
    assert {step.level for step in found.steps} == {"mean", "merged", "tissue", "brain"}
    lines = (tmp_path / "out" / "stress.tsv").read_text().splitlines()
    assert len(lines) == 1 + len(found.steps)
    names = ("breakdown.tsv", "stress.json", "methods.png", "methods.svg", "tissues.png", "tissues.svg")
    assert all((tmp_path / "out" / name).stat().st_size > 100 for name in names)
    content = json.loads((tmp_path / "out" / "stress.json").read_text())
    assert content["methods"] == {"default": {"model": "default", "sha256": "f" * 64, "context": True}}
    assert content["degradations"]["noise"]["strengths"] == [0.05, 0.4]


def test_given_labels_are_the_reference_for_every_method_and_turn_with_the_scan(
    calls: list[Any], classes: np.ndarray, tmp_path: Path
) -> None:
    scan = scan_of(10 * classes, tmp_path / "a.nii.gz")
    labels = scan_of(INDEX_OF_CLASS[classes.astype(int)], tmp_path / "a_labels.nii.gz")
    settings = StressSettings(("rotation",), steps=1, against=(FINEST, "tissue"))
    found = run_stress_test([scan], tmp_path / "out", settings, labels=[labels])
    assert found.reference == "given labels"
    assert found.methods == ("default", FINEST, "tissue")
    assert [(call.card, call.context) for call in calls] == [
        *[("default", True)] * 2,
        *[("default", False)] * 2,
        *[("tissue", True)] * 2,
    ]
    mean = {method: found.curve(method, "rotation", "mean")[1] for method in found.methods}
    assert mean["default"][0] == mean["tissue"][0] == 1.0
    assert mean[FINEST][0] < 1.0  # a part is missing
    assert mean["default"][1] > 0.3  # turned by 90 degrees, with its labels
    assert {step.level for step in found.steps if step.method == "tissue"} == {"mean", "tissue", "brain"}


def test_run_that_was_stopped_goes_on(
    calls: list[Any], classes: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_of(10 * classes, tmp_path / "a.nii.gz")
    whole = run_stress_test([scan], tmp_path / "whole", ONE)
    calls.clear()
    predict, left = disturbed.predict, [3]

    def stopping(*args: Any, **options: Any) -> Prediction:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return predict(*args, **options)

    monkeypatch.setattr(disturbed, "predict", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_stress_test([scan], tmp_path / "out", ONE)
    left[0] = 100
    again = run_stress_test([scan], tmp_path / "out", ONE)
    assert len(calls) == 3 + 3  # the reference once more, and the two steps that were not done
    assert {str(step) for step in again.steps} == {str(step) for step in whole.steps}
    calls.clear()
    run_stress_test([scan], tmp_path / "out", ONE)
    assert calls == []


def test_results_made_otherwise_are_not_gone_on_with(calls: list[Any], classes: np.ndarray, tmp_path: Path) -> None:
    scan = scan_of(10 * classes, tmp_path / "a.nii.gz")
    run_stress_test([scan], tmp_path / "out", StressSettings(("noise",), steps=1))
    with pytest.raises(UsageError, match="another reference, seed or weights"):
        run_stress_test([scan], tmp_path / "out", StressSettings(("noise",), steps=1, seed=1))


def test_scan_without_a_brain_scores_nothing_and_a_missing_one_is_left_out(
    calls: list[Any], classes: np.ndarray, tmp_path: Path
) -> None:
    scan = scan_of(classes * 10, tmp_path / "a.nii.gz")
    labels = scan_of(INDEX_OF_CLASS[classes.astype(int)], tmp_path / "l.nii.gz")
    settings = StressSettings(("field of view",), steps=1)  # 80 mm of 32: all of the head
    found = run_stress_test([scan, tmp_path / "none.nii.gz"], tmp_path / "out", settings, labels=[labels, labels])
    assert found.exit_code == 3
    assert [error.code for error in found.problems] == ["missing"]
    assert all(
        step.score == 0 and (step.dice == 0 or step.dice != step.dice) for step in found.steps if step.strength == 80
    )


def test_wrong_usage_is_said_before_any_work(calls: list[Any], classes: np.ndarray, tmp_path: Path) -> None:
    scan = scan_of(10 * classes, tmp_path / "a.nii.gz")
    with pytest.raises(UsageError, match="2 label maps for 1 scans"):
        run_stress_test([scan], tmp_path / "out", ONE, labels=[scan, scan])
    with pytest.raises(ValueError, match="got 'blur'"):
        StressSettings(("blur",))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        StressSettings(steps=0)
    assert calls == []


def test_mildest_and_strongest_are_always_tried() -> None:
    assert [StressSettings(steps=n).strengths("noise") for n in (1, 2, 3, 9)] == [
        (0.4,),
        (0.05, 0.4),
        (0.05, 0.2, 0.4),
        (0.05, 0.1, 0.2, 0.4),
    ]
