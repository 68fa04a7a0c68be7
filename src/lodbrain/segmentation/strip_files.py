"""Brain extraction of files: brain, mask and JSON sidecar; a job can be repeated, and killed at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lodbrain.errors import InputError, LodbrainError, shown
from lodbrain.images.image import Image
from lodbrain.images.io import write_image
from lodbrain.images.load import read_layout
from lodbrain.images.masked import read_stored, write_masked
from lodbrain.segmentation.allowance import Allowance, check_mask_header
from lodbrain.segmentation.brain_extraction import BrainMask, MaskSettings, ladder_of, strip_image
from lodbrain.segmentation.file_segmentation import check_existing
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.inputs import scan_of
from lodbrain.segmentation.jobs import check_jobs
from lodbrain.segmentation.outcome import failure
from lodbrain.segmentation.outputs import check_writable, identities
from lodbrain.segmentation.read_ahead import state_of
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.segmentation.sidecar import made_from, peaks, provenance
from lodbrain.segmentation.strip_jobs import StripJob
from lodbrain.system.atomic import write_text
from lodbrain.system.memory import give_back, restart_peak
from lodbrain.system.records import json_text
from lodbrain.version import __version__


@dataclass(frozen=True, eq=False)
class Stripped:
    """Outcome of one scan.

    Attributes
    ----------
    status : {"done", "skipped", "failed"}
        Skipped: the outputs were complete.
    volume_mm3 : float
        Volume of the mask; 0 unless done.
    seconds : float
        Wall-clock time.
    """

    job: StripJob
    status: Literal["done", "skipped", "failed"]
    volume_mm3: float = 0.0
    seconds: float = 0.0
    error: LodbrainError | None = None


def strip_file(job: StripJob, wanted: MaskSettings, settings: Settings, *, model: Model) -> Stripped:
    """Write brain, mask and sidecar of one scan.

    Raises
    ------
    InputError
        If the scan is invalid, its outputs exist (with `resume`: made from another input, model or settings), or
        another process is writing them.
    OutputError
        If the output cannot be written.
    """
    began = time.monotonic()
    path, outputs = job.path, job.outputs
    if problem := scan_of(path).problem:
        raise problem
    for folder in {target.parent for target in outputs.all}:
        check_writable(folder)
    ladder = ladder_of(model)
    with outputs.claimed() as work:
        check_existing(outputs, identities([path]), settings)  # again: another process may have finished since
        before = state_of(path)
        origin = _made_from(path, model, wanted, settings)
        if settings.resume and outputs.is_complete(origin):
            return Stripped(job, "skipped", seconds=time.monotonic() - began)
        restart_peak()
        allowance = Allowance.now(settings, model.device)
        layout = read_layout(path, settings.frame)
        if model.device == "cpu":
            check_mask_header(path, layout, ladder=ladder, settings=settings, allowance=allowance)
        stored = read_stored(path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
        try:
            result = strip_image(
                stored.scan(),  # in no variable: it is let go of there
                model,
                wanted,
                settings=settings,
                allowance=replace(allowance, base_bytes=allowance.base_bytes + layout.frame_bytes),
            )
        except InputError as error:  # errors of an image in memory have no path
            raise InputError(error.code, error.path or path, error.what, error.hint) from error
        notes = [*result.notes, *outputs.weaker(work)]
        if state_of(path) != before:
            notes.append("The file changed while the brain was being extracted.")
        grid = layout.grid_image()
        write_masked(outputs.staged(work, outputs.brain), stored, result.mask)
        if outputs.mask is not None:
            made_by = f"lodbrain {__version__} {model.card.name}"
            mask = result.mask.view(np.uint8)
            write_image(outputs.staged(work, outputs.mask), mask, grid, description=made_by)
        files = {shown(name.name): outputs.staged(work, name).stat().st_size for name in outputs.wanted}
        result = replace(result, notes=tuple(notes))
        run: Json = {
            "device": model.device,
            "memory_bytes": settings.memory_bytes,
            "threads": settings.threads,
            "seconds": {"total": round(time.monotonic() - began, 3)},
        }
        content = _sidecar(result, grid, origin=origin, run=run, files=files)
        write_text(outputs.staged(work, outputs.sidecar), json_text(content))
        outputs.publish(work)
    give_back()
    return Stripped(job, "done", result.volume_mm3, time.monotonic() - began)


def strip_jobs(
    jobs: Sequence[StripJob],
    wanted: MaskSettings,
    settings: Settings,
    *,
    finished: Callable[[Stripped], None] | None = None,
) -> list[Stripped]:
    """Run jobs one after the other; a job that fails does not stop the others.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all inputs. All but a full disk are raised before any processing.
    """
    jobs, model = check_jobs(jobs, settings), None
    if feasible := [job for job in jobs if job.problem is None]:
        for folder in {target.parent for target in feasible[0].outputs.all}:
            check_writable(folder)
        model = load_model(settings)
        ladder_of(model)
    outcomes = []
    for job in jobs:
        began = time.monotonic()
        try:
            if job.problem is not None:
                raise job.problem
            assert model is not None  # some job is feasible
            outcomes.append(strip_file(job, wanted, settings, model=model))
        except Exception as raised:
            error = failure(raised, job.path, "Set a smaller --memory")
            outcomes.append(Stripped(job, "failed", seconds=time.monotonic() - began, error=error))
        if finished is not None:
            finished(outcomes[-1])
    return outcomes


def _made_from(path: Path, model: Model, wanted: MaskSettings, settings: Settings) -> Json:
    """Return the model, settings and input of a result: the fields of a sidecar that resume compares."""
    chosen = {
        "csf": wanted.csf,
        "border_mm": wanted.border_mm,
        "frame": settings.frame,
        "allow_odd_voxels": settings.allow_odd_voxels,
    }
    return {**made_from(path, model, settings), "settings": chosen}


def _sidecar(result: BrainMask, image: Image, *, origin: Json, run: Json, files: Mapping[str, int]) -> Json:
    return {
        "Type": "Brain",  # BIDS: what the mask shows
        **provenance(image, origin),
        "notes": list(result.notes),
        "mask_volume_mm3": result.volume_mm3,
        "execution": run,
        **peaks(result.planned_peak_bytes),
        "files": dict(files),
    }
