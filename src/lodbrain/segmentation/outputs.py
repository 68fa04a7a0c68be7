"""Names of the output files of one segmentation, and checks of the output folder before any work."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Literal, TypeAlias

from lodbrain.datasets.smriprep import TissueFiles
from lodbrain.errors import InputError, OutputError
from lodbrain.labels import Label
from lodbrain.segmentation.file_set import FileSet, output_error
from lodbrain.system.atomic import replace, sync

LabelFormat: TypeAlias = Literal["nifti", "mgz"]

_ENDING: dict[LabelFormat, str] = {"nifti": ".nii.gz", "mgz": ".mgz"}


@dataclass(frozen=True)
class Outputs(FileSet):
    """Names of the output files of one segmentation.

    Attributes
    ----------
    stem : str
        The input's name without its ending.
    label_format : {"nifti", "mgz"}
        Of the label map and the posteriors.
    with_dicom_seg : bool
        Whether a DICOM Segmentation belongs to the set.
    tissue_stem : str
        Beginning of the names of brain mask and maps of tissues for other pipelines; empty if they are not to be made.
    """

    label_format: LabelFormat = "nifti"
    with_dicom_seg: bool = False
    tissue_stem: str = ""

    @property
    def main(self) -> Path:
        """The label map."""
        return self.labels

    @property
    def wanted(self) -> tuple[Path, ...]:
        """The label map, and a DICOM Segmentation and maps of tissues if there are to be any."""
        dicom_seg = (self.dicom_seg,) if self.with_dicom_seg else ()
        return (self.labels, *dicom_seg, *(self.tissue_files.images if self.tissue_stem else ()))

    @property
    def labels(self) -> Path:
        """The label map."""
        return self.folder / f"{self.stem}_dseg{_ENDING[self.label_format]}"

    @property
    def dicom_seg(self) -> Path:
        """The label map as a DICOM Segmentation; only on request."""
        return self.folder / f"{self.stem}_dseg.dcm"

    @property
    def table(self) -> Path:
        """Index, name and colour of the labels."""
        return self.folder / f"{self.stem}_dseg.tsv"

    @property
    def volumes(self) -> Path:
        """Volumes in mm^3."""
        return self.folder / f"{self.stem}_volumes.tsv"

    @property
    def posteriors(self) -> Path:
        """Posteriors, one volume per label; only on request."""
        return self.folder / f"{self.stem}_probseg{_ENDING[self.label_format]}"

    @property
    def posteriors_sidecar(self) -> Path:
        """Names of the posteriors' volumes, in their order."""
        return self.folder / f"{self.stem}_probseg.json"

    @property
    def disagreement(self) -> Path:
        """Mask of where the members of a consensus see different tissues; with posteriors or a page only."""
        return self.folder / f"{self.stem}_differ.nii.gz"

    @property
    def tissue_files(self) -> TissueFiles:
        """Brain mask and maps of tissues for other pipelines; only on request."""
        return TissueFiles(self.folder, self.tissue_stem)

    @property
    def report(self) -> Path:
        """Report page, made from the other files; only on request."""
        return self.folder / f"{self.stem}_report.html"

    @property
    def sidecar(self) -> Path:
        """Provenance of the result; its presence marks the set as complete."""
        return self.folder / f"{self.stem}_dseg.json"

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, the label map first, then those of the other format, the sidecar last."""
        other = replace_field(self, label_format="mgz" if self.label_format == "nifti" else "nifti")
        maps = (self.labels, other.labels, self.dicom_seg, self.table, self.volumes)
        soft = (self.posteriors, other.posteriors, self.posteriors_sidecar, self.disagreement)
        tissues = self.tissue_files.all if self.tissue_stem else ()
        return (*maps, *soft, *tissues, self.report, self.sidecar)

    def publish_report(self, work: Path) -> None:
        """Move the finished report page, named as in `staged`, from `work` into place."""
        try:
            replace(self.staged(work, self.report), self.report)
            sync(self.folder)
        except OSError as error:
            raise output_error(self.folder, error) from error


def check_writable(folder: Path) -> None:
    """Create the output folder if needed, and check by a temporary file that it can be written to.

    Raises
    ------
    OutputError
        If it is a file, or cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".lodbrain-{secrets.token_hex(6)}"  # named: some file systems have no unnamed files
        try:
            trial.write_bytes(b"lodbrain")
        finally:
            with suppress(OSError):
                trial.unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError("not-a-folder", folder, "the output folder is a file", "Name a folder") from error
    except OSError as error:
        raise output_error(folder, error) from error


def identities(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """Return the existing files, by device and inode, which are the same for every link to one file."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        with suppress(OSError):
            info = path.stat()
            found[info.st_dev, info.st_ino] = path
    return found


def check_not_an_input(outputs: FileSet, inputs: Mapping[tuple[int, int], Path]) -> None:
    """Raise InputError if an output would overwrite an input (from `identities`), directly or through links."""
    for identity in identities(outputs.existing()):
        if identity in inputs:
            what = "this input would be overwritten"
            raise InputError("input-is-output", inputs[identity], what, "Choose another output folder")


def labels_tsv(table: Sequence[Label]) -> str:
    """Return a label table, without background, as the text of a TSV file in BIDS format.

    Examples
    --------
    >>> from lodbrain.labels import BRAIN
    >>> [line.split() for line in labels_tsv(BRAIN).splitlines()]
    [['index', 'name', 'color'], ['1', 'brain', '#cd3e4e']]
    """
    rows = [f"{label.index}\t{label.name}\t{label.hex_color}" for label in table if label.index]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"
