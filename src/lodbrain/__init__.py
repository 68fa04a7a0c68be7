"""Brain segmentation of MRI scans on their own grid, at the detail that the scan has.

Importing the package is cheap: torch is loaded by the first call of `segment`.

Examples
--------
>>> import lodbrain
>>> result = lodbrain.segment("scan.nii.gz")  # doctest: +SKIP
>>> result.volumes[0].name, result.volumes[0].volume_mm3  # doctest: +SKIP
('Left-Cerebral-White-Matter', 221348.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lodbrain.version import __version__

if TYPE_CHECKING:
    from lodbrain.inference.segmentation import segment

__all__ = ["__version__", "segment"]


def __getattr__(name: str) -> Any:
    if name == "segment":
        from lodbrain.inference.segmentation import segment

        return segment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
