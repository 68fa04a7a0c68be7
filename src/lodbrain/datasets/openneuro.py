"""Scans of OpenNeuro (openneuro.org), which come from its public storage without signing in."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from lodbrain.datasets.download import Progress, Remote, cache_folder, download
from lodbrain.datasets.manifest import Entry, Manifest
from lodbrain.datasets.paths import contained
from lodbrain.datasets.s3 import S3Object, list_objects, object_url
from lodbrain.datasets.snapshot import check_version, published
from lodbrain.datasets.transfer import Receipt, Source, check, transfer
from lodbrain.datasets.web import Client
from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError

#: Path style: the bucket's name has a dot, so that no certificate fits it as a host.
BUCKET = "https://s3.amazonaws.com/openneuro.org"

#: One adult head, T1w, 15 MB, CC0: ds002014, "Language Production fMRI" (Wegrzyn et al.,
#: doi:10.18112/openneuro.ds002014.v1.0.1). Version and checksum are those that OpenNeuro's own record of the dataset
#: (its git-annex branch) gives for the file. It gives an MD5 only: that shows a file broken or mixed up on the way, and
#: is no proof against a deliberate forgery.
HEAD = Remote(
    "sub-01_T1w.nii.gz",
    "https://s3.amazonaws.com/openneuro.org/ds002014/sub-01/anat/sub-01_T1w.nii.gz"
    "?versionId=EuGDwtuwouBuXZuykAfc_of_TkWPJMX7",
    "md5:bb64989234e38763c0d7806f4d283cae",
)


def fetch_head(*, progress: Progress | None = None) -> Path:
    """Path of a real head (T1w, CC0) in the cache; downloaded the first time.

    Parameters
    ----------
    progress : callable, optional
        Told the fraction done, 0..1, and the file's name.

    Returns
    -------
    Path
        ``$LODBRAIN_CACHE/openneuro-ds002014/sub-01_T1w.nii.gz``.

    Raises
    ------
    InputError, WeightsError, OutputError
        See `lodbrain.datasets.download.download`.
    """
    return download(HEAD, cache_folder("openneuro-ds002014"), progress=progress)


@dataclass(frozen=True)
class Selection:
    """Which files of a dataset.

    Attributes
    ----------
    subjects : tuple of str
        Labels with or without ``sub-``; none for all.
    patterns : tuple of str
        File names below the dataset, where ``*`` stands for anything, slashes too. None: every file outside of
        ``derivatives`` and ``sourcedata``. What lies at the top of the dataset is always taken.
    """

    subjects: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether a file is wanted.

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
class Fetched:
    """One file of a dataset: there, or why not.

    Attributes
    ----------
    name : str
        Below the folder.
    status : {"downloaded", "there", "failed"}
    error : LodbrainError or None
    """

    name: str
    status: Literal["downloaded", "there", "failed"]
    error: LodbrainError | None = None


@dataclass(frozen=True)
class Fetch:
    """A dataset, or the part of it that was asked for.

    Attributes
    ----------
    folder : Path
    version : str or None
        That the dataset says it is.
    evidence : str
        How that is known.
    files : tuple of Fetched
    """

    folder: Path
    version: str | None
    evidence: str
    files: tuple[Fetched, ...]

    @property
    def exit_code(self) -> int:
        """0 if all files are there, 3 if some are, 4 if none is."""
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
    progress: Progress | None = None,
    finished: Callable[[Fetched], None] = lambda file: None,
) -> Fetch:
    """Files of an OpenNeuro dataset in a folder, laid out as there; those that are there already are verified.

    Parameters
    ----------
    accession : str
        Such as ``ds005216``.
    folder : path
    selection : Selection, optional
        Default: all but derivatives.
    version : str, optional
        Refuse any other; default: whatever the bucket holds, which is the latest snapshot.
    bucket_url : str
    client : Client, optional
    progress : callable, optional
        Told the share of bytes that is there, and a few words.
    finished : callable, optional
        Told of each file as it is done.

    Raises
    ------
    UsageError
        If the accession is none.
    InputError
        If the bucket cannot be listed, holds no such dataset or another version of it, or nothing is selected.
    OutputError
        If the folder cannot be written to, or the disk is too full.
    """
    if not re.fullmatch(r"ds\d{6}", accession):
        raise UsageError("accession", None, f"{accession!r} is no accession of OpenNeuro", "It looks like ds005216")
    selection, root = selection or Selection(), Path(folder)
    report = progress or (lambda share, text: None)
    with client or Client() as web:
        report(0.0, f"listing {accession}")
        listed = _listed(web, bucket_url, accession)
        found = published(web, bucket_url, accession, listed)
        check_version(found, accession, version)
        wanted = {name: o for name, o in sorted(listed.items()) if selection.takes(name)}
        if not any("/" in name for name in wanted):
            some = ", ".join([name for name in sorted(listed) if "/" in name][:3])
            what = "no file of it is of these subjects and patterns"
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
                    report((done + size) / total, f"{(done + size) / 1e6:.0f} of {total / 1e6:.0f} MB, {name}")

                files.append(_fetch_one(web, bucket_url, o, name, manifest, tell))
                finished(files[-1])
                done += o.size
                tell(o.size, done=done - o.size)
        finally:
            manifest.save()
    return Fetch(root, found.version, found.evidence, tuple(files))


def _listed(client: Client, bucket_url: str, accession: str) -> dict[str, S3Object]:
    """The files of a dataset, by name."""
    prefix = f"{accession}/"
    listed = {o.key.removeprefix(prefix): o for o in list_objects(client, bucket_url, prefix) if o.key[-1] != "/"}
    if not listed:
        raise InputError("no-dataset", accession, "OpenNeuro's storage holds no such dataset", "Check the number")
    return listed


def _fetch_one(
    client: Client, bucket_url: str, o: S3Object, name: str, manifest: Manifest, progress: Callable[[int], None]
) -> Fetched:
    """One file, there or failed; what concerns all of them is raised."""
    source = Source(object_url(bucket_url, o.key), o.size, o.etag, o.md5)
    try:
        target = contained(manifest.folder, name)
        if not os.path.lexists(target):
            receipt = transfer(client, source, target, progress=progress)
            _record(manifest, name, o, receipt)
            return Fetched(name, "downloaded")
        known = manifest.entries.get(name)
        found = check(target, source) if target.is_file() else None
        if found is None or (known is not None and known.etag == o.etag and known.sha256 != found.sha256):
            what = "is there, and is not the published file"
            raise InputError("exists", target, what, "Delete it, or name another folder, and run the command again")
        if known is None or known.etag != o.etag:
            _record(manifest, name, o, found)
        return Fetched(name, "there")
    except InputError as error:
        return Fetched(name, "failed", error)


def _record(manifest: Manifest, name: str, o: S3Object, found: Receipt) -> None:
    manifest.add(name, Entry(o.size, found.sha256, found.md5, o.etag, found.version_id, found.verified))


def _check_space(root: Path, wanted: dict[str, S3Object]) -> None:
    """Refuse before the first byte what the disk has no room for."""

    def is_there(name: str) -> bool:
        try:
            return contained(root, name).exists()
        except InputError:
            return False

    needed = sum(o.size for name, o in wanted.items() if not is_there(name))
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        what = f"{needed / 1e9:.1f} GB are to be downloaded and {free / 1e9:.1f} GB are free"
        raise OutputError("disk-full", root, what, "Free some space or choose another output folder")
