"""Scans of OpenNeuro (openneuro.org), which come from its public storage without signing in."""

from __future__ import annotations

from pathlib import Path

from lodbrain.datasets.download import Progress, Remote, cache_folder, download

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
