"""`lodbrain labels make`: label training maps of whole heads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodbrain.batch.cases import CaseFiles, CaseOutcome, exit_code, file_identity, find_cases, is_complete, run_cases
from lodbrain.commands.console import progress_bar
from lodbrain.commands.labels import Inputs, teller
from lodbrain.commands.options import ModelOptions
from lodbrain.commands.parameters import Frame, Out, Overwrite, Quiet, ResumeMaps
from lodbrain.datasets.derivatives import describe_derivative
from lodbrain.datasets.labelled import read_sites
from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labelmaps.headmap import HEAD_LABELS, make_head_map
from lodbrain.labelmaps.teacher import (
    HEAD_MAP,
    MANIFEST,
    reason_to_reject,
    soft_target,
    target_paths,
    write_manifest,
    write_target,
)
from lodbrain.segmentation.file_set import Json
from lodbrain.segmentation.inputs import IMAGE_SUFFIXES, Scan, stem_of
from lodbrain.segmentation.outputs import check_writable, labels_tsv
from lodbrain.segmentation.scan import segment_image
from lodbrain.segmentation.settings import Settings, load_model
from lodbrain.system.atomic import write_text
from lodbrain.system.memory import keep_freed_memory
from lodbrain.system.progress import Progress, silent
from lodbrain.version import __version__


def make(
    inputs: Inputs,
    /,
    *,
    out: Out,
    labels: Path | None = None,
    teacher: str | None = None,
    options: ModelOptions | None = None,
    frame: Frame = None,
    resume: ResumeMaps = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Create label training maps of whole heads from scans.

    Brain structures come from the model, or from --labels; scalp, bone, eyes, air and other tissue are classified by
    intensity and position in the head. For each scan NAME_T1w.nii.gz the folder contains NAME_desc-head_dseg with
    .nii.gz (map), .tsv (names and colours), .png (three planes) and .json (provenance), in the input's subfolders.

    With --teacher, each scan also gets soft training targets (NAME_desc-teacher_dseg, NAME_desc-second_dseg and
    NAME_desc-teacher_probseg: best label, second-best label, probability of the best), and manifest.csv lists the scans
    that passed the teacher's quality check, for `real: {manifest: ...}` in a training configuration.

    Parameters
    ----------
    inputs
        Make label maps of these scans (.nii, .nii.gz, .mgz), quoted globs, or folders. In a BIDS dataset all T1w
        scans are used.
    out
        Write the maps to this folder.
    labels
        Take brain structures from this segmentation with FreeSurfer's numbers on the scan's grid, or from a folder
        with one per scan. Default: from the model.
    teacher
        Also write soft labels of this model as training targets, such as accurate; it replaces --model. Default:
        none.
    """
    options = options or ModelOptions()
    if teacher is not None:
        options = replace(options, model=teacher)
    settings = options.settings(frame=frame, resume=resume, overwrite=overwrite)
    keep_freed_memory()
    with progress_bar(show=not quiet) as progress:
        outcomes = make_maps(
            inputs,
            out,
            settings,
            given=labels,
            teach=teacher is not None,
            progress=progress,
            finished=teller(quiet=quiet),
        )
    return exit_code(outcomes)


#: Largest difference in mm of any element of two affines that count as equal.
_SAME_GRID_MM = 1e-3


def make_maps(
    inputs: Iterable[str | PathLike[str]],
    out_dir: str | PathLike[str],
    settings: Settings | None = None,
    *,
    given: Path | None = None,
    teach: bool = False,
    progress: Progress = silent,
    finished: Callable[[CaseOutcome], None] | None = None,
) -> list[CaseOutcome]:
    """Create label training maps of whole heads; a failing scan does not stop the others. See `make`.

    Parameters
    ----------
    given : Path, optional
        A segmentation, or a folder with one for each scan, to be used instead of the model's.
    teach : bool
        Also write the model's soft labels of each scan, and the manifest of scans that pass its quality check.

    Raises
    ------
    UsageError, WeightsError, OutputError
        Errors that concern all inputs.
    """
    from lodbrain.report.planes_figure import three_planes  # matplotlib: an extra

    settings, out = settings or Settings(), Path(out_dir)
    if teach and given is not None:
        raise UsageError("labels", given, "labels were given beside a teacher", "Use --labels or --teacher")
    if teach:
        settings = replace(settings, posteriors=True)
    cases = find_cases(inputs, "_T1w")
    if given is not None and not given.exists():
        raise UsageError("labels", given, "there is no such segmentation or folder of them", "Check the spelling")
    if given is not None and not given.is_dir() and len(cases) > 1:
        raise UsageError("labels", given, "one segmentation was given for several scans", "Name a folder of them")
    check_writable(out)
    usable = any(case.problem is None for case in cases)
    model = load_model(settings) if given is None and usable else None

    def work(case: Scan, results: CaseFiles, report: Progress) -> tuple[str, ...] | None:
        source = find_segmentation(case, given) if given is not None else None
        origin: Json = {"input": file_identity(case.path), "frame": settings.frame}
        if teach:
            origin["soft_targets"] = True
        if model is not None:
            origin["model"] = {"name": model.card.name, "sha256": model.sha256}
        if source is not None:
            origin["labels"] = file_identity(source)
        if settings.resume and is_complete(results.sidecar, origin):
            return None
        scan = read_image(case.path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
        notes, content, target = scan.notes, Json(), None
        if model is not None:
            report(0.05, "segmenting")
            segmentation = segment_image(
                scan, model, settings=settings, progress=lambda share, text: report(0.05 + 0.6 * share, text)
            )
            structures: NDArray[np.integer] = segmentation.labels
            notes = segmentation.notes
            if teach and segmentation.posteriors is not None:
                target = soft_target(segmentation.posteriors, segmentation.table)
                content["rejected"] = reason_to_reject(segmentation.quality)
                content["quality"] = segmentation.quality
        elif source is not None:
            structures = _on_grid(source, scan)
        report(0.65, "classes outside of the brain")
        head = make_head_map(scan, structures, name=str(source or case.path))
        report(0.9, "writing")
        results.begin()
        write_nifti(results.labels, head.labels, scan, description=f"lodbrain {__version__} labels make")
        write_text(results.beside(".tsv"), labels_tsv(HEAD_LABELS))
        three_planes(scan, head.labels, results.beside(".png"), table=HEAD_LABELS, title=case.path.name)
        notes = (*notes, *head.notes)
        if content.get("rejected"):
            notes = (*notes, f"Not listed in {MANIFEST}: {content['rejected']}.")
        more = [] if target is None else write_target(results.labels, target, scan)
        content |= {"notes": list(notes), "volumes_mm3": _volumes(head.labels, scan.voxel_volume_mm3)}
        results.finish(origin, content, more=more)
        return notes

    outcomes = run_cases(
        cases,
        out,
        name=lambda case: f"{stem_of(case.path).removesuffix('_T1w')}_{HEAD_MAP}",
        work=work,
        may_exist=settings.resume or settings.overwrite,
        progress=progress,
        finished=finished,
    )
    if any(outcome.status == "done" for outcome in outcomes):
        describe_derivative(out, "Label training maps of whole heads")
    if teach:
        write_manifest(out, _accepted(cases, outcomes))
    return outcomes


def _accepted(cases: Sequence[Scan], outcomes: Sequence[CaseOutcome]) -> Iterator[tuple[Path, Path, str]]:
    """Yield scan, target and site of each case that passes the teacher's quality check, from this or earlier runs."""
    for case, outcome in zip(cases, outcomes, strict=True):
        sidecar = CaseFiles(outcome.labels).sidecar
        if outcome.status == "failed" or json.loads(sidecar.read_text(encoding="utf-8")).get("rejected"):
            continue
        root = case.path.absolute().parents[len(case.folder.parts)]
        subject = case.path.name.split("_")[0]
        site = read_sites(root / "participants.tsv").get(subject, root.name)
        yield case.path, target_paths(outcome.labels)[0], site


def find_segmentation(case: Scan, given: Path) -> Path:
    """Return the segmentation of a scan: the file itself, or the one with the scan's name in a folder.

    A folder is searched for the scan's name as it is, with ``_dseg``, and with ``_dseg`` instead of ``_T1w``, first in
    the subfolder that corresponds to the scan's.

    Raises
    ------
    InputError
        If there is none.
    """
    if not given.is_dir():
        return given
    stem = stem_of(case.path)
    names = dict.fromkeys([f"{stem}_dseg", f"{stem.removesuffix('_T1w')}_dseg", stem])
    places = dict.fromkeys([given / case.folder, given])
    for path in (place / f"{name}{ending}" for place in places for name in names for ending in IMAGE_SUFFIXES):
        if path.is_file() and not path.samefile(case.path):
            return path
    what = f"there is no segmentation of it in {given}"
    raise InputError(
        "no-labels", case.path, what, f"Expected one called {' or '.join(f'{name}.nii.gz' for name in names)}"
    )


def _on_grid(path: Path, scan: Image) -> NDArray[np.integer]:
    """Read labels of a file that must have the scan's grid."""
    image = read_labels(path)
    if image.shape != scan.shape:
        ours, theirs = (" x ".join(map(str, shape)) for shape in (scan.shape, image.shape))
        raise InputError("grid", path, f"its grid is {theirs}, the scan's {ours}", "Resample it to the scan first")
    if np.abs(image.affine - scan.affine).max() > _SAME_GRID_MM:
        raise InputError("grid", path, "it lies elsewhere in space than the scan", "Resample it to the scan first")
    return image.data


def _volumes(labels: NDArray[np.int16], voxel_mm3: float) -> dict[str, float]:
    counts = np.bincount(labels.reshape(-1), minlength=HEAD_LABELS[-1].index + 1)
    return {label.name: round(float(counts[label.index]) * voxel_mm3, 3) for label in HEAD_LABELS if label.index}
