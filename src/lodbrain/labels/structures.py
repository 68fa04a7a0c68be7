"""Label tables: 32 FreeSurfer structures, their merge into six tissue classes, and the brain mask.

Networks use *classes*: positions 0..32 in `STRUCTURES`, background first. Files hold *indices*: FreeSurfer's numbers.

References
----------
Numbers and colours: FreeSurfer's FreeSurferColorLUT.txt. Tissue numbers: LOD-Brain (Svanera et al. 2024,
doi:10.1016/j.media.2024.103090), from its output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["left", "right"]
Scheme = Literal["structures", "tissue", "brain"]

GREY_MATTER, BASAL_GANGLIA, WHITE_MATTER, VENTRICLES, CEREBELLUM, BRAINSTEM = 1, 2, 3, 4, 5, 6
NO_TISSUE = 0


@dataclass(frozen=True)
class Label:
    """One row of a label table.

    Attributes
    ----------
    index : int
        Number in the written label map.
    name : str
        Name in FreeSurfer's spelling for structures.
    color : tuple of int
        Red, green, blue in 0..255.
    side : {"left", "right"} or None
        Side of the body, None for structures of the midline.
    mirror : int
        Index of the same structure on the other side; the index itself on the midline.
    tissue : int
        LOD-Brain's tissue class, 0 for none.
    """

    index: int
    name: str
    color: tuple[int, int, int]
    side: Side | None = None
    mirror: int = 0
    tissue: int = NO_TISSUE

    @property
    def sideless(self) -> str:
        """Name without the side."""
        return self.name.removeprefix("Left-").removeprefix("Right-")

    @property
    def hex_color(self) -> str:
        """Colour as ``#rrggbb``, as BIDS requires in a ``_dseg.tsv``."""
        return "#{:02x}{:02x}{:02x}".format(*self.color)


# name, left index, right index, colour, tissue
_PAIRED = [
    ("Cerebral-White-Matter", 2, 41, (245, 245, 245), WHITE_MATTER),
    ("Cerebral-Cortex", 3, 42, (205, 62, 78), GREY_MATTER),
    ("Lateral-Ventricle", 4, 43, (120, 18, 134), VENTRICLES),
    ("Inf-Lat-Vent", 5, 44, (196, 58, 250), VENTRICLES),
    ("Cerebellum-White-Matter", 7, 46, (220, 248, 164), CEREBELLUM),
    ("Cerebellum-Cortex", 8, 47, (230, 148, 34), CEREBELLUM),
    ("Thalamus", 10, 49, (0, 118, 14), BASAL_GANGLIA),
    ("Caudate", 11, 50, (122, 186, 220), BASAL_GANGLIA),
    ("Putamen", 12, 51, (236, 13, 176), BASAL_GANGLIA),
    ("Pallidum", 13, 52, (12, 48, 255), BASAL_GANGLIA),
    ("Hippocampus", 17, 53, (220, 216, 20), GREY_MATTER),
    ("Amygdala", 18, 54, (103, 255, 255), GREY_MATTER),
    ("Accumbens-area", 26, 58, (255, 165, 0), BASAL_GANGLIA),
    ("VentralDC", 28, 60, (165, 42, 42), BASAL_GANGLIA),
]
_MIDLINE = [
    ("3rd-Ventricle", 14, (204, 182, 142), VENTRICLES),
    ("4th-Ventricle", 15, (42, 204, 164), VENTRICLES),
    ("Brain-Stem", 16, (119, 159, 176), BRAINSTEM),
    ("CSF", 24, (60, 60, 60), NO_TISSUE),
]

BACKGROUND = Label(0, "Background", (0, 0, 0))

#: Background and the 32 structures, sorted by index; the position is the class of the networks.
STRUCTURES: tuple[Label, ...] = (
    BACKGROUND,
    *sorted(
        [Label(left, f"Left-{name}", color, "left", right, tissue) for name, left, right, color, tissue in _PAIRED]
        + [Label(right, f"Right-{name}", color, "right", left, tissue) for name, left, right, color, tissue in _PAIRED]
        + [Label(index, name, color, None, index, tissue) for name, index, color, tissue in _MIDLINE],
        key=lambda label: label.index,
    ),
)

#: FreeSurfer's number of cerebrospinal fluid.
CSF = 24

TISSUES: tuple[Label, ...] = (
    BACKGROUND,
    Label(GREY_MATTER, "Grey-Matter", (205, 62, 78), mirror=GREY_MATTER, tissue=GREY_MATTER),
    Label(BASAL_GANGLIA, "Basal-Ganglia", (122, 186, 220), mirror=BASAL_GANGLIA, tissue=BASAL_GANGLIA),
    Label(WHITE_MATTER, "White-Matter", (245, 245, 245), mirror=WHITE_MATTER, tissue=WHITE_MATTER),
    Label(VENTRICLES, "Ventricles", (120, 18, 134), mirror=VENTRICLES, tissue=VENTRICLES),
    Label(CEREBELLUM, "Cerebellum", (230, 148, 34), mirror=CEREBELLUM, tissue=CEREBELLUM),
    Label(BRAINSTEM, "Brain-Stem", (119, 159, 176), mirror=BRAINSTEM, tissue=BRAINSTEM),
)

BRAIN: tuple[Label, ...] = (BACKGROUND, Label(1, "brain", (205, 62, 78), mirror=1))

TABLES: dict[Scheme, tuple[Label, ...]] = {"structures": STRUCTURES, "tissue": TISSUES, "brain": BRAIN}

#: Number of classes of a structure model, background included.
N_CLASSES = len(STRUCTURES)

CLASS_OF_INDEX: dict[int, int] = {label.index: position for position, label in enumerate(STRUCTURES)}

#: (33,): index in files of each class.
INDEX_OF_CLASS: NDArray[np.int16] = np.array([label.index for label in STRUCTURES], dtype=np.int16)

#: (33,): class of the same structure on the other side.
MIRROR_OF_CLASS: NDArray[np.int64] = np.array([CLASS_OF_INDEX[label.mirror] for label in STRUCTURES])

#: (33,): tissue class (0..6) of each class.
TISSUE_OF_CLASS: NDArray[np.int64] = np.array([label.tissue for label in STRUCTURES])

#: Structures without their side, background first: 19 names, in the order of their left indices.
SIDELESS: tuple[str, ...] = tuple(label.sideless for label in STRUCTURES if label.side != "right")

#: (33,): position in `SIDELESS` of each class.
SIDELESS_OF_CLASS: NDArray[np.int64] = np.array([SIDELESS.index(label.sideless) for label in STRUCTURES])


def relabel(classes: NDArray[np.integer], scheme: Scheme = "structures") -> NDArray[np.int16]:
    """Return the indices of a written label map from network classes.

    Parameters
    ----------
    classes : (X, Y, Z) int
        Positions in `STRUCTURES`, 0..32.
    scheme : {"structures", "tissue", "brain"}
        Label table of the result. The brain mask is every structure but CSF.

    Returns
    -------
    (X, Y, Z) int16
        FreeSurfer's numbers, LOD-Brain's tissue numbers, or 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> relabel(np.array([[[0, 1, 32]]]), "structures").tolist()
    [[[0, 2, 60]]]
    >>> relabel(np.array([[[0, 1, 32]]]), "tissue").tolist()
    [[[0, 3, 2]]]
    """
    if scheme not in TABLES:
        raise ValueError(f"scheme must be one of {sorted(TABLES)}, got {scheme!r}")
    table = {"structures": INDEX_OF_CLASS, "tissue": TISSUE_OF_CLASS, "brain": TISSUE_OF_CLASS > 0}[scheme]
    indices: NDArray[np.int16] = np.asarray(table, np.int16)[classes]
    return indices
