"""Which version of a dataset OpenNeuro's storage holds, as far as the dataset itself says it.

The bucket lists the latest snapshot only. Its files do not say in which snapshot they were first; but every snapshot
writes a line into ``CHANGES`` and its DOI into ``dataset_description.json``, and those two name the latest one. So a
version can be verified while it is the latest, and is refused afterwards: what the bucket then holds under the same
names may be another file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from lodbrain.datasets.s3 import S3Object, object_url
from lodbrain.datasets.web import Client
from lodbrain.errors import InputError

_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class Published:
    """What a dataset says of its version.

    Attributes
    ----------
    changes : str or None
        Newest version in ``CHANGES``.
    doi : str or None
        Version in the DOI of ``dataset_description.json``.
    """

    changes: str | None = None
    doi: str | None = None

    @property
    def version(self) -> str | None:
        """``CHANGES`` decides: the DOI in the description is sometimes an earlier one."""
        return self.changes or self.doi

    @property
    def evidence(self) -> str:
        """How the version is known, for the record."""
        says = [f"CHANGES says {self.changes}"] if self.changes else []
        says += [f"DatasetDOI says {self.doi}"] if self.doi else []
        return "; ".join(says) or "the dataset does not say which version it is"


def published(client: Client, bucket_url: str, accession: str, objects: dict[str, S3Object]) -> Published:
    """What the bucket's copy of a dataset says of its version.

    Parameters
    ----------
    client : Client
    bucket_url : str
    accession : str
        Such as ``ds005216``.
    objects : dict of str to S3Object
        The files at the top of the dataset, by name.
    """

    def text(name: str) -> str:
        if name not in objects:
            return ""
        return client.read(object_url(bucket_url, objects[name].key), most_bytes=_MOST_BYTES).decode("utf-8", "replace")

    versions = re.findall(r"^(\d+\.\d+\.\d+)\s+\d{4}-\d\d-\d\d", text("CHANGES"), re.MULTILINE)
    newest = max(versions, key=lambda version: [int(number) for number in version.split(".")], default=None)
    try:
        description = json.loads(text("dataset_description.json") or "{}")
        doi = str(description.get("DatasetDOI", "")) if isinstance(description, dict) else ""
    except ValueError:
        doi = ""
    match = re.search(rf"10\.18112/openneuro\.{re.escape(accession)}\.v(\d+\.\d+\.\d+)", doi)
    return Published(newest, match[1] if match else None)


def check_version(found: Published, accession: str, wanted: str | None) -> None:
    """Refuse a dataset that is not of the version that is wanted.

    Raises
    ------
    InputError
        ``"version"``; what to do about it is said.
    """
    if wanted is None or found.version == wanted:
        return
    mirror = f"https://github.com/OpenNeuroDatasets/{accession}"
    if found.version is None:
        what = f"{found.evidence}: that it is {wanted} cannot be verified"
        raise InputError("version", accession, what, f"Leave --version out, or take tag {wanted} of {mirror} (DataLad)")
    what = f"OpenNeuro's storage now holds version {found.version}, not {wanted} ({found.evidence})"
    raise InputError("version", accession, what, f"Ask for {found.version}, or take tag {wanted} of {mirror} (DataLad)")
