"""Comparison of architectures trained for the same time on the same scans."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lodbrain.errors import UsageError
from lodbrain.labels import SIDELESS, STRUCTURES, TABLES
from lodbrain.models.lod import Ladder
from lodbrain.models.registry import Plain
from lodbrain.system.atomic import write_text
from lodbrain.system.records import json_text
from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.config import TrainingConfig
from lodbrain.training.maps import load_maps
from lodbrain.training.pairs import PairSource
from lodbrain.training.sources import SYNTHETIC, geometry_of, make_sources
from lodbrain.training.stage import checkpoint_path
from lodbrain.training.stage_networks import forward_levels, level_name, load_trained_levels
from lodbrain.training.training_run import JOINT, build, train
from lodbrain.training.validation import VALIDATION_SEED, ValidationScores, score

#: Fields that must be equal in all configurations: validation data, and generation of pairs.
SAME = (
    *("train", "validate_on", "labelmaps", "real", "report_on", "tailored"),
    *("generator", "seed", "batch", "accumulate"),
)
#: Budgets in seconds that differ by less are equal.
TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class ArchitectureResult:
    """Results of one architecture.

    Attributes
    ----------
    training_bytes : int
        Peak memory of its training: of all tensors on an accelerator, of the process on the CPU.
    seconds_per_scan : float
        Median time of a forward pass through all levels, on the device of the training.
    scores : dict of str to ValidationScores
        Of each validation set: the synthetic scans, sites held out of the real scans, and the sets of `report_on`.
    """

    name: str
    architecture: str
    parameters: int
    training_bytes: int
    seconds: float
    steps: dict[str, int]
    seconds_per_scan: float
    scores: dict[str, ValidationScores]


def compare(
    configs: Sequence[TrainingConfig],
    out: Path,
    *,
    seconds: float | None = None,
    scans: int = 16,
    report: Callable[[str], None] = lambda line: None,
) -> list[ArchitectureResult]:
    """Train every configuration for the same time and evaluate all on the same validation scans.

    Writes ``comparison.md`` and ``comparison.json`` into `out`; each configuration trains in a subfolder of its name,
    and continues there when the call is repeated.

    Parameters
    ----------
    seconds : float, optional
        Training time of each, divided among its stages in proportion to their budgets. Without it budgets must be
        equal.

    Raises
    ------
    UsageError
        If the configurations differ in fields that must be equal, or in their training time.
    """
    configs = [with_seconds(config, seconds) for config in configs] if seconds is not None else list(configs)
    check_comparable(configs)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for config in configs:
        report(f"training {config.name}")
        own = config.model_copy(update={"out": out / config.name})
        train(own, report=report)
        rows.append(_measure(own, scans))
        report(f"{config.name}: {_means(rows[-1])}")
        for name, text in (("md", to_markdown(rows)), ("json", json_text(to_json(rows)))):
            write_text(out / f"comparison.{name}", text)
    return rows


def check_comparable(configs: Sequence[TrainingConfig]) -> None:
    """Raise UsageError unless the configurations can be compared."""
    first = configs[0]
    names = [config.name for config in configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError("compare", None, f"two configurations are called {twice[0]!r}", "Give each its own name")
    for other in configs[1:]:
        for field in SAME:
            if getattr(other, field) != getattr(first, field):
                what = f"{field} differs between {first.name} and {other.name}"
                raise UsageError("compare", None, what, "Only architecture and levels may differ")
        for field in ("exponent", "crop", "labelmap_mm"):
            if getattr(other.levels[-1], field) != getattr(first.levels[-1], field):
                what = f"{field} of the finest level differs between {first.name} and {other.name}"
                raise UsageError("compare", None, what, "All are scored on the same views of the same scans")
    if not first.validate_on:
        raise UsageError("compare", None, "validate: no label maps to score on", "Name some")
    totals = [total_seconds(config) for config in configs]
    if any(math.isnan(t) or abs(t - totals[0]) > TOLERANCE * totals[0] for t in totals):
        each = ", ".join(f"{name} {total:g} s" for name, total in zip(names, totals, strict=True))
        raise UsageError("compare", None, f"the training times differ: {each}", "Give all of them with --seconds")


def total_seconds(config: TrainingConfig) -> float:
    """Return the seconds of all stages; NaN if the budget of one is in steps."""
    stages = [*config.levels, *([config.joint] if config.joint else [])]
    return sum(math.nan if stage.seconds is None else stage.seconds for stage in stages if stage.steps != 0)


def with_seconds(config: TrainingConfig, seconds: float) -> TrainingConfig:
    """Return the configuration with a budget in seconds, divided in proportion to the stages' budgets."""
    stages = [*config.levels, *([config.joint] if config.joint else [])]
    weights = [float(stage.seconds if stage.seconds is not None else stage.steps or 0) for stage in stages]
    parts = [weight / sum(weights) * seconds for weight in weights]
    rows = [
        level.model_copy(update={"steps": None, "seconds": part} if part else {})
        for level, part in zip(config.levels, parts, strict=False)
    ]
    joint = config.joint
    if joint is not None:
        joint = joint.model_copy(update={"steps": None, "seconds": parts[-1]})
    return config.model_copy(update={"levels": tuple(rows), "joint": joint})


def _measure(config: TrainingConfig, scans: int) -> ArchitectureResult:
    network = _trained(config)
    last = len(config.levels) - 1
    scoring = config.model_copy(update={"train": (), "validation_scans": scans})
    maps = load_maps(scoring, lambda line: None)
    sets = make_sources(scoring, geometry_of(config, network), maps, last).validation
    scores = {}
    for name, (samples, n) in sets.items():
        source = PairSource(network, last, samples, None, bfloat16=config.autocasts)
        scores[name] = score(source.draw, network.level(last), n, bfloat16=config.autocasts)
    times = []
    for n in range(min(3, scans)):
        sample = sets[SYNTHETIC][0].sample(VALIDATION_SEED + n, last)
        began = time.perf_counter()
        with torch.no_grad():
            deque(forward_levels(network, sample, bfloat16=config.autocasts), maxlen=0)
        times.append(time.perf_counter() - began)
    steps, spent, peak_bytes = {}, 0.0, 0
    for stage in (*(level_name(config, position) for position in range(len(config.levels))), JOINT):
        found = load_checkpoint(checkpoint_path(config, stage))
        if found is not None:
            steps[stage] = int(found[1]["step"])
            spent += float(found[1]["seconds"])
            peak_bytes = max(peak_bytes, int(found[1].get("peak_bytes", 0)))
    return ArchitectureResult(
        name=config.name,
        architecture=config.architecture,
        parameters=sum(p.numel() for p in network.parameters()),
        training_bytes=peak_bytes,
        seconds=spent,
        steps=steps,
        seconds_per_scan=statistics.median(times),
        scores=scores,
    )


def _trained(config: TrainingConfig) -> Ladder | Plain:
    """Return the network with its averaged weights, in float32 as trained."""
    network = build(config)
    joint = load_checkpoint(checkpoint_path(config, JOINT)) if config.joint else None
    if joint is not None:
        network.load_state_dict(joint[0]["ema"])
    else:
        load_trained_levels(network, config, len(config.levels))
    return network.eval().requires_grad_(False)


def _means(row: ArchitectureResult) -> str:
    means = {name: scores.summary() for name, scores in row.scores.items()}
    return "Dice of tissues (structures): " + ", ".join(
        f"{name} {mean['tissues']:.3f} ({mean['structures']:.3f})" for name, mean in means.items()
    )


def _by_structure(scores: ValidationScores) -> dict[str, float]:
    """Return the mean Dice of each structure, both sides together."""
    out: dict[str, list[float]] = {name: [] for name in SIDELESS[1:]}
    for each, label in enumerate(STRUCTURES[1:]):
        value = float(scores.structures[:, each].nanmean())
        if not math.isnan(value):
            out[label.sideless].append(value)
    return {name: sum(values) / len(values) if values else math.nan for name, values in out.items()}


def to_markdown(rows: Sequence[ArchitectureResult]) -> str:
    """Return the comparison as Markdown: a summary, then for each validation set Dice of every tissue and structure."""
    names = [row.name for row in rows]
    head = "| | " + " | ".join(names) + " |\n|---|" + "---|" * len(rows)
    overview = (
        ("architecture", [row.architecture for row in rows]),
        ("parameters", [f"{row.parameters:,}" for row in rows]),
        ("peak memory of training, GiB", [f"{row.training_bytes / 2**30:.2f}" for row in rows]),
        ("seconds of training", [f"{row.seconds:.0f}" for row in rows]),
        ("steps", [" + ".join(str(n) for n in row.steps.values()) for row in rows]),
        ("seconds a scan, forward", [f"{row.seconds_per_scan:.2f}" for row in rows]),
    )
    lines = [head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in overview)]
    for name in rows[0].scores:
        lines += ["", f"Dice on the validation set `{name}`:", "", head]
        lines += _dice_rows([row.scores[name] for row in rows])
    return "\n".join([*lines, ""])


def _dice_rows(scores: Sequence[ValidationScores]) -> list[str]:
    means = [each.summary() for each in scores]
    tables = [_by_structure(each) for each in scores]
    named = [(f"**mean of {key}**", key, means) for key in ("structures", "tissues")]
    named += [(label.name, f"tissue{number}", means) for number, label in enumerate(TABLES["tissue"][1:], 1)]
    named += [(name, name, tables) for name in SIDELESS[1:]]
    return [f"| {title} | {' | '.join(_cell(row[key]) for row in values)} |" for title, key, values in named]


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def to_json(rows: Sequence[ArchitectureResult]) -> dict[str, Any]:
    """Return the comparison as JSON data."""
    return {
        "rows": [
            {
                "name": row.name,
                "architecture": row.architecture,
                "parameters": row.parameters,
                "training_bytes": row.training_bytes,
                "seconds": round(row.seconds, 1),
                "steps": row.steps,
                "seconds_per_scan": round(row.seconds_per_scan, 4),
                "dice": {name: _known(scores.summary()) for name, scores in row.scores.items()},
                "structures": {name: _known(_by_structure(scores)) for name, scores in row.scores.items()},
            }
            for row in rows
        ]
    }


def _known(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}
