"""Anatomical derivatives that sMRIPrep and fMRIPrep reuse (`--derivatives`): their names, and the scans that have some.

The two look for one brain mask, one segmentation into grey matter, white matter and CSF, and one probability map of
each, on the grid of the T1w reference, and then skip brain extraction and FAST. Files are found by their entities:
``space`` must be absent from all, ``desc`` must be ``brain`` for the mask and absent from the segmentation, ``label``
must be ``GM``, ``WM`` and ``CSF`` for the maps. A second mask of a participant, or of one of its sessions, makes the
first ambiguous. The T1w reference of a single image is that image with its axes reordered to RAS.

References
----------
sMRIPrep 0.19.5: smriprep/data/io_spec.json and smriprep.utils.bids.collect_derivatives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lodbrain.datasets.bids_scans import ENTITIES, BidsScan
from lodbrain.errors import InputError
from lodbrain.labels.gm_wm_csf import GM_WM_CSF

_MASK = "_desc-brain_mask.nii.gz"

#: Entities that occur in derivatives only, and would hide these files from sMRIPrep.
_DERIVED = tuple(ENTITIES)[tuple(ENTITIES).index("space") :]


@dataclass(frozen=True)
class TissueFiles:
    """Brain mask, segmentation and probability maps of one scan; their names begin with a stem of `smriprep_stem`.

    Examples
    --------
    >>> [path.name for path in TissueFiles(Path(), "sub-01_run-1").images][:3]
    ['sub-01_run-1_desc-brain_mask.nii.gz', 'sub-01_run-1_dseg.nii.gz', 'sub-01_run-1_label-GM_probseg.nii.gz']
    """

    folder: Path
    stem: str

    @property
    def mask(self) -> Path:
        """Brain mask."""
        return self.folder / f"{self.stem}{_MASK}"

    @property
    def labels(self) -> Path:
        """Segmentation: 1 grey matter, 2 white matter, 3 CSF."""
        return self.folder / f"{self.stem}_dseg.nii.gz"

    @property
    def table(self) -> Path:
        """Names of these numbers."""
        return self.folder / f"{self.stem}_dseg.tsv"

    @property
    def maps(self) -> tuple[Path, ...]:
        """Probability maps of grey matter, white matter and CSF."""
        return tuple(self.folder / f"{self.stem}_label-{label.name}_probseg.nii.gz" for label in GM_WM_CSF[1:])

    @property
    def images(self) -> tuple[Path, ...]:
        """Mask, segmentation and maps."""
        return (self.mask, self.labels, *self.maps)

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file; each image has a sidecar."""
        return (*self.images, self.table, *(sidecar_of(image) for image in self.images))


def sidecar_of(image: Path) -> Path:
    """Return the name of the JSON file of an image ``.nii.gz``."""
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")


def smriprep_stem(scan: BidsScan) -> str:
    """Return the beginning of the names of a scan's derivatives: its entities as a raw scan.

    Examples
    --------
    >>> from lodbrain.datasets.bids_scans import scan_at
    >>> smriprep_stem(scan_at("sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii.gz"))
    'sub-01_ses-1_run-1'
    """
    return "_".join(f"{name}-{value}" for name, value in scan.entities.items() if name not in _DERIVED)


def usable_by_smriprep(scans: Iterable[BidsScan], out: Path) -> list[BidsScan]:
    """Return the scans, to be segmented into `out`, with a problem where sMRIPrep could not use their derivatives.

    Of several images of a session, sMRIPrep averages all and takes the grid of the average. A scan in another space
    than its own is none that it reads.
    """
    scans = list(scans)
    count = Counter(map(_session, scans))  # also of those that cannot be read here: sMRIPrep looks for them, too
    checked = []
    for scan in scans:
        problem = scan.problem
        if problem is None and count[_session(scan)] > 1:
            what = f"sMRIPrep would average it with the other scans of its session ({count[_session(scan)]} in all)"
            hint = "Choose one with --bids-filter-file, and give sMRIPrep the same file"
            problem = InputError("several-scans", scan.path, what, hint)
        elif problem is None and set(_DERIVED) & set(scan.entities):
            what = "it is a derivative, and sMRIPrep reads scans as they were acquired"
            problem = InputError("derived-scan", scan.path, what, "Name the dataset of the original scans")
        elif problem is None and (other := _other_mask(scan, out)) is not None:
            what = f"{other} is there already, and sMRIPrep cannot tell two brain masks apart"
            problem = InputError(
                "other-mask", scan.path, what, "Remove it and what belongs to it, or name a new folder"
            )
        checked.append(replace(scan, problem=problem))
    return checked


def several_sessions(scans: Iterable[BidsScan]) -> list[str]:
    """Return the participants with scans of several sessions, whom sMRIPrep must process session by session."""
    sessions: dict[str, set[str]] = {}
    for scan in scans:
        sessions.setdefault(scan.entities["sub"], set()).add(scan.entities.get("ses", ""))
    return [f"sub-{person}" for person, own in sessions.items() if len(own) > 1]


def _session(scan: BidsScan) -> tuple[str, str]:
    return scan.entities["sub"], scan.entities.get("ses", "")


def _other_mask(scan: BidsScan, out: Path) -> Path | None:
    """Return a mask of another scan among the derivatives of a session."""
    own = TissueFiles(out / scan.folder, smriprep_stem(scan)).mask
    masks = (path for path in sorted(own.parent.glob(f"*{_MASK}")) if "_space-" not in path.name)
    return next((path for path in masks if path != own), None)
