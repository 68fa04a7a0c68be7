"""Segmentation of one scan in memory: labels, volumes and posteriors on the scan's own grid."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lodbrain.errors import InputError, UsageError, install_hint
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.images.scan_input import as_image, to_nibabel
from lodbrain.images.shear import upright
from lodbrain.inference.counts import indices_of
from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
from lodbrain.labels import TABLES, Label, Scheme
from lodbrain.segmentation.allowance import Allowance
from lodbrain.segmentation.caveats import cut_structures, shown_mm3, with_caveat
from lodbrain.segmentation.predicted_dice import read_fit
from lodbrain.segmentation.quality import assess, has_fit
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.segmentation.tissue_maps import TissueMaps, kept_pooling, tissue_maps_of
from lodbrain.segmentation.volume_table import Volume, index_of_class, pooling_of, volumes
from lodbrain.system.memory import give_back, parse_memory
from lodbrain.system.progress import Progress
from lodbrain.system.threads import use_threads

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmented scan.

    Attributes
    ----------
    labels : (X, Y, Z) uint8
        Label map on the scan's own grid, with the indices of `table`.
    affine : (4, 4) float64
        Voxel to RAS in mm, as in the scan.
    table : tuple of Label
        Index, name and colour of the labels, background first.
    volumes : tuple of Volume
        One row per label, then TIV (if the model has a CSF class) and brain.
    posteriors : (X, Y, Z, C) float16, or None
        One volume for each row of `table`, in its order.
    tissue_maps : TissueMaps or None
        Brain mask and maps of three tissues, if the settings ask for them.
    disagreement : (X, Y, Z) bool, or None
        Where the members of a consensus see different tissues; None for other models, and where the second was left out
        before it was asked.
    notes : tuple of str
        Issues detected and corrected in the input, and deviations from the standard processing.
    quality : dict of str to float
        Quality measures, see `lodbrain.segmentation.quality`; ``score`` is the predicted Dice.
    quality_reasons : tuple of str
        QC warnings.
    planned_peak_bytes : int or None
        Planned peak memory of the process; None on a GPU, and for networks that are not ladders.
    """

    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    table: tuple[Label, ...]
    volumes: tuple[Volume, ...]
    posteriors: NDArray[np.floating] | None = None
    tissue_maps: TissueMaps | None = None
    disagreement: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)
    quality_reasons: tuple[str, ...] = ()
    planned_peak_bytes: int | None = None

    def volumes_table(self) -> pandas.DataFrame:
        """Return `volumes` as a data frame with one column per field; the index of TIV and brain is missing.

        Raises UsageError if pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            what = "a table of volumes needs pandas, which is not installed"
            raise UsageError("extra", None, what, install_hint("evaluate")) from error
        frame = pandas.DataFrame([asdict(row) for row in self.volumes], columns=[f.name for f in fields(Volume)])
        return frame.astype({"index": "Int64"})

    def to_nibabel(self) -> Any:
        """Return the label map as a `nibabel.Nifti1Image`."""
        return to_nibabel(self.labels, self.affine)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the label map atomically, as ``.nii`` or ``.nii.gz``; errors as in `lodbrain.images.io.write_nifti`."""
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
        A NIfTI or MGZ file, an image of nibabel, or an array of intensities. A file is checked for damage to its last
        byte; an image that nibabel has loaded is not.
    affine : (4, 4) array_like, optional
        Voxel to RAS in mm. Required for an array, unless `spacing_mm` is given; not allowed for a file or image.
    spacing_mm : (3,) array_like, optional
        Voxel sides of an array in RAS order, instead of an affine.
    labels, model, device, threads, posteriors, frame, allow_odd_voxels, postprocess
        As in `Settings`. A process that was forked after torch was loaded, such as a worker of `multiprocessing.Pool`
        on Linux, computes with one thread.
    memory : str or int, optional
        Budget, ``"4GB"`` or bytes; default: the free memory minus a margin.
    progress : callable, optional
        Called with the share done and a short text.

    Raises
    ------
    ValueError
        If an array is given without affine and spacing or with both, or a file or image with either; if a setting is
        out of range.
    InputError
        If the scan is invalid, or no brain is found in it.
    UsageError
        If the model does not provide these labels, or the device is not available.

    Examples
    --------
    A ball of 60 mm stands for a brain here (at 4 mm it is not detected as a phantom):

    >>> import numpy as np
    >>> x, y, z = np.mgrid[-20:20, -20:20, -20:20] * 4.0
    >>> ball = 100.0 * (x**2 + y**2 + z**2 < 60**2)
    >>> result = segment(ball, spacing_mm=(4, 4, 4), labels="tissue")
    >>> result.labels.shape, result.labels.dtype
    ((40, 40, 40), dtype('uint8'))
    >>> result.volumes[-1].name, 0 < result.volumes[-1].volume_mm3 < 1.2e6
    ('brain', True)

    A file, and an image loaded by nibabel:

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
    return segment_image(
        as_image(scan, affine, spacing_mm, frame=frame, allow_odd_voxels=allow_odd_voxels),
        load_model(settings),
        settings=settings,
        progress=progress,
    )


def segment_image(
    image: Image,
    model: Model,
    *,
    settings: Settings,
    progress: Progress | None = None,
    allowance: Allowance | None = None,
) -> Segmentation:
    """Return the segmentation of an image on its own grid.

    Its voxels are let go of before the network runs: a caller who keeps them in no variable saves their memory.

    Parameters
    ----------
    allowance : Allowance, optional
        Memory limits; default: the budget of the settings, else the free memory.

    Raises
    ------
    InputError
        If no brain is found, or the memory is too small.
    """
    from lodbrain.inference.brain_search import network_input
    from lodbrain.inference.decide import repooled
    from lodbrain.inference.predict import Options, predict
    from lodbrain.segmentation.orientation import second_look

    allowance = allowance or Allowance.now(settings, model.device, held_bytes=image.data.nbytes)
    ras, reorientation, shear, notes = upright(image)
    x_mm, y_mm, z_mm = ras.spacing_mm.tolist()
    fit = read_fit(model.card.quality)  # raises for an invalid card before inference
    shown = shown_mm3(image.data, image.voxel_volume_mm3)
    kept = kept_pooling(model.card.labels, settings)
    affine, spacing_mm, voxel_volume_mm3 = image.affine, image.spacing_mm, image.voxel_volume_mm3
    growth = ras.voxel_volume_mm3 / voxel_volume_mm3
    with use_threads(settings.threads):
        given = network_input(ras.data, (x_mm, y_mm, z_mm), model.network)
        del image, ras
        give_back()
        prediction = predict(
            given,
            (x_mm, y_mm, z_mm),
            card=model.card,
            network=model.network,
            options=Options(
                device=model.device,
                memory_bytes=allowance.memory_bytes,
                base_bytes=allowance.base_bytes,
                posteriors=settings.posteriors or settings.tissue_maps,
                pooling=kept,
                postprocess=settings.postprocess,
            ),
            progress=progress,
        )
    del given
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
        prediction = prediction.sheared(shear, growth)
        if settings.postprocess:  # again: interpolation may split thin parts
            keep_largest(prediction.classes, leave=SEVERAL_PIECES[model.card.labels])
        notes.append("It was resampled to orthogonal axes, and the labels back to its own grid.")
    index = index_of_class(model.card.labels, settings.labels)
    table = TABLES[settings.labels]
    posteriors = maps = None
    if prediction.posteriors is not None and settings.posteriors:
        rows_of_class = pooling_of(index, table)
        posteriors = reorientation.undo(np.moveaxis(repooled(prediction.posteriors, rows_of_class, kept), 0, -1))
    if prediction.posteriors is not None and settings.tissue_maps:
        maps = tissue_maps_of(prediction.posteriors, kept).turned(reorientation.undo)
    rows = volumes(
        prediction.classes,
        prediction.soft_volume_vox,
        model_labels=model.card.labels,
        scheme=settings.labels,
        voxel_volume_mm3=voxel_volume_mm3,
        variance_vox=prediction.variance_vox,
        calibration=prediction.calibration,
    )
    rows, caveat = with_caveat(rows, shown)
    notes += [caveat] if caveat else []
    final = reorientation.undo(indices_of(prediction.classes, index))
    if cut := cut_structures(final, rows, spacing_mm):
        notes.append(f"At the edge of the field of view and perhaps cut, so too small: {', '.join(cut)}.")
    return Segmentation(
        labels=final,
        affine=affine,
        table=table,
        volumes=rows,
        posteriors=posteriors,
        tissue_maps=maps,
        disagreement=None if prediction.disagreement is None else reorientation.undo(prediction.disagreement),
        notes=tuple(notes),
        quality={**quality.measures, **({} if quality.score is None else {"score": quality.score})},
        quality_reasons=reasons,
        planned_peak_bytes=prediction.peak_bytes,
    )
