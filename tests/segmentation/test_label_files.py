import re

import pytest

from lodbrain.labels import BRAIN, STRUCTURES
from lodbrain.segmentation.label_files import label_file


def test_freesurfers_table_has_number_name_and_colour() -> None:
    lines = label_file(STRUCTURES, "freesurfer").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert len(rows) == 33
    assert rows[1] == ["2", "Left-Cerebral-White-Matter", "245", "245", "245", "0"]


def test_itksnap_reads_eight_columns_with_the_name_in_quotes() -> None:
    """ITK-SNAP scans each line for seven numbers and a quoted name."""
    rows = [line for line in label_file(BRAIN, "itksnap").splitlines() if not line.startswith("#")]
    pattern = r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+(\d+)\s+(\d+)\s+"(.*)"'
    parsed = [match.groups() for match in (re.fullmatch(pattern, row) for row in rows) if match]
    assert parsed == [
        ("0", "0", "0", "0", "0", "0", "0", "Clear Label"),
        ("1", "205", "62", "78", "1", "1", "1", "brain"),
    ]


def test_slicers_table_has_opaque_labels_on_a_clear_background() -> None:
    rows = [line.split() for line in label_file(STRUCTURES, "slicer").splitlines() if not line.startswith("#")]
    assert {len(row) for row in rows} == {6}
    assert (rows[0][-1], rows[-1]) == ("0", ["60", "Right-VentralDC", "165", "42", "42", "255"])


def test_bids_table_leaves_the_background_out() -> None:
    assert label_file(BRAIN, "bids") == "index\tname\tcolor\n1\tbrain\t#cd3e4e\n"


def test_another_program_is_refused() -> None:
    with pytest.raises(ValueError, match="program must be one of bids, freesurfer, itksnap, slicer, got 'paint'"):
        label_file(BRAIN, "paint")  # type: ignore[arg-type]
