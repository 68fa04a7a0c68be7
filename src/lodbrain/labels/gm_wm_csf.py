"""Grey matter, white matter and CSF, merged from the structures as sMRIPrep merges those of FreeSurfer.

References
----------
`_aseg_to_three` in smriprep/workflows/anatomical.py of sMRIPrep 0.19.5: brainstem and ventral diencephalon are white
matter, deep grey nuclei grey matter, ventricles CSF. Numbers and abbreviations are those of BIDS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lodbrain.labels.structures import BACKGROUND, STRUCTURES, VENTRICLES, Label

GM_WM_CSF: tuple[Label, ...] = (
    BACKGROUND,
    Label(1, "GM", (205, 62, 78), mirror=1),
    Label(2, "WM", (245, 245, 245), mirror=2),
    Label(3, "CSF", (60, 60, 60), mirror=3),
)

_WHITE = ("Cerebral-White-Matter", "Cerebellum-White-Matter", "Brain-Stem", "VentralDC")


def _tissue(label: Label) -> int:
    if label.index == 0:
        return 0
    if label.name == "CSF" or label.tissue == VENTRICLES:
        return 3
    return 2 if label.name.endswith(_WHITE) else 1


#: (33,): index in `GM_WM_CSF` of each class.
GM_WM_CSF_OF_CLASS: NDArray[np.int16] = np.array([_tissue(label) for label in STRUCTURES], dtype=np.int16)
