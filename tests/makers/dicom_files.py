"""DICOM series of a head, with headers made up: classic and enhanced, whole and broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A person whose name, ID and dates must not appear in any output.
PERSON = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "HOSP-481516",
    "PatientBirthDate": "19640812",
    "StudyDate": "20240229",
    "AccessionNumber": "ACC230042",
}

#: Header of an MPRAGE.
T1W = {
    "SeriesDescription": "t1_mprage_sag_p2",
    "ProtocolName": "t1_mprage_sag_p2",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
    "MRAcquisitionType": "3D",
    "ScanningSequence": ["GR", "IR"],
    "SequenceVariant": "SP",
    "RepetitionTime": 2300.0,
    "EchoTime": 2.98,
    "InversionTime": 900.0,
    "FlipAngle": 9.0,
}
FLAIR = T1W | {
    "SeriesDescription": "t2_space_dark-fluid_sag",
    "ProtocolName": "t2_space_dark-fluid_sag",
    "RepetitionTime": 5000.0,
    "EchoTime": 388.0,
    "InversionTime": 1800.0,
}
LOCALIZER = T1W | {
    "SeriesDescription": "localizer",
    "ProtocolName": "localizer",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"],
    "MRAcquisitionType": "2D",
}

_ROOT = "1.2.826.0.1.3680043.8.498"  # pydicom's own, for examples


def uid(*numbers: int) -> str:
    """A UID that depends on the numbers alone."""
    return ".".join([_ROOT, *map(str, numbers)])


def sagittal(shape: tuple[int, int, int], voxel_mm: float) -> dict[str, Any]:
    """Orientation and place of sagittal slices of a volume (slices, rows, columns), centred on the isocentre."""
    slices, rows, columns = shape
    return {
        "orientation": [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],
        "spacing": [voxel_mm, voxel_mm],
        "origin": np.array([-slices / 2, -columns / 2, rows / 2]) * voxel_mm,
        "step": np.array([voxel_mm, 0.0, 0.0]),
    }


def write_classic(
    folder: Path,
    volume: NDArray[np.integer],
    *,
    voxel_mm: float = 6.0,
    header: dict[str, Any] | None = None,
    series: int = 5,
    study: int = 1,
    tilt: float = 0.0,
    skip: tuple[int, ...] = (),
    names: Any = None,
    syntax: str | None = None,
) -> list[Path]:
    """Write a series of one file a slice.

    Parameters
    ----------
    folder : Path
        Made if need be.
    volume : (slices, rows, columns) int
        Sagittal, from the right to the left; rows downwards, columns to the back.
    voxel_mm : float
        Side of the cubic voxels.
    header : dict
        Elements by keyword, over those of `PERSON`.
    series, study : int
        Numbers of series and study, in their UIDs, too.
    tilt : float
        Tangent of the angle by which the stack leans: each slice lies this much lower for each mm to the left.
    skip : tuple of int
        Slices that are not written.
    names : callable
        Path of a slice, relative to `folder`, from its number.
    syntax : str
        UID of the transfer syntax to claim.
    """
    written = []
    place = sagittal(volume.shape, voxel_mm)
    place["step"][2] = -tilt * voxel_mm
    for number, pixels in enumerate(volume):
        if number in skip:
            continue
        data = _dataset(PERSON | (T1W if header is None else header), series=series, study=study)
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        data.SOPInstanceUID = uid(study, series, number + 1)
        data.InstanceNumber = number + 1
        data.SliceThickness = voxel_mm
        data.PixelSpacing = place["spacing"]
        data.ImageOrientationPatient = place["orientation"]
        data.ImagePositionPatient = [round(float(v), 6) for v in place["origin"] + number * place["step"]]
        _set_pixels(data, pixels)
        name = f"IM{number:04d}.dcm" if names is None else names(number)
        written.append(_save(data, folder / name, syntax))
    return written


def write_enhanced(
    path: Path,
    volume: NDArray[np.integer],
    *,
    voxel_mm: float = 6.0,
    header: dict[str, Any] | None = None,
    series: int = 5,
    study: int = 1,
    order: list[int] | None = None,
) -> Path:
    """Write a series as one enhanced object, its frames in any order; parameters as in `write_classic`."""
    from pydicom.dataset import Dataset

    place = sagittal(volume.shape, voxel_mm)
    values = dict(PERSON | (T1W if header is None else header))
    data = _dataset(
        {key: value for key, value in values.items() if key not in ("RepetitionTime", "EchoTime", "FlipAngle")},
        series=series,
        study=study,
    )
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4.1", uid(study, series, 1)
    data.InstanceNumber = 1
    order = list(range(len(volume))) if order is None else [int(number) for number in order]
    _set_pixels(data, volume[order])
    data.NumberOfFrames = len(order)

    def group(**elements: Any) -> list[Any]:
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        return [item]

    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=place["spacing"], SliceThickness=voxel_mm)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=place["orientation"])
    shared.MRTimingAndRelatedParametersSequence = group(
        RepetitionTime=values["RepetitionTime"], FlipAngle=values["FlipAngle"]
    )
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for stack_position in order:
        frame = Dataset()
        position = [round(float(v), 6) for v in place["origin"] + stack_position * place["step"]]
        frame.PlanePositionSequence = group(ImagePositionPatient=position)
        frame.FrameContentSequence = group(
            StackID="1", InStackPositionNumber=stack_position + 1, DimensionIndexValues=[1, stack_position + 1]
        )
        frame.MREchoSequence = group(EffectiveEchoTime=values["EchoTime"])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    return _save(data, path, None)


def as_slices(head: NDArray[np.integer]) -> NDArray[np.integer]:
    """A volume in RAS order as sagittal slices (slices, rows, columns), as `write_classic` wants them.

    Slices go to the patient's left (LPS +x), columns to the back, rows downwards.
    """
    return np.ascontiguousarray(head[::-1, ::-1, ::-1].transpose(0, 2, 1))


def _dataset(values: dict[str, Any], *, series: int, study: int) -> Any:
    from pydicom.dataset import Dataset

    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.Modality, data.Manufacturer, data.PatientSex, data.PatientPosition = "MR", "SIEMENS", "F", "HFS"
    data.StudyTime, data.SeriesDate, data.SeriesTime = "101010", values.get("StudyDate", ""), "101112"
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(study), uid(study, series)
    data.FrameOfReferenceUID, data.StudyID, data.SeriesNumber = uid(study, 0), "7", series
    data.ReferringPhysicianName, data.PositionReferenceIndicator = "", ""
    data.ContentDate, data.ContentTime, data.AcquisitionNumber = values.get("StudyDate", ""), "101113", 1
    return data


def _set_pixels(data: Any, pixels: NDArray[np.integer]) -> None:
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = pixels.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"


def _save(data: Any, path: Path, syntax: str | None) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    path.parent.mkdir(parents=True, exist_ok=True)
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    if syntax is not None:  # as pydicom would not write it
        content = path.read_bytes()
        old, new = (_ui(text) for text in (str(ExplicitVRLittleEndian), syntax))
        assert content.count(old) == 1
        changed = content.replace(old, new)
        length = int.from_bytes(changed[140:144], "little") + len(new) - len(old)
        path.write_bytes(changed[:140] + length.to_bytes(4, "little") + changed[144:])
    return path


def _ui(text: str) -> bytes:
    padded = text.encode() + b"\0" * (len(text) % 2)
    return b"\x02\x00\x10\x00UI" + len(padded).to_bytes(2, "little") + padded
