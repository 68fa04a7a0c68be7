"""Download of OpenNeuro datasets (openneuro.org) from its public storage, without an account."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from lodbrain.datasets.manifest import Manifest
from lodbrain.datasets.paths import contained
from lodbrain.datasets.s3 import S3Object, list_objects
from lodbrain.datasets.snapshot import check_version, published
from lodbrain.datasets.transfer import check, transfer
from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError
from lodbrain.system.download import Remote, cache_folder, download
from lodbrain.system.http import Client
from lodbrain.system.progress import Progress, silent

#: Path-style URL: the bucket's name contains a dot, so no TLS certificate matches it as a host name.
BUCKET = "https://s3.amazonaws.com/openneuro.org"

#: One adult head, T1w, 15 MB, CC0: ds002014, "Language Production fMRI" (Wegrzyn et al.,
#: doi:10.18112/openneuro.ds002014.v1.0.1). Version and checksum are from the git-annex branch of OpenNeuro's dataset,
#: which provides an MD5 only. It detects damaged or wrong files but not deliberate forgery.
HEAD = Remote(
    "sub-01_T1w.nii.gz",
    "https://s3.amazonaws.com/openneuro.org/ds002014/sub-01/anat/sub-01_T1w.nii.gz"
    "?versionId=EuGDwtuwouBuXZuykAfc_of_TkWPJMX7",
    "md5:bb64989234e38763c0d7806f4d283cae",
)


def fetch_head(*, progress: Progress = silent) -> Path:
    """Return the path of a real head (T1w, CC0) in the cache; download it the first time, see `download` for errors."""
    return download(HEAD, cache_folder("openneuro-ds002014"), progress=progress)


@dataclass(frozen=True)
class Selection:
    """Selection of files in a dataset, by subjects (empty for all) and patterns; files at its top level are included.

    In patterns of names relative to the dataset, ``*`` matches any characters including slashes. Without patterns, all
    files outside ``derivatives`` and ``sourcedata`` are selected.
    """

    subjects: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Return whether a file is selected.

        Examples
        --------
        >>> some = Selection(("3",), ("*_T1w.nii*",))
        >>> [some.takes(f"sub-{n}/anat/sub-{n}_T1w.nii") for n in (3, 30)]
        [True, False]
        """
        if "/" not in name:
            return True
        labels = {f"sub-{subject.removeprefix('sub-')}" for subject in self.subjects}
        named = {match[1] for match in re.finditer(r"(?:^|/)(sub-[^_/]+)", name)}
        if labels and not labels & named:
            return False
        if not self.patterns:
            return not name.startswith(("derivatives/", "sourcedata/"))
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class FetchedFile:
    """Outcome of one file of a dataset, by its name relative to the folder."""

    name: str
    status: Literal["downloaded", "there", "failed"]
    error: LodbrainError | None = None


@dataclass(frozen=True)
class FetchedDataset:
    """Downloaded dataset, or the selected part of it, and its version according to the dataset's own files."""

    folder: Path
    version: str | None
    evidence: str
    files: tuple[FetchedFile, ...]

    @property
    def exit_code(self) -> int:
        """Exit status: 0 if all files are present, 3 if some are, 4 if none is."""
        failed = sum(file.status == "failed" for file in self.files)
        return 0 if not failed else 4 if failed == len(self.files) else 3


def fetch_dataset(
    accession: str,
    folder: str | PathLike[str],
    selection: Selection | None = None,
    *,
    version: str | None = None,
    bucket_url: str = BUCKET,
    client: Client | None = None,
    progress: Progress = silent,
    finished: Callable[[FetchedFile], None] = lambda file: None,
) -> FetchedDataset:
    """Download files of an OpenNeuro dataset into a folder of the same layout; existing files are verified.

    Parameters
    ----------
    selection : Selection, optional
        Default: all but derivatives and sourcedata.
    version : str, optional
        Required version; default: the latest snapshot, which is what the bucket contains.
    finished : callable, optional
        Called with the outcome of each file.

    Raises
    ------
    UsageError
        If the accession is invalid; it looks like ``ds005216``.
    InputError
        If the bucket cannot be listed, does not contain the dataset or the version, or no file is selected.
    OutputError
        If the folder cannot be written to, or the disk does not have enough space.
    """
    if not re.fullmatch(r"ds\d{6}", accession):
        raise UsageError("accession", None, f"{accession!r} is no accession of OpenNeuro", "It looks like ds005216")
    selection, root = selection or Selection(), Path(folder)
    with client or Client() as web:
        progress(0.0, f"listing {accession}")
        listed = _listed(web, bucket_url, accession)
        found = published(web, accession, listed)
        check_version(found, accession, version)
        wanted = {name: o for name, o in sorted(listed.items()) if selection.takes(name)}
        if not any("/" in name for name in wanted):
            some = ", ".join([name for name in sorted(listed) if "/" in name][:3])
            what = "no file matches these subjects and patterns"
            raise InputError("no-files", accession, what, f"It has files such as {some}" if some else "")
        _check_space(root, wanted)
        manifest = Manifest.read(root)
        manifest.dataset = {
            "accession": accession,
            "version": found.version,
            "evidence": found.evidence,
            "source": f"{bucket_url}/{accession}",
        }
        total, done = sum(o.size for o in wanted.values()) or 1, 0
        files = []
        try:
            for name, o in wanted.items():

                def tell(size: int, name: str = name, done: int = done) -> None:
                    progress((done + size) / total, f"{(done + size) / 1e6:.0f} of {total / 1e6:.0f} MB, {name}")

                files.append(_fetch_one(web, o, name, manifest, tell))
                finished(files[-1])
                tell(o.size)
                done += o.size
        finally:
            manifest.save()
    return FetchedDataset(root, found.version, found.evidence, tuple(files))


def _listed(client: Client, bucket_url: str, accession: str) -> dict[str, S3Object]:
    """Return the objects of a dataset, by file name."""
    prefix = f"{accession}/"
    listed = {o.key.removeprefix(prefix): o for o in list_objects(client, bucket_url, prefix) if o.key[-1] != "/"}
    if not listed:
        raise InputError("no-dataset", accession, "OpenNeuro's storage holds no such dataset", "Check the number")
    return listed


def _fetch_one(
    client: Client, o: S3Object, name: str, manifest: Manifest, progress: Callable[[int], None]
) -> FetchedFile:
    """Return the outcome of one file; errors that concern all files are raised."""
    try:
        target = contained(manifest.folder, name)
        if not os.path.lexists(target):
            manifest.add(name, transfer(client, o, target, progress=progress))
            return FetchedFile(name, "downloaded")
        known = manifest.entries.get(name)
        found = check(target, o) if target.is_file() else None
        if found is None or (known is not None and known.etag == o.etag and known.sha256 != found.sha256):
            what = "exists already and is not the published file"
            raise InputError("exists", target, what, "Delete it, or name another folder, and run the command again")
        if known is None or known.etag != o.etag:
            manifest.add(name, found)
        return FetchedFile(name, "there")
    except InputError as error:
        return FetchedFile(name, "failed", error)


def _check_space(root: Path, wanted: dict[str, S3Object]) -> None:
    """Raise an error if the disk does not have enough space for the missing files."""
    needed = 0
    for name, o in wanted.items():
        with suppress(InputError):  # an unsafe name is not written
            needed += 0 if contained(root, name).exists() else o.size
    existing = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        what = f"the download needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free"
        raise OutputError("disk-full", root, what, "Free some space or choose another output folder")
