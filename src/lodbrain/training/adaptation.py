"""Adaptation of a model to unlabelled scans: contrast analysis, tailored synthesis, fine-tuning.

The tuned model is kept only if it is better on held-out synthetic scans of the fitted contrast, more consistent on the
scans themselves, and no worse on the base model's own validation. No labels of the scans are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch

from lodbrain.contrast_analysis.scan_files import Analysed, analyse_scans
from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.errors import InputError, LodbrainError, UsageError
from lodbrain.models import zoo
from lodbrain.models.card import Card
from lodbrain.models.lod import Ladder
from lodbrain.segmentation.inputs import find_scans
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.training.adaptation_config import AdaptSettings, tuning_config
from lodbrain.training.adaptation_measures import Measures, Probe, decide
from lodbrain.training.adaptation_report import AdaptReport, write_report
from lodbrain.training.training_run import train
from lodbrain.training.workers import device_named

#: Interpolation weights of the tuned model (1) with the base model (0), in order: the first that passes is kept.
STRENGTHS = (1.0, 0.5)


def adapt(
    inputs: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    settings: AdaptSettings | None = None,
    *,
    report: Callable[[str], None] = lambda line: None,
    refused: Callable[[Analysed], None] = lambda scan: None,
) -> AdaptReport:
    """Adapt a model to scans of one protocol, and return a report of the changes.

    Writes `out`, and beside it ``<stem>_contrast.yaml``, ``<stem>_adapt.json`` and ``<stem>_adapt.md``. A killed call
    continues when it is repeated; until completion its state is in ``<stem>_work``.

    Parameters
    ----------
    inputs : sequence of path
        Scans, folders or globs.
    out : path
        The model to write, a .safetensors file.
    refused : callable(Analysed)
        Called with each scan that could not be analysed; the other scans are used.

    Raises
    ------
    UsageError
        If the output is not .safetensors, or the base model is not a ladder.
    InputError
        If the label maps are missing, or no scan could be analysed.
    """
    settings, out = settings or AdaptSettings(), Path(out)
    if out.suffix != ".safetensors":
        raise UsageError("output", out, "a model's name ends in .safetensors", "Choose such a name with -o")
    check_writable(out.parent)
    _check_labelmaps(settings)
    device = device_named(settings.device)
    base = load_model(Settings(model=settings.base, device=device))
    if not isinstance(base.network, Ladder):
        raise UsageError("base", None, f"{base.card.name} is no ladder and cannot be adapted", "Use --base default")

    report("analysing the contrast of the scans")
    profile = _profile(inputs, out, settings, device, report, refused)
    fitted = {record.name for record in profile.scans}
    chosen = [scan.path for scan in find_scans(inputs) if scan.name in fitted][: settings.scans]
    last = base.network.level_for(profile.voxel_mm)
    config = tuning_config(base.network, last, out, settings, device)

    report(f"tuning {settings.levels} of {last + 1} levels for {settings.minutes:g} minutes")
    trained, tuned = zoo.load(train(config, report=report))
    assert isinstance(tuned, Ladder)

    probe = Probe(config, profile, chosen, last, held_out=settings.held_out, frame=settings.frame, device=device)
    report("measuring the base model")
    before = probe.measure(base, report)
    kept, after, verdict = _choose(base, tuned, probe, before, report)
    card = _card(out, base, settings, profile, kept)
    zoo.save(out, card, zoo.halved(kept.network.state_dict()))
    result = AdaptReport(
        model=out.name,
        base=base.card.name,
        kept=kept is not base,
        scans=tuple(path.name for path in chosen),
        profile=profile,
        before=before.summary(),
        after=after.summary(),
        verdict=verdict,
        volumes=probe.volumes(before, after),
        minutes=settings.minutes,
        steps=trained.training["steps"],
    )
    write_report(out, result)
    shutil.rmtree(config.out)
    return result


def _check_labelmaps(settings: AdaptSettings) -> None:
    """Find the label maps first, because the analysis of the scans takes a while."""
    try:
        find_labelmaps(settings.labelmaps)
    except InputError as error:
        if settings.labelmaps is not None:
            raise
        hint = f"{error.hint}, or name a folder of your own with --labelmaps"
        raise InputError(error.code, error.path, error.what, hint) from error


def _profile(
    inputs: Sequence[str | PathLike[str]],
    out: Path,
    settings: AdaptSettings,
    device: str,
    report: Callable[[str], None],
    refused: Callable[[Analysed], None],
) -> ContrastProfile:
    def analysed(scan: Analysed) -> None:
        report(f"  {scan.path.name}: {'fitted' if scan.error is None else 'refused'}")
        if scan.error is not None:
            refused(scan)

    asked = Settings(
        model=settings.base, device=device, threads=settings.threads, frame=settings.frame, posteriors=True
    )
    analysis = analyse_scans(inputs, out.with_name(f"{out.stem}_contrast.yaml"), settings=asked, finished=analysed)
    if analysis.profile is None:
        error = next((scan.error for scan in analysis.scans if scan.error is not None), None)
        if isinstance(error, LodbrainError):
            raise InputError(error.code, error.path, f"no scan could be analysed; {error.what}", error.hint)
        raise InputError("no-scan", None, "no scan could be analysed")
    return analysis.profile


def _choose(
    base: Model, tuned: Ladder, probe: Probe, before: Measures, report: Callable[[str], None]
) -> tuple[Model, Measures, tuple[str, ...]]:
    """Return the first tuned weights that are better, with measures and reasons; else the base model."""
    lines: list[str] = []
    first: Measures | None = None
    for strength in STRENGTHS:
        report(f"measuring the tuned model ({strength:.0%} of the way)")
        network = blend(base.network, tuned, strength)
        after = probe.measure(replace(base, network=network), report)
        passed, reasons = decide(before, after)
        lines += [f"{strength:.0%} of the way: {reason}" for reason in reasons]
        first = first or after
        if passed:
            return replace(base, network=network), after, tuple(lines)
    assert first is not None
    return base, first, tuple(lines)


def blend(base: torch.nn.Module, tuned: Ladder, strength: float) -> Ladder:
    """Return the base ladder with levels interpolated towards the tuned ones by `strength` (0 to 1).

    Levels finer than the tuned ladder's are the base model's.

    References
    ----------
    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, doi:10.1109/CVPR52688.2022.00780.
    """
    assert isinstance(base, Ladder)
    out = Ladder(base.configs)
    other = tuned.state_dict()
    out.load_state_dict(
        {
            name: torch.lerp(value, other[name], strength) if name in other and value.is_floating_point() else value
            for name, value in base.state_dict().items()
        }
    )
    return out.eval()


def _card(out: Path, base: Model, settings: AdaptSettings, profile: ContrastProfile, kept: Model) -> Card:
    adapted = kept is not base
    words = (
        f"{base.card.name}, adapted to {len(profile.scans)} scan{'s' * (len(profile.scans) != 1)}"
        if adapted
        else f"{base.card.name}, unchanged"
    )
    return replace(
        base.card,
        name=out.stem,
        file=out.name,
        sha256="",
        url="",
        description=f"{words}. {base.card.description}",
        training={
            **base.card.training,
            "adapted": {
                "base": base.card.name,
                "base_sha256": base.sha256,
                "kept": adapted,
                "minutes": settings.minutes,
                "voxel_mm": profile.voxel_mm,
            },
        },
        dice={},
    )
