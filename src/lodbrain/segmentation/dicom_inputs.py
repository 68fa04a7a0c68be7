"""DICOM inputs, folders, zip archives and files, as the scans that are taken from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lodbrain.errors import InputError, install_hint, shown
from lodbrain.images.dicom_conversion import Converted, converted, converter_version
from lodbrain.images.dicom_headers import read_headers
from lodbrain.images.dicom_series import DicomSeries, choose, group_series
from lodbrain.images.dicom_source import DicomSource, archive_source, folder_source
from lodbrain.segmentation.inputs import files_below

#: How many series an error lists with their reasons; the others are counted.
_MOST_LISTED = 8

_HINTS = {
    "codec": "Export it without compression, or decompress it, for example with gdcmconv --raw",
    "missing-slices": "Copy or export the series again",
    "several-volumes": "Convert it with dcm2niix and name the volume to segment",
}


@dataclass(frozen=True)
class DicomOptions:
    """What is asked of DICOM inputs.

    Attributes
    ----------
    series : int or None
        Number of the series to take, whatever it shows; None for the T1w-like 3D series.
    segmentation : bool
        Write a DICOM Segmentation, too.
    identify : bool
        Keep folder names that hold the person's name, and write patient, date and UIDs into the JSON.
    """

    series: int | None = None
    segmentation: bool = False
    identify: bool = False


@dataclass(frozen=True, eq=False)
class DicomScan:
    """A series to segment, or what is wrong with an input.

    Attributes
    ----------
    stem : str
        What the names of the outputs begin with.
    folder : Path
        Folder of the results, relative to the output folder: one for each study if there are several.
    series : DicomSeries or None
        None if there is a problem.
    problem : InputError or None
        Why this input fails before any work.
    about : mapping
        More fields for the JSON files.
    messages : tuple of str
        Lines for the user: the selected series, and the reasons for skipping the others.
    """

    path: Path
    stem: str
    folder: Path = Path()
    series: DicomSeries | None = None
    problem: InputError | None = None
    about: Mapping[str, object] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


def find_dicom_scans(paths: Iterable[Path], options: DicomOptions | None = None) -> list[DicomScan]:
    """Return one scan for each study in folders, zip archives and files, or the problem of an input.

    Nothing is unpacked or converted: headers alone are read.

    Parameters
    ----------
    paths : iterable of Path
        A folder is searched recursively. A file stands for its whole series in its folder.
    """
    options = options or DicomOptions()
    scans: list[DicomScan] = []
    for path, wanted in _places(paths).items():
        try:
            scans += _scans_of(path, wanted, options)
        except ImportError:
            what = "this is DICOM, which needs pydicom, which is not installed"
            problem = InputError("extra", path, what, install_hint("dicom"))
            scans.append(DicomScan(path, path.name, problem=problem))
        except InputError as error:
            scans.append(DicomScan(path, path.name, problem=error))
    return _in_folders(scans, options)


@contextmanager
def on_disk(path: Path, series: DicomSeries | None) -> Iterator[tuple[Path, Converted | None]]:
    """Give the file of a scan: its own, or that of a series converted into a temporary folder.

    Errors that name the temporary file, or the input by its absolute path, are raised again with the input's name.
    """
    if series is None:
        yield path, None
        return
    nifti = None
    try:
        with converted(series) as scan:
            nifti = scan.nifti
            yield nifti, scan
    except InputError as error:
        place = None if error.path is None else Path(error.path)
        if place is None or place == nifti:
            raise InputError(error.code, path, f"{series.title}: {error.what}", error.hint) from error
        raise InputError(error.code, path if place == series.source.path else place, error.what, error.hint) from error


def _places(paths: Iterable[Path]) -> dict[Path, frozenset[str] | None]:
    """Folders and archives, None for all of their series; or folder of given files, with these files."""
    places: dict[Path, frozenset[str] | None] = {}
    for path in paths:
        if path.name.upper() == "DICOMDIR":
            places[path.parent] = None
        elif path.is_dir() or path.suffix.lower() == ".zip":
            places[path] = None
        elif (others := places.get(path.parent, frozenset())) is not None:
            places[path.parent] = others | {str(path.absolute())}
    return places


def _scans_of(path: Path, wanted: frozenset[str] | None, options: DicomOptions) -> list[DicomScan]:
    version = converter_version()
    source = _source(path, wanted)
    headers = list(read_headers(source))
    damaged = [header for header in headers if isinstance(header, str)]
    series = group_series(source, [header for header in headers if not isinstance(header, str)])
    if wanted is not None:
        series = [one for one in series if wanted & set(one.files)]
    if not series:
        what = f"there is no DICOM series in it ({len(source.names)} files, {len(damaged)} of them damaged)"
        raise InputError("no-dicom", path, what, "Name a folder or a zip archive of DICOM files")
    studies: dict[str, list[DicomSeries]] = {}
    for one in series:
        studies.setdefault(one.study_uid, []).append(one)
    return [_scan(path, study, options, version=version, damaged=len(damaged)) for study in studies.values()]


def _source(path: Path, wanted: frozenset[str] | None) -> DicomSource:
    if not path.is_dir():
        return archive_source(path)
    if wanted is None:
        return folder_source(path, sorted(files_below(path)))
    return folder_source(path, sorted(file for file in path.iterdir() if file.is_file()))


def _scan(path: Path, study: Sequence[DicomSeries], options: DicomOptions, *, version: str, damaged: int) -> DicomScan:
    """The scan of one study, or its problem."""
    chosen = choose(study) if options.series is None else _numbered(study, options.series)
    if chosen is None:
        return DicomScan(path, path.name, problem=_none_fits(path, study, options))
    if chosen.problem is not None:
        code, what = chosen.problem
        problem = InputError(code, path, f"{chosen.title}: {what}", _HINTS.get(code, "Name another series: --series N"))
        return DicomScan(path, path.name, problem=problem)
    rows, columns = chosen.size
    messages = [f"{shown(path.name)}: {chosen.title} is selected, {chosen.images} slices of {rows} x {columns}"]
    others = [one for one in study if one is not chosen]
    messages += [f"{shown(path.name)}: {one.title} is skipped: {_why(one, chosen, options)}" for one in others]
    if damaged:
        messages.append(f"{shown(path.name)}: files that could not be read: {damaged}")
    about: dict[str, object] = {
        "series": chosen.number,
        "protocol": chosen.safe_label,
        "slices": chosen.images,
        "unreadable_files": damaged,
        "converter": version,
    }
    if options.identify:
        about |= chosen.identity
    return DicomScan(path, chosen.stem, series=chosen, about={"dicom": about}, messages=tuple(messages))


def _numbered(study: Sequence[DicomSeries], number: int) -> DicomSeries | None:
    numbered = [one for one in study if one.number == number]
    return min(numbered, key=lambda one: (one.problem is not None, *one.rank), default=None)


def _why(one: DicomSeries, chosen: DicomSeries, options: DicomOptions) -> str:
    if options.series is not None:
        return "not requested"
    if one.reason is not None:
        return one.reason
    return one.problem[1] if one.problem is not None else f"T1w as well, but {chosen.title} is preferred"


def _none_fits(path: Path, study: Sequence[DicomSeries], options: DicomOptions) -> InputError:
    if options.series is not None:
        numbers = ", ".join(str(one.number) for one in study)
        what = f"it has no series {options.series}; there are {numbers}"
        return InputError("no-such-series", path, what, "Choose one of these with --series")
    if all("localizer" in (one.reason or "") for one in study):
        return InputError("localizer-only", path, "it holds localizers only", "Export the T1w 3D series as well")
    listed = "; ".join(f"{one.title}: {one.reason}" for one in study[:_MOST_LISTED])
    more = f"; and {len(study) - _MOST_LISTED} more" if len(study) > _MOST_LISTED else ""
    what = f"none of its series is a T1w-like 3D scan ({listed}{more})"
    return InputError("no-t1w", path, what, "Use --series N to take one of them, whatever it shows")


def _in_folders(scans: list[DicomScan], options: DicomOptions) -> list[DicomScan]:
    """The scans, those of several studies in a folder each: that of the input's name, or else study-1, study-2 ...

    A name that several studies share, or that holds a part of the person's name or ID, is not used.
    """
    series = [scan.series for scan in scans if scan.series is not None]
    if len(series) < 2:
        return scans
    names = [scan.path.resolve().stem if scan.path.is_file() else scan.path.resolve().name for scan in scans]
    placed = []
    for number, (scan, name) in enumerate(zip(scans, names, strict=True), 1):
        plain = "".join(letter for letter in name.lower() if letter.isalnum())
        personal = scan.series is not None and any(word in plain for word in scan.series.personal)
        usable = names.count(name) == 1 and (options.identify or not personal)
        placed.append(replace(scan, folder=Path(name if usable else f"study-{number}")))
    return placed
