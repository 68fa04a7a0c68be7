"""Affine of a NIfTI header from qform, sform, pixdim and units, with checks of their consistency."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from lodbrain.errors import InputError

Affine = NDArray[np.float64]

_KNOWN_CODES = range(6)
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_UNIT_NAMES = {1: "metres", 3: "micrometres"}

#: qform and sform disagree if a corner of the volume differs by more than this fraction of a voxel.
_DISAGREEMENT_VOX = 0.1

#: pixdim and affine disagree if their ratio exceeds this value; rounding in files stays below.
_PIXDIM_RATIO = 1.01


@np.errstate(over="ignore", invalid="ignore")  # `check_affine` rejects such values
def read_grid(path: Path, header: Any, shape: tuple[int, int, int]) -> tuple[Affine, Nifti1Header, list[str]]:
    """Return the affine in the file's own units, the grid for results, and notes.

    The sform takes precedence over the qform. Without both, nibabel's convention is used: x runs from right to left,
    the origin is in the centre, and left and right are unknown.

    Parameters
    ----------
    header : Nifti1Header or Nifti2Header
        As read, little-endian, unchecked.

    Returns
    -------
    affine : (4, 4) float64
        Singular or not finite if the sform is.
    grid : Nifti1Header
        Single-file header with the grid only.
    notes : list of str
        One sentence each.

    Raises
    ------
    InputError
        ``bad-affine`` if the only source of the affine is unusable.
    """
    grid = _grid_only(header)
    notes = _units_notes(header)
    for field in ("qform_code", "sform_code"):
        if int(grid[field]) not in _KNOWN_CODES:
            notes.append(f"The {field} {int(grid[field])} does not exist; it is taken as 0.")
            grid[field] = 0
    sform = _sform(grid) if grid["sform_code"] > 0 else None
    notes += _mend_pixdim(path, grid, sform)
    qform = _qform(grid) if grid["qform_code"] > 0 else None
    if grid["qform_code"] > 0 and qform is None:
        if sform is None:
            raise InputError("bad-affine", path, "its qform is not a rotation", "Convert the scan again from DICOM")
        notes.append("The qform is not a rotation; it was dropped and the sform is used.")
        _drop_qform(grid)
    if sform is None and qform is None:
        notes.append("Neither qform nor sform is set: left and right are unknown and may be swapped in the result.")
        return _centred(grid, shape), grid, notes
    if sform is None:
        assert qform is not None
        return qform, grid, notes
    if qform is not None and np.isfinite(sform).all():
        notes += _disagreement(grid, sform, qform, shape)
    return sform, grid, notes


@np.errstate(over="ignore")
def affine_mm(affine: Affine, grid: Any) -> Affine:
    """Return the affine in millimetres."""
    scaled = affine.copy()
    scaled[:3] *= _MM_PER_UNIT.get(int(grid["xyzt_units"]) & 7, 1.0)
    return scaled


def _grid_only(header: Any) -> Any:
    """Return a new single-file header with the fields of the grid only, because others may identify a person."""
    grid = type(header)(endianness="<")
    for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"):
        grid[field] = header[field]
    for axis in "xyz":
        grid[f"qoffset_{axis}"] = header[f"qoffset_{axis}"]
        grid[f"srow_{axis}"] = header[f"srow_{axis}"]
    pixdim = np.ones(8)
    pixdim[:4] = header["pixdim"][:4]
    pixdim[0] = -1 if pixdim[0] < 0 else 1  # qfac: 0 counts as 1 (nifti1.h)
    grid["pixdim"] = pixdim
    grid["xyzt_units"] = header["xyzt_units"]
    return grid


def _units_notes(header: Any) -> list[str]:
    unit = int(header["xyzt_units"]) & 7
    return [f"Lengths are given in {_UNIT_NAMES[unit]}; they were converted to mm."] if unit in _UNIT_NAMES else []


def _sform(grid: Any) -> Affine:
    affine = np.eye(4)
    affine[:3] = [grid[f"srow_{axis}"] for axis in "xyz"]
    return affine


def _mend_pixdim(path: Path, grid: Any, sform: Affine | None) -> list[str]:
    """Make `pixdim` positive and finite, by the sform if there is one, and return notes."""
    stated = np.array(grid["pixdim"][1:4], dtype=np.float64)
    usable = np.isfinite(stated) & (stated != 0)
    if sform is None:
        if not usable.all():
            raise InputError(
                "bad-affine", path, f"its voxel size is {_numbers(stated)}", "Convert the scan again from DICOM"
            )
        grid["pixdim"][1:4] = np.abs(stated)
        return ["Negative voxel sizes were made positive."] if (stated < 0).any() else []
    sides = np.linalg.norm(sform[:3, :3], axis=0)
    corrected = np.where(usable, np.abs(stated), sides)
    if not (np.isfinite(corrected).all() and corrected.all()):
        return []  # the sform is singular as well and is rejected later
    grid["pixdim"][1:4] = corrected
    if not (stated == corrected).all():
        return [f"The pixdim ({_numbers(stated)}) is impossible; the affine's ({_numbers(sides)}) is used."]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.max(np.maximum(sides / corrected, corrected / sides))
    if not ratio <= _PIXDIM_RATIO:
        return [f"The pixdim ({_numbers(stated)}) is not the affine's voxel size ({_numbers(sides)}), which is used."]
    return []


def _qform(grid: Any) -> Affine | None:
    """Return the qform (method 2 of the standard); None if its fields are not a rotation."""
    bcd = np.array([float(grid[f"quatern_{axis}"]) for axis in "bcd"])
    shift = np.array([float(grid[f"qoffset_{axis}"]) for axis in "xyz"])
    squares = float(bcd @ bcd) if np.isfinite(bcd).all() else np.inf
    if squares > 1.01 or not np.isfinite(shift).all():
        return None
    if squares > 1 - 1e-7:  # a rotation by 180 degrees up to rounding, as in nifti1_io.c
        bcd /= np.sqrt(squares)
    if squares > 1 + 3e-7:  # nibabel rejects larger values, so the result's header gets the corrected ones
        for axis, value in zip("bcd", bcd, strict=True):
            grid[f"quatern_{axis}"] = value
    to_matrix: Any = quat2mat
    rotation = to_matrix([np.sqrt(max(0.0, 1.0 - float(bcd @ bcd))), *bcd])
    affine = np.eye(4)
    sides = np.array(grid["pixdim"][1:4], dtype=np.float64)
    affine[:3, :3] = rotation * (sides * [1, 1, float(grid["pixdim"][0])])
    affine[:3, 3] = shift
    return affine


def _drop_qform(grid: Any) -> None:
    grid["qform_code"] = 0
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        grid[field] = 0


def _centred(grid: Any, shape: tuple[int, int, int]) -> Affine:
    """Return nibabel's affine for a file without orientation: radiological, origin in the centre."""
    sides = np.array(grid["pixdim"][1:4], dtype=np.float64) * [-1, 1, 1]
    affine = np.diag([*sides, 1.0])
    affine[:3, 3] = -sides * (np.array(shape) - 1) / 2
    return affine


def _disagreement(grid: Any, sform: Affine, qform: Affine, shape: tuple[int, int, int]) -> list[str]:
    """Return a note with both affines if they disagree at a corner of the volume."""
    corners = np.array([[*corner, 1] for corner in product(*((0, n) for n in shape))], dtype=np.float64)
    apart = float(np.linalg.norm(corners @ (sform - qform).T, axis=1).max())
    if apart <= _DISAGREEMENT_VOX * float(np.min(grid["pixdim"][1:4])):
        return []
    return [
        f"sform (code {int(grid['sform_code'])}) and qform (code {int(grid['qform_code'])}) lie up to {apart:.3g} "
        f"apart; the sform is used. sform {_rows(sform)}, qform {_rows(qform)}."
    ]


def _rows(affine: Affine) -> str:
    return "[" + "; ".join(_numbers(row) for row in affine[:3]) + "]"


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
