"""UltraCortex dataset: heads at 9.4 T, twelve with manual segmentations of grey and white matter (OpenNeuro ds005216).

References
----------
Mahler et al. 2025, doi:10.1038/s41597-025-04779-2; arXiv 2406.18571. CC0. Facts below: version 1.1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodbrain.datasets.openneuro import FetchedDataset, Selection, fetch_dataset
from lodbrain.errors import InputError, UsageError

if TYPE_CHECKING:
    from lodbrain.models.card import Card

ACCESSION, VERSION = "ds005216", "1.1.0"

#: Tissue and side of each manual label.
LABELS = {2: ("white matter", "left"), 41: ("white matter", "right"), 3: ("grey matter", "left")}
LABELS[42] = ("grey matter", "right")

#: Scans of version 1.0 that duplicate other scans; version 1.1.0 does not contain them.
DUPLICATES = ("sub-3_ses-3", "sub-60_ses-2", "sub-62_ses-2")


@dataclass(frozen=True)
class TestScan:
    """Published properties of a scan with manual labels; its session is 1.

    The shape is sorted in ascending order, since it is published without the order of the axes.
    """

    subject: str
    sequence: str
    voxel_mm: float
    shape: tuple[int, int, int]

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return f"sub-{self.subject}_ses-1"


SCANS: tuple[TestScan, ...] = (
    *(TestScan(s, "MP2RAGE", 0.6, (256, 352, 352)) for s in ("3", "9", "20", "44", "46", "69", "70", "73")),
    TestScan("29", "MP2RAGE", 0.8, (192, 256, 256)),
    TestScan("37", "MP-RAGE", 0.6, (288, 320, 320)),
    *(TestScan(s, "MP-RAGE", 0.6, (288, 352, 352)) for s in ("45", "57")),
)

#: Patterns of the scans with manual labels, and of the labels.
TEST_FILES = tuple(
    pattern
    for scan in SCANS
    for pattern in (
        f"sub-{scan.subject}/ses-1/anat/{scan.stem}_T1w.*",
        f"derivatives/manual_segmentation/{scan.stem}_seg.nii*",
    )
)


def fetch_ultracortex(
    folder: str | PathLike[str], *, subjects: tuple[str, ...] = (), version: str = VERSION, **options: Any
) -> FetchedDataset:
    """Download the twelve scans with manual labels and the labels, or all raw files of some subjects.

    `options` and errors are those of `fetch_dataset`. Version 1.0 is rejected because it contains duplicates.
    """
    if version.startswith("1.0."):
        what = f"version {version} holds duplicates ({', '.join(DUPLICATES)} are copies of other scans)"
        raise UsageError("version", None, what, f"Use version {VERSION}")
    selection = Selection(subjects) if subjects else Selection(patterns=TEST_FILES)
    return fetch_dataset(ACCESSION, folder, selection, version=version, **options)


@dataclass(frozen=True)
class ManualScan:
    """Scan with manual labels on disk; `published` is None for a subject that is not one of the twelve."""

    subject: str
    scan: Path
    labels: Path
    published: TestScan | None


def find_cases(folder: str | PathLike[str]) -> tuple[ManualScan, ...]:
    """Return the scans with manual labels in a folder of the dataset's layout, sorted by subject.

    Raises
    ------
    InputError
        If there are none, a scan of manual labels is missing, or a scan is a duplicate of version 1.0.
    """
    root = Path(folder)
    known = {scan.stem: scan for scan in SCANS}
    found = sorted((root / "derivatives" / "manual_segmentation").glob("sub-*_ses-*_seg.nii*"))
    cases = []
    for labels in found:
        stem = labels.name.split("_seg.nii")[0]
        subject, session = stem.split("_ses-")
        if stem in DUPLICATES:
            raise InputError("duplicate", labels, "this scan is a copy of another one", f"Use version {VERSION}")
        scans = sorted((root / subject / f"ses-{session}" / "anat").glob(f"{stem}_T1w.nii*"))
        if not scans:
            raise InputError("missing", labels, f"its scan {stem}_T1w.nii is not there", "Fetch it as well")
        cases.append(ManualScan(subject.removeprefix("sub-"), scans[0], labels, known.get(stem)))
    if not cases:
        what = "there are no manual labels in derivatives/manual_segmentation"
        raise InputError("no-cases", root, what, "Run: lodbrain fetch ultracortex")
    return tuple(sorted(cases, key=lambda case: (len(case.subject), case.subject)))


def trained_on(card: Card, subjects: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the test subjects, without ``sub-``, that a model's card names as training data.

    If a card names UltraCortex as training data without subjects, all subjects are returned.
    """
    import json
    import re

    text = json.dumps(card.training, ensure_ascii=False)
    if not re.search(rf"ultra[\s_-]?cortex|{ACCESSION}", text, re.IGNORECASE):
        return ()
    named = {label.lstrip("0") for label in re.findall(r"sub-0*(\w+?)(?=[_\W]|$)", text)}
    return tuple(subject for subject in subjects if not named or subject.lstrip("0") in named)
