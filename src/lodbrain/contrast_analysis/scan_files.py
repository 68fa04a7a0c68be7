"""Contrast analysis of scan files, with a profile and a figure as output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from lodbrain.contrast_analysis.analysis import ScanFit, analyse
from lodbrain.contrast_analysis.pooling import pool
from lodbrain.errors import InputError, LodbrainError, UsageError
from lodbrain.images.grid import to_ras
from lodbrain.images.io import read_image, read_labels
from lodbrain.images.scan_labels import classes_of, to_classes
from lodbrain.segmentation.inputs import IMAGE_SUFFIXES, Scan, find_scans, stem_of
from lodbrain.segmentation.outcome import failure
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.scan import segment_image
from lodbrain.segmentation.settings import Model, Settings, check_model, load_model
from lodbrain.synthesis.profile import ContrastProfile, write_profile
from lodbrain.system.progress import Progress, silent

#: Suffixes of a label map's name, after the scan's name with or without its last part (``_T1w``).
LABEL_ENDINGS = ("_dseg", "_seg", "_aseg", "_aparc+aseg", "_labels", "")


@dataclass(frozen=True, eq=False)
class Analysed:
    """One scan of the analysis: its fit, or the error."""

    path: Path
    fit: ScanFit | None = None
    error: LodbrainError | None = None


@dataclass(frozen=True, eq=False)
class Analysis:
    """All scans, the profile of those that were fitted (None if none was), and their names and fits."""

    scans: tuple[Analysed, ...]
    profile: ContrastProfile | None
    fitted: tuple[tuple[str, ScanFit], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if all scans were fitted, 3 if some, 4 if none."""
        failed = sum(scan.error is not None for scan in self.scans)
        return 0 if not failed else (4 if failed == len(self.scans) else 3)


def analyse_scans(
    inputs: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    labels: str | PathLike[str] | None = None,
    settings: Settings | None = None,
    also: Sequence[Path] = (),
    progress: Progress = silent,
    finished: Callable[[Analysed], None] = lambda scan: None,
) -> Analysis:
    """Fit the contrast of scans of one protocol, pool the fits, and write the profile; nothing if no scan was fitted.

    Parameters
    ----------
    labels : path, optional
        FreeSurfer label map of a single scan, or a folder with one for each (in subfolders like those of the scans,
        where these share a stem). Without it a model segments the scans.
    also : sequence of Path
        Further outputs of the caller, which are checked before any work.

    Raises
    ------
    UsageError
        If there is no input, or one label map for several scans.
    """
    settings = settings or Settings()
    scans = find_scans(inputs)
    _check_usage(scans, labels, settings, [Path(out), *also])
    model = None if labels is not None else load_model(settings)
    done = []
    for number, scan in enumerate(scans):
        progress(number / len(scans), scan.name)
        done.append(_analyse(scan, labels, model, settings))
        finished(done[-1])
    fitted = tuple((scan.name, each.fit) for scan, each in zip(scans, done, strict=True) if each.fit is not None)
    if not fitted:
        return Analysis(tuple(done), None)
    profile = pool([fit for _, fit in fitted], [name for name, _ in fitted])
    write_profile(out, profile)
    return Analysis(tuple(done), profile, fitted)


def _check_usage(
    scans: Sequence[Scan], labels: str | PathLike[str] | None, settings: Settings, outputs: Sequence[Path]
) -> None:
    if labels is None:
        check_model(settings)
    elif len(scans) > 1 and not Path(labels).is_dir():
        what = f"this is one label map for {len(scans)} scans"
        raise UsageError("labels", labels, what, "Name a folder with a label map for each scan")
    for output in outputs:
        if any(output.exists() and scan.path.exists() and output.samefile(scan.path) for scan in scans):
            raise UsageError("output", output, "this output is one of the scans", "Choose another name")
        check_writable(output.parent)


def _analyse(scan: Scan, labels: str | PathLike[str] | None, model: Model | None, settings: Settings) -> Analysed:
    try:
        if scan.problem is not None:
            raise scan.problem
        if labels is not None and Path(labels).is_dir():
            labels = Path(labels) / scan.folder
        return Analysed(scan.path, fit_scan(scan.path, labels=labels, model=model, settings=settings))
    except LodbrainError as error:
        return Analysed(scan.path, error=failure(error, scan.path))


def fit_scan(path: Path, *, labels: str | PathLike[str] | None, model: Model | None, settings: Settings) -> ScanFit:
    """Fit one scan with its labels or, without them, a model's posteriors.

    Raises
    ------
    InputError
        If the scan, its labels, or the fit is not valid.
    """
    image = read_image(path, frame=settings.frame, allow_odd_voxels=settings.allow_odd_voxels)
    ras, reorientation = to_ras(image)
    posteriors = None
    if labels is not None:
        given = labels_of(path, Path(labels))
        classes = classes_of(read_labels(given), image, given)
    elif model is not None:
        found = segment_image(image, model, settings=replace(settings, labels="structures", posteriors=True))
        classes = to_classes(found.labels, image.affine)
        posteriors = None if found.posteriors is None else reorientation.apply(found.posteriors)
    else:
        raise ValueError("labels or model must be given, got neither")
    return analyse(ras.data, ras.spacing_mm, reorientation.apply(classes), posteriors, name=str(path))


def labels_of(scan: Path, labels: Path) -> Path:
    """Return the label map of a scan: the file itself, or the one with a matching name in a folder.

    Raises
    ------
    InputError
        If there is none.
    """
    if not labels.is_dir():
        return labels
    stem = stem_of(scan)
    for base in (stem, stem.rpartition("_")[0]):
        for ending in LABEL_ENDINGS:
            for suffix in IMAGE_SUFFIXES:
                path = labels / f"{base}{ending}{suffix}"
                if base and path.is_file() and not path.samefile(scan):
                    return path
    raise InputError("no-labels", scan, f"there is no label map for it in {labels}", f"Call it {stem}_dseg.nii.gz")
