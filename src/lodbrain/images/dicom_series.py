"""Classification of DICOM series: T1w-like 3D scans, and the reasons to exclude the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lodbrain.images.dicom_contrast import not_t1w
from lodbrain.images.dicom_grid import FrameStack
from lodbrain.images.dicom_headers import DicomHeader
from lodbrain.images.dicom_source import DicomSource

#: Transfer syntaxes that dcm2niix decodes: uncompressed, RLE, JPEG (baseline, extended, lossless), JPEG-LS, JPEG 2000.
_DECODED = {
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91)),
}  # fmt: skip

_LOCALIZER = re.compile(r"locali[sz]er|scout|survey|3-?plane|\bloc\b", re.IGNORECASE)

#: Values of ImageType for images computed from other images, and for phase, real and imaginary images.
_REFORMATTED = {"MPR", "MIP", "MINIP", "MIN IP", "PROJECTION IMAGE", "REFORMATTED", "CPR", "SCREEN SAVE"}
_COMPLEX_PARTS = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "PHASE CONTRAST"}

#: A shorter stack of slices does not cover a brain (an adult's measures 110 mm or more in its shortest direction).
_LEAST_EXTENT_MM = 100.0
#: If the header does not state 2D or 3D, slices farther apart than this are taken for 2D.
_LARGEST_STEP_MM = 3.0
#: Largest deviation of a slice distance from the median, as a share of it.
_LARGEST_UNEVENNESS = 0.1
_SAME_POSITION_MM = 0.01


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The files of one series.

    Attributes
    ----------
    source : DicomSource
        Folder or archive that contains the files.
    files : tuple of str
        Names in the source, each image once, in the order of the slices if they form a volume.
    uid, study_uid : str
        SeriesInstanceUID and StudyInstanceUID.
    number : int or None
        SeriesNumber.
    label : str
        Name of the protocol, or description of the series; it may contain the person's name.
    personal : frozenset of str
        Words that identify the person, in lower case.
    images, size : int, (int, int)
        Number of images; rows and columns.
    stack : FrameStack or None
        Positions of the images, in the order of the files; None if they do not form a volume.
    reason : str or None
        Reason why it is not a T1w-like 3D scan.
    problem : (str, str) or None
        Code and text of the reason why it cannot be converted.
    rank : tuple
        Sort key among the T1w-like scans of one study, the best scan first.
    identity : dict of str to str
        Person, date and UIDs, written only on request.
    """

    source: DicomSource
    files: tuple[str, ...]
    uid: str
    study_uid: str
    number: int | None
    label: str
    personal: frozenset[str]
    images: int
    size: tuple[int, int]
    stack: FrameStack | None
    reason: str | None
    problem: tuple[str, str] | None
    rank: tuple[float, ...]
    identity: dict[str, str]

    @property
    def title(self) -> str:
        """Name in messages, such as ``series 5 (t1-mprage)``."""
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number}" + (f" ({self.safe_label})" if self.safe_label else "")

    @property
    def safe_label(self) -> str:
        """Label in letters, digits and hyphens; empty if it contains a part of the person's name or ID.

        Long numbers, which may be dates or IDs, are left out.
        """
        plain = "".join(re.findall(r"[a-z0-9]", self.label.lower()))
        if any(word in plain for word in self.personal):
            return ""
        words = [word for word in re.split(r"[^A-Za-z0-9]+", self.label) if word and not re.search(r"\d{6}", word)]
        return "-".join(words)[:40].strip("-")

    @property
    def stem(self) -> str:
        """Stem of the names of its results, such as ``series-5_t1-mprage``, without personal data."""
        number = "" if self.number is None else f"-{self.number}"
        return f"series{number}" + (f"_{self.safe_label}" if self.safe_label else "")


def group_series(source: DicomSource, headers: Iterable[DicomHeader]) -> list[DicomSeries]:
    """Return the series of DICOM files, sorted by study in the order found, then by number.

    Parameters
    ----------
    headers : iterable of DicomHeader
        In any order; copies of an image are ignored.
    """
    found: dict[tuple[str, str], dict[str, DicomHeader]] = {}
    for header in headers:
        key = (header.text("StudyInstanceUID"), header.text("SeriesInstanceUID"))
        found.setdefault(key, {}).setdefault(header.text("SOPInstanceUID") or header.name, header)
    series = [_series(source, list(images.values())) for images in found.values()]
    studies = list(dict.fromkeys(one.study_uid for one in series))
    return sorted(series, key=lambda one: (studies.index(one.study_uid), one.number or 0, one.uid))


def choose(series: Sequence[DicomSeries]) -> DicomSeries | None:
    """Return the T1w-like 3D scan of one study, or None.

    Of several, the first by these criteria in turn: can be converted; no contrast agent; not computed from several
    images (MP2RAGE's UNI); smaller voxels; intensities corrected by the scanner (NORM); acquired last, as a scan is
    usually repeated because the earlier one is poor.
    """
    candidates = [one for one in series if one.reason is None]
    return min(candidates, key=lambda one: (one.problem is not None, *one.rank), default=None)


def _series(source: DicomSource, headers: list[DicomHeader]) -> DicomSeries:
    first = headers[0]
    ordered, layout, problem = _slice_order(headers)
    number = first.number("SeriesNumber")
    positions = sum(len(header.position_mm) for header in headers)
    reason = _reason(first, layout, images=positions)
    step = layout.step_mm if layout else 0.0
    volume_mm3 = float(step * first.spacing_mm.prod())
    name = first.text("SeriesDescription", "ProtocolName")
    rank = (
        float("ContrastBolusAgent" in first.values or bool(re.search(r"\+c\b|gd|post|contrast", name, re.IGNORECASE))),
        float("UNI" in first.image_type or bool(re.search(r"\buni\b|_uni_", name, re.IGNORECASE))),
        round(volume_mm3, 2),
        float("NORM" not in first.image_type),
        -(number or 0.0),
    )
    size = int(first.number("Rows") or 0), int(first.number("Columns") or 0)
    stack = None
    if problem is None:
        places = np.concatenate([header.position_mm for header in ordered])
        stack = FrameStack(places, first.orientation[0], first.spacing_mm, size)
    keywords = ("PatientID", "PatientName", "StudyDate", "StudyInstanceUID", "SeriesInstanceUID")
    return DicomSeries(
        source=source,
        files=tuple(header.name for header in ordered),
        uid=first.text("SeriesInstanceUID"),
        study_uid=first.text("StudyInstanceUID"),
        number=None if number is None else int(number),
        label=first.text("ProtocolName") or first.text("SeriesDescription"),
        personal=first.personal,
        images=positions or len(headers),
        size=size,
        stack=stack,
        reason=reason,
        problem=problem or _undecoded(headers),
        rank=rank,
        identity={keyword: first.text(keyword) for keyword in keywords if first.text(keyword)},
    )


@dataclass(frozen=True)
class _Layout:
    """Arrangement of slices: median distance, extent of the stack, same orientation, several images of one position."""

    step_mm: float
    extent_mm: float
    parallel: bool
    repeated: bool


def _slice_order(headers: list[DicomHeader]) -> tuple[list[DicomHeader], _Layout | None, tuple[str, str] | None]:
    """Return the headers in slice order, their layout, and the problem if they do not form a volume."""
    if not all(header.is_image and len(header.position_mm) for header in headers):
        return headers, None, ("geometry", "some of its images have no position")
    orientations = np.concatenate([header.orientation for header in headers])
    positions = np.concatenate([header.position_mm for header in headers])
    parallel = bool(np.abs(orientations - orientations[0]).max() < 1e-3)
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    depths = positions @ normal  # along the normal of the slices
    order = sorted(headers, key=lambda header: float(header.position_mm[0] @ normal))
    gaps = np.diff(np.sort(depths))
    repeated = bool((gaps < _SAME_POSITION_MM).any())
    distinct = gaps[gaps >= _SAME_POSITION_MM]
    step = float(np.median(distinct)) if distinct.size else 0.0
    layout = _Layout(step, float(np.ptp(depths)) + step, parallel, repeated)
    if not parallel:
        return order, layout, ("geometry", "its slices have several orientations")
    if step == 0:
        return order, layout, ("one-slice", "it is a single slice")
    if repeated:
        return (
            order,
            layout,
            ("several-volumes", "it holds several images of one place (echoes, phases or time points)"),
        )
    if missing := int(np.rint(gaps[gaps > 1.5 * step] / step - 1).sum()):
        return order, layout, ("missing-slices", f"{missing} of its slices {'is' if missing == 1 else 'are'} missing")
    if np.abs(gaps - step).max() > _LARGEST_UNEVENNESS * step:
        return order, layout, ("uneven", "its slices are not evenly spaced")
    expected = headers[0].number("ImagesInAcquisition")
    if expected is not None and len(positions) < expected:
        lost = int(expected) - len(positions)
        return order, layout, ("missing-slices", f"{lost} of its {int(expected)} slices are missing")
    sizes = {(header.number("Rows"), header.number("Columns"), *header.spacing_mm.round(4)) for header in headers}
    if len(sizes) > 1:
        return order, layout, ("geometry", "its images have several sizes")
    return order, layout, None


def _undecoded(headers: list[DicomHeader]) -> tuple[str, str] | None:
    syntaxes = {header.text("TransferSyntaxUID") for header in headers} - _DECODED
    if not syntaxes:
        return None
    from pydicom.uid import UID

    names = ", ".join(sorted(UID(syntax).name for syntax in syntaxes))
    return "codec", f"its images are compressed in a way that dcm2niix cannot decode ({names})"


def _reason(first: DicomHeader, layout: _Layout | None, *, images: int) -> str | None:
    """Return the reason why a series is not a T1w-like 3D scan, or None."""
    kind = set(first.image_type)
    if not first.is_image:
        return "no MR images"
    if "LOCALIZER" in kind or _LOCALIZER.search(first.text("SeriesDescription", "ProtocolName")):
        return "a localizer"
    if layout is None:
        return "images without positions"
    if not layout.parallel:
        return "a localizer, slices of several orientations" if images < 40 else "slices of several orientations"
    if kind & _REFORMATTED:
        return "reformatted from another series"
    if kind & _COMPLEX_PARTS or first.text("ComplexImageComponent") in ("PHASE", "REAL", "IMAGINARY"):
        return "a phase image, or the real or imaginary part of one"
    if reason := not_t1w(first):
        return reason
    acquisition = first.text("MRAcquisitionType")
    if acquisition == "2D" or (acquisition != "3D" and layout.step_mm > _LARGEST_STEP_MM):
        return f"2D, slices {layout.step_mm:.1f} mm apart"
    if layout.repeated:
        return "several images of one place (echoes, phases or time points)"
    if layout.extent_mm < _LEAST_EXTENT_MM:
        return f"only {layout.extent_mm:.0f} mm of the head"
    return None
