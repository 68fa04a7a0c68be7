"""Version of the dataset snapshot in OpenNeuro's storage, from the dataset's own files.

The bucket contains the latest snapshot only. Its objects do not record their snapshot, but every snapshot adds a line
to ``CHANGES`` and writes its DOI into ``dataset_description.json``, which therefore name the latest one. A version can
be verified only while it is the latest. Older versions are rejected, because files of the same names may have changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from lodbrain.datasets.s3 import S3Object
from lodbrain.errors import InputError
from lodbrain.system.http import Client

_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class PublishedVersion:
    """Version of a dataset in its own files: the newest in ``CHANGES``, and that of the DOI in its description."""

    changes: str | None = None
    doi: str | None = None

    @property
    def version(self) -> str | None:
        """Version in ``CHANGES``, else in the DOI, which is sometimes that of an earlier snapshot."""
        return self.changes or self.doi

    @property
    def evidence(self) -> str:
        """Source of the version, as text for the manifest."""
        says = [f"CHANGES says {self.changes}"] if self.changes else []
        says += [f"DatasetDOI says {self.doi}"] if self.doi else []
        return "; ".join(says) or "the dataset does not say which version it is"


def published(client: Client, accession: str, objects: dict[str, S3Object]) -> PublishedVersion:
    """Return the version of a dataset, such as ``ds005216``, according to its files in the bucket, given by name."""

    def text(name: str) -> str:
        if name not in objects:
            return ""
        return client.read(objects[name].url, most_bytes=_MOST_BYTES).decode("utf-8", "replace")

    versions = re.findall(r"^(\d+\.\d+\.\d+)\s+\d{4}-\d\d-\d\d", text("CHANGES"), re.MULTILINE)
    newest = max(versions, key=lambda version: [int(number) for number in version.split(".")], default=None)
    try:
        description = json.loads(text("dataset_description.json") or "{}")
        doi = str(description.get("DatasetDOI", "")) if isinstance(description, dict) else ""
    except ValueError:
        doi = ""
    match = re.search(rf"10\.18112/openneuro\.{re.escape(accession)}\.v(\d+\.\d+\.\d+)", doi)
    return PublishedVersion(newest, match[1] if match else None)


def check_version(found: PublishedVersion, accession: str, wanted: str | None) -> None:
    """Raise an error if a dataset does not have the required version.

    Raises
    ------
    InputError
        ``"version"``, with a hint on how to get it.
    """
    if wanted is None or found.version == wanted:
        return
    mirror = f"https://github.com/OpenNeuroDatasets/{accession}"
    if found.version is None:
        what = f"{found.evidence}: that it is {wanted} cannot be verified"
        raise InputError("version", accession, what, f"Leave --version out, or take tag {wanted} of {mirror} (DataLad)")
    what = f"OpenNeuro's storage now holds version {found.version}, not {wanted} ({found.evidence})"
    raise InputError("version", accession, what, f"Ask for {found.version}, or take tag {wanted} of {mirror} (DataLad)")
