import numpy as np
import pytest

from lodbrain.evaluation.protocol import Shares, apply_protocol, count_labels, decide_protocol
from lodbrain.labels import CLASS_OF_INDEX, SIDELESS

NUMBERS = {("grey", "left"): 3, ("grey", "right"): 42, ("white", "left"): 2, ("white", "right"): 41}


def decided(**counts: tuple[int, int, int]) -> dict[str, Shares]:
    """The protocol where structures have so many voxels labelled nothing, grey, white."""
    table = np.zeros((19, 3), np.int64)
    for name, row in counts.items():
        table[SIDELESS.index(name.replace("_", "-"))] = row
    return {row.structure: row for row in decide_protocol(table)}


def test_labels_are_counted_by_structure_with_sides_together() -> None:
    classes = np.array([CLASS_OF_INDEX[n] for n in (10, 49, 49, 16, 0)]).reshape(5, 1, 1)
    counts = count_labels(classes, np.array([1, 1, 2, 0, 1]).reshape(5, 1, 1))
    assert counts[SIDELESS.index("Thalamus")].tolist() == [0, 2, 1]
    assert counts[SIDELESS.index("Brain-Stem")].tolist() == [1, 0, 0]
    assert counts[0].tolist() == [0, 1, 0]
    assert counts.sum() == 5


@pytest.mark.parametrize(
    ("counts", "treatment"),
    [
        ((0, 100, 0), "grey"),
        ((10, 5, 85), "white"),
        ((75, 25, 0), "nothing"),
        ((74, 26, 0), "mixed"),
        ((0, 50, 50), "mixed"),
        ((0, 19, 0), "nothing"),  # hardly there
        ((0, 0, 0), "nothing"),
    ],
)
def test_three_quarters_of_the_voxels_decide(counts: tuple[int, int, int], treatment: str) -> None:
    assert decided(Putamen=counts)["Putamen"].treatment == treatment


def test_cortex_and_white_matter_are_what_the_reference_is_of() -> None:
    found = decided(Cerebral_Cortex=(90, 5, 5), Cerebral_White_Matter=(90, 5, 5))
    assert (found["Cerebral-Cortex"].treatment, found["Cerebral-White-Matter"].treatment) == ("grey", "white")
    assert found["Cerebral-Cortex"].grey == 0.05


def test_labelled_midline_has_no_side_and_is_left_out() -> None:
    found = decided(Brain_Stem=(0, 0, 100), CSF=(100, 0, 0), Background=(0, 100, 0))
    assert found["Brain-Stem"].treatment == "mixed"
    assert found["CSF"].treatment == "nothing"
    assert found["Background"].treatment == "nothing"


def test_our_structures_become_the_references_labels_side_by_side() -> None:
    protocol = tuple(decided(Putamen=(0, 100, 0), Thalamus=(50, 50, 0), Cerebellum_Cortex=(100, 0, 0)).values())
    indices = [0, 3, 42, 2, 41, 12, 51, 10, 49, 8, 16]
    classes = np.array([CLASS_OF_INDEX[n] for n in indices]).reshape(-1, 1, 1)
    labels, scored = apply_protocol(classes, protocol, NUMBERS)
    assert labels.ravel().tolist() == [0, 3, 42, 2, 41, 3, 42, 0, 0, 0, 0]
    assert scored.ravel().tolist() == [n not in (10, 49) for n in indices]
