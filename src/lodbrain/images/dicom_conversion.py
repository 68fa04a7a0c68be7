"""A DICOM series as a NIfTI file in a temporary folder, by dcm2niix."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError, install_hint
from lodbrain.images.dicom_grid import FrameStack
from lodbrain.images.dicom_series import DicomSeries

#: mm: corners of the volume may lie this far from where DICOM puts them.
_OFF_MM = 0.1

#: s: dcm2niix takes one or two on a series of 400 slices.
_LONGEST_S = 600


@dataclass(frozen=True)
class Converted:
    """A converted series in a temporary folder: NIfTI file, DICOM files, where their frames lie, and corrections."""

    nifti: Path
    files: tuple[Path, ...]
    stack: FrameStack
    notes: tuple[str, ...] = ()


@contextmanager
def converted(series: DicomSeries) -> Iterator[Converted]:
    """Convert a series into a temporary folder, which is removed at the end.

    Voxels keep their places: nothing is cropped, rotated or resampled.

    Raises
    ------
    InputError
        If dcm2niix is not installed, or makes anything but one volume of the series.
    """
    given = series.source.path
    with tempfile.TemporaryDirectory(prefix="lodbrain-") as temporary:
        inside, outside = Path(temporary, "dicom"), Path(temporary, "nifti")
        inside.mkdir()
        outside.mkdir()
        try:
            with series.source.opened() as files:
                staged = files.stage(series.files, inside)
        except OSError as error:
            what = f"{series.title} cannot be read ({error.strerror or error})"
            raise InputError("unreadable", given, what, "Copy or export it again") from error
        # -b n: no JSON with times and names. -i n, -x i, -m y: all of the images, as they are, as one volume.
        # -g i: no settings from the user's home.
        options = ["-b", "n", "-z", "n", "-i", "n", "-x", "i", "-m", "y", "-g", "i", "-f", series.stem]
        try:
            done = subprocess.run(
                [_program(given), *options, "-o", str(outside), str(inside)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LONGEST_S,
            )
        except subprocess.TimeoutExpired as error:
            what = f"dcm2niix did not end within {_LONGEST_S} s"
            raise InputError("conversion", given, what, "Convert it to NIfTI yourself") from error
        made = sorted(outside.glob("*.nii"))
        if done.returncode or len(made) != 1:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            words = said[-1] if said and not made else f"{len(made)} volumes, exit status {done.returncode}"
            for path, name in zip(staged, series.files, strict=True):
                words = words.replace(str(path), Path(name).name)
            what = f"dcm2niix failed on {series.title} ({words})"
            raise InputError("conversion", given, what, "Export it again, or convert it to NIfTI with another tool")
        nifti = made[0].rename(outside / f"{series.stem}.nii")
        assert series.stack is not None  # a series that is no volume has a problem, and is not converted
        notes = _correct_affine(nifti, series, staged)
        yield Converted(nifti, tuple(staged), series.stack, notes)


def _correct_affine(nifti: Path, series: DicomSeries, files: Sequence[Path]) -> tuple[str, ...]:
    """Correct the affine of a converted file where it is not that of the DICOM frames; return a note if so.

    dcm2niix ignores the lean of MR slices, and takes the distance of slices from the first and last frame of an
    enhanced object even where its frames are shuffled. The voxels are compared with the pixels before they are moved.
    """
    stack = series.stack
    assert stack is not None
    image: Any = nibabel.load(nifti)
    expected = stack.affine_of_nifti(image.affine)
    far = np.array(image.shape[:3]) - 1
    corners = [[0, 0, 0, 1], [*far, 1], [far[0], 0, 0, 1], [0, far[1], 0, 1], [0, 0, far[2], 1]]
    off_mm = np.linalg.norm(((expected - image.affine) @ np.array(corners).T)[:3], axis=0).max()
    if off_mm < _OFF_MM:
        return ()
    voxels = np.asanyarray(image.dataobj.get_unscaled())
    try:
        same = np.array_equal(stack.from_volume(voxels, expected), _pixels(files))
    except Exception as error:  # pixels that pydicom cannot decode, or another number of volumes
        same, why = False, str(error)
    else:
        why = "the voxels are not in the order of the frames"
    if not same:
        what = f"dcm2niix misplaces {series.title} by {off_mm:.1f} mm, which cannot be corrected ({why})"
        raise InputError("conversion", series.source.path, what, "Convert it to NIfTI with another tool")
    corrected: Any = nibabel.Nifti1Image(voxels, expected)  # type: ignore[no-untyped-call]
    corrected.set_sform(expected, code=1)  # a qform cannot hold the shear of a stack that leans
    corrected.set_qform(None, code=0)
    corrected.header.set_xyzt_units("mm")
    corrected.to_filename(nifti.with_name("corrected.nii"))
    nifti.with_name("corrected.nii").replace(nifti)
    return (f"dcm2niix misplaced the slices by up to {off_mm:.1f} mm; they lie where DICOM says.",)


def _pixels(files: Sequence[Path]) -> NDArray[Any]:
    """Stored values of all frames, (frames, rows, columns)."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = [dcmread(file).pixel_array for file in files]
    return np.concatenate([frame[None] if frame.ndim == 2 else frame for frame in frames])


def converter_version() -> str:
    """Return the converter's name and version, ``dcm2niix v1.0.20260724``; InputError if it is not installed."""
    return _version(_program(None))


@cache
def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", timeout=60)
    found = re.findall(r"v\d+\.\d+\.\d+", done.stdout)
    return f"dcm2niix {found[-1]}" if found else "dcm2niix"


def _program(given: Path | None) -> str:
    """Path of dcm2niix: that of its wheel, or else one on the search path."""
    try:
        from dcm2niix import bin as found
    except ImportError:
        found = shutil.which("dcm2niix")
    if not found:
        raise InputError("extra", given, "DICOM input needs dcm2niix, which is not installed", install_hint("dicom"))
    return str(found)
