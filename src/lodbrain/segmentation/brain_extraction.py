"""Brain extraction of one scan in memory: a mask on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.images.scan_input import as_image, to_nibabel
from lodbrain.images.shear import upright
from lodbrain.segmentation.allowance import Allowance
from lodbrain.segmentation.caveats import MOST_RATIO, shown_mm3
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.system.memory import give_back, parse_memory
from lodbrain.system.threads import use_threads

if TYPE_CHECKING:
    from lodbrain.models.lod import Ladder

#: Largest border: beyond it the mask reaches the skin.
MOST_BORDER_MM = 30.0


@dataclass(frozen=True)
class MaskSettings:
    """What belongs to a brain mask: the CSF around the brain or not, and a border.

    `border_mm` is the distance by which the surface is moved outwards, or inwards if below 0.
    """

    csf: bool = True
    border_mm: float = 0.0

    def __post_init__(self) -> None:
        if not abs(self.border_mm) <= MOST_BORDER_MM:  # False for NaN
            raise ValueError(
                f"border_mm must lie between -{MOST_BORDER_MM:g} and {MOST_BORDER_MM:g}, got {self.border_mm:g}"
            )


@dataclass(frozen=True, eq=False)
class BrainMask:
    """The brain mask of a scan.

    Attributes
    ----------
    mask : (X, Y, Z) bool
        On the scan's own grid.
    affine : (4, 4) float64
        Voxel to RAS in mm, as in the scan.
    notes : tuple of str
        Issues detected and corrected in the input, and deviations from the standard processing.
    planned_peak_bytes : int or None
        Planned peak memory of the process; None on a GPU.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    volume_mm3: float
    notes: tuple[str, ...] = ()
    planned_peak_bytes: int | None = None

    def to_nibabel(self) -> Any:
        """Return the mask as a `nibabel.Nifti1Image` of 0 and 1."""
        return to_nibabel(self.mask.view(np.uint8), self.affine)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the mask atomically, as ``.nii`` or ``.nii.gz``; errors as in `lodbrain.images.io.write_nifti`."""
        write_nifti(path, self.mask, Image(self.mask, self.affine))


def strip(
    scan: Any,
    *,
    affine: ArrayLike | None = None,
    spacing_mm: ArrayLike | None = None,
    csf: bool = True,
    border_mm: float = 0.0,
    model: str = "default",
    device: str = "auto",
    memory: str | int | None = None,
    threads: int | None = None,
    frame: int | None = None,
    allow_odd_voxels: bool = False,
) -> BrainMask:
    """Return the brain mask of a scan, without writing anything; errors as in `lodbrain.segment`.

    Parameters
    ----------
    scan, affine, spacing_mm
        As in `lodbrain.segment`.
    csf : bool
        Whether the CSF around the brain belongs to the mask.
    border_mm : float
        Distance by which the mask's surface is moved outwards, or inwards if below 0, the same along each axis.
    model, device, memory, threads, frame, allow_odd_voxels
        As in `lodbrain.segment`. The model's levels down to 2 mm are used.

    Examples
    --------
    >>> result = strip("scan.nii.gz", border_mm=2)  # doctest: +SKIP
    >>> result.save("mask.nii.gz")  # doctest: +SKIP
    """
    settings = Settings(
        labels="brain",
        model=model,
        device=device,
        memory_bytes=None if memory is None else parse_memory(str(memory)),
        threads=threads,
        frame=frame,
        allow_odd_voxels=allow_odd_voxels,
    )
    wanted = MaskSettings(csf, border_mm)
    return strip_image(
        as_image(scan, affine, spacing_mm, frame=frame, allow_odd_voxels=allow_odd_voxels),
        load_model(settings),
        wanted,
        settings=settings,
    )


def strip_image(
    image: Image,
    model: Model,
    wanted: MaskSettings,
    *,
    settings: Settings,
    allowance: Allowance | None = None,
) -> BrainMask:
    """Return the brain mask of an image; parameters as in `segment_image`, and its voxels are let go of as there.

    Raises
    ------
    InputError
        If no brain is found, or the memory is too small.
    UsageError
        If the model is not a ladder.
    """
    from lodbrain.inference.brain_mask import brain_odds, moved, solid
    from lodbrain.inference.brain_search import network_input
    from lodbrain.inference.fallback import run_with_fallback
    from lodbrain.inference.prediction import Options

    network = ladder_of(model)
    allowance = allowance or Allowance.now(settings, model.device, held_bytes=image.data.nbytes)
    ras, reorientation, shear, notes = upright(image)
    x_mm, y_mm, z_mm = ras.spacing_mm.tolist()
    affine, voxel_volume_mm3 = image.affine, image.voxel_volume_mm3
    shown = shown_mm3(image.data, voxel_volume_mm3)
    with use_threads(settings.threads):
        given = network_input(ras.data, (x_mm, y_mm, z_mm), network)
        del image, ras
        give_back()
        odds = run_with_fallback(
            lambda options: brain_odds(given, network=network, options=options),
            Options(device=model.device, memory_bytes=allowance.memory_bytes, base_bytes=allowance.base_bytes),
        )
        mask = solid(odds.mask(csf=wanted.csf))
    mask = moved(mask, (x_mm, y_mm, z_mm), wanted.border_mm)
    if shear is not None:
        mask = shear.undo_classes(mask.view(np.uint8)).view(bool)
        notes.append("It was resampled to orthogonal axes, and the mask back to its own grid.")
    if not mask.any():
        raise InputError(
            "no-brain", None, "nothing is left of the brain mask", "Is this a head? Is --border too small?"
        )
    notes += odds.notes
    final = np.ascontiguousarray(reorientation.undo(mask))
    volume_mm3 = float(np.count_nonzero(final)) * voxel_volume_mm3
    if shown < MOST_RATIO * volume_mm3:
        notes.append("The scan is skull-stripped already: the mask cannot extend beyond the stripped brain.")
    if any(final.take(at, axis).any() for axis in range(3) for at in (0, -1)):
        notes.append("The mask reaches the edge of the field of view: the brain may be cut.")
    return BrainMask(final, affine, volume_mm3, tuple(notes), odds.peak_bytes)


def ladder_of(model: Model) -> Ladder:
    """Return the ladder of a model; UsageError if it has none."""
    from lodbrain.models.consensus import ladder_in

    ladder = ladder_in(model.network)
    if ladder is None:
        what = "has no coarse levels, which brain extraction uses"
        raise UsageError("model", model.card.name, what, "Use --model default or any-contrast")
    return ladder
