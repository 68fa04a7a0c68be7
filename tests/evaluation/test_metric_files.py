"""Rows as files and back."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from lodbrain.errors import InputError
from lodbrain.evaluation.metric_files import read_rows, write_rows
from lodbrain.evaluation.score import COLUMNS, ScoreRow
from lodbrain.system.records import write_json, write_tsv

ROW = ScoreRow("sub-1", "structure", "Thalamus", "left", "both", 0.875, 0.9, 1.25, 0.5, 0.75, 1.0, 6000.5, 7000.25)
MISSED = replace(ROW, side="right", status="missed", dice=0.0, hd95_mm=math.nan, assd_mm=math.nan)


def test_rows_survive_a_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "evaluation.tsv", [ROW, MISSED])
    found = read_rows(tmp_path)
    assert found[0] == ROW
    assert found[1].dice == 0
    assert math.isnan(found[1].hd95_mm)
    assert read_rows(tmp_path / "evaluation.tsv")[0] == ROW


def test_the_table_is_tidy_and_says_not_available_as_bids_does(tmp_path: Path) -> None:
    write_rows(tmp_path / "evaluation.tsv", [ROW, MISSED])
    lines = [line.split("\t") for line in (tmp_path / "evaluation.tsv").read_text().splitlines()]
    assert tuple(lines[0]) == COLUMNS
    assert lines[2][4:8] == ["missed", "0", "0.9", "n/a"]
    assert {len(line) for line in lines} == {len(COLUMNS)}


def test_a_name_cannot_break_the_table(tmp_path: Path) -> None:
    write_tsv(tmp_path / "t.tsv", ["name"], [["a\tb\nc"]])
    assert (tmp_path / "t.tsv").read_text() == "name\na b c\n"


def test_json_has_null_where_there_is_no_value(tmp_path: Path) -> None:
    write_json(tmp_path / "e.json", {"a": math.nan, "b": [1.5, math.inf], "c": tmp_path})
    assert json.loads((tmp_path / "e.json").read_text()) == {"a": None, "b": [1.5, None], "c": str(tmp_path)}


def test_volumes_of_segmentations_are_rows_without_a_reference(tmp_path: Path) -> None:
    (tmp_path / "sub-1_ses-2_T1w_volumes.tsv").write_text(
        "index\tname\tvolume_mm3\tsoft_volume_mm3\n10\tLeft-Thalamus\t7000\t7100\n16\tBrain-Stem\t20000\t1\n"
        "0\tTIV\t1500000\t1\n0\tbrain\t1300000\t1\n"
    )
    # a table of the BIDS App, of all scans
    (tmp_path / "group_volumes.tsv").write_text("participant_id\tresults\tTIV\nsub-1\tsub-1_ses-2_T1w\t1500000\n")
    found = read_rows(tmp_path)
    assert [(row.case, row.level, row.region, row.side, row.pred_volume_mm3) for row in found] == [
        ("sub-1_ses-2", "structure", "Thalamus", "left", 7000),
        ("sub-1_ses-2", "structure", "Brain-Stem", "midline", 20000),
        ("sub-1_ses-2", "brain", "TIV", "both", 1500000),
        ("sub-1_ses-2", "brain", "Brain", "both", 1300000),
    ]
    assert all(math.isnan(row.dice) and math.isnan(row.ref_volume_mm3) for row in found)


@pytest.mark.parametrize(
    ("text", "what"),
    [("case\tdice\n", "it has no column level"), (None, "no evaluation.tsv and no table of volumes")],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str | None, what: str) -> None:
    if text is not None:
        (tmp_path / "evaluation.tsv").write_text(text)
    with pytest.raises(InputError, match=what):
        read_rows(tmp_path)


def test_a_damaged_value_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "evaluation.tsv", [ROW])
    text = (tmp_path / "evaluation.tsv").read_text()
    (tmp_path / "evaluation.tsv").write_text(text.replace("0.875", "good"))
    with pytest.raises(InputError, match="it is damaged"):
        read_rows(tmp_path)
