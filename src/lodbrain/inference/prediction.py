"""Options and results of inference, common to all architectures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.shear import Straightening
from lodbrain.inference.calibration import Calibration

if TYPE_CHECKING:
    from lodbrain.models.folded import FoldedLevel

#: For each class of a network, the volume of the posteriors to which it is added.
Pooling: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """Options of inference.

    Attributes
    ----------
    device : str
        Name of a torch device.
    memory_bytes : int or None
        Memory that the process may use at its peak, on a GPU the memory of the device; None for no limit.
    base_bytes : int
        Memory that the process used before the scan was read.
    posteriors : bool
        Whether to return the posteriors.
    pooling : tuple of int or None
        The volume of the posteriors to which each class is added; None for one volume of each class.
    postprocess : bool
        Whether to keep only one connected component of each structure, see `lodbrain.inference.postprocess`.
    dtype : {"auto", "float32", "bfloat16"}
        Type of the convolutions. "auto" is bfloat16 where the hardware computes in it, else float32.
    tile_voxels : int or None
        Largest number of voxels that a tile reads; None to derive it from the memory.
    context : bool
        Whether the ladder's finest level is conditioned on the coarser ones. False is for ablation studies.
    """

    device: str = "cpu"
    memory_bytes: int | None = None
    base_bytes: int = 0
    posteriors: bool = False
    pooling: Pooling | None = None
    postprocess: bool = True
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    tile_voxels: int | None = None
    context: bool = True


@dataclass(frozen=True, eq=False)
class CoarseView:
    """Image and network of the coarsest level of a ladder.

    Attributes
    ----------
    image : (X, Y, Z) float32 array
        Intensities in RAS order according to the header, not scaled.
    level : FoldedLevel
        A level with separate left and right classes.
    """

    image: NDArray[np.float32]
    voxel_mm: float
    level: FoldedLevel


@dataclass(frozen=True, eq=False)
class Prediction:
    """A network's prediction for a scan.

    Attributes
    ----------
    classes : (X, Y, Z) uint8
        Positions in the label table of the model.
    soft_volume_vox : (C,) float64
        Sum of the posteriors of each class, in voxels.
    posteriors : (V, X, Y, Z) float16 or None
        A volume for each class, or for each group of classes that are pooled.
    certainty : (X, Y, Z) uint8 or None
        Posterior of the most probable structure, times 255; None for architectures that do not provide it.
    variance_vox : (C,) float64 or None
        Posterior variance: sum of p (1 - p) of each class, in voxels; None as for `certainty`.
    calibration : Calibration
        Calibration of the level that the result comes from.
    notes : tuple of str
        Deviations from the standard processing, and their reasons.
    peak_bytes : int or None
        Planned peak memory of the process; None without a plan.
    coarse : CoarseView or None
        What the coarsest of several levels saw; None for networks that are not ladders.
    disagreement : (X, Y, Z) bool or None
        Where the members of a consensus assign different tissues; None if the second was not used.
    """

    classes: NDArray[np.uint8]
    soft_volume_vox: NDArray[np.float64]
    posteriors: NDArray[np.float16] | None = None
    quality: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    certainty: NDArray[np.uint8] | None = None
    variance_vox: NDArray[np.float64] | None = None
    calibration: Calibration = field(default_factory=Calibration)
    peak_bytes: int | None = None
    coarse: CoarseView | None = None
    disagreement: NDArray[np.bool_] | None = None

    def sheared(self, shear: Straightening, share: float) -> Prediction:
        """Return the prediction on a sheared grid, whose voxels hold a `share` of the straight one's volume in mm^3."""
        posteriors, differing = self.posteriors, self.disagreement
        return replace(
            self,
            classes=shear.undo_classes(self.classes),
            soft_volume_vox=self.soft_volume_vox * share,
            variance_vox=None if self.variance_vox is None else self.variance_vox * share,
            posteriors=None if posteriors is None else shear.undo_posteriors(posteriors),
            disagreement=None if differing is None else shear.undo_classes(differing.view(np.uint8)).view(bool),
        )
