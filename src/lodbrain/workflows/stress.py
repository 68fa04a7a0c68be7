"""Stress test: scans degraded step by step, segmented at each step, and evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.metric_files import write_json, write_tsv
from lodbrain.evaluation.quality_fit import FAILED_DICE
from lodbrain.evaluation.robustness import COLUMNS, MEAN, Stress, break_down, key_of, read_steps
from lodbrain.evaluation.tables import LabelTable
from lodbrain.report.stress_figure import Panel, stress_figure
from lodbrain.segmentation.inputs import find_scans
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Model, load_model
from lodbrain.segmentation.settings import Settings as ModelSettings
from lodbrain.synthesis.degradations import DEGRADATIONS
from lodbrain.version import __version__
from lodbrain.workflows.disturbed import Subject

Progress: TypeAlias = Callable[[float, str], None]

#: Method that consists of the model's finest level alone.
FINEST = "finest level alone"
TSV, BREAKDOWN, JSON = "stress.tsv", "breakdown.tsv", "stress.json"


@dataclass(frozen=True)
class StressSettings:
    """Settings of a stress test.

    Attributes
    ----------
    degradations : tuple of str
        Names of `DEGRADATIONS`.
    steps : int
        Number of strengths of each, always including the mildest and the strongest.
    against : tuple of str
        Other methods: names of models, or `FINEST`.
    threshold : float
        Dice below which a method has failed.
    seed : int
    """

    degradations: tuple[str, ...] = tuple(DEGRADATIONS)
    steps: int = 4
    against: tuple[str, ...] = ()
    threshold: float = FAILED_DICE
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.degradations:
            if name not in DEGRADATIONS:
                raise ValueError(f"degradations must be among {', '.join(DEGRADATIONS)}; got {name!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def strengths(self, name: str) -> tuple[float, ...]:
        """Return the strengths of one degradation."""
        steps = DEGRADATIONS[name].steps
        count = min(self.steps, len(steps))
        places = [len(steps) - 1] if count == 1 else np.linspace(0, len(steps) - 1, count).round().astype(int).tolist()
        return tuple(steps[place] for place in places)


def stress(
    inputs: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    settings: StressSettings | None = None,
    *,
    labels: Sequence[str | PathLike[str]] = (),
    labels_table: LabelTable | None = None,
    model: ModelSettings | None = None,
    progress: Progress = lambda share, text: None,
) -> Stress:
    """Apply every degradation to every scan; steps that are in the folder are not computed again.

    Parameters
    ----------
    inputs : sequence of path
        Scans, folders or globs.
    out : path
        Folder for the tables.
    settings : StressSettings, optional
    labels : sequence of path
        Label maps in the order of the scans; without them each method is compared with its result on the undegraded
        scan.
    labels_table : LabelTable, optional
        Meaning of their numbers; by default detected from each map.
    model : Settings, optional
        The tested method.
    progress : callable, optional

    Raises
    ------
    UsageError
        If there are not as many labels as scans, or a model is unknown.
    OutputError
        If the folder cannot be written to.
    """
    settings, model = settings or StressSettings(), model or ModelSettings()
    scans = find_scans(inputs)
    if labels and len(labels) != len(scans):
        raise UsageError("labels", None, f"{len(labels)} label maps for {len(scans)} scans", "Name one for each scan")
    folder = Path(out)
    check_writable(folder)
    reference = "given labels" if labels else "each method's own result on the undisturbed scan"
    methods = _methods(model, settings.against)
    made = _made(reference, settings, methods)
    _check_same(folder, made)
    write_json(folder / JSON, made)
    done = {key_of(step): step for step in read_steps(folder / TSV)}
    wanted = [(name, strength) for name in settings.degradations for strength in settings.strengths(name)]
    total = max(1, len(scans) * len(methods) * (1 + len(wanted)))
    count, problems = 0, []
    for number, scan in enumerate(scans):
        case = (scan.folder / scan.stem).as_posix()
        try:
            if scan.problem is not None:
                raise scan.problem
            subject: Subject | None = None
            for name, (loaded, context) in methods.items():
                for degradation, strength in [("", 0.0), *wanted]:
                    count += 1
                    if any(key[:4] == (case, name, degradation, strength) for key in done):
                        continue
                    progress(count / total, f"{scan.path.name}: {name}, {degradation or 'undisturbed'} {strength:g}")
                    subject = subject or Subject.read(scan.path, labels[number] if labels else None, labels_table)
                    for step in subject.step(case, name, loaded, context, degradation, strength, seed=settings.seed):
                        done[key_of(step)] = step
                    write_tsv(folder / TSV, COLUMNS, ([getattr(s, c) for c in COLUMNS] for s in done.values()))
        except InputError as error:
            problems.append(InputError(error.code, error.path or scan.path, error.what, error.hint))
    chosen = {("", 0.0), *wanted}
    steps = tuple(s for s in done.values() if s.method in methods and (s.degradation, s.strength) in chosen)
    found = Stress(steps, reference, tuple(problems))
    _conclude(folder, found, settings, methods)
    return found


def _methods(model: ModelSettings, against: Sequence[str]) -> dict[str, tuple[Model, bool]]:
    """Return methods by name: a loaded model, and whether its finer levels are conditioned on coarser ones."""
    first = load_model(model)
    methods = {first.card.name: (first, True)}
    for name in against:
        if name == FINEST:
            if first.card.architecture != "lod":
                raise UsageError("against", None, f"model {first.card.name} has no levels", "Leave it out")
            methods[FINEST] = (first, False)
        else:
            other = load_model(ModelSettings(labels="brain", model=name, device=model.device))
            methods[other.card.name] = (other, True)
    return methods


def _conclude(folder: Path, found: Stress, settings: StressSettings, methods: dict[str, tuple[Model, bool]]) -> None:
    """Write breakdown points and provenance."""
    regions = list(dict.fromkeys((step.region, step.level) for step in found.steps))
    rows = []
    for name in settings.degradations:
        for method in found.methods:
            for region, level in regions:
                strengths, dice = found.curve(method, name, region)
                if strengths:
                    at = break_down(strengths, dice, threshold=settings.threshold)
                    rows.append((name, DEGRADATIONS[name].unit, method, region, level, dice[0], dice[-1], at))
    columns = (
        "degradation",
        "unit",
        "method",
        "region",
        "level",
        "dice_undisturbed",
        "dice_strongest",
        "breaks_down_at",
    )
    write_tsv(folder / BREAKDOWN, columns, rows)
    _draw(folder, found, settings)
    scans = sorted({step.scan for step in found.steps})
    content = {
        **_made(found.reference, settings, methods),
        "scans": scans,
        "problems": [str(problem) for problem in found.problems],
    }
    write_json(folder / JSON, content)


def _draw(folder: Path, found: Stress, settings: StressSettings) -> None:
    """Write curves of the tissues' mean for every method, and of each tissue for the first one."""
    if not found.steps:
        return
    first = found.methods[0]
    tissues = list(dict.fromkeys(step.region for step in found.steps if step.level == "tissue"))
    lines: dict[str, list[tuple[str, str, str]]] = {
        "methods": [(method, method, MEAN) for method in found.methods],
        "tissues": [(region, first, region) for region in tissues],
    }
    for name, curves in lines.items():
        panels = [
            Panel(
                kind,
                DEGRADATIONS[kind].unit,
                {label: found.curve(method, kind, region) for label, method, region in curves},
            )
            for kind in settings.degradations
        ]
        of = "mean of the tissues" if name == "methods" else first
        title = f"Dice against {found.reference}: {of}"
        paths = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
        stress_figure(panels, paths, threshold=settings.threshold, title=title)


def _made(reference: str, settings: StressSettings, methods: dict[str, tuple[Model, bool]]) -> dict[str, Any]:
    """Return the settings that determine the results: the head of ``stress.json``."""
    return {
        "software": "lodbrain",
        "version": __version__,
        "reference": reference,
        "seed": settings.seed,
        "methods": {
            name: {"model": model.card.name, "sha256": model.sha256, "context": context}
            for name, (model, context) in methods.items()
        },
        "threshold": settings.threshold,
        "degradations": {
            name: {"unit": DEGRADATIONS[name].unit, "strengths": settings.strengths(name)}
            for name in settings.degradations
        },
    }


def _check_same(folder: Path, made: dict[str, Any]) -> None:
    """Raise if existing results were made with other settings."""
    if not (folder / TSV).exists():
        return
    try:
        before = json.loads((folder / JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    methods = dict(before.get("methods", {}))
    same = all(before.get(key) == made[key] for key in ("reference", "seed"))
    if not same or any(methods.get(name, how) != how for name, how in made["methods"].items()):
        what = "this folder holds results that were made otherwise (reference, seed or weights)"
        raise UsageError("other-results", folder, what, "Choose another -o, or delete them")
