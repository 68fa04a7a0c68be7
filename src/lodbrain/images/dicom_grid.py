"""Where the frames of a DICOM series lie, and volumes in the order of these frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Voxels: how far the corners of a stack may lie from those of a volume. dcm2niix keeps the affine as float32.
_TOLERANCE_VOX = 0.05

#: DICOM's axes point to the left and the back, NIfTI's to the right and the front.
_RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class FrameStack:
    """The frames of a series, evenly spaced, in the order of its files.

    Attributes
    ----------
    positions_mm : (N, 3) float64
        Centre of the first pixel of each frame, LPS; at least two.
    orientation : (6,) float64
        Directions in which columns and rows are counted (ImageOrientationPatient), LPS.
    spacing_mm : (2,) float64
        Distance of rows, and of columns (PixelSpacing).
    size : (int, int)
        Rows and columns.
    """

    positions_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return len(self.positions_mm), *self.size

    @property
    def order(self) -> NDArray[np.intp]:
        """(N,): the frames along the stack. Those of an enhanced object may come in any order."""
        return np.argsort(self.positions_mm @ np.cross(self.orientation[:3], self.orientation[3:]))

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64: column, row, place along the stack to millimetres, RAS. Sheared if the stack leans."""
        first, last = self.positions_mm[self.order[[0, -1]]]
        affine = np.eye(4)
        affine[:3, 0] = self.orientation[:3] * self.spacing_mm[1]
        affine[:3, 1] = self.orientation[3:] * self.spacing_mm[0]
        affine[:3, 2] = (last - first) / (len(self.positions_mm) - 1)
        affine[:3, 3] = first
        ras: NDArray[np.float64] = _RAS_OF_LPS @ affine
        return ras

    def affine_of_nifti(self, like: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the affine of the file that dcm2niix makes of this stack: rows upside down, slices in either order.

        The third axis of the file's own affine `like` tells the order of the slices.
        """
        frames, rows, _ = self.shape
        flip = np.eye(4)
        flip[1, 1], flip[1, 3] = -1, rows - 1
        if float(self.affine[:3, 2] @ like[:3, 2]) < 0:
            flip[2, 2], flip[2, 3] = -1, frames - 1
        affine: NDArray[np.float64] = self.affine @ flip
        return affine

    def from_volume(self, volume: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
        """Return a volume as frames (frame, row, column) of this stack, in the order of its files, not interpolated.

        Parameters
        ----------
        volume : (X, Y, Z)
            Values.
        affine : (4, 4) float64
            Voxel to millimetres, RAS.

        Raises
        ------
        ValueError
            If the frames are not the slices of this volume.
        """
        step = np.linalg.inv(affine) @ self.affine  # (column, row, place) to (x, y, z)
        turn = np.rint(step[:3, :3]).astype(int)
        axes = np.abs(turn).argmax(axis=0)  # the volume's axis along columns, rows, places
        signs = turn[axes, range(3)]
        if not np.array_equal(np.abs(turn), np.eye(3, dtype=int)[axes].T):
            raise ValueError(
                f"the frames are not slices of the volume: a pixel is {step[:3, :3].round(3).tolist()} voxels"
            )
        counts = np.array(self.shape[::-1])
        turned = volume.transpose(axes)
        if turned.shape != tuple(counts):
            raise ValueError(f"the volume has {turned.shape} columns, rows and frames, DICOM {tuple(counts)}")
        ends = np.array(volume.shape) - 1
        for corner in ([0, 0, 0], counts - 1):
            found = (step @ [*corner, 1])[axes]
            wanted = np.where(signs > 0, corner, ends[axes] - corner)
            if np.abs(found - wanted).max() > _TOLERANCE_VOX:
                raise ValueError(f"a corner of the frames lies {(found - wanted).round(2).tolist()} voxels off")
        along = turned[tuple(slice(None, None, int(sign)) for sign in signs)].transpose(2, 1, 0)
        frames = np.empty(self.shape, volume.dtype)
        frames[self.order] = along
        return frames
