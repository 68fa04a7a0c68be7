"""Label maps in bulk: made from scans, or brought to another voxel size; trees of folders in, the same trees out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError, WeightsError
from lodbrain.images.atomic import atomic
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.inference.inputs import IMAGE_SUFFIXES, find_scans, scan_of, stem_of
from lodbrain.inference.outputs import Json, check_writable, labels_tsv, sha256
from lodbrain.inference.segmentation import segment_image
from lodbrain.inference.settings import Model, Settings, load_model
from lodbrain.inference.sidecar import to_text
from lodbrain.synthesis.headmap import HEAD_LABELS, make_head_map
from lodbrain.synthesis.upsample import upsample_image
from lodbrain.version import __version__

#: End of the names of made maps, in the form of BIDS derivatives.
MADE = "desc-head_dseg"

BIDS_VERSION = "1.10.0"

#: Folders of a BIDS data set that hold no scans to be used.
_NOT_RAW = ("derivatives", "sourcedata", "code")

#: Two affines are the same grid if no element differs by more, in mm.
_SAME_GRID_MM = 1e-3

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Case:
    """One file to be worked on.

    Attributes
    ----------
    path : Path
        The file.
    folder : Path
        Where its results go, relative to the output folder.
    problem : InputError or None
        Why it fails before any work.
    """

    path: Path
    folder: Path = Path()
    problem: InputError | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one file.

    Attributes
    ----------
    path : Path
        The input.
    status : {"done", "skipped", "failed"}
        Skipped: its results were complete.
    result : Path
        The label map.
    notes : tuple of str
        What was not as usual.
    error : LodbrainError or None
        Why it failed.
    """

    path: Path
    status: Literal["done", "skipped", "failed"]
    result: Path
    notes: tuple[str, ...] = ()
    error: LodbrainError | None = None


def make_maps(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    settings: Settings | None = None,
    *,
    given: Path | None = None,
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Make label training maps of whole heads; a scan that fails does not stop the others.

    Parameters
    ----------
    inputs : iterable of path
        Scans, globs, folders. Of a BIDS data set the T1w scans are taken.
    out_dir : path
        Gets the folders of the input with, for each scan, map, table of labels, picture and, last, a sidecar.
    settings : Settings, optional
        Model, device ...; `resume` skips what is complete.
    given : Path, optional
        A segmentation, or a folder with one for each scan, in place of the model's.
    progress, finished : callable, optional
        Called with the share done and a few words, and with each outcome as it comes.

    Raises
    ------
    UsageError, WeightsError, OutputError
        What concerns all inputs.
    """
    from lodbrain.report.figures import three_planes

    settings, out = settings or Settings(), Path(out_dir)
    cases = find_cases(inputs, suffix="_T1w")
    if given is not None and not given.is_dir() and len(cases) > 1:
        raise UsageError("labels", given, "one segmentation was given for several scans", "Name a folder of them")
    model = load_model(settings) if given is None and any(case.problem is None for case in cases) else None

    def work(case: Case, result: Path, report: Progress) -> tuple[str, ...] | None:
        given_file = find_segmentation(case, given) if given is not None else None
        origin: Json = {"input": _named(case.path)}
        origin |= {"frame": settings.frame, "allow_odd_voxels": settings.allow_odd_voxels}
        origin |= _made_with(model, given_file)
        files = [result, _beside(result, ".tsv"), _beside(result, ".png")]
        if settings.resume and is_complete(result, origin):
            return None
        scan = read_image(case.path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
        structures, notes = _structures(scan, case, settings, model=model, given=given_file, report=report)
        report(0.7, "classes outside of the brain")
        head = make_head_map(scan, structures, name=str(given_file or case.path))
        report(0.95, "writing")
        _unfinished(result)
        write_nifti(files[0], head.labels, scan, description=f"lodbrain {__version__} labels make")
        with atomic(files[1]) as temporary:
            temporary.write_text(labels_tsv(HEAD_LABELS), encoding="utf-8")
        three_planes(scan, head.labels, files[2], table=HEAD_LABELS, title=case.path.name)
        counts = np.bincount(head.labels.reshape(-1), minlength=HEAD_LABELS[-1].index + 1)
        volumes = {
            label.name: round(float(counts[label.index]) * scan.voxel_volume_mm3, 3)
            for label in HEAD_LABELS
            if label.index
        }
        notes = (*notes, *head.notes)
        _finish(files, origin, {"notes": list(notes), "volumes_mm3": volumes})
        return notes

    def name(case: Case) -> str:
        return f"{stem_of(case.path).removesuffix('_T1w')}_{MADE}"

    check_writable(out)
    outcomes = _run(cases, out, name, work, overwrite=settings, progress=progress, finished=finished)
    if any(outcome.error is None for outcome in outcomes):
        _describe(out)
    return outcomes


def upsample_maps(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    voxel_mm: float,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Bring label maps to another voxel size; a map that fails does not stop the others.

    Parameters
    ----------
    inputs : iterable of path
        Label maps, globs, folders. Of a folder with ``_dseg`` files, these are taken.
    out_dir : path
        Gets the folders of the input with, for each map, one of the same name and a sidecar with the volumes.
    voxel_mm : float
        The new voxel side.
    settings : Settings, optional
        `resume` and `overwrite`.
    progress, finished : callable, optional
        Called with the share done and a few words, and with each outcome as it comes.

    Raises
    ------
    UsageError, OutputError
        What concerns all inputs.
    """
    settings, out = settings or Settings(), Path(out_dir)

    def work(case: Case, result: Path, report: Progress) -> tuple[str, ...] | None:
        origin: Json = {"input": _named(case.path), "voxel_size_mm": voxel_mm}
        if settings.resume and is_complete(result, origin):
            return None
        image = read_labels(case.path)
        report(0.05, "upsampling")
        fine = upsample_image(
            image, voxel_mm, name=str(case.path), progress=lambda share, text: report(0.05 + 0.85 * share, text)
        )
        _unfinished(result)
        write_nifti(result, fine.image.data, fine.image, description=f"lodbrain {__version__} labels upsample")
        volumes = [
            {"index": row.index, "before_mm3": round(row.before_mm3, 3), "after_mm3": round(row.after_mm3, 3)}
            for row in fine.volumes
        ]
        _finish([result], origin, {"notes": list(image.notes), "volumes": volumes})
        return image.notes

    cases = find_cases(inputs, suffix="_dseg", strict=False)
    check_writable(out)
    name: Callable[[Case], str] = lambda case: stem_of(case.path)  # noqa: E731
    return _run(cases, out, name, work, overwrite=settings, progress=progress, finished=finished)
