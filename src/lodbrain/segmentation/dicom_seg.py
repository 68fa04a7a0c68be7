"""The label map as a DICOM Segmentation that belongs to the source series, for PACS and DICOM viewers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.errors import InputError, UsageError, install_hint
from lodbrain.images.dicom_conversion import Converted
from lodbrain.labels import Label
from lodbrain.labels.snomed import PRIVATE_SCHEMES, Code, category_code, side_code, structure_code
from lodbrain.segmentation.scan import Segmentation
from lodbrain.segmentation.settings import Model
from lodbrain.system.atomic import atomic
from lodbrain.version import __version__

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Series of results are numbered apart from the scanner's.
_SERIES_NUMBER = 9000

_PURPOSE = "For research, not a medical device"


def check_installed() -> None:
    """Raise UsageError unless what a DICOM Segmentation is written with is there."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        what = "--dicom-seg needs highdicom, which is not installed"
        raise UsageError("extra", None, what, install_hint("dicom")) from error


def write_dicom_seg(path: Path, result: Segmentation, dicom: Converted, *, model: Model) -> None:
    """Write a label map as a DICOM Segmentation (BINARY), one segment for each label that occurs.

    It refers to the source series and carries its patient and study, as PACS need it. Segments have SNOMED CT codes, or
    FreeSurfer's numbers in a scheme of that name; FreeSurfer's names and colours; and the names of software and model.

    Parameters
    ----------
    result : Segmentation
        Its labels lie on the grid that dcm2niix made of the series.

    Raises
    ------
    InputError
        If the label map cannot be put on the source series.
    OutputError
        If the file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom and highdicom, about odd values in the scanner's headers
        sources = _sources(dicom.files)
        if len(sources) > 1 and "PerFrameFunctionalGroupsSequence" in sources[0]:
            raise _impossible("the series is split into several enhanced objects")
        try:
            frames = dicom.stack.from_volume(result.labels, result.affine)
        except ValueError as error:
            raise _impossible(str(error)) from error
        labels = [label for label in result.table if label.index and (frames == label.index).any()]
        if not labels:
            raise _impossible("nothing was segmented")
        content = _segmentation(frames, sources, labels=labels, model=model)
        with atomic(path) as temporary:
            content.save_as(temporary, enforce_file_format=True)


def _impossible(why: str) -> InputError:
    what = f"no DICOM Segmentation can be made of the result: {why}"
    return InputError("dicom-seg", None, what, "Leave out --dicom-seg")


def _sources(files: Sequence[Path]) -> Sequence[Dataset]:
    """Headers of the source, as highdicom wants them."""
    from pydicom import dcmread

    sources = [dcmread(file, stop_before_pixels=True) for file in files]
    for source in sources:
        if "PerFrameFunctionalGroupsSequence" in source:
            shared, first = source.SharedFunctionalGroupsSequence[0], source.PerFrameFunctionalGroupsSequence[0]
            for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
                if keyword not in shared:  # Siemens XA keeps them with each frame, where highdicom does not look
                    shared[keyword] = first[keyword]
    return sources


def _segmentation(frames: NDArray[Any], sources: Sequence[Dataset], *, labels: Sequence[Label], model: Model) -> Any:
    import highdicom as hd
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(
        name=f"lodbrain {model.card.name}",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={"weights-sha256": model.sha256},
    )
    numbered = np.zeros(frames.shape, np.uint8)
    segments = []
    for number, label in enumerate(labels, 1):
        numbered[frames == label.index] = number
        segments.append(_segment(number, label, algorithm))
    content = hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=numbered,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=_SERIES_NUMBER + int(sources[0].get("SeriesNumber") or 0),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="lodbrain",
        manufacturer_model_name=f"lodbrain {model.card.name}",
        software_versions=__version__,
        device_serial_number="0",
        content_label="LODBRAIN",
        content_description=_PURPOSE,
        series_description=f"lodbrain segmentation ({_PURPOSE.lower()})"[:64],
    )
    content.ContentQualification = "RESEARCH"
    schemes = []
    for designator in sorted({structure_code(label).scheme for label in labels} & set(PRIVATE_SCHEMES)):
        scheme = Dataset()
        scheme.CodingSchemeDesignator = designator
        scheme.CodingSchemeName, scheme.CodingSchemeResponsibleOrganization = PRIVATE_SCHEMES[designator]
        schemes.append(scheme)
    if schemes:
        content.CodingSchemeIdentificationSequence = schemes
    return content


def _segment(number: int, label: Label, algorithm: Any) -> Any:
    import highdicom as hd

    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name,
        segmented_property_category=_coded(category_code(label)),
        segmented_property_type=_coded(structure_code(label)),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=hd.UID(),
        tracking_id=label.name,
        display_color=hd.color.CIELabColor.from_rgb(*label.color),
    )
    if (side := side_code(label)) is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [_coded(side)]
    return description


def _coded(code: Code) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)
