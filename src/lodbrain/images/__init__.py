"""Images: checked reading, writing, and exactly invertible operations on the grid."""

from lodbrain.images.grid import Reorientation, to_ras
from lodbrain.images.image import Image
from lodbrain.images.io import nifti_bytes, read_array, read_image, read_labels, write_nifti

__all__ = [
    "Image",
    "Reorientation",
    "nifti_bytes",
    "read_array",
    "read_image",
    "read_labels",
    "to_ras",
    "write_nifti",
]
