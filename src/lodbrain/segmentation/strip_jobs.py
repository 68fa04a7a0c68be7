"""Jobs of a brain extraction: each with one scan and the names of its brain, mask and JSON sidecar."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lodbrain.errors import InputError, UsageError
from lodbrain.segmentation.file_set import FileSet
from lodbrain.segmentation.inputs import Scan, find_scans, stem_of

#: Endings of the images that can be written.
ENDINGS = (".nii.gz", ".nii", ".mgz")


@dataclass(frozen=True)
class StripOutputs(FileSet):
    """Names of the output files of one brain extraction.

    Attributes
    ----------
    folder, stem
        Folder and stem of the sidecar.
    brain : Path
        The scan with black outside of the mask.
    mask : Path or None
        The mask; None if it is not written.
    """

    brain: Path
    mask: Path | None

    @classmethod
    def named(cls, brain: Path, mask: Path | None) -> StripOutputs:
        """Return the outputs of these names; the sidecar is beside the mask or, without a mask, beside the brain."""
        beside = mask or brain
        return cls(beside.parent, stem_of(beside), brain, mask)

    @classmethod
    def in_folder(cls, folder: Path, scan: Scan) -> StripOutputs:
        """Return the outputs of a scan in an output folder, in the scan's own format."""
        ending = ".mgz" if scan.path.name.lower().endswith((".mgz", ".mgh", ".mgh.gz")) else ".nii.gz"
        place = folder / scan.folder
        return cls.named(place / f"{scan.stem}_brain{ending}", place / f"{scan.stem}_mask{ending}")

    @property
    def main(self) -> Path:
        """The brain."""
        return self.brain

    @property
    def sidecar(self) -> Path:
        """Provenance of the result; its presence marks the set as complete."""
        return self.folder / f"{self.stem}.json"

    @property
    def all(self) -> tuple[Path, ...]:
        """Brain, mask and sidecar."""
        return (self.brain, *([] if self.mask is None else [self.mask]), self.sidecar)

    @property
    def wanted(self) -> tuple[Path, ...]:
        """Brain and mask."""
        return self.all[:-1]

    def staged(self, work: Path, path: Path) -> Path:
        """Return the temporary path of a file in `work`, numbered: brain and mask may have one name in two folders."""
        number = self.all.index(path)
        return work / f"{number}{path.name.removeprefix(stem_of(path))}"


@dataclass(frozen=True, eq=False)
class StripJob:
    """One scan, the names of its results, and an error detected before any processing."""

    path: Path
    outputs: StripOutputs
    problem: InputError | None = None


def find_strip_jobs(inputs: Iterable[str | PathLike[str]], out: Path, mask: Path | None = None) -> list[StripJob]:
    """Return a job for each scan of files, folders and globs, as `find_scans` finds them.

    Parameters
    ----------
    out : Path
        Name of the brain, with one of `ENDINGS`, if the input is one file; else the output folder.
    mask : Path, optional
        Name of the mask, for a named brain only; in an output folder masks are always written.

    Raises
    ------
    UsageError
        If no input is given, two scans of one folder have the same stem, or a brain is named for several scans.
    """
    inputs = list(inputs)
    scans = find_scans(inputs)
    is_folder = out.is_dir() or not out.name.endswith(ENDINGS)
    if is_folder:
        if mask is not None:
            what = "a name for the mask needs a name for the brain, not a folder"
            raise UsageError("mask", mask, what, f"Give -o a name that ends in {', '.join(ENDINGS)}")
        stems = {scan.folder / scan.stem for scan in scans}

        def is_earlier_brain(scan: Scan) -> bool:
            """Return whether an image in a folder of scans is the brain of another, from an earlier run."""
            return scan.stem.endswith("_brain") and scan.folder / scan.stem.removesuffix("_brain") in stems

        return [
            StripJob(scan.path, StripOutputs.in_folder(out, scan), scan.problem)
            for scan in scans
            if not is_earlier_brain(scan)
        ]
    if len(scans) > 1 or os.path.isdir(inputs[0]):
        raise UsageError("out", out, "one image cannot hold several brains", "Give -o a folder")
    if mask is not None and not mask.name.endswith(ENDINGS):
        raise UsageError("mask", mask, "this is no name of an image", f"Names end in {', '.join(ENDINGS)}")
    if mask is not None and os.path.abspath(mask) == os.path.abspath(out):
        raise UsageError("mask", mask, "brain and mask cannot be one file", "Give them two names")
    return [StripJob(scans[0].path, StripOutputs.named(out, mask), scans[0].problem)]
