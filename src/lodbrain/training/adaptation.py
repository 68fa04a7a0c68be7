"""Adaptation of a model to unlabelled scans: contrast analysis, tailored synthesis, fine-tuning.

The tuned model is kept only if it is better on held-out synthetic scans of the fitted contrast, more consistent on the
scans themselves, and no worse on the base model's own validation. No labels of the scans are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from lodbrain.system.download import cache_folder
from lodbrain.training.adaptation_measures import Measures, Probe, decide
from lodbrain.training.adaptation_report import AdaptReport, write_report
from lodbrain.training.config import TrainingConfig
from lodbrain.training.run import train
from lodbrain.training.settings import LevelSettings, Tailored
from lodbrain.training.workers import device_named

#: Crops of the tuned levels, and the voxel size of the label maps they are rendered from, by exponent.
CROPS = {1: (64, 80, 64), 0: (80, 80, 80), -1: (96, 96, 96)}
FINE_MM = {0: 0.5, -1: 0.25}

#: Share of tuning scans that resemble the given ones; the rest prevents forgetting of other contrasts.
TAILORED_SHARE = 0.7
#: A tenth of the learning rate that the levels were trained with.
RATE = 2e-4
#: Interpolation weights of the tuned model (1) with the base model (0), in order: the first that passes is kept.
STRENGTHS = (1.0, 0.5)


@dataclass(frozen=True)
class AdaptSettings:
    """Settings of an adaptation.

    Attributes
    ----------
    base : str
        Model to start from: a name, or a file.
    minutes : float
        Minutes of fine-tuning, without analysis and evaluation.
    levels : int
        Number of levels to tune, from the finest that the scans use.
    held_out : int
        Number of held-out synthetic scans of each kind.
    scans : int
        Number of the given scans on which consistency is measured.
    device : str
    threads : int or None
    labelmaps : Path or None
        Folder of label maps for synthesis; every fifth is held out. None for the published ones.
    frame : int or None
        Volume of a 4D file.
    """

    base: str = "default"
    minutes: float = 30.0
    levels: int = 2
    held_out: int = 16
    scans: int = 4
    device: str = "auto"
    threads: int | None = None
    labelmaps: Path | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")
        for name in ("levels", "held_out", "scans"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


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
    settings : AdaptSettings, optional
    report : callable(str)
        Called with lines of progress.
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
    tuned = zoo.load(train(config, report=report))[1]
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
        steps=_steps(config),
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
    def told(scan: Analysed) -> None:
        report(f"  {scan.path.name}: {'fitted' if scan.error is None else 'refused'}")
        if scan.error is not None:
            refused(scan)

    asked = Settings(
        model=settings.base, device=device, threads=settings.threads, frame=settings.frame, posteriors=True
    )
    analysis = analyse_scans(inputs, out.with_name(f"{out.stem}_contrast.yaml"), settings=asked, finished=told)
    if analysis.profile is None:
        error = next((scan.error for scan in analysis.scans if scan.error is not None), None)
        if isinstance(error, LodbrainError):
            raise InputError(error.code, error.path, f"no scan could be analysed; {error.what}", error.hint)
        raise InputError("no-scan", None, "no scan could be analysed")
    return analysis.profile


def tuning_config(
    base: Ladder,
    last: int,
    out: Path,
    settings: AdaptSettings,
    device: str,
) -> TrainingConfig:
    """Return the configuration that tunes the finest levels on scans that resemble those of the profile beside `out`.

    Parameters
    ----------
    base : Ladder
    last : int
        Position of the finest level that the scans use.
    out : Path
    settings : AdaptSettings
    device : str
    """
    names = [path.name.split(".nii")[0] for path in find_labelmaps(settings.labelmaps)]
    # The published maps 17 to 20 are for validation everywhere; of other maps every fifth is.
    held = names[16:] if settings.labelmaps is None else names[4::5] or names[-1:]
    tuned = range(max(0, last + 1 - settings.levels), last + 1)
    levels = []
    for position, own in enumerate(base.configs[: last + 1]):
        share = {"seconds": settings.minutes * 60 / len(tuned)} if position in tuned else {"steps": 0}
        levels.append(
            LevelSettings(
                **share,
                exponent=own.exponent,
                channels=own.channels,
                sided=own.sided,
                block=own.block,
                residuals=own.residuals,
                learning_rate=RATE,
                crop=CROPS.get(own.exponent),
                labelmap_mm=FINE_MM.get(own.exponent) if settings.labelmaps is None else None,
            )
        )
    return TrainingConfig(
        name="tuned",
        out=out.with_name(f"{out.stem}_work"),
        labelmaps=settings.labelmaps,
        fine_labelmaps=cache_folder("fine"),
        train=tuple(name for name in names if name not in held),
        validate=tuple(held),
        tailored=Tailored(profile=out.with_name(f"{out.stem}_contrast.yaml"), share=TAILORED_SHARE),
        start=settings.base,
        levels=tuple(levels),
        warm_up=20,
        ema=0.99,
        device=device,
        threads=settings.threads,
        validate_every=10**6,
        validation_scans=4,
        checkpoint_every=50,
    )


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


def _steps(config: TrainingConfig) -> dict[str, int]:
    card = zoo.load(config.out / f"{config.name}.safetensors")[0]
    steps: dict[str, int] = card.training["steps"]
    return steps
