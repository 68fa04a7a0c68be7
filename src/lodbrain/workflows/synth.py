"""Generation of pairs of synthetic scan and labels from label maps, with recipes that reproduce them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from lodbrain.errors import InputError, UsageError
from lodbrain.images.hashing import sha256
from lodbrain.labelmaps.upsample import check_voxel_size, upsample
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.outcome import failure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import choose_device
from lodbrain.synthesis.generator import Settings, draw_plan
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.synthesis.profile import read_profile
from lodbrain.synthesis.recipe import from_json
from lodbrain.synthesis.streams import Stream
from lodbrain.workflows.cases import Outcome, Progress, find_cases
from lodbrain.workflows.pairs import Pair, describe, draw_sheet

#: Label maps are upsampled to this voxel side, or to that of the scans where it is finer, for smooth boundaries instead
#: of blocks.
MAP_MM = 0.5

#: Intensity of white matter in the written scans, which have integer values.
WHITE = 1000

_NUMBERS = np.array([label.index for label in STRUCTURES], np.uint8)
_BIDS_VERSION = "1.10.0"

#: State of a pair: existing, to be made, in progress, or an error.
COMPLETE, TO_DO = "complete", "to do"
Job: TypeAlias = "str | Exception | Future[None]"


@dataclass(frozen=True, eq=False)
class _Source:
    """A label map and the pairs generated from it."""

    labels: LabelMap
    settings: Settings
    origin: Json

    def make(self, pair: Pair) -> None:
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
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Generate pairs of image and labels; pair k does not depend on the number of pairs, threads or earlier runs.

    Parameters
    ----------
    inputs : iterable of path
        Label maps, globs, folders, used in turn; their grids may differ.
    out_dir : path
        Output folder in the form of BIDS derivatives: ``sub-synth0001/anat`` with scan, labels and recipe, and so on.
    number : int
        Number of pairs.
    voxel_mm : float, optional
        Voxel side of all scans. Default: that of the profile's scans, or 0.6 to 1.4 mm.
    seed : int
    contrast : path, optional
        Profile from ``lodbrain contrast``, which the scans resemble.
    contrast_share : float
        Share of scans that resemble the profile; the others are of random contrast.
    device : str
    threads : int, optional
        Number of pairs generated in parallel, with one thread each.
    resume, overwrite : bool
        Keep complete pairs; replace existing ones.
    figure : path, optional
        PNG or JPEG of the first pairs.
    progress, finished : callable, optional
        Called with the share done and a description, and with the outcome of each pair, or of a map that is not valid.

    Raises
    ------
    UsageError, OutputError
        Errors that concern all pairs.
    """
    _check(number, voxel_mm, seed, contrast_share, threads)
    if resume and overwrite:
        raise UsageError("setting", None, "--resume and --overwrite exclude each other")
    profile = None if contrast is None else read_profile(contrast)
    settings = Settings(profile=profile, profile_share=contrast_share)
    asked: Json = {
        "seed": seed,
        "voxel_size_mm": voxel_mm,
        "contrast": None if contrast is None else {**_named(Path(contrast)), "share": contrast_share},
    }
    cases, out, device = find_cases(inputs, "_dseg"), Path(out_dir), choose_device(device)
    check_writable(out)
    describe(out)
    if figure is not None:
        check_writable(Path(figure).parent)
    outcomes: list[Outcome] = []

    def report(text: str, begun: float = 0.0) -> None:
        if progress is not None:
            progress(min((len(outcomes) + begun) / number, 1.0), text)

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        finished(outcome)
        report(outcome.labels.name)

    with _workers(threads, device) as pool:
        for turn, case in enumerate(cases[:number]):
            pairs = [Pair(out, k + 1) for k in range(turn, number, len(cases))]
            try:
                if case.problem is not None:
                    raise case.problem
                origin = {"label_map": _named(case.path), **asked}
                jobs: list[tuple[Pair, Job]] = [(pair, _standing(pair, origin, resume, overwrite)) for pair in pairs]
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
                done(Outcome(case.path, "failed", out, error=failure(error, case.path)))
                continue
            for pair, job in jobs:
                done(_outcome(case.path, pair, job))
    if figure is not None:
        there = {outcome.labels for outcome in outcomes if outcome.status != "failed"}
        draw_sheet([pair for pair in (Pair(out, k + 1) for k in range(number)) if pair.scan in there], figure)
    return outcomes


def replay(
    inputs: Iterable[str | PathLike[str]],
    recipe: str | PathLike[str],
    out_dir: str | PathLike[str],
    *,
    device: str = "auto",
    overwrite: bool = False,
    figure: str | PathLike[str] | None = None,
) -> Outcome:
    """Generate a pair again from its recipe and its label map.

    Parameters
    ----------
    inputs : iterable of path
        Label maps; the recipe's is found by its checksum.
    recipe : path
        A pair's sidecar.
    out_dir : path
    device : str
    overwrite : bool
        Replace a pair of the same number.
    figure : path, optional
        PNG or JPEG of the pair.

    Raises
    ------
    UsageError
        If the file is not a recipe.
    """
    path, device = Path(recipe), choose_device(device)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        plan, origin = from_json(content["recipe"]), {key: content[key] for key in _ORIGIN}
        number, factor, wanted = int(origin["pair"]), int(origin["upsampled"]), dict(origin["label_map"])
        name, digest = str(wanted["name"]), str(wanted["sha256"])
    except OSError as error:
        raise UsageError("replay", path, f"cannot be read ({error.strerror})", "Name a pair's .json") from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"it is no recipe of this version: {error}"
        raise UsageError("replay", path, what, "Name the .json beside a scan that lodbrain synth wrote") from None
    pair = Pair(Path(out_dir), number)
    try:
        cases = find_cases(inputs, "_dseg")
        found = next((case for case in cases if case.problem is None and sha256(case.path) == digest), None)
        if found is None:
            raise InputError("label-map", path, f"none of the label maps is {name}, of which it was made", "Name that")
        check_writable(pair.folder)
        if pair.sidecar.exists() and not overwrite:
            raise _exists(pair)
        describe(pair.folder)
        pair.write(plan, upsample(load(found.path), factor).to(device), origin)
        if figure is not None:
            check_writable(Path(figure).parent)
            draw_sheet([pair], figure)
        return Outcome(path, "done", pair.scan)
    except Exception as error:
        return Outcome(path, "failed", pair.scan, error=failure(error, path))


#: Fields of a recipe that describe its origin.
_ORIGIN = ("label_map", "seed", "voxel_size_mm", "contrast", "upsampled", "pair")


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


def _standing(pair: Pair, origin: Json, resume: bool, overwrite: bool) -> Job:
    if resume and pair.is_complete({**origin, "pair": pair.number}):
        return COMPLETE
    return TO_DO if resume or overwrite or not pair.sidecar.exists() else _exists(pair)


def _outcome(path: Path, pair: Pair, job: Job) -> Outcome:
    if job is COMPLETE:
        return Outcome(path, "skipped", pair.scan)
    try:
        if isinstance(job, Exception):
            raise job
        assert isinstance(job, Future)
        job.result()
        return Outcome(path, "done", pair.scan)
    except Exception as error:
        return Outcome(path, "failed", pair.scan, error=failure(error, path))


def _exists(pair: Pair) -> InputError:
    hint = "Use --resume to keep what is complete, or --overwrite to replace it"
    return InputError("exists", pair.scan, "this output exists already", hint)


def _named(path: Path) -> Json:
    return {"name": path.name, "sha256": sha256(path)}
