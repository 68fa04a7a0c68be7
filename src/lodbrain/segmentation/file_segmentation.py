"""Segmentation of one file to output files; the task can be repeated, and killed at any time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from lodbrain.datasets.smriprep import TissueFiles
from lodbrain.errors import InputError, shown
from lodbrain.images.dicom_conversion import Converted
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, write_image
from lodbrain.images.load import read_layout
from lodbrain.segmentation.allowance import Allowance, check_header
from lodbrain.segmentation.file_set import FileSet
from lodbrain.segmentation.inputs import scan_of, stem_of
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import Outputs, check_not_an_input, check_writable, identities, labels_tsv
from lodbrain.segmentation.read_ahead import ReadAhead, state_of
from lodbrain.segmentation.scan import Segmentation, segment_image
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.segmentation.sidecar import made_from, posteriors_sidecar, sidecar
from lodbrain.segmentation.tissue_maps import write_tissue_maps
from lodbrain.segmentation.volume_table import volumes_tsv
from lodbrain.system.atomic import write_text
from lodbrain.system.memory import give_back, restart_peak
from lodbrain.system.progress import Progress
from lodbrain.system.records import json_text
from lodbrain.version import __version__

#: Share of a scan's time at which the network starts and ends, for the progress bar only.
_START, _END = 0.02, 0.95


def segment_file(
    path: str | PathLike[str],
    out_dir: str | PathLike[str] | Outputs,
    settings: Settings | None = None,
    *,
    about: Mapping[str, object] | None = None,
    model: Model | None = None,
    progress: Progress | None = None,
    ahead: ReadAhead | None = None,
    dicom: Converted | None = None,
) -> ScanOutcome:
    """Segment one file into a folder.

    Parameters
    ----------
    out_dir : path
        The folder for the files named in `Outputs`, or these names themselves.
    about : mapping, optional
        Additional fields of the JSON files, such as those of BIDS.
    model : Model, optional
        From `load_model`, to load it once for many scans.
    ahead : ReadAhead, optional
        That has begun to read this scan.

    Returns
    -------
    ScanOutcome
        Done, or skipped because the outputs are complete and `settings.resume` is set.

    Raises
    ------
    InputError
        If the scan is invalid, its outputs exist (with `resume`: made from another input, model or settings), or
        another process is writing them.
    UsageError, WeightsError
        As in `load_model`.
    OutputError
        If the output cannot be written.
    """
    settings = settings or Settings()
    path = Path(path)
    outputs = out_dir if isinstance(out_dir, Outputs) else Outputs(Path(out_dir), stem_of(path))
    report = progress or (lambda share, text: None)
    clock = _Clock()
    if problem := scan_of(path).problem:
        raise problem
    check_writable(outputs.folder)
    check_existing(outputs, identities([path]), settings)
    model = model or load_model(settings)
    clock.lap("load")
    with outputs.claimed() as work:
        check_existing(outputs, identities([path]), settings)  # again: another process may have finished since
        report(0.0, "reading")
        before = state_of(path)
        origin = made_from(path, model, settings)
        if settings.resume and outputs.is_complete(origin):
            return ScanOutcome(path, "skipped", outputs, seconds=clock.total)
        restart_peak()
        ready = None if ahead is None else ahead.layout(before)
        layout = ready or read_layout(path, settings.frame)
        held_bytes = 0 if ready is None else 4 * math.prod(layout.shape)
        allowance = Allowance.now(settings, model.device, held_bytes=held_bytes)
        check_header(path, layout, model=model, settings=settings, allowance=allowance)
        try:
            result = segment_image(
                _read(path, settings, None if ready is None else ahead, clock),  # in no variable: it is let go of there
                model,
                settings=settings,
                allowance=allowance,
                progress=lambda share, text: report(_START + (_END - _START) * share, text),
            )
        except InputError as error:  # errors of an image in memory have no path
            raise InputError(error.code, error.path or path, error.what, error.hint) from error
        clock.lap("segment")
        report(_END, "writing")
        if state_of(path) != before:
            result = replace(result, notes=(*result.notes, "The file changed while it was being segmented."))
        result = replace(result, notes=(*result.notes, *outputs.weaker(work)))
        if not (settings.report or settings.posteriors):
            result = replace(result, disagreement=None)
        if dicom is not None:
            result = replace(result, notes=(*dicom.notes, *result.notes))
        if dicom is not None and outputs.with_dicom_seg:
            from lodbrain.segmentation.dicom_seg import write_dicom_seg

            write_dicom_seg(outputs.staged(work, outputs.dicom_seg), result, dicom, model=model)
        grid = layout.grid_image()
        files = _write(result, grid, outputs=outputs, work=work, model=model, about=about or {})
        clock.lap("write")
        run = {
            "device": model.device,
            "memory_bytes": settings.memory_bytes,
            "threads": settings.threads,
            "seconds": {**clock.laps, "total": clock.total},
        }
        content = sidecar(result, grid, origin=origin, run=run, files=files)
        write_text(outputs.staged(work, outputs.sidecar), json_text({**(about or {}), **content}))
        outputs.publish(work)
    give_back()
    report(1.0, "done")
    return ScanOutcome(path, "done", outputs, result.volumes, clock.total, len(result.quality_reasons))


def check_existing(outputs: FileSet, inputs: Mapping[tuple[int, int], Path], settings: Settings) -> None:
    """Raise InputError if outputs exist and neither `resume` nor `overwrite` is set, or if an output is an input.

    `inputs` are all those of the command, from `identities`.

    `inputs` are all those of the command, from `identities`.
    """
    check_not_an_input(outputs, inputs)
    existing = outputs.existing()
    if existing and not (settings.resume or settings.overwrite):
        hint = "Use --resume to keep what is complete, or --overwrite to replace it"
        raise InputError("exists", existing[0], "this output exists already", hint)


def _read(path: Path, settings: Settings, ahead: ReadAhead | None, clock: _Clock) -> Image:
    """Return the scan, from the reader that has read it already if one is given."""
    if ahead is not None:
        image = ahead.take()
    else:
        image = read_image(path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
    clock.lap("read")
    return image


def _write(
    result: Segmentation, image: Image, *, outputs: Outputs, work: Path, model: Model, about: Mapping[str, object]
) -> dict[str, int]:
    """Write all but the sidecar into `work`; return the final names and sizes."""
    made_by = f"lodbrain {__version__} {model.card.name}"
    write_image(outputs.staged(work, outputs.labels), result.labels, image, description=made_by)
    if result.posteriors is not None:
        write_image(outputs.staged(work, outputs.posteriors), result.posteriors, image, description=made_by)
        write_text(outputs.staged(work, outputs.posteriors_sidecar), json_text(posteriors_sidecar(result.table, about)))
    if result.disagreement is not None:
        mask = result.disagreement.view(np.uint8)
        write_image(outputs.staged(work, outputs.disagreement), mask, image, description=made_by)
    if result.tissue_maps is not None:
        staged_files = TissueFiles(work, outputs.tissue_stem)  # `outputs.staged` keeps names of another stem
        write_tissue_maps(result.tissue_maps, image, staged_files, about=about, made_by=made_by)
    write_text(outputs.staged(work, outputs.table), labels_tsv(result.table))
    write_text(outputs.staged(work, outputs.volumes), volumes_tsv(result.volumes))
    staged = ((shown(path.name), outputs.staged(work, path)) for path in outputs.all)
    return {name: path.stat().st_size for name, path in staged if path.exists()}


class _Clock:
    """Timer of the stages, in seconds."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self.last, 3)
        self.last = now

    @property
    def total(self) -> float:
        return round(time.monotonic() - self.started, 3)
