"""Label tables: the structures, their merge into tissue classes and the brain mask, and FreeSurfer's numbers.

The names exported here are those of `lodbrain.labels.structures`. The meaning of FreeSurfer's numbers is defined in
`lodbrain.labels.freesurfer`.
"""

from lodbrain.labels.structures import (
    BASAL_GANGLIA,
    BRAIN,
    CLASS_OF_INDEX,
    GREY_MATTER,
    INDEX_OF_CLASS,
    MIRROR_OF_CLASS,
    N_CLASSES,
    SIDELESS,
    SIDELESS_OF_CLASS,
    STRUCTURES,
    TABLES,
    TISSUE_OF_CLASS,
    TISSUES,
    VENTRICLES,
    WHITE_MATTER,
    Label,
    Scheme,
    Side,
    relabel,
)

__all__ = [
    "BASAL_GANGLIA",
    "BRAIN",
    "CLASS_OF_INDEX",
    "GREY_MATTER",
    "INDEX_OF_CLASS",
    "MIRROR_OF_CLASS",
    "N_CLASSES",
    "SIDELESS",
    "SIDELESS_OF_CLASS",
    "STRUCTURES",
    "TABLES",
    "TISSUES",
    "TISSUE_OF_CLASS",
    "VENTRICLES",
    "WHITE_MATTER",
    "Label",
    "Scheme",
    "Side",
    "relabel",
]
