"""`lodbrain evaluate stress`, `quality` and `ultracortex`: what is passed on, and what is printed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lodbrain.commands import evaluate_quality as cli_quality
from lodbrain.commands import evaluate_stress as stress_workflow
from lodbrain.commands import evaluate_ultracortex as ultracortex_workflow
from lodbrain.commands import main
from lodbrain.commands import validation_options as validation
from lodbrain.errors import InputError
from lodbrain.evaluation.groups import Interval
from lodbrain.evaluation.quality_fit import agreement
from lodbrain.evaluation.robustness import Stress, StressStep


def test_stress_prints_where_each_method_breaks_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def stress(inputs: Any, out: Path, settings: Any, **options: Any) -> Stress:
        asked.append((inputs, out, settings, options["labels"], options["model"].model))
        steps = [
            StressStep("a", method, kind, strength, "mean", "mean", dice, 0.5)
            for method, kind, strength, dice in [
                ("default", "", 0.0, 0.9),
                ("default", "noise", 0.4, 0.5),
                ("lod-brain-2024", "", 0.0, 0.9),
                ("lod-brain-2024", "noise", 0.4, 0.8),
            ]
        ]
        return Stress(tuple(steps), "given labels", (InputError("x", "b.nii", "is broken", "Mend it"),))

    monkeypatch.setattr(stress_workflow, "run_stress_test", stress)
    words = ["evaluate", "stress", "a.nii", "b.nii", "--labels", "la.nii", "lb.nii", "--only", "noise", "--steps", "1"]
    words += ["--finest-alone", "--against", "lod-brain-2024", "-o", str(tmp_path)]
    assert main(words) == 3
    inputs, out, settings, labels, model = asked[0]
    assert (inputs, out, model) == (["a.nii", "b.nii"], tmp_path, "default")
    assert settings.against == ("finest level alone", "lod-brain-2024")
    assert (settings.degradations, settings.steps) == (("noise",), 1)
    assert list(labels) == [Path("la.nii"), Path("lb.nii")]
    printed, error = capsys.readouterr()
    line = next(line for line in printed.splitlines() if line.startswith("noise"))
    assert "0.2" in line
    assert "not up to 0.4 (0.80)" in line
    assert error == "lodbrain: b.nii: is broken. Mend it\n"


def test_unknown_degradation_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "stress", "a.nii", "--only", "blur", "-o", str(tmp_path)]) == 2
    assert "got 'blur'" in capsys.readouterr().err


def test_quality_prints_its_correlation_with_the_true_dice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    found = agreement(np.array([0.9, 0.6, 0.8, 0.5]), np.array([0.9, 0.8, 0.6, 0.5]))
    asked: list[Any] = []

    def validate(out: Path, draws: int, model: Any, options: Any, *, voxel_mm: Any, progress: Any) -> Any:
        asked.append((out, draws, voxel_mm, options.contrasts))
        return SimpleNamespace(judged=found, fitted=found, refused=1)

    monkeypatch.setattr(cli_quality, "validate_quality", validate)
    model = SimpleNamespace(card=SimpleNamespace(name="mine", architecture="lod"))
    monkeypatch.setattr(validation, "load_model", lambda settings: model)
    command = ["evaluate", "quality", "-n", "40", "--voxel-size", "1", "2", "-o", str(tmp_path)]
    assert main(command) == 0
    assert main([*command, "--contrasts", "any"]) == 0
    assert asked == [(tmp_path, 40, (1.0, 2.0), kind) for kind in ("t1w", "any")]
    printed = capsys.readouterr().out
    assert "quality.json, quality.png, mine.safetensors" in printed
    assert "judged: n 4, Pearson 0.600, Spearman 0.800, mean error 0.100, AUC for Dice < 0.7 0.750 (2 cases)" in printed


def test_ultracortex_prints_protocol_table_and_published_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verify(out: Path, settings: Any, **options: Any) -> Any:
        options["tell"]("Putamen: counts as white matter")
        assert (options["data"], settings.model, options["surfaces"]) == (tmp_path, "default", False)
        summary = {("Grey-Matter", "left"): Interval(0.912, 0.9, 0.92, 12)}
        return SimpleNamespace(problems=(), summary=summary, exit_code=0)

    monkeypatch.setattr(ultracortex_workflow, "verify", verify)
    assert main(["evaluate", "ultracortex", "--data", str(tmp_path), "--overlap-only", "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "Putamen: counts as white matter"
    assert "0.900 to 0.920" in printed
    assert "GOUHFI: Dice 0.93" in printed
