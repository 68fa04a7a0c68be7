"""`Image`: a volume with its affine, header, and notes on issues detected and corrected on reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Image:
    """A volume in world space.

    Attributes
    ----------
    data : (X, Y, Z) or (X, Y, Z, C)
        Voxels. float32 for scans, integers for label maps.
    affine : (4, 4) float64
        Voxel indices to RAS in millimetres.
    header : Nifti1Header or None
        Grid as in the file (qform, sform, both codes, units), for writing results; None for arrays.
        A `Nifti2Header` for NIfTI-2. Its affine may be in another unit than `affine`, which is always in millimetres.
    notes : tuple of str
        Issues detected and corrected, one sentence each.

    Examples
    --------
    >>> import numpy as np
    >>> image = Image(np.zeros((4, 5, 6), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    >>> image.shape, image.spacing_mm.tolist(), round(image.voxel_volume_mm3, 6)
    ((4, 5, 6), [1.0, 1.0, 2.0], 2.0)
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    header: Nifti1Header | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"affine must be (4, 4), got {affine.shape}")
        if self.data.ndim not in (3, 4):
            raise ValueError(f"data must be (X, Y, Z) or (X, Y, Z, C), got {self.data.shape}")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along the three spatial axes."""
        x, y, z = self.data.shape[:3]
        return x, y, z

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Voxel sides (3,) float64 in mm: the lengths of the affine's columns."""
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel: the absolute determinant of the affine, which is also valid for sheared axes."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))
