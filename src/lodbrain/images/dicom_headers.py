"""Headers of DICOM files, classic (a file a slice) or enhanced (a file a volume), as plain values."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lodbrain.images.dicom_source import DicomSource, is_archive_fault

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Bytes of a file before its pixels: more than an enhanced object of 1,000 frames has, private elements included.
_MOST_HEADER_BYTES = 64 * 2**20

#: Elements that are read; all others are skipped.
_TAGS = [
    "AccessionNumber", "AcquisitionContrast", "AngioFlag", "Columns", "ComplexImageComponent", "ContrastBolusAgent",
    "EchoTime", "FlipAngle", "FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "ImageType",
    "ImagesInAcquisition", "InversionTime", "MRAcquisitionType", "Modality", "OtherPatientIDs", "PatientBirthDate",
    "PatientID", "PatientName", "PerFrameFunctionalGroupsSequence", "PixelSpacing", "ProtocolName", "RepetitionTime",
    "Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "SequenceName", "PulseSequenceName",
    "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "SharedFunctionalGroupsSequence", "SliceThickness",
    "StudyDate", "StudyInstanceUID", "TimeOfFlightContrast",
]  # fmt: skip

#: Who was scanned.
_PERSONAL = ("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber")

_DICOMDIR = "1.2.840.10008.1.3.10"
_MR_IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")


@dataclass(frozen=True, eq=False)
class DicomHeader:
    """One file.

    Attributes
    ----------
    name : str
        The file, as its `DicomSource` names it.
    values : dict of str to str or float
        Elements by keyword; times in ms, flip angle in degrees, thickness in mm; absent ones are missing.
    image_type : tuple of str
        Upper case.
    position_mm : (N, 3) float64
        Centre of the first pixel of each frame, LPS.
    orientation : (N, 6) float64
        Directions of the rows and of the columns of each frame, LPS.
    spacing_mm : (2,) float64
        Distance of rows, and of columns.
    personal : frozenset of str
        Words, lower case, that tell who was scanned.
    is_image : bool
        Whether it is an MR image, not a report, a spectrum or a picture of another device.
    """

    name: str
    values: dict[str, Any]
    image_type: tuple[str, ...] = ()
    position_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    orientation: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 6)))
    spacing_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    personal: frozenset[str] = frozenset()
    is_image: bool = False

    def text(self, *keywords: str) -> str:
        """Values of elements, joined."""
        return " ".join(str(self.values.get(keyword, "")) for keyword in keywords).strip()

    def number(self, keyword: str) -> float | None:
        """Value of an element, None where it is absent or no number."""
        try:
            value = float(self.values[keyword])
        except (KeyError, TypeError, ValueError):
            return None
        return value if np.isfinite(value) else None


def read_headers(source: DicomSource) -> Iterator[DicomHeader | str]:
    """Yield the header of each DICOM file, or the name of one that is damaged; other files are skipped.

    Raises
    ------
    InputError
        If an archive is damaged.
    ImportError
        If pydicom is not installed.
    """
    from pydicom import dcmread

    with source.opened() as files:
        for name in source.names:
            try:
                with files.file(name) as file, warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # odd values in elements that nobody asked for
                    if file.read(132)[128:] != b"DICM":
                        continue
                    file.seek(0)
                    readable: Any = _Bounded(file)
                    data = dcmread(readable, stop_before_pixels=True, specific_tags=[*_TAGS])
                    if "SeriesInstanceUID" in data:
                        yield _header(name, data)
                    elif data.file_meta.get("MediaStorageSOPClassUID") != _DICOMDIR:
                        yield name
            except OSError:
                yield name
            except Exception as error:  # pydicom's parser raises nearly anything on damaged files
                if is_archive_fault(error):
                    raise
                yield name


class _Bounded(io.RawIOBase):
    """A file of which no more than a header's worth is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        left = _MOST_HEADER_BYTES - self._file.tell()
        if left <= 0 or size > left:
            raise ValueError("the header is too long")
        return self._file.read(left if size < 0 else size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _header(name: str, data: Dataset) -> DicomHeader:
    shared = _first(data, "SharedFunctionalGroupsSequence")
    frames = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    values = {keyword: data.get(keyword) for keyword in _TAGS if not keyword.endswith("Sequence")}
    values = {keyword: value for keyword, value in values.items() if value not in (None, "")}
    values["TransferSyntaxUID"] = str(data.file_meta.get("TransferSyntaxUID", ""))
    for keyword in ("PatientName", "ProtocolName", "SeriesDescription", "SequenceName", "PulseSequenceName"):
        if keyword in values:
            values[keyword] = str(values[keyword])
    kind = data.get("ImageType") or []
    is_image = (
        str(data.get("SOPClassUID", "")) in _MR_IMAGES and "Rows" in data and int(data.get("SamplesPerPixel", 1)) == 1
    )
    header = DicomHeader(
        name,
        values,
        image_type=tuple(str(word).upper() for word in ([kind] if isinstance(kind, str) else kind)),
        personal=_personal_words(values),
        is_image=is_image,
    )
    if not is_image:
        return header
    groups = [[frame, shared] for frame in frames] if frames else [[None, None]]
    first = groups[0]
    measures = _of(first, "PixelMeasuresSequence") or data
    values |= {
        keyword: value
        for keyword, sequence, inside in _ENHANCED
        if (item := _of(first, sequence)) is not None and (value := item.get(inside)) is not None
    }
    if isinstance(values.get("InversionTime"), (list, tuple)):
        values["InversionTime"] = values["InversionTime"][0]
    positions = [(_of(group, "PlanePositionSequence") or data).get("ImagePositionPatient") for group in groups]
    turns = [(_of(group, "PlaneOrientationSequence") or data).get("ImageOrientationPatient") for group in groups]
    if any(value is None for value in (*positions, *turns)) or measures.get("PixelSpacing") is None:
        return header
    return replace(
        header,
        position_mm=np.array(positions, np.float64).reshape(-1, 3),
        orientation=np.array(turns, np.float64).reshape(-1, 6),
        spacing_mm=np.array(measures.get("PixelSpacing"), np.float64).reshape(2),
    )


#: Where enhanced objects keep what classic ones have at the top: keyword, functional group, keyword inside of it.
_ENHANCED = (
    ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("InversionTime", "MRModifierSequence", "InversionTimes"),
    ("SliceThickness", "PixelMeasuresSequence", "SliceThickness"),
)


def _first(data: Any, keyword: str) -> Any:
    items = data.get(keyword) if data is not None else None
    return items[0] if items else None


def _of(groups: list[Any], keyword: str) -> Any:
    """The functional group of a frame, or else that shared by all frames."""
    return next((item for group in groups if (item := _first(group, keyword)) is not None), None)


def _personal_words(values: dict[str, Any]) -> frozenset[str]:
    text = " ".join(str(values.get(keyword, "")) for keyword in _PERSONAL)
    words = re.split(r"[\W_]+", text.lower())
    whole = (re.sub(r"[\W_]+", "", str(values.get(keyword, "")).lower()) for keyword in _PERSONAL)
    return frozenset(word for word in (*words, *whole) if len(word) >= 3)
