"""Images made in code, byte by byte, sound ones and broken ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

#: Shape with three different sides, so that swapped axes show.
SHAPE = (6, 7, 8)

#: Left-handed, three different voxel sides.
AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.1, 0, -20], [0, 0, 1.2, 10], [0, 0, 0, 1]])


class Files:
    """Writes files into a temporary folder and returns their paths."""

    shape = SHAPE
    affine = AFFINE

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def voxels(self, dtype: Any = np.int16, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
        """Noise without flat patches, 1 to 120."""
        return np.random.default_rng(0).integers(1, 121, shape).astype(dtype)

    def nifti_bytes(
        self,
        data: NDArray[Any] | None = None,
        affine: NDArray[Any] | None = AFFINE,
        *,
        version: int = 1,
        big: bool = False,
        **fields: Any,
    ) -> bytes:
        """A single-file NIfTI; `fields` overwrite the header's raw fields last."""
        data = self.voxels() if data is None else data
        kind: Any = nib.Nifti1Header if version == 1 else nib.Nifti2Header
        header = kind(endianness=">" if big else "<")
        header.set_data_shape(data.shape)
        header.set_data_dtype(data.dtype)
        header.set_xyzt_units("mm", "sec")
        if affine is not None:
            header.set_qform(affine, code=1)
            header.set_sform(affine, code=1)
        header["scl_slope"], header["magic"] = 1, header.single_magic
        header["vox_offset"] = 352 if version == 1 else 544
        for name, value in fields.items():
            header[name] = value
        stored = data.astype(data.dtype.newbyteorder(">" if big else "<"))
        return header.binaryblock + bytes(4) + stored.tobytes("F")

    def nifti(self, name: str = "scan.nii", *args: Any, **kwargs: Any) -> Path:
        """The same as a file, gzip by name."""
        content = self.nifti_bytes(*args, **kwargs)
        return self.raw(name, gzip.compress(content, mtime=0) if name.endswith(".gz") else content)

    def mgh(self, name: str = "scan.mgz", data: NDArray[Any] | None = None, affine: NDArray[Any] = AFFINE) -> Path:
        """An MGH file as nibabel writes it."""
        path = self.folder / name
        data = self.voxels() if data is None else data
        nib.save(nib.freesurfer.MGHImage(data, affine.astype(np.float32)), path)  # type: ignore[attr-defined]
        return path

    def raw(self, name: str, content: bytes) -> Path:
        """Any bytes."""
        path = self.folder / name
        path.write_bytes(content)
        return path
