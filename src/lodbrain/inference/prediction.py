"""What every network is asked and what it answers, whatever its architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lodbrain.inference.calibration import Calibration

if TYPE_CHECKING:
    from lodbrain.models.folded import FoldedLevel

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Options:
    """How to run a network.

    Attributes
    ----------
    device : str
        Name of a torch device.
    memory_bytes : int or None
        What the process may use at its peak, on a GPU the memory of the device; None for no limit.
    base_bytes : int
        What the process took before the scan was read.
    posteriors : bool
        Whether to return the posteriors of all classes.
    postprocess : bool
        Whether to leave one connected component of each structure, see `lodbrain.inference.postprocess`.
    dtype : {"auto", "float32", "bfloat16"}
        Arithmetic of the convolutions. "auto" is bfloat16 where the processor computes in it.
    tile_voxels : int or None
        Largest number of voxels that a tile reads; None to derive it from the memory.
    context : bool
        Whether the ladder's finest level is told what the coarser ones saw. False is for measuring what they are worth.
    """

    device: str = "cpu"
    memory_bytes: int | None = None
    base_bytes: int = 0
    posteriors: bool = False
    postprocess: bool = True
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    tile_voxels: int | None = None
    context: bool = True


@dataclass(frozen=True, eq=False)
class CoarseView:
    """A scan as the coarsest level of a ladder sees it, and that level.

    Attributes
    ----------
    image : (X, Y, Z) float32 array
        In the order that the header gives: RAS. Not scaled.
    voxel_mm : float
    level : FoldedLevel
        With sides.
    """

    image: NDArray[np.float32]
    voxel_mm: float
    level: FoldedLevel


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of a scan.

    Attributes
    ----------
    classes : (X, Y, Z) uint8
        Positions in the label table of the model.
    soft_volume_vox : (C,) float64
        Sum of the posteriors of each class, in voxels.
    posteriors : (C, X, Y, Z) float16 or None
    certainty : (X, Y, Z) uint8 or None
        Posterior of the best structure, times 255; None where the network's runner does not keep it.
    doubt_vox : (C,) float64 or None
        Sum of p (1 - p) of each class, in voxels; None likewise.
    calibration : Calibration
        Of the level that the result comes from.
    quality : dict of str to float
    notes : tuple of str
        What was done differently from the plain case, and why.
    peak_bytes : int or None
        What the process was planned to take at its peak; None where that was not planned.
    coarse : CoarseView or None
        What the coarsest of several levels saw; None for networks that are not ladders.
    disagreement : (X, Y, Z) bool or None
        Where the members of a consensus see different tissues; None where the second was not asked.
    """

    classes: NDArray[np.uint8]
    soft_volume_vox: NDArray[np.float64]
    posteriors: NDArray[np.float16] | None = None
    quality: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    certainty: NDArray[np.uint8] | None = None
    doubt_vox: NDArray[np.float64] | None = None
    calibration: Calibration = field(default_factory=Calibration)
    peak_bytes: int | None = None
    coarse: CoarseView | None = None
    disagreement: NDArray[np.bool_] | None = None
