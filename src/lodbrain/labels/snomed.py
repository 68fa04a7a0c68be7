"""Codes of structures for DICOM segmentations: SNOMED CT, or FreeSurfer's numbers where SNOMED CT has none.

References
----------
DICOM PS3.16, context groups 7140 (Brain Structure for Volumetric Measurement), 7151 (Segmentation Property Types) and
244 (Laterality).
"""

from __future__ import annotations

from dataclasses import dataclass

from lodbrain.labels.structures import TISSUES, Label

#: Private coding schemes (they begin with 99) for what has no SNOMED CT code: numbers of FreeSurferColorLUT.txt, and of
#: LOD-Brain's tissue classes.
FREESURFER_SCHEME, TISSUE_SCHEME = "99FREESURFER", "99LODBRAIN"
#: Name of a private scheme, and who is responsible for it.
PRIVATE_SCHEMES = {
    FREESURFER_SCHEME: ("Numbers of FreeSurferColorLUT.txt", "FreeSurfer, surfer.nmr.mgh.harvard.edu"),
    TISSUE_SCHEME: ("Numbers of the tissue classes of lodbrain", "lodbrain"),
}


@dataclass(frozen=True)
class Code:
    """A coded concept; the scheme is ``"SCT"`` (SNOMED CT) or one of `PRIVATE_SCHEMES`."""

    value: str
    scheme: str
    meaning: str


LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
BODY_SUBSTANCE = Code("91720002", "SCT", "Body Substance")

_SNOMED = {
    "Cerebral-White-Matter": ("68523003", "Cerebral White Matter"),
    "Cerebral-Cortex": ("40146001", "Cerebral cortex"),
    "Lateral-Ventricle": ("66720007", "Lateral Ventricle"),
    "Inf-Lat-Vent": ("53118009", "Inferior Horn of Lateral Ventricle"),
    "Cerebellum-White-Matter": ("33060004", "Cerebellar White Matter"),
    "Cerebellum-Cortex": ("25991003", "Cerebellar Cortex"),
    "Thalamus": ("42695009", "Thalamus"),
    "Caudate": ("11000004", "Caudate Nucleus"),
    "Putamen": ("89278009", "Putamen"),
    "Pallidum": ("14738005", "Globus Pallidus"),
    "Hippocampus": ("5366008", "Hippocampus"),
    "Amygdala": ("4958002", "Amygdala"),
    "Accumbens-area": ("427667007", "Nucleus Accumbens"),
    "3rd-Ventricle": ("49841001", "Third ventricle"),
    "4th-Ventricle": ("35918002", "Fourth Ventricle"),
    "Brain-Stem": ("119238007", "Brain Stem"),
    "CSF": ("65216001", "Cerebrospinal Fluid"),
    # tissue classes; no single code covers our basal ganglia, which include thalamus and ventral diencephalon
    "Grey-Matter": ("389081007", "Gray Matter"),
    "White-Matter": ("68523003", "Cerebral White Matter"),
    "Ventricles": ("35764002", "Brain ventricle"),
    "Cerebellum": ("113305005", "Cerebellum"),
    "brain": ("12738006", "Brain"),
}


def structure_code(label: Label) -> Code:
    """Return the code of a label's structure; SNOMED CT's codes are the same on both sides.

    Examples
    --------
    >>> from lodbrain.labels import STRUCTURES
    >>> [structure_code(label).value for label in STRUCTURES if label.name in ("Left-Caudate", "Left-VentralDC")]
    ['11000004', '28']
    """
    name = label.sideless
    if name in _SNOMED:
        value, meaning = _SNOMED[name]
        return Code(value, "SCT", meaning)
    scheme = TISSUE_SCHEME if label in TISSUES else FREESURFER_SCHEME
    return Code(str(label.index), scheme, label.name)


def category_code(label: Label) -> Code:
    """Return the code of the category that a label's structure belongs to."""
    return BODY_SUBSTANCE if label.name == "CSF" else ANATOMY


def side_code(label: Label) -> Code | None:
    """Return the code of a label's side, None on the midline."""
    return {"left": LEFT, "right": RIGHT}[label.side] if label.side else None
