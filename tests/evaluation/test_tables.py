"""What label numbers mean: built-in tables, and tables of one's own."""

from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError, UsageError
from lodbrain.evaluation.regions import FREESURFER_CSF_ATOM, UNSIDED, regions_of
from lodbrain.evaluation.tables import (
    BRAIN_TABLE,
    FREESURFER_TABLE,
    STRUCTURES_TABLE,
    TISSUE_TABLE,
    LabelTable,
    detect_table,
    read_table,
    table_named,
)
from lodbrain.labels import CLASS_OF_INDEX


def written(folder: Path, *lines: str) -> Path:
    path = folder / "table.tsv"
    path.write_text("\n".join(line.replace(" | ", "\t") for line in lines) + "\n")
    return path


def names(one: LabelTable, other: LabelTable) -> set[tuple[str, str]]:
    return {(region.name, region.side) for region in regions_of(one.known, other.known)}


def volume(*labels: int) -> np.ndarray:
    return np.array(labels, np.int32).reshape(-1, 1, 1)


def test_parcels_of_the_cortex_are_cortex() -> None:
    atoms, unknown = FREESURFER_TABLE.apply(volume(1000, 1035, 2001, 11175, 12101, 3, 42))
    left, right = CLASS_OF_INDEX[3], CLASS_OF_INDEX[42]
    assert atoms.ravel().tolist() == [left, left, right, left, right, left, right]
    assert unknown == {}


def test_freesurfer_numbers_beside_the_structures() -> None:
    found = FREESURFER_TABLE.atoms
    assert found[31] == CLASS_OF_INDEX[4]  # choroid plexus
    assert found[48] == CLASS_OF_INDEX[49]  # older thalamus
    assert found[3001] == found[5001] == CLASS_OF_INDEX[2]
    assert {found[number] for number in (77, 80, 251, 255)} == {UNSIDED["Cerebral-White-Matter"]}
    assert found[24] == FREESURFER_CSF_ATOM != STRUCTURES_TABLE.atoms[24]
    assert found[85] == found[30] == 0


def test_every_structure_is_known_to_freesurfer_too() -> None:
    """The corpus callosum alone has no side, which does not take the sides from the white matter."""
    assert names(FREESURFER_TABLE, STRUCTURES_TABLE) == names(STRUCTURES_TABLE, STRUCTURES_TABLE) - {("CSF", "midline")}


def test_tables_of_different_detail_meet_on_what_both_know() -> None:
    assert names(STRUCTURES_TABLE, TISSUE_TABLE) == {
        (name, "both")
        for name in ("Grey-Matter", "Basal-Ganglia", "White-Matter", "Ventricles", "Cerebellum", "Brain-Stem", "Brain")
    }
    assert names(TISSUE_TABLE, BRAIN_TABLE) == {("Brain", "both")}


def test_a_partial_table_knows_no_region_that_it_lacks_a_part_of() -> None:
    hemispheres = FREESURFER_TABLE.restricted([2, 3, 41, 42])
    known = names(hemispheres, STRUCTURES_TABLE)
    assert ("Cerebral-Cortex", "left") in known
    assert ("White-Matter", "both") in known
    assert not known & {("Grey-Matter", "both"), ("Brain", "both"), ("Thalamus", "left")}


def test_unknown_numbers_are_counted_and_become_background() -> None:
    atoms, unknown = STRUCTURES_TABLE.apply(volume(10, 999, 999, -4, 0))
    assert atoms.ravel().tolist() == [CLASS_OF_INDEX[10], 0, 0, 0, 0]
    assert unknown == {999: 2, -4: 1}


def test_full_range_of_int16_does_not_overflow() -> None:
    atoms, unknown = STRUCTURES_TABLE.apply(np.array([-32768, 10, 32767, 32767], np.int16).reshape(-1, 1, 1))
    assert atoms.ravel().tolist() == [0, CLASS_OF_INDEX[10], 0, 0]
    assert unknown == {-32768: 1, 32767: 2}
    with pytest.raises(InputError, match="its labels -32768, 32767 are in no built-in table"):
        detect_table(Path("map.nii.gz"), np.array([-32768, 10, 32767], np.int16).reshape(-1, 1, 1))


def test_huge_numbers_need_no_huge_table() -> None:
    data = np.array([10, 2**40, 0]).reshape(-1, 1, 1)
    atoms, unknown = STRUCTURES_TABLE.apply(data)
    assert atoms.ravel().tolist() == [CLASS_OF_INDEX[10], 0, 0]
    assert unknown == {2**40: 1}


@pytest.mark.parametrize(
    ("labels", "table"),
    [((0, 1), "brain"), ((0, 6), "tissue"), ((0, 10, 49), "structures"), ((0, 10, 1012), "freesurfer")],
)
def test_the_table_is_told_from_the_numbers(labels: tuple[int, ...], table: str) -> None:
    assert detect_table(Path("map.nii.gz"), volume(*labels)).name == table


def test_the_names_beside_a_map_decide(tmp_path: Path) -> None:
    """Left white matter and cortex alone look like two tissues."""
    (tmp_path / "a_dseg.tsv").write_text("index\tname\tcolor\n2\tLeft-Cerebral-White-Matter\t#f5f5f5\n")
    assert detect_table(tmp_path / "a_dseg.nii.gz", volume(0, 2)) is STRUCTURES_TABLE
    assert detect_table(tmp_path / "b_dseg.nii.gz", volume(0, 2)) is TISSUE_TABLE


def test_unknown_numbers_ask_for_a_table() -> None:
    with pytest.raises(InputError, match="its labels 71, 104, 105 are in no built-in table"):
        detect_table(Path("map.nii.gz"), volume(0, 71, 104, 105))


def test_a_table_of_ones_own_maps_numbers(tmp_path: Path) -> None:
    path = written(
        tmp_path, "index | name | freesurfer", "59 | right thalamus | 49", "60 | left thalamus | 10", "9 | x | "
    )
    table = read_table(path)
    assert dict(table.atoms) == {0: 0, 59: CLASS_OF_INDEX[49], 60: CLASS_OF_INDEX[10], 9: 0}


def test_a_part_without_a_side_does_not_count_as_left(tmp_path: Path) -> None:
    lines = ["index | name | freesurfer", "38 | right cerebellum | 47", "39 | left cerebellum | 8", "71 | vermis | 8"]
    assert read_table(written(tmp_path, *lines)).atoms[71] == UNSIDED["Cerebellum-Cortex"]


def test_a_table_without_sides_is_compared_without_sides(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "index | name | freesurfer", "7 | thalamus | 10", "13 | brainstem | 16"))
    assert names(table, STRUCTURES_TABLE) >= {("Thalamus", "both"), ("Brain-Stem", "midline")}
    assert ("Thalamus", "left") not in names(table, STRUCTURES_TABLE)


def test_numbers_of_both_sides_need_no_names(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "index | structures", "1 | 10", "2 | 49"))
    assert ("Thalamus", "left") in names(table, STRUCTURES_TABLE)


def test_the_side_column_has_the_last_word(tmp_path: Path) -> None:
    table = read_table(
        written(tmp_path, "index | side | freesurfer", "1 | left | 10", "2 | right | 49", "3 | none | 10")
    )
    assert [table.atoms[n] for n in (1, 2, 3)] == [CLASS_OF_INDEX[10], CLASS_OF_INDEX[49], UNSIDED["Thalamus"]]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["index | colour", "1 | red"], "its first line names no such columns"),
        (["index | freesurfer", "1 | 10", "x | 10"], "line 3 says that 'x' is '10'"),
        (["index | freesurfer", "1 | 9999"], "line 2 says that '1' is '9999'"),
        (["index | tissue", "1 | 7"], "1 to 6 of this package's tissue classes"),
        (["index | freesurfer", "1 | 10", "1 | 11"], "line 3 names 1 again"),
        (["index | name | freesurfer", "1 | left thalamus | 49"], "calls 1 left, but 49"),
        ([], "its first line names no such columns"),
    ],
)
def test_mistakes_in_a_table_are_named_with_their_line(tmp_path: Path, lines: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=r"table\.tsv") as caught:
        read_table(written(tmp_path, *lines))
    assert what in str(caught.value)


def test_tables_go_by_name_or_file(tmp_path: Path) -> None:
    assert table_named("tissue") is TISSUE_TABLE
    assert table_named(written(tmp_path, "index | brain", "5 | 1")).atoms[5] == BRAIN_TABLE.atoms[1]
    with pytest.raises(UsageError, match="Name a TSV file or one of structures, tissue, brain, freesurfer"):
        table_named("aseg")


@pytest.mark.data
def test_the_table_of_hand_labels_gives_all_sides(data_dir: Path) -> None:
    table = read_table(data_dir / "dev" / "labels-glm.tsv")
    assert table.atoms[71] == table.atoms[73] == UNSIDED["Cerebellum-Cortex"]
    assert names(table, STRUCTURES_TABLE) == names(STRUCTURES_TABLE, STRUCTURES_TABLE) - {("CSF", "midline")}
