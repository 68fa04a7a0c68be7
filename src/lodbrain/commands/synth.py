"""`lodbrain synth`: synthetic scans with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, TypeAlias

import torch
from cyclopts import Parameter

from lodbrain.batch.cases import CaseOutcome, exists_error, exit_code, file_identity, find_cases, is_complete
from lodbrain.batch.synthetic_pairs import SyntheticPair, describe, draw_sheet, replay_pair
from lodbrain.commands.console import progress_bar, tell_error, wrong_usage
from lodbrain.commands.parameters import Device, Out, Overwrite, Quiet, ResumeMaps, Seed
from lodbrain.errors import UsageError
from lodbrain.labelmaps.upsample import check_voxel_size, upsample
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.outcome import failure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import choose_device
from lodbrain.synthesis.generator import GeneratorSettings, draw_plan
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.synthesis.profile import read_profile
from lodbrain.synthesis.streams import Stream
from lodbrain.system.memory import keep_freed_memory
from lodbrain.system.progress import Progress, silent


def synth(
    inputs: Annotated[list[str], Parameter(name="LABELMAP", required=True, negative="")],
    /,
    *,
    out: Out,
    number: Annotated[int | None, Parameter(name=["--number", "-n"])] = None,
    contrast: Path | None = None,
    contrast_share: float = 1.0,
    voxel_size: float | None = None,
    seed: Seed = 0,
    figure: Path | None = None,
    replay: Path | None = None,
    device: Device = "auto",
    threads: int | None = None,
    resume: ResumeMaps = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Generate synthetic scans with labels from label maps.

    Pair k of a seed is always the same, independent of the number of pairs and threads. It is written to
    sub-synth000k/anat/sub-synth000k with _T1w.nii.gz (scan; white matter is about 1000), _dseg.nii.gz (labels on its
    grid, FreeSurfer's numbers) and _T1w.json (all sampled parameters, for --replay).

    Parameters
    ----------
    inputs
        Use these label maps of heads (.nii, .nii.gz, .mgz), folders or quoted globs in turn. Their grids may differ.
    out
        Write the dataset to this folder.
    number
        Generate this number of pairs; required without --replay.
    contrast
        Give the scans the contrast of this profile from `lodbrain contrast`. Default: random contrast.
    contrast_share
        Give this share of the scans the contrast of the profile; the others have random contrast.
    voxel_size
        Generate voxels of this side in mm. Default: that of the profile, else 0.6 to 1.4 mm.
    figure
        Write a PNG with the first pairs. Default: none.
    replay
        Generate the pair of this _T1w.json again from its label map. Default: new pairs.
    threads
        Generate this number of pairs in parallel. Default: one per core.
    """
    if (number is None) == (replay is None):
        raise UsageError("number", None, "say how many pairs to make (-n), or which to make again (--replay)")
    keep_freed_memory()

    def say(outcome: CaseOutcome) -> None:
        if outcome.error is not None:
            tell_error(outcome.error)
        elif not quiet:
            print(f"{outcome.labels}{' is complete, skipped' if outcome.status == 'skipped' else ''}", flush=True)

    if replay is not None:
        outcomes = [replay_pair(inputs, replay, out, device=device, overwrite=overwrite, figure=figure)]
        say(outcomes[0])
    else:
        assert number is not None
        with wrong_usage(), progress_bar(show=not quiet) as progress:
            outcomes = synthesise(
                inputs,
                out,
                number,
                voxel_mm=voxel_size,
                seed=seed,
                contrast=contrast,
                contrast_share=contrast_share,
                device=device,
                threads=threads,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
                figure=figure,
                finished=say,
            )
    return exit_code(outcomes)


#: Label maps are upsampled to this voxel side, or to that of the scans where it is finer, for smooth boundaries instead
#: of blocks.
MAP_MM = 0.5

#: State of a pair: existing, to be made, in progress, or an error.
COMPLETE, TO_DO = "complete", "to do"
Job: TypeAlias = "str | Exception | Future[None]"


@dataclass(frozen=True, eq=False)
class _Source:
    """A label map and the pairs generated from it."""

    labels: LabelMap
    settings: GeneratorSettings
    origin: Json

    def make(self, pair: SyntheticPair) -> None:
        generator = Stream(self.origin["seed"], "pair", pair.number).generator
        plan = draw_plan(self.labels, self.settings, generator, voxel_mm=self.origin["voxel_size_mm"])
        pair.write(plan, self.labels, {**self.origin, "pair": pair.number})


def synthesise(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    number: int,
    *,
    voxel_mm: float | None = None,
    seed: int = 0,
    contrast: str | PathLike[str] | None = None,
    contrast_share: float = 1.0,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    figure: str | PathLike[str] | None = None,
    progress: Progress = silent,
    finished: Callable[[CaseOutcome], None] = lambda outcome: None,
) -> list[CaseOutcome]:
    """Generate pairs of image and labels; pair k does not depend on the number of pairs, threads or earlier runs.

    `finished` is called with the outcome of each pair, or of a map that is not valid. See `synth` for the options.
    """
    _check(number, voxel_mm, seed, contrast_share, threads)
    if resume and overwrite:
        raise UsageError("setting", None, "--resume and --overwrite exclude each other")
    profile = None if contrast is None else read_profile(contrast)
    settings = GeneratorSettings(profile=profile, profile_share=contrast_share)
    asked: Json = {
        "seed": seed,
        "voxel_size_mm": voxel_mm,
        "contrast": None if contrast is None else {**file_identity(Path(contrast)), "share": contrast_share},
    }
    cases, out, device = find_cases(inputs, "_dseg"), Path(out_dir), choose_device(device)
    check_writable(out)
    describe(out)
    if figure is not None:
        check_writable(Path(figure).parent)
    outcomes: list[CaseOutcome] = []

    def report(text: str, begun: float = 0.0) -> None:
        progress(min((len(outcomes) + begun) / number, 1.0), text)

    def done(outcome: CaseOutcome) -> None:
        outcomes.append(outcome)
        finished(outcome)
        report(outcome.labels.name)

    with _workers(threads, device) as pool:
        for turn, case in enumerate(cases[:number]):
            pairs = [SyntheticPair(out, k + 1) for k in range(turn, number, len(cases))]
            try:
                if case.problem is not None:
                    raise case.problem
                origin = {"label_map": file_identity(case.path), **asked}
                jobs: list[tuple[SyntheticPair, Job]] = [
                    (pair, _standing(pair, origin, resume, overwrite)) for pair in pairs
                ]
                if any(job is TO_DO for _, job in jobs):
                    report(f"{case.path.name}: smooth boundaries")
                    labels = load(case.path)
                    factor = _factor(labels, voxel_mm)

                    def smoothing(share: float, text: str, name: str = case.path.name) -> None:
                        report(f"{name}: smooth boundaries, {text}", share / 2)

                    fine = upsample(labels, factor, progress=smoothing)
                    source = _Source(fine.to(device), settings, {**origin, "upsampled": factor})
                    jobs = [(pair, pool.submit(source.make, pair) if job is TO_DO else job) for pair, job in jobs]
            except Exception as error:
                done(CaseOutcome(case.path, "failed", out, error=failure(error, case.path)))
                continue
            for pair, job in jobs:
                done(_outcome(case.path, pair, job))
    if figure is not None:
        there = {outcome.labels for outcome in outcomes if outcome.status != "failed"}
        draw_sheet([pair for pair in (SyntheticPair(out, k + 1) for k in range(number)) if pair.scan in there], figure)
    return outcomes


def _check(number: int, voxel_mm: float | None, seed: int, share: float, threads: int | None) -> None:
    if voxel_mm is not None:
        check_voxel_size(voxel_mm)
    for name, value, least in (("number", number, 1), ("seed", seed, 0), ("threads", threads, 1)):
        if value is not None and value < least:
            raise ValueError(f"the {name} must be at least {least}, got {value}")
    if not 0 <= share <= 1:
        raise ValueError(f"the contrast share must be 0 to 1, got {share:g}")


@contextmanager
def _workers(threads: int | None, device: str) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that generate one pair each: scans do not depend on threads, and files are compressed meanwhile."""
    before = torch.get_num_threads()
    count = (threads or before) if device == "cpu" else 1
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _factor(labels: LabelMap, voxel_mm: float | None) -> int:
    """Return the factor by which a map is refined for scans of a voxel size."""
    return max(1, round(float(labels.spacing_mm.min()) / min(voxel_mm or MAP_MM, MAP_MM)))


def _standing(pair: SyntheticPair, origin: Json, resume: bool, overwrite: bool) -> Job:
    if resume and is_complete(pair.sidecar, {**origin, "pair": pair.number}):
        return COMPLETE
    return TO_DO if resume or overwrite or not pair.sidecar.exists() else exists_error(pair.scan)


def _outcome(path: Path, pair: SyntheticPair, job: Job) -> CaseOutcome:
    if job is COMPLETE:
        return CaseOutcome(path, "skipped", pair.scan)
    try:
        if isinstance(job, Exception):
            raise job
        assert isinstance(job, Future)
        job.result()
        return CaseOutcome(path, "done", pair.scan)
    except Exception as error:
        return CaseOutcome(path, "failed", pair.scan, error=failure(error, path))
