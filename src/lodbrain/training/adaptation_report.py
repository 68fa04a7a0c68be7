"""Report of an adaptation, as JSON and Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodbrain.synthesis.intensities import T1W_PRIOR
from lodbrain.synthesis.label_map import CODE_OF_RAW
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.system.atomic import write_text
from lodbrain.system.records import json_text
from lodbrain.version import __version__

_SHOWN = (
    ("tailored_structures", "Dice of structures, synthetic scans of this contrast"),
    ("tailored_tissues", "Dice of tissues, synthetic scans of this contrast"),
    ("general_structures", "Dice of structures, base validation"),
    ("general_tissues", "Dice of tissues, base validation"),
    ("flip_consistency", "consistency of the scans when mirrored"),
    ("bias_consistency", "consistency of the scans under added bias"),
)
_TISSUES = (("CSF", 24), ("Cerebral-Cortex", 3), ("Cerebral-White-Matter", 2), ("Thalamus", 10), ("Putamen", 12))


@dataclass(frozen=True, eq=False)
class AdaptReport:
    """Results of an adaptation.

    Attributes
    ----------
    model, base : str
        The file that was written, and the model from which it was tuned.
    kept : bool
        Whether the file holds the tuned model; otherwise it holds the base model's weights.
    before, after : dict of str to float
        Measurements of the base model, and of the tuned one (of the first attempt if none was kept).
    verdict : tuple of str
        Reasons of the decision, one line each.
    volumes : dict of str to dict
        By structure: mean volume before and after, in ml, and the Dice between both.
    """

    model: str
    base: str
    kept: bool
    scans: tuple[str, ...]
    profile: ContrastProfile
    before: dict[str, float]
    after: dict[str, float]
    verdict: tuple[str, ...]
    volumes: dict[str, dict[str, float]]
    minutes: float
    steps: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON data: NaN is null."""
        return {
            "software": "lodbrain",
            "version": __version__,
            "model": self.model,
            "base": self.base,
            "kept": self.kept,
            "scans_analysed": [scan.name for scan in self.profile.scans],
            "scans_measured": list(self.scans),
            "minutes": self.minutes,
            "steps": self.steps,
            "before": _plain(self.before),
            "after": _plain(self.after),
            "verdict": list(self.verdict),
            "volumes": {name: _plain(row) for name, row in self.volumes.items()},
        }

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        done = (
            f"**The tuned model was kept**: `{self.model}`."
            if self.kept
            else f"**The tuned model was not better, so `{self.model}` holds {self.base} unchanged.**"
        )
        lines = [
            f"# {self.base} adapted to {len(self.profile.scans)} scan{'s' * (len(self.profile.scans) != 1)}",
            "",
            done,
            "",
            f"Tuned for {self.minutes:g} minutes ({', '.join(f'{k}: {n} steps' for k, n in self.steps.items())}) on",
            "synthetic scans that look like these. No labels of the scans were looked at.",
            "",
            "## Why",
            "",
            *(f"- {line}" for line in self.verdict),
            "",
            "## Before and after",
            "",
            "| | before | after | change |",
            "|---|---|---|---|",
        ]
        for name, words in _SHOWN:
            one, two = self.before[name], self.after[name]
            lines.append(f"| {words} | {one:.4f} | {two:.4f} | {two - one:+.4f} |")
        p = self.profile
        lines += [
            "",
            f"Consistency: Dice between a scan's labels and those of its changed copy, on {', '.join(self.scans)}.",
            "",
            "## The scans",
            "",
            f"Voxels of {p.voxel_mm:.2f} mm, bias field {p.bias.log_sd:.1%}, noise {p.noise.sd:.1%} of white matter, "
            f"background {p.background.kind}.",
            "",
            "| intensity, white matter = 160 | these scans | usual T1w |",
            "|---|---|---|",
        ]
        for name, raw in _TISSUES:
            if name in p.structures:
                mean, sd = T1W_PRIOR[CODE_OF_RAW[raw]].tolist()
                look = p.structures[name]
                lines.append(f"| {name} | {look.mean:.0f} ± {look.sd:.0f} | {mean:.0f} ± {sd:.0f} |")
        lines += [
            "",
            "## What changed in the scans",
            "",
            "| structure | before, ml | after, ml | Dice between the two |",
        ]
        lines.append("|---|---|---|---|")
        for name, row in self.volumes.items():
            same = "-" if math.isnan(row["same"]) else f"{row['same']:.3f}"
            lines.append(f"| {name} | {row['before_ml']:.2f} | {row['after_ml']:.2f} | {same} |")
        return "\n".join([*lines, ""])


def write_report(model: Path, report: AdaptReport) -> None:
    """Write ``<stem>_adapt.json`` and ``<stem>_adapt.md`` beside the model."""
    for ending, text in (("json", json_text(report.to_json())), ("md", report.to_markdown())):
        write_text(model.with_name(f"{model.stem}_adapt.{ending}"), text)


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 6) for name, value in values.items()}
