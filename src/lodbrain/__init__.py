"""Brain segmentation of MRI scans on their own grid and at their own resolution.

Importing the package is fast, because torch is imported by the first call of `segment`.

Examples
--------
>>> import lodbrain
>>> result = lodbrain.segment("scan.nii.gz")  # doctest: +SKIP
>>> result.volumes[0].name, result.volumes[0].volume_mm3  # doctest: +SKIP
('Left-Cerebral-White-Matter', 221348.0)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lodbrain.version import __version__

if TYPE_CHECKING:
    from lodbrain.segmentation.brain_extraction import BrainMask, strip
    from lodbrain.segmentation.scan import Segmentation, segment
    from lodbrain.segmentation.volume_table import Volume

__all__ = ["BrainMask", "Segmentation", "Volume", "__version__", "segment", "strip"]

_PLACES = {
    "BrainMask": "lodbrain.segmentation.brain_extraction",
    "Segmentation": "lodbrain.segmentation.scan",
    "Volume": "lodbrain.segmentation.volume_table",
    "segment": "lodbrain.segmentation.scan",
    "strip": "lodbrain.segmentation.brain_extraction",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
