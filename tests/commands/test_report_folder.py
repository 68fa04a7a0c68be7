import json
from pathlib import Path

import pytest

from lodbrain.commands.report import find_scan, index_scans, write_pages
from lodbrain.errors import InputError
from lodbrain.report.segment_pages import add_page
from lodbrain.report.sidecars import read_results
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.settings import Settings


@pytest.fixture
def out(head_4mm: Path, tmp_path: Path) -> Path:
    """Results without their scan, which lies in another folder."""
    segment_file(head_4mm, tmp_path / "out", Settings(device="cpu"))
    (tmp_path / "scans" / "sub").mkdir(parents=True)
    head_4mm.rename(tmp_path / "scans" / "sub" / "head.nii.gz")
    return tmp_path / "out"


def test_pages_are_made_once_and_the_index_links_to_them(out: Path, tmp_path: Path) -> None:
    first = write_pages(out, scans=[tmp_path / "scans"])
    assert (first.made, first.kept, first.without_scan, first.exit_code) == ((out / "head_report.html",), (), (), 0)
    assert 'href="./head_report.html"' in first.index.read_text()
    again = write_pages(out)
    assert (again.made, again.kept, again.exit_code) == ((), first.made, 0)
    assert write_pages(out, scans=[tmp_path / "scans"], overwrite=True).made == first.made


def test_a_scan_is_known_by_its_checksum_not_by_its_name_alone(out: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "head.nii.gz").write_bytes(b"another scan of this name")
    results = read_results(out / "head_dseg.json")
    assert find_scan(results, index_scans([tmp_path / "others"])) is None
    places = index_scans([tmp_path / "others", tmp_path / "scans"])
    assert find_scan(results, places) == tmp_path / "scans" / "sub" / "head.nii.gz"


def test_a_page_without_its_scan_is_made_anew_when_the_scan_is_found(out: Path, tmp_path: Path) -> None:
    assert write_pages(out).without_scan == (out / "head_report.html",)
    found = write_pages(out, scans=[tmp_path / "scans"])
    assert (found.without_scan, len(found.made)) == ((), 1)


def test_one_broken_result_is_named_and_does_not_stop_the_others(out: Path) -> None:
    (out / "bad_dseg.json").write_text("{")
    made = write_pages(out)
    assert made.exit_code == 3 and [error.code for error in made.errors] == ["bad-sidecar"]
    text = made.index.read_text()
    assert "bad_dseg.json: it cannot be read as JSON" in text and str(out) not in text
    (out / "head_dseg.nii.gz").unlink()
    assert write_pages(out, overwrite=True).exit_code == 4


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results"):
        write_pages(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        write_pages(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_of_scans_is_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_pages(out, scans=[tmp_path / "absent"])


def test_a_page_that_cannot_be_made_leaves_the_results_as_they_are(head_4mm: Path, tmp_path: Path) -> None:
    outcome = segment_file(head_4mm, tmp_path / "out", Settings(device="cpu"))
    outcome.outputs.table.unlink()
    before = sorted((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="the table of its labels is missing"):
        add_page(outcome)
    assert sorted((tmp_path / "out").iterdir()) == before


def test_a_page_is_not_made_beside_another_process(head_4mm: Path, tmp_path: Path) -> None:
    outcome = segment_file(head_4mm, tmp_path / "out", Settings(device="cpu"))
    with outcome.outputs.claimed(), pytest.raises(InputError, match="another process is writing"):
        add_page(outcome)
    add_page(outcome)
    assert outcome.outputs.report.is_file()


def test_half_a_page_of_a_killed_process_is_removed_by_the_next(head_4mm: Path, tmp_path: Path) -> None:
    outcome = segment_file(head_4mm, tmp_path / "out", Settings(device="cpu"))
    hidden = tmp_path / "out" / ".head.lodbrain"
    hidden.mkdir()
    (hidden / "report.html").write_text("<!doct")
    add_page(outcome)
    assert outcome.outputs.report.read_text().rstrip().endswith("</html>")
    assert sorted(outcome.outputs.existing()) == sorted((tmp_path / "out").iterdir())


def test_segmenting_again_removes_a_page_of_old_results(head_4mm: Path, tmp_path: Path) -> None:
    outcome = segment_file(head_4mm, tmp_path / "out", Settings(device="cpu"))
    add_page(outcome)
    assert outcome.outputs.report in outcome.outputs.existing()
    segment_file(head_4mm, tmp_path / "out", Settings(device="cpu", labels="tissue", overwrite=True))
    assert not outcome.outputs.report.exists()
    assert json.loads(outcome.outputs.sidecar.read_text())["settings"]["labels"] == "tissue"
