"""Labels, volumes and posteriors of one scan on its own grid, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodbrain.errors import InputError, UsageError, install_hint
from lodbrain.images.background import blacken_background
from lodbrain.images.grid import to_ras
from lodbrain.images.image import Image
from lodbrain.images.io import read_array, read_image, write_nifti
from lodbrain.images.nibabel_image import is_nibabel, read_nibabel, to_nibabel
from lodbrain.images.shear import Straightening, is_sheared, straighten
from lodbrain.inference.counts import indices_of
from lodbrain.inference.handover import Handover
from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
from lodbrain.inference.prediction import Prediction
from lodbrain.labels import TABLES, Label, Scheme
from lodbrain.segmentation.allowance import Allowance
from lodbrain.segmentation.edges import cut_structures
from lodbrain.segmentation.predicted_dice import read_fit
from lodbrain.segmentation.quality import assess, has_fit
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.segmentation.stripping import shown_mm3, with_caveat
from lodbrain.segmentation.volumes import Volume, index_of_class, merge_posteriors, volumes
from lodbrain.system.memory import parse_memory
from lodbrain.system.threads import use_threads

if TYPE_CHECKING:
    import pandas

#: Called with the share done, 0 to 1, and a few words on what is being done.
Progress: TypeAlias = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmented scan.

    Attributes
    ----------
    labels : (X, Y, Z) uint8
        Label map on the scan's own grid; the numbers are those of `table`.
    affine : (4, 4) float64
        Voxel to RAS in mm, the scan's.
    table : tuple of Label
        Index, name and colour of the labels, background first.
    volumes : tuple of Volume
        A row for each label, then TIV (where the model knows CSF) and brain.
    posteriors : (X, Y, Z, C) float16 or float32, or None
        One volume for each row of `table`, in its order.
    disagreement : (X, Y, Z) bool, or None
        Where the members of a consensus see different tissues; None for other models, and where the second was left out
        before it was asked.
    notes : tuple of str
        What was found in the scan and mended, and what was done differently because of it.
    quality : dict of str to float
        Signs of trouble, see `lodbrain.segmentation.quality`; ``score`` is the Dice to be expected.
    quality_reasons : tuple of str
        What is out of the ordinary, in words.
    planned_peak_bytes : int or None
        Memory of the process at its peak as it was planned; None on a GPU, and for networks that are not ladders.
    """

    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    table: tuple[Label, ...]
    volumes: tuple[Volume, ...]
    posteriors: NDArray[np.floating] | None = None
    disagreement: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)
    quality_reasons: tuple[str, ...] = ()
    planned_peak_bytes: int | None = None

    def volumes_table(self) -> pandas.DataFrame:
        """`volumes` as a data frame, a column for each field; a sum's index is missing.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            what = "a table of volumes needs pandas, which is not installed"
            raise UsageError("extra", None, what, install_hint("evaluate")) from error
        frame = pandas.DataFrame([asdict(row) for row in self.volumes], columns=[f.name for f in fields(Volume)])
        return frame.astype({"index": "Int64"})

    def to_nibabel(self) -> Any:
        """The label map as a `nibabel.Nifti1Image`."""
        return to_nibabel(self.labels, self.affine)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the label map, ``.nii`` or ``.nii.gz``; whole or not at all.

        Raises
        ------
        ValueError
            If the name ends otherwise.
        OutputError
            If it cannot be written.
        """
        write_nifti(path, self.labels, Image(self.labels, self.affine))


def segment(
    scan: Any,
    *,
    affine: ArrayLike | None = None,
    spacing_mm: ArrayLike | None = None,
    labels: Scheme = "structures",
    model: str = "default",
    device: str = "auto",
    memory: str | int | None = None,
    threads: int | None = None,
    posteriors: bool = False,
    frame: int | None = None,
    allow_odd_voxels: bool = False,
    postprocess: bool = True,
    progress: Progress | None = None,
) -> Segmentation:
    """Return the segmentation of a scan, without writing anything.

    Parameters
    ----------
    scan : path, nibabel image, or (X, Y, Z) array_like
        A NIfTI or MGZ file, an image of nibabel, or the intensities themselves. A file is checked to its last byte;
        what nibabel has read already cannot be.
    affine : (4, 4) array_like, optional
        Voxel to RAS in mm. An array needs it; a file or image brings its own.
    spacing_mm : (3,) array_like, optional
        Voxel sides of an array whose axes go to the right, the front and up (RAS), in place of its affine.
    labels, model, device, threads, posteriors, frame, allow_odd_voxels, postprocess
        As in `Settings`. A process that was forked after torch was loaded, such as a worker of `multiprocessing.Pool`
        on Linux, computes with one thread.
    memory : str or int, optional
        Budget, ``"4GB"`` or bytes; default: what is free, less a margin.
    progress : callable, optional
        Called with the share done and a few words.

    Raises
    ------
    ValueError
        If an array comes without its affine or spacing or with both, or a file or image with one; if a setting is out
        of range.
    InputError
        If the scan is refused, or no brain is found in it.
    UsageError
        If the model cannot give these labels, or the device is not there.

    Examples
    --------
    A ball of 60 mm is no brain, but shows what comes back (at 4 mm too little is seen to refuse it):

    >>> import numpy as np
    >>> x, y, z = np.mgrid[-20:20, -20:20, -20:20] * 4.0
    >>> ball = 100.0 * (x**2 + y**2 + z**2 < 60**2)
    >>> result = segment(ball, spacing_mm=(4, 4, 4), labels="tissue")
    >>> result.labels.shape, result.labels.dtype
    ((40, 40, 40), dtype('uint8'))
    >>> result.volumes[-1].name, 0 < result.volumes[-1].volume_mm3 < 1.2e6
    ('brain', True)

    A file, and an image that nibabel has loaded:

    >>> segment("scan.nii.gz").save("labels.nii.gz")  # doctest: +SKIP
    >>> segment(nibabel.load("scan.nii.gz")).to_nibabel()  # doctest: +SKIP
    """
    settings = Settings(
        labels=labels,
        model=model,
        device=device,
        memory_bytes=None if memory is None else parse_memory(str(memory)),
        threads=threads,
        posteriors=posteriors,
        frame=frame,
        allow_odd_voxels=allow_odd_voxels,
        postprocess=postprocess,
    )
    image = _as_image(scan, affine, spacing_mm, settings)
    return segment_image(image, load_model(settings), settings=settings, progress=progress)


def _as_image(scan: Any, affine: ArrayLike | None, spacing_mm: ArrayLike | None, settings: Settings) -> Image:
    """Whatever a caller has, as a checked image."""
    frame, odd = settings.frame, settings.allow_odd_voxels
    given = {"affine": affine, "spacing_mm": spacing_mm}
    if scan is None or isinstance(scan, (bytes, dict, set)):
        raise ValueError(f"scan must be a path, an image of nibabel or an array, got {scan!r}")
    if isinstance(scan, (str, PathLike)) or is_nibabel(scan):
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} must not be given for a file or an image, which has its own")
        if isinstance(scan, (str, PathLike)):
            return read_image(scan, frame=frame, allow_odd_voxels=odd)
        return read_nibabel(scan, frame=frame, allow_odd_voxels=odd)
    if affine is not None and spacing_mm is not None:
        raise ValueError("affine and spacing_mm exclude each other: the affine says how large voxels are")
    if affine is None and spacing_mm is None:
        raise ValueError(
            "affine must be given with an array: it says which side is left and how large voxels are "
            "(or else spacing_mm, for an array in RAS order)"
        )
    if spacing_mm is not None:
        sides = np.asarray(spacing_mm, dtype=np.float64)
        if sides.shape != (3,) or not (sides > 0).all():
            raise ValueError(f"spacing_mm must be three lengths above 0, got {spacing_mm!r}")
        affine = np.diag([*sides, 1.0])
    return read_array(np.asarray(scan), np.asarray(affine), allow_odd_voxels=odd)


def segment_image(
    image: Image,
    model: Model,
    *,
    settings: Settings,
    progress: Progress | None = None,
    allowance: Allowance | None = None,
    release: bool = False,
) -> Segmentation:
    """Return the segmentation of an image on its own grid.

    Parameters
    ----------
    image, model, settings, progress
        As in `segment`.
    allowance : Allowance, optional
        Memory; default: what the settings say, else what is free.
    release : bool
        Whether nobody needs the image's voxels again: they are let go of (`Image.forget`) when the networks have them.

    Raises
    ------
    InputError
        If no brain is found, or the memory is too small.
    """
    from lodbrain.inference.predict import Options, predict
    from lodbrain.segmentation.orientation import second_look

    allowance = allowance or Allowance.now(settings, model.device, held_bytes=image.data.nbytes)
    ras, reorientation = to_ras(image)
    shear = None
    notes = list(image.notes)
    if is_sheared(ras.affine):
        data, note = blacken_background(ras.data)  # before values are interpolated between it and the head
        notes += [note] if note else []
        ras, shear = straighten(replace(ras, data=data))
    x_mm, y_mm, z_mm = ras.spacing_mm.tolist()
    fit = read_fit(model.card.quality)  # a card that is wrong is refused before the work
    voxel_volume_mm3, voxels = ras.voxel_volume_mm3, Handover(ras.data)
    shown = shown_mm3(image.data, image.voxel_volume_mm3)
    if release:
        image.forget()
    ras.forget()
    with use_threads(settings.threads):
        prediction = predict(
            voxels,
            (x_mm, y_mm, z_mm),
            card=model.card,
            network=model.network,
            options=Options(
                device=model.device,
                memory_bytes=allowance.memory_bytes,
                base_bytes=allowance.base_bytes,
                posteriors=settings.posteriors,
                postprocess=settings.postprocess,
            ),
            progress=progress,
        )
    if not prediction.classes.any():
        raise InputError("no-brain", None, "no brain was found in it", "Is this a head, and is its orientation right?")
    quality = assess(
        prediction.classes,
        prediction.certainty,
        model_labels=model.card.labels,
        spacing_mm=(x_mm, y_mm, z_mm),
        known=prediction.quality,
        fit=fit,
    )
    notes += prediction.notes
    reasons = quality.reasons
    if prediction.coarse is not None and quality.is_suspicious:
        reasons = second_look(prediction.coarse, quality, reorientation, fitted=has_fit(model.card))
    if shear is not None:
        prediction = _sheared_again(prediction, shear, voxel_volume_mm3 / image.voxel_volume_mm3)
        if settings.postprocess:  # again: interpolation may cut what is thin
            keep_largest(prediction.classes, leave=SEVERAL_PIECES[model.card.labels])
        notes.append("It was resampled to axes at right angles; the labels were brought back to its own grid.")
    index = index_of_class(model.card.labels, settings.labels)
    table = TABLES[settings.labels]
    posteriors = None
    if prediction.posteriors is not None:
        posteriors = reorientation.undo(merge_posteriors(prediction.posteriors, index, table))
    differing = prediction.disagreement
    rows = volumes(
        prediction.classes,
        prediction.soft_volume_vox,
        model_labels=model.card.labels,
        scheme=settings.labels,
        voxel_volume_mm3=image.voxel_volume_mm3,
        doubt_vox=prediction.doubt_vox,
        calibration=prediction.calibration,
    )
    rows, caveat = with_caveat(rows, shown)
    notes += [caveat] if caveat else []
    final = reorientation.undo(indices_of(prediction.classes, index))
    if cut := cut_structures(final, rows, image.spacing_mm):
        notes.append(f"At the edge of the field of view and perhaps cut, so too small: {', '.join(cut)}.")
    return Segmentation(
        labels=final,
        affine=image.affine,
        table=table,
        volumes=rows,
        posteriors=posteriors,
        disagreement=None if differing is None else reorientation.undo(differing),
        notes=tuple(notes),
        quality={**quality.measures, **({} if quality.score is None else {"score": quality.score})},
        quality_reasons=reasons,
        planned_peak_bytes=prediction.peak_bytes,
    )


def _sheared_again(prediction: Prediction, shear: Straightening, share: float) -> Prediction:
    """The prediction on the sheared grid, whose voxels hold a `share` of the straight one's volume in mm^3."""
    posteriors, differing = prediction.posteriors, prediction.disagreement
    return replace(
        prediction,
        classes=shear.undo_classes(prediction.classes),
        soft_volume_vox=prediction.soft_volume_vox * share,
        doubt_vox=None if prediction.doubt_vox is None else prediction.doubt_vox * share,
        posteriors=None if posteriors is None else shear.undo_posteriors(posteriors),
        disagreement=None if differing is None else shear.undo_classes(differing.view(np.uint8)).view(bool),
    )
