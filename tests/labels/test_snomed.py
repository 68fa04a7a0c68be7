"""Codes of structures."""

import pytest

from lodbrain.labels import BRAIN, STRUCTURES, TISSUES, Label
from lodbrain.labels.snomed import FREESURFER_SCHEME, TISSUE_SCHEME, category_code, side_code, structure_code

LABELS = [label for table in (STRUCTURES, TISSUES, BRAIN) for label in table if label.index]


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.name)
def test_codes_are_those_of_the_standard(label: Label) -> None:
    concepts = pytest.importorskip(
        "pydicom.sr._concepts_dict", reason="pydicom is not installed (extra dicom)"
    ).concepts
    for code in filter(None, (structure_code(label), category_code(label), side_code(label))):
        if code.scheme == "SCT":
            meanings = {
                meaning
                for entry in concepts["SCT"].values()
                if code.value in entry
                for meaning in [entry[code.value][0]]
            }
            assert code.meaning in meanings
        else:
            assert code.value == str(label.index)


def test_only_what_snomed_has_no_word_for_keeps_its_number() -> None:
    private = {label.name: structure_code(label).scheme for label in LABELS if structure_code(label).scheme != "SCT"}
    ventral = {"Left-VentralDC": FREESURFER_SCHEME, "Right-VentralDC": FREESURFER_SCHEME}
    assert private == {**ventral, "Basal-Ganglia": TISSUE_SCHEME}  # FreeSurfer's 2 is cerebral white matter


def test_structure_and_side_tell_all_labels_of_a_table_apart() -> None:
    for table in (STRUCTURES, TISSUES):
        codes = [(structure_code(label).value, side_code(label)) for label in table if label.index]
        assert len(set(codes)) == len(codes)
