import numpy as np
import pytest

from lodbrain import labels
from lodbrain.labels import STRUCTURES, TABLES, TISSUES, relabel

INDICES = [
    0, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28,
    41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60,
]  # fmt: skip
BY_INDEX = {label.index: label for label in STRUCTURES}


def test_structures_are_background_and_32_of_freesurfers_numbers_in_order() -> None:
    assert [label.index for label in STRUCTURES] == INDICES
    assert labels.N_CLASSES == 33
    assert labels.INDEX_OF_CLASS.tolist() == INDICES
    assert {index: labels.CLASS_OF_INDEX[index] for index in (0, 2, 24, 60)} == {0: 0, 2: 1, 24: 16, 60: 32}


@pytest.mark.parametrize(
    ("left", "right"),
    [(2, 41), (3, 42), (4, 43), (5, 44), (7, 46), (8, 47), (10, 49), (11, 50), (12, 51), (13, 52), (17, 53), (18, 54),
     (26, 58), (28, 60)],
)  # fmt: skip
def test_left_and_right_mirror_each_other_in_number_name_colour_and_tissue(left: int, right: int) -> None:
    a, b = BY_INDEX[left], BY_INDEX[right]
    assert (a.side, b.side, a.mirror, b.mirror) == ("left", "right", right, left)
    assert (a.name.replace("Left-", ""), a.color, a.tissue) == (b.name.replace("Right-", ""), b.color, b.tissue)


def test_midline_structures_mirror_themselves() -> None:
    midline = [label for label in STRUCTURES if label.side is None]
    assert [label.index for label in midline] == [0, 14, 15, 16, 24]
    assert all(label.mirror == label.index for label in midline)


def test_mirroring_classes_twice_changes_nothing() -> None:
    mirror = labels.MIRROR_OF_CLASS
    assert mirror[mirror].tolist() == list(range(33))
    assert mirror[labels.CLASS_OF_INDEX[17]] == labels.CLASS_OF_INDEX[53]


def test_structures_merge_into_lod_brains_six_tissues() -> None:
    merged = {
        tissue.name: [label.index for label in STRUCTURES if label.tissue == tissue.index] for tissue in TISSUES[1:]
    }
    assert merged == {
        "Grey-Matter": [3, 17, 18, 42, 53, 54],
        "Basal-Ganglia": [10, 11, 12, 13, 26, 28, 49, 50, 51, 52, 58, 60],
        "White-Matter": [2, 41],
        "Ventricles": [4, 5, 14, 15, 43, 44],
        "Cerebellum": [7, 8, 46, 47],
        "Brain-Stem": [16],
    }
    assert [label.index for label in STRUCTURES if label.tissue == 0] == [0, 24]


def test_every_table_has_unique_indices_names_and_background_first() -> None:
    for table in TABLES.values():
        assert (table[0].index, table[0].name) == (0, "Background")
        assert len({label.index for label in table}) == len({label.name for label in table}) == len(table)


def test_colours_are_freesurfers_and_written_as_bids_asks() -> None:
    assert (BY_INDEX[17].color, BY_INDEX[17].hex_color) == ((220, 216, 20), "#dcd814")
    assert BY_INDEX[0].hex_color == "#000000"


def test_sideless_names_merge_left_and_right() -> None:
    assert len(labels.SIDELESS) == 19
    left, right = labels.CLASS_OF_INDEX[12], labels.CLASS_OF_INDEX[51]
    assert labels.SIDELESS_OF_CLASS[left] == labels.SIDELESS_OF_CLASS[right] == labels.SIDELESS.index("Putamen")
    assert labels.SIDELESS_OF_CLASS[labels.CLASS_OF_INDEX[16]] == labels.SIDELESS.index("Brain-Stem")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("structures", INDICES),
        ("tissue", [BY_INDEX[index].tissue for index in INDICES]),
        ("brain", [int(index not in (0, 24)) for index in INDICES]),
    ],
)
def test_relabel_maps_every_class_and_keeps_the_shape(scheme: labels.Scheme, expected: list[int]) -> None:
    classes = np.arange(33, dtype=np.uint8).reshape(3, 11, 1)
    result = relabel(classes, scheme)
    assert (result.shape, result.dtype) == ((3, 11, 1), np.int16)
    assert result.ravel().tolist() == expected


def test_relabel_names_the_scheme_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"scheme must be one of \['brain', 'structures', 'tissue'\], got 'lobes'"):
        relabel(np.zeros((1, 1, 1), np.uint8), "lobes")  # type: ignore[arg-type]
